"""Examples: the distinct inputs of a workload, each with at most one target."""

from django.db import models

from factory.models.call import CapturedCall
from factory.models.workload import Workload


class Split(models.TextChoices):
    """Which part of the data a row belongs to; a row never moves."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Provenance(models.TextChoices):
    """Whose word the target is."""

    TEACHER = "teacher", "the production model's own answer"
    RELABELED_BY_MODEL = "relabeled_by_model", "a teacher's vote"
    RELABELED_BY_HUMAN = "relabeled_by_human", "a reviewer's decision"
    UPLOADED = "uploaded", "given with an uploaded row"


class Example(models.Model):
    """One distinct input of a workload."""

    class Origin(models.TextChoices):
        """Where the input came from."""

        REQUEST_LOG = "request_log"
        UPLOAD = "upload"
        SYNTHETIC = "synthetic"

    class Status(models.TextChoices):
        """How far it has come."""

        CAPTURED = "captured"
        LABELED = "labeled"
        REVIEWED = "reviewed"
        DISCARDED = "discarded"

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="examples")
    # No constraint in the database: calls leave by retention, their examples stay.
    call = models.ForeignKey(
        CapturedCall,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        null=True,
        related_name="examples",
    )
    parent = models.ForeignKey("self", on_delete=models.SET_NULL, null=True)
    origin = models.CharField(max_length=16, choices=Origin.choices)
    messages = models.JSONField()
    # What production answered; labels change the target, never this.
    produced = models.TextField(null=True)  # noqa: DJ001 - None: nothing, or it was not production
    target = models.TextField(null=True)  # noqa: DJ001 - "no target yet" and "" are different answers
    provenance = models.CharField(max_length=24, choices=Provenance.choices, blank=True)
    digest = models.CharField(max_length=64)
    group = models.CharField(max_length=64)  # what shares a split: near copies, conversations
    cluster = models.CharField(max_length=64, blank=True)  # of near copies, within the group
    conversation = models.CharField(max_length=64, blank=True)  # digest of its name, if it has one
    # Empty for a row that was discarded before it had one.
    split = models.CharField(max_length=12, choices=Split.choices, blank=True)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.CAPTURED)
    discard_reason = models.CharField(max_length=24, blank=True)  # a curation step's
    discarded_by = models.ForeignKey(
        "CurationStep", on_delete=models.SET_NULL, null=True, related_name="discarded"
    )
    weight = models.PositiveIntegerField(default=1)  # how often production asked exactly this
    may_train = models.BooleanField(default=True)  # by the terms of whoever gave the target
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workload", "digest"], name="digest_per_workload")
        ]
        indexes = [
            models.Index(fields=["workload", "split", "id"], name="examples_by_split"),
            models.Index(fields=["workload", "status", "id"], name="examples_by_status"),
            models.Index(fields=["workload", "group"], name="examples_by_group"),
        ]

    def __str__(self) -> str:
        return f"example {self.pk}"
