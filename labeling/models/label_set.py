"""Answers that lie beside the targets, and the acts that make them targets."""

from django.db import models

from factory.models import Example, Job, Workload


class LabelSet(Job):
    """Answers of a committee or of a student; making it is a job.

    Production's answers, each label job's and people's are sets too, but need no rows of their own.
    """

    class Source(models.TextChoices):
        """Whose answers these are."""

        COMMITTEE = "committee", "several sets combined"
        STUDENT = "student", "a student's answers"

    task_name = "labeling.run_label_set"

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="label_sets")
    name = models.CharField(max_length=120)
    source = models.CharField(max_length=10, choices=Source.choices)
    # {"members": [keys], "method": ...} of a committee, and each member's weight once it is made
    recipe = models.JSONField(default=dict, blank=True)
    may_train = models.BooleanField(default=True)
    rows = models.PositiveIntegerField(default=0)

    class Meta(Job.Meta):
        constraints = [
            models.UniqueConstraint(fields=["workload", "name"], name="set_name_per_workload")
        ]


class SetAnswer(models.Model):
    """One answer of a set."""

    label_set = models.ForeignKey(LabelSet, on_delete=models.CASCADE, related_name="answers")
    example = models.ForeignKey(Example, on_delete=models.CASCADE, related_name="set_answers")
    output = models.TextField()
    confidence = models.FloatField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["label_set", "example"], name="one_answer_per_set_and_example"
            )
        ]

    def __str__(self) -> str:
        return self.output[:40]


class Application(Job):
    """One act of making a set's answers the targets of rows; undoing it is another one."""

    class Scope(models.TextChoices):
        """Which rows."""

        ALL = "all", "all its rows"
        AGREED = "agreed", "rows where another set agrees"
        CELL = "cell", "rows of one cell"

    task_name = "labeling.run_application"

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="applications")
    source = models.CharField(max_length=40)  # a set's key
    source_name = models.CharField(max_length=160)
    scope = models.CharField(max_length=8, choices=Scope.choices, default=Scope.ALL)
    other = models.CharField(max_length=40, blank=True)  # the set that agrees, or makes the cell
    cell = models.JSONField(null=True, blank=True)  # {"first", "second", "field"}
    at_least = models.FloatField(default=0.0)  # confidence; answers without one count as sure
    rows = models.PositiveIntegerField(default=0)
    undoes = models.OneToOneField(
        "self", on_delete=models.CASCADE, null=True, blank=True, related_name="undone_by"
    )

    class Meta(Job.Meta):
        pass


class AppliedChange(models.Model):
    """One row that an act changed: what it was before, and what it became."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="changes")
    example = models.ForeignKey(Example, on_delete=models.CASCADE, related_name="applied_changes")
    target = models.TextField(null=True)  # noqa: DJ001 - "no target yet" and "" are different answers
    provenance = models.CharField(max_length=24, blank=True)
    status = models.CharField(max_length=12)
    may_train = models.BooleanField(default=True)
    after = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["application", "example"], name="one_change_per_act_and_example"
            )
        ]

    def __str__(self) -> str:
        return f"example {self.example_id} by {self.application_id}"
