"""What a judge was asked to look at, and its verdicts."""

from django.db import models

from factory.models import Example
from labeling.models.label import LabelJob


class Judging(models.Model):
    """The case of a label job of the kind `judge`: whose answers, and how they are judged."""

    class Mode(models.TextChoices):
        """What is asked."""

        PAIRWISE = "pairwise", "which of two answers is better"
        PASS_FAIL = "pass_fail", "whether an answer is right"

    job = models.OneToOneField(LabelJob, on_delete=models.CASCADE, related_name="judging")
    mode = models.CharField(max_length=10, choices=Mode.choices)
    first = models.CharField(max_length=40)  # a set's key
    first_name = models.CharField(max_length=160)
    second = models.CharField(max_length=40, blank=True)
    second_name = models.CharField(max_length=160, blank=True)
    most = models.PositiveIntegerField()  # rows, drawn by their digests
    forced = models.BooleanField(default=False)  # somebody let a model judge its own answers

    def __str__(self) -> str:
        return f"{self.mode} of {self.first}"


class Verdict(models.Model):
    """What both orders came to for one example; inconclusive is no score."""

    class Outcome(models.TextChoices):
        """What it can come to."""

        FIRST = "first"
        SECOND = "second"
        TIE = "tie"
        PASS = "pass"  # noqa: S105 - a verdict
        FAIL = "fail"
        INCONCLUSIVE = "inconclusive"

    job = models.ForeignKey(LabelJob, on_delete=models.CASCADE, related_name="verdicts")
    example = models.ForeignKey(Example, on_delete=models.CASCADE, related_name="verdicts")
    first = models.TextField()
    second = models.TextField(blank=True)
    outcome = models.CharField(max_length=12, choices=Outcome.choices)
    why = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "example"], name="one_verdict_per_job_and_row")
        ]

    def __str__(self) -> str:
        return f"{self.outcome} for example {self.example_id}"
