"""Acts that accept many rows' own answers by a score, and the sample that measures each act."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from factory.models import Example, Job, Workload


class BulkAccept(Job):
    """One act of accepting what a score is sure of; reverting it is another one.

    It is no person's word: the rows keep a machine's provenance, and test rows are left alone.
    """

    class Score(models.TextChoices):
        """Who says how sure."""

        VOTES = "votes", "the share of the teacher's votes for its answer"
        TOKENS = "tokens", "the probability of the teacher's answer, by its tokens"
        INSIGHT = "insight", "how likely the answer is to a linear model that has not seen the row"

    task_name = "labeling.run_bulk_accept"

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="bulk_accepts")
    score = models.CharField(max_length=8, choices=Score.choices)
    at_least = models.FloatField(validators=[MinValueValidator(0.0), MaxValueValidator(1.0)])
    rows = models.PositiveIntegerField(default=0)  # accepted, or given back
    undoes = models.OneToOneField(
        "self", on_delete=models.CASCADE, null=True, blank=True, related_name="undone_by"
    )

    class Meta(Job.Meta):
        pass


class BulkRow(models.Model):
    """One row of an act: accepted, with what it was before; or drawn for people to look at."""

    act = models.ForeignKey(BulkAccept, on_delete=models.CASCADE, related_name="changes")
    example = models.ForeignKey(Example, on_delete=models.CASCADE, related_name="bulk_rows")
    is_audit = models.BooleanField(default=False)
    sure = models.FloatField()
    answer = models.TextField()  # that was accepted, or would have been
    target = models.TextField(null=True)  # noqa: DJ001 - "no target yet" and "" are different answers
    provenance = models.CharField(max_length=24, blank=True)
    status = models.CharField(max_length=12)
    may_train = models.BooleanField(default=True)
    # {"reason", "priority", "wanted"} of the review item that the act took from the queue, if any
    queued = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["act", "example"], name="one_bulk_row_per_act_and_example"
            )
        ]

    def __str__(self) -> str:
        return f"example {self.example_id} by {self.act_id}"
