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

    class Mode(models.TextChoices):
        """How the teacher is asked."""

        LIVE = "live", "at once"
        BATCH = "batch", "through the Batch API: cheaper, within a day"

    task_name = "labeling.run_label_job"

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="label_jobs")
    teacher = models.ForeignKey(Teacher, on_delete=models.PROTECT, related_name="label_jobs")
    guideline = models.ForeignKey(
        Guideline, on_delete=models.PROTECT, null=True, blank=True, related_name="label_jobs"
    )
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.LABEL)
    mode = models.CharField(max_length=5, choices=Mode.choices, default=Mode.LIVE)
    votes = models.PositiveSmallIntegerField(default=1)
    accept_confidence = models.FloatField(default=1.0)
    rationale = models.BooleanField(default=False)
    few_shot = models.PositiveSmallIntegerField(default=0)  # reviewed examples shown per row
    # Whether accepted labels become targets; otherwise they only lie beside them, to compare.
    applies = models.BooleanField(default=True)
    budget_usd = models.DecimalField(max_digits=12, decimal_places=4)
    spent_usd = models.DecimalField(max_digits=14, decimal_places=8, default=0)
    pause_requested = models.BooleanField(default=False)
    smoke = models.JSONField(default=dict, blank=True)  # what the first rows came to
    smoke_waived = models.BooleanField(default=False)  # somebody said: go on nevertheless
    panel_rows = models.PositiveSmallIntegerField(null=True, blank=True)  # None: by the job's size
    panel = models.JSONField(default=dict, blank=True)  # what the panel came to

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
    answered_by = models.CharField(max_length=200, blank=True)  # the model that it says it is
    probability = models.FloatField(null=True, blank=True)  # of the answer, from its tokens'
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
    rationale = models.TextField(blank=True)
    answered_by = models.CharField(max_length=200, blank=True)
    probability = models.FloatField(null=True, blank=True)  # the winning votes' mean
    may_train = models.BooleanField(default=True)  # by the teacher's terms at the time
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "example"], name="one_label_per_job_and_example")
        ]

    def __str__(self) -> str:
        return f"{self.output[:40]} ({self.confidence:.2f})"


class TeacherBatch(models.Model):
    """A file of questions at a Batch API, from before it is sent until its answers are here."""

    job = models.ForeignKey(LabelJob, on_delete=models.CASCADE, related_name="batches")
    # Our own name for it, in its metadata: it is found again if we die before we know its id.
    token = models.UUIDField(unique=True)
    batch_id = models.CharField(max_length=200, blank=True)
    input_file_id = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=20, default="new")
    lines = models.PositiveIntegerField()
    done = models.PositiveIntegerField(default=0)
    reserved_usd = models.DecimalField(max_digits=14, decimal_places=8)
    problem = models.TextField(blank=True)
    # {custom_id: [most prompt tokens, most completion tokens]}, until its answers are here
    asked = models.JSONField(default=dict, blank=True)
    collected_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.batch_id or f"batch {self.token}"


class PanelRow(models.Model):
    """A question that a teacher once answered, asked again by each later job."""

    teacher = models.ForeignKey(Teacher, on_delete=models.CASCADE, related_name="panel_rows")
    example = models.ForeignKey(Example, on_delete=models.CASCADE, related_name="panel_rows")
    question = models.JSONField()  # the request's body
    schema = models.JSONField(null=True, blank=True)
    rationale = models.BooleanField(default=False)  # whether it asks for reasons too
    output = models.TextField()
    answered_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["teacher", "example"], name="one_panel_row_per_example")
        ]

    def __str__(self) -> str:
        return f"panel row of {self.teacher}"
