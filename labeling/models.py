"""What the teacher and people say about examples."""

from django.conf import settings
from django.db import models

from factory.models import Example, Job, Project, Upstream, Workload


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


class ReviewItem(models.Model):
    """An example that waits for a person."""

    class Reason(models.TextChoices):
        """Why a person should look."""

        SUSPICIOUS = "suspicious", "its label is likely to be wrong"
        UNSURE = "unsure", "the teacher's votes disagree"
        INVALID = "invalid", "the teacher's answer breaks the format"
        AUDIT = "audit", "drawn at random, to measure the rest"

    class Status(models.TextChoices):
        """Open items wait; done ones were decided."""

        OPEN = "open"
        DONE = "done"

    example = models.OneToOneField(Example, on_delete=models.CASCADE, related_name="review_item")
    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="review_items")
    reason = models.CharField(max_length=12, choices=Reason.choices)
    priority = models.FloatField(default=0.0)  # 0 to 1, the most suspicious first
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.OPEN)
    leased_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    lease_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["workload", "-priority", "id"],
                condition=models.Q(status="open"),
                name="review_queue",
            )
        ]

    def __str__(self) -> str:
        return f"review of {self.example_id}"


class Review(models.Model):
    """One decision, kept for ever; undoing it is another event."""

    class Decision(models.TextChoices):
        """What the reviewer did; undo names the review that it takes back."""

        ACCEPT = "accept"
        EDIT = "edit"
        REJECT = "reject"
        SKIP = "skip"
        UNDO = "undo"

    # The browser makes the id, so a decision sent twice is one decision.
    id = models.UUIDField(primary_key=True)
    item = models.ForeignKey(ReviewItem, on_delete=models.CASCADE, related_name="reviews")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="reviews"
    )
    decision = models.CharField(max_length=8, choices=Decision.choices)
    output = models.TextField(blank=True)
    note = models.TextField(blank=True)
    seconds = models.FloatField(default=0.0)
    # The example as it was before, so that undo restores exactly that.
    before = models.JSONField(default=dict)
    undoes = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, related_name="undone_by"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["reviewer", "-created_at"], name="reviews_by_person")]

    def __str__(self) -> str:
        return f"{self.decision} by {self.reviewer_id}"
