"""Students: how they were trained, measured, published and put to work."""

from django.conf import settings
from django.db import models

from factory.models import DatasetVersion, Job, Upstream, Workload
from factory.models.example import Split
from labeling.models import Teacher


class DistillationRun(Job):
    """One student in the making: train, merge, convert, quantize."""

    task_name = "distill.run_distillation"

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="runs")
    dataset_version = models.ForeignKey(
        DatasetVersion, on_delete=models.PROTECT, related_name="runs"
    )
    teacher = models.ForeignKey(
        Teacher, on_delete=models.PROTECT, null=True, blank=True, related_name="runs"
    )
    base_model = models.CharField(max_length=500)
    base_revision = models.CharField(max_length=64, blank=True)
    spec = models.JSONField()
    spec_digest = models.CharField(max_length=64)
    seed = models.PositiveIntegerField()
    metrics = models.JSONField(default=dict, blank=True)

    class Meta(Job.Meta):
        pass

    @property
    def queue(self) -> str:
        """One at a time per GPU worker."""
        return "gpu"


class TrainingPoint(models.Model):
    """One point of a run's curves; a resumed run writes a repeated step over the old one."""

    run = models.ForeignKey(DistillationRun, on_delete=models.CASCADE, related_name="points")
    step = models.PositiveIntegerField()
    values = models.JSONField()  # {"loss", "eval_loss", "learning_rate", "epoch", ...}

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "step"], name="one_point_per_step")]

    def __str__(self) -> str:
        return f"step {self.step}"


class Artifact(models.Model):
    """A file that a run made, by content: its bytes are in the store under its sha256."""

    class Kind(models.TextChoices):
        """What the file is."""

        ADAPTER = "adapter"
        GGUF = "gguf"
        DOCUMENT = "document"

    run = models.ForeignKey(DistillationRun, on_delete=models.CASCADE, related_name="artifacts")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    quantization = models.CharField(max_length=16, blank=True)
    filename = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "filename"], name="filename_per_run")]

    def __str__(self) -> str:
        return self.filename


class Evaluation(Job):
    """One subject's answers to one frozen split, scored."""

    task_name = "distill.run_evaluation"

    class Subject(models.TextChoices):
        """Who answered."""

        TEACHER = "teacher", "the teacher"
        BASE = "base", "the untrained base"
        ADAPTER = "adapter", "the trained student"
        GGUF = "gguf", "the file that ships"

    run = models.ForeignKey(DistillationRun, on_delete=models.CASCADE, related_name="evaluations")
    subject = models.CharField(max_length=8, choices=Subject.choices)
    artifact = models.ForeignKey(
        Artifact, on_delete=models.CASCADE, null=True, blank=True, related_name="evaluations"
    )
    split = models.CharField(max_length=12, choices=Split.choices, default=Split.TEST)
    metrics = models.JSONField(default=dict, blank=True)
    predictions_sha256 = models.CharField(max_length=64, blank=True)
    verdict = models.JSONField(null=True, blank=True)

    class Meta(Job.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["run", "subject", "artifact", "split"],
                nulls_distinct=False,
                name="one_evaluation_per_subject",
            )
        ]

    @property
    def queue(self) -> str:
        """The teacher answers over the network, the others on a GPU worker."""
        return "teacher" if self.subject == self.Subject.TEACHER else "gpu"


class ModelVersion(models.Model):
    """A published student: immutable, numbered, named by the commit of its manifest."""

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="model_versions")
    number = models.PositiveIntegerField()
    run = models.ForeignKey(DistillationRun, on_delete=models.PROTECT, related_name="versions")
    evaluation = models.ForeignKey(Evaluation, on_delete=models.PROTECT, related_name="versions")
    manifest = models.TextField()  # the exact bytes that `commit` is the sha1 of
    commit = models.CharField(max_length=40)
    card = models.TextField()
    override_reason = models.TextField(blank=True)  # why it was published against the gate
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workload", "number"], name="version_number_per_workload"
            ),
            models.UniqueConstraint(fields=["workload", "commit"], name="commit_per_workload"),
        ]

    def __str__(self) -> str:
        return f"{self.workload} v{self.number}"


class VersionFile(models.Model):
    """One file of a published version, under the name that clients ask for."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    git_oid = models.CharField(max_length=40)  # git's blob sha1, which hub clients list
    size = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "path"], name="path_per_version")]

    def __str__(self) -> str:
        return self.path


class Alias(models.Model):
    """A movable name for a version; moved by compare-and-set only."""

    class Name(models.TextChoices):
        """The names that clients may pin."""

        PRODUCTION = "production"
        CANARY = "canary"
        PREVIOUS = "previous"

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=12, choices=Name.choices)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="aliases")
    moved_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workload", "name"], name="alias_per_workload")
        ]

    def __str__(self) -> str:
        return self.name


class AliasMove(models.Model):
    """The history of an alias."""

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="alias_moves")
    name = models.CharField(max_length=12, choices=Alias.Name.choices)
    from_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, related_name="+"
    )
    to_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    moved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.name} → {self.to_version}"


class Deployment(models.Model):
    """An endpoint that serves a version with OpenAI's protocol."""

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="deployments")
    upstream = models.ForeignKey(Upstream, on_delete=models.PROTECT, related_name="deployments")
    model = models.CharField(max_length=200)
    is_live = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.version} at {self.upstream}"


class Route(models.Model):
    """Who answers a workload's calls: a share to the student, the teacher behind it."""

    workload = models.OneToOneField(Workload, on_delete=models.CASCADE, related_name="route")
    deployment = models.ForeignKey(
        Deployment, on_delete=models.PROTECT, null=True, related_name="routes"
    )
    fallback = models.ForeignKey(Teacher, on_delete=models.PROTECT, related_name="routes")
    student_share = models.FloatField(default=0.0)
    shadow_share = models.FloatField(default=0.0)
    escalate_below = models.FloatField(default=0.0)

    def __str__(self) -> str:
        return f"route of {self.workload}"


class DriftReport(models.Model):
    """This period's calls against the frozen baseline."""

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="drift_reports")
    version = models.ForeignKey(
        ModelVersion, on_delete=models.CASCADE, null=True, related_name="drift_reports"
    )
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    metrics = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"drift of {self.workload} to {self.period_end:%Y-%m-%d}"
