"""A workload: one narrow job that one student learns."""

from django.db import models

from factory.models.project import Project, slug_validator


class Workload(models.Model):
    """The stable alias that apps send as `model`, and everything learnt for it."""

    class Kind(models.TextChoices):
        """What an answer is, which decides the editor, the metric and the teacher's format."""

        CLASSIFICATION = "classification"
        EXTRACTION = "extraction"
        GENERATION = "generation"

    class Metric(models.TextChoices):
        """How one answer is scored against its target."""

        EXACT_MATCH = "exact_match"
        JSON_FIELDS = "json_fields"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="workloads")
    slug = models.CharField(max_length=48, validators=[slug_validator])
    kind = models.CharField(max_length=16, choices=Kind.choices)
    instruction = models.TextField(blank=True)
    # JSON Schema of the answer; a label set is {"type": "string", "enum": [...]}.
    output_schema = models.JSONField(null=True, blank=True)
    metric = models.CharField(max_length=16, choices=Metric.choices, default=Metric.EXACT_MATCH)
    retention_days = models.PositiveIntegerField(default=90)
    # What part of new groups goes where; the rest is trained on. A row never moves afterwards.
    validation_share = models.FloatField(default=0.1)
    test_share = models.FloatField(default=0.1)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "slug"], name="workload_slug_per_project"),
        ]

    def __str__(self) -> str:
        return f"{self.project}/{self.slug}"

    @property
    def labels(self) -> list[str]:
        """The label set, empty where the answers are not labels."""
        schema = self.output_schema or {}
        return list(schema.get("enum", [])) if schema.get("type") == "string" else []


class CallGroup(models.Model):
    """Calls of one prompt template: its skeleton, and the workload they belong to once confirmed.

    A group without a workload is a proposal, unless somebody said that it is none.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="call_groups")
    signature = models.CharField(max_length=64)
    skeleton = models.JSONField()
    workload = models.ForeignKey(
        Workload, on_delete=models.SET_NULL, null=True, related_name="call_groups"
    )
    is_ignored = models.BooleanField(default=False)
    call_count = models.PositiveBigIntegerField(default=0)  # of those that were answered
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "signature"], name="group_signature_per_project"
            )
        ]
        indexes = [models.Index(fields=["project", "-call_count"], name="groups_by_size")]

    def __str__(self) -> str:
        return f"{self.project}: {self.signature[:12]}"
