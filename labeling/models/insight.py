"""What is known of a workload's labels: where they are doubtful, and what more would be worth."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from factory.models import Example, Job, Workload

AUDIT_SHARE = 0.15  # of a queue that is drawn at random, whatever else is asked for
SHARE = [MinValueValidator(0.0), MaxValueValidator(1.0)]


class InsightRun(Job):
    """One judgement of all labels, the learning curve, and the review queue filled by it."""

    task_name = "labeling.run_insight"

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="insight_runs")
    # How many rows go to the review queue when all is judged; None leaves it as it is.
    to_review = models.PositiveIntegerField(null=True, blank=True)
    audit_share = models.FloatField(default=AUDIT_SHARE, validators=SHARE)
    facts = models.JSONField(default=dict, blank=True)

    class Meta(Job.Meta):
        pass


class Suspicion(models.Model):
    """How doubtful an example's target was when it was last judged."""

    example = models.OneToOneField(Example, on_delete=models.CASCADE, related_name="suspicion")
    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="suspicions")
    run = models.ForeignKey(InsightRun, on_delete=models.CASCADE, related_name="suspicions")
    score = models.FloatField()  # 0 to 1, orders rows
    probability = models.FloatField(null=True)  # of the target, by a model that has not seen it
    rank = models.PositiveIntegerField()  # 1 is the most suspicious
    likelier = models.TextField(blank=True)
    hint = models.TextField(blank=True)

    class Meta:
        indexes = [models.Index(fields=["workload", "rank"], name="suspicions_by_rank")]

    def __str__(self) -> str:
        return f"{self.score:.2f} for example {self.example_id}"
