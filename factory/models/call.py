"""What production asked and was answered: append-only, gone only by retention or erasure.

The tables are partitioned by month on the call's id, a uuid7 made of the call's own time: a call
is found by its id in one partition, pages follow the id, and retention drops whole partitions.
None of the foreign keys is a constraint: a constraint would forbid to drop a partition, and cost a
look-up per row and key while calls come in by the thousand.
"""

import threading
from functools import cached_property, lru_cache
from typing import Any

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from uuid_utils.compat import uuid7

from factory.capture.payloads import Packer
from factory.capture.spool import WITHOUT_TEXTS
from factory.messages import output_of, text_of
from factory.models.project import Project
from factory.models.workload import CallGroup, Workload

# Where room ran out, a call was kept without its texts: it has no prompt and teaches nothing.
HAS_TEXTS = ~models.Q(route_reason__endswith=WITHOUT_TEXTS)


class CapturedCall(models.Model):
    """One call to a model, redacted before it was first written: the part that is searched."""

    class Source(models.TextChoices):
        """The door it came in by."""

        GATEWAY = "gateway"
        IMPORT = "import"
        OTLP = "otlp"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(
        Project, models.CASCADE, related_name="calls", db_constraint=False, db_index=False
    )
    # Null until the prompt's skeleton was looked at, which is not in the capture path. A call
    # belongs to its group's workload: to confirm a workload is to change one row.
    group = models.ForeignKey(
        CallGroup, models.SET_NULL, null=True, related_name="calls",
        db_constraint=False, db_index=False,
    )  # fmt: skip
    request_id = models.CharField(max_length=128)
    response_id = models.CharField(max_length=128, blank=True)
    trace_id = models.CharField(max_length=128, blank=True)
    endpoint = models.CharField(max_length=32, default="chat/completions")
    provider = models.CharField(max_length=64, blank=True)
    request_model = models.CharField(max_length=200)
    response_model = models.CharField(max_length=200, blank=True)
    prompt_tokens = models.PositiveIntegerField(null=True)
    completion_tokens = models.PositiveIntegerField(null=True)
    finish_reason = models.CharField(max_length=40, blank=True)
    latency_ms = models.PositiveIntegerField(null=True)
    ttft_ms = models.PositiveIntegerField(null=True)
    status_code = models.PositiveSmallIntegerField()
    # The client left or the stream broke: what is here is not all that there would have been.
    is_partial = models.BooleanField(default=False)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=8, null=True)
    metadata = models.JSONField(default=dict)
    source = models.CharField(max_length=16, choices=Source.choices)
    route_reason = models.CharField(max_length=64, blank=True)
    redactions = models.JSONField(default=dict)
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    curated_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["project", "-id"], name="calls_by_time"),
            models.Index(
                fields=["group", "-id"],
                condition=models.Q(group__isnull=False),
                name="calls_by_group",
            ),
            models.Index(
                fields=["project", "response_id"],
                condition=~models.Q(response_id=""),
                name="calls_by_response",
            ),
            models.Index(
                fields=["project", "id"],
                condition=models.Q(group=None) & HAS_TEXTS,
                name="calls_to_group",
            ),
            # With what `metadata[key]=value` asks for; only containment is ever asked.
            GinIndex(fields=["metadata"], opclasses=["jsonb_path_ops"], name="calls_by_metadata"),
            models.Index(
                fields=["group", "id"],
                condition=models.Q(curated_at=None, group__isnull=False),
                name="calls_to_curate",
            ),
        ]

    def __str__(self) -> str:
        return self.request_id

    @property
    def workload(self) -> Workload | None:
        """What its group belongs to. Read `group__workload` with the row."""
        return self.group.workload if self.group else None

    @cached_property
    def body(self) -> dict[str, Any]:
        """The texts: messages, response, request_params and tools. Read `payload` with the row."""
        return self.payload.read()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The request's turns."""
        found: list[dict[str, Any]] = self.body["messages"]
        return found

    @property
    def response(self) -> dict[str, Any] | None:
        """The answer, a chat completion."""
        found: dict[str, Any] | None = self.body["response"]
        return found

    @property
    def request_params(self) -> dict[str, Any]:
        """What else the request held."""
        found: dict[str, Any] = self.body["request_params"]
        return found

    @property
    def tools(self) -> list[Any] | None:
        """The tools that the model was offered."""
        found: list[Any] | None = self.body["tools"]
        return found

    @property
    def output(self) -> str:
        """The first choice's text, empty where the model gave none."""
        return output_of(self.response)

    @property
    def question(self) -> str:
        """The last turn's text."""
        return text_of(self.messages[-1].get("content")) if self.messages else ""

    @property
    def fixed_params(self) -> dict[str, Any]:
        """What of the parameters belongs to the prompt's template."""
        return {**self.request_params, "tools": self.tools}


