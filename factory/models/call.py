"""What production asked and was answered: append-only, gone only by retention or erasure."""

from django.db import models
from uuid_utils.compat import uuid7

from factory.messages import output_of
from factory.models.project import Project
from factory.models.workload import Workload


class CapturedCall(models.Model):
    """One call to a model, redacted before it was first written."""

    class Source(models.TextChoices):
        """The door it came in by."""

        GATEWAY = "gateway"
        IMPORT = "import"
        OTLP = "otlp"

    # uuid7: ordered by time, so that the primary key pages and the index does not bloat.
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="calls")
    workload = models.ForeignKey(
        Workload, on_delete=models.SET_NULL, null=True, related_name="calls"
    )
    request_id = models.CharField(max_length=128)
    trace_id = models.CharField(max_length=128, blank=True)
    provider = models.CharField(max_length=64, blank=True)
    request_model = models.CharField(max_length=200)
    response_model = models.CharField(max_length=200, blank=True)
    messages = models.JSONField()
    response = models.JSONField(null=True)
    request_params = models.JSONField(default=dict)
    tools = models.JSONField(null=True)
    prompt_tokens = models.PositiveIntegerField(null=True)
    completion_tokens = models.PositiveIntegerField(null=True)
    finish_reason = models.CharField(max_length=40, blank=True)
    latency_ms = models.PositiveIntegerField(null=True)
    ttft_ms = models.PositiveIntegerField(null=True)
    status_code = models.PositiveSmallIntegerField()
    cost_usd = models.DecimalField(max_digits=14, decimal_places=8, null=True)
    metadata = models.JSONField(default=dict)
    source = models.CharField(max_length=16, choices=Source.choices)
    route_reason = models.CharField(max_length=64, blank=True)
    redactions = models.JSONField(default=dict)
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    curated_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "request_id"], name="request_id_per_project")
        ]
        indexes = [
            models.Index(fields=["project", "-created_at", "-id"], name="calls_by_time"),
            models.Index(fields=["workload", "-created_at", "-id"], name="calls_by_workload"),
            models.Index(
                fields=["project", "id"],
                condition=models.Q(curated_at=None),
                name="calls_to_curate",
            ),
        ]

    def __str__(self) -> str:
        return self.request_id

    @property
    def output(self) -> str:
        """The first choice's text, empty where the model gave none."""
        return output_of(self.response)


class Feedback(models.Model):
    """What the app said later about an answer."""

    class Kind(models.TextChoices):
        """The shape of `value`."""

        BOOLEAN = "boolean"
        SCORE = "score"
        COMMENT = "comment"
        DEMONSTRATION = "demonstration"

    call = models.ForeignKey(CapturedCall, on_delete=models.CASCADE, related_name="feedback")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    value = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.kind} on {self.call_id}"
