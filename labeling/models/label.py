"""What teachers were asked, what they answered, and what it came to."""

from django.db import models

from factory.models import Example, Job, Project, Workload
from labeling.models.teacher import Guideline, Teacher


class LabelJob(Job):
    """A teacher's pass over a workload's examples."""

    class Kind(models.TextChoices):
        """What the teacher is asked for."""

        LABEL = "label"
        AUGMENT = "augment"
        JUDGE = "judge"

    task_name = "labeling.run_label_job"

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="label_jobs")
    teacher = models.ForeignKey(Teacher, on_delete=models.PROTECT, related_name="label_jobs")
    guideline = models.ForeignKey(
        Guideline, on_delete=models.PROTECT, null=True, blank=True, related_name="label_jobs"
    )
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.LABEL)
    votes = models.PositiveSmallIntegerField(default=1)
    accept_confidence = models.FloatField(default=1.0)
    budget_usd = models.DecimalField(max_digits=12, decimal_places=4)
    spent_usd = models.DecimalField(max_digits=14, decimal_places=8, default=0)

    class Meta(Job.Meta):
        pass

    @property
    def queue(self) -> str:
        """Teachers answer over the network: their jobs wait on it, not on a processor."""
        return "teacher"


class TeacherReply(models.Model):
    """One paid answer, kept by what was asked, so that the same question is never paid twice."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="teacher_replies")
    # digest of upstream, model, params, messages, schema and the vote's number
    cache_key = models.CharField(max_length=64)
    job = models.ForeignKey(LabelJob, on_delete=models.SET_NULL, null=True, related_name="replies")
    raw = models.TextField()
    finish_reason = models.CharField(max_length=40, blank=True)
    prompt_tokens = models.PositiveIntegerField(default=0)
    completion_tokens = models.PositiveIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=8, default=0)
    latency_ms = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "cache_key"], name="one_reply_per_question")
        ]

    def __str__(self) -> str:
        return self.cache_key[:12]


class Label(models.Model):
    """What one job's votes came to for one example."""

    class Status(models.TextChoices):
        """Whether the label could stand by itself."""

        ACCEPTED = "accepted"
        UNSURE = "unsure"
        INVALID = "invalid"
        FAILED = "failed"

    job = models.ForeignKey(LabelJob, on_delete=models.CASCADE, related_name="labels")
    example = models.ForeignKey(Example, on_delete=models.CASCADE, related_name="labels")
    output = models.TextField(blank=True)
    votes = models.JSONField(default=dict)  # {"output": count}
    confidence = models.FloatField()
    status = models.CharField(max_length=8, choices=Status.choices)
    error = models.TextField(blank=True)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=8, default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "example"], name="one_label_per_job_and_example")
        ]

    def __str__(self) -> str:
        return f"{self.output[:40]} ({self.confidence:.2f})"
