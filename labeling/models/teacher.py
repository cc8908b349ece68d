"""Who labels, and by which rules."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.timezone import now

from factory.models import Project, Upstream, Workload

FROM_ONE = [MinValueValidator(1)]
IN_FLIGHT = [MinValueValidator(1), MaxValueValidator(1024)]
SHARE = [MinValueValidator(0.0), MaxValueValidator(1.0)]


class Teacher(models.Model):
    """A model that labels: an upstream's model with its parameters, its limits and its terms."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="teachers")
    name = models.CharField(max_length=48)
    upstream = models.ForeignKey(Upstream, on_delete=models.PROTECT, related_name="teachers")
    model = models.CharField(max_length=200)
    params = models.JSONField(default=dict, blank=True)
    # What its vendor allows: the flag goes with every label, the text says where it is written.
    may_train_on_outputs = models.BooleanField(default=True)
    licence = models.CharField(max_length=120, blank=True)
    terms = models.TextField(blank=True)
    # What the endpoint takes; the minute's limits are shared by all workers, None is no limit.
    in_flight = models.PositiveSmallIntegerField(default=64, validators=IN_FLIGHT)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True, validators=FROM_ONE)
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True, validators=FROM_ONE)
    # What a call costs through the Batch API, as a share of its price.
    batch_price_share = models.FloatField(default=0.5, validators=SHARE)
    asks_logprobs = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="teacher_name_per_project")
        ]

    def __str__(self) -> str:
        return self.name


class RateLimit(models.Model):
    """How far an endpoint's minute is given away, in the installation's one place for it.

    Each worker takes its next lot by one UPDATE that moves these times ahead, so that all of them
    together keep to the limit.
    """

    upstream = models.ForeignKey(Upstream, on_delete=models.CASCADE, related_name="rate_limits")
    model = models.CharField(max_length=200)
    requests_until = models.DateTimeField(default=now)
    tokens_until = models.DateTimeField(default=now)
    closed_until = models.DateTimeField(default=now)  # by a Retry-After or an x-ratelimit-reset

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["upstream", "model"], name="one_limit_per_model")
        ]

    def __str__(self) -> str:
        return f"limit of {self.model}"


class Guideline(models.Model):
    """The text that prompts the teacher and guides the reviewer; a change is a new number."""

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="guidelines")
    number = models.PositiveIntegerField()
    text = models.TextField()
    few_shot_ids = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workload", "number"], name="guideline_number_per_workload"
            )
        ]

    def __str__(self) -> str:
        return f"guideline {self.number}"
