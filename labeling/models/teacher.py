"""Who labels, and by which rules."""

from django.db import models

from factory.models import Project, Upstream, Workload


class Teacher(models.Model):
    """A model that labels: an upstream's model with its sampling parameters and its terms."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="teachers")
    name = models.CharField(max_length=48)
    upstream = models.ForeignKey(Upstream, on_delete=models.PROTECT, related_name="teachers")
    model = models.CharField(max_length=200)
    params = models.JSONField(default=dict, blank=True)
    may_train_on_outputs = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="teacher_name_per_project")
        ]

    def __str__(self) -> str:
        return self.name


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