class PayloadDictionary(models.Model):
    """What a project's payloads have in common, trained once: it halves what a short one takes."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="payload_dictionaries")
    body = models.BinaryField()
    sample_count = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"dictionary {self.pk} of {self.project}"


class CallPayload(models.Model):
    """A call's texts, compressed, away from the rows that lists and counts read."""

    call = models.OneToOneField(
        CapturedCall, models.CASCADE, primary_key=True, related_name="payload", db_constraint=False
    )
    # Not joined: every row of a page would carry the same 64 KiB. See `packer_of`.
    dictionary = models.ForeignKey(
        PayloadDictionary, models.DO_NOTHING, null=True, db_constraint=False, db_index=False
    )
    body = models.BinaryField()

    def __str__(self) -> str:
        return f"payload of {self.call_id}"

    def read(self) -> dict[str, Any]:
        """Return the texts."""
        return packer_of(self.dictionary_id).unpack(bytes(self.body))


def packer_of(dictionary: int | None) -> Packer:
    """Return the (de)compressor with a dictionary, this thread's own: they are not shared."""
    return _packer(dictionary, threading.get_ident())


@lru_cache(maxsize=256)
def _packer(dictionary: int | None, _thread: int) -> Packer:
    if dictionary is None:
        return Packer(None)
    return Packer(bytes(PayloadDictionary.objects.get(pk=dictionary).body))


class CallKey(models.Model):
    """A request id's one call: what a partitioned table cannot promise by itself."""

    pk = models.CompositePrimaryKey("project_id", "request_id")
    project = models.ForeignKey(Project, models.CASCADE, db_constraint=False, db_index=False)
    request_id = models.CharField(max_length=128)
    call = models.OneToOneField(
        CapturedCall, models.CASCADE, related_name="key", db_constraint=False
    )

    def __str__(self) -> str:
        return self.request_id


class CallText(models.Model):
    """What full-text search reads: lexemes of question and answer, filled beside the capture."""

    call = models.OneToOneField(
        CapturedCall, models.CASCADE, primary_key=True, related_name="text", db_constraint=False
    )
    # Holds its project's word too, so that one index serves them all.
    document = SearchVectorField()

    class Meta:
        indexes = [GinIndex(fields=["document"], name="calls_by_words")]

    def __str__(self) -> str:
        return f"text of {self.call_id}"

    @staticmethod
    def project_word(project_id: int) -> str:
        """Return the word that every text of a project holds. It narrows; the gate is the call."""
        return f"understudyproject{project_id}"


class CallTally(models.Model):
    """How many calls a day saw: counted as they come in, so that no page has to scan."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="tallies")
    group = models.ForeignKey(CallGroup, models.CASCADE, null=True, related_name="tallies")
    day = models.DateField()
    model = models.CharField(max_length=200)
    is_error = models.BooleanField()
    calls = models.BigIntegerField()
    priced_calls = models.BigIntegerField()
    prompt_tokens = models.BigIntegerField()
    completion_tokens = models.BigIntegerField()
    cost_usd = models.DecimalField(max_digits=18, decimal_places=8)
    latency_ms_sum = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "group", "day", "model", "is_error"],
                nulls_distinct=False,
                name="one_tally_per_day",
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.model}: {self.calls}"
