"""The job lease: the row is the truth, Celery only rings the bell."""

from typing import ClassVar

from django.conf import settings
from django.db import models

from factory.models.project import Project


class Job(models.Model):
    """A unit of long work that survives its workers.

    `epoch` is the fencing token: it grows with every claim, and a worker whose epoch is not the
    row's may not write. `services/jobs.py` holds the only functions that change these fields.
    """

    class Status(models.TextChoices):
        """Queued and running are alive, paused waits for a person; the other three are final."""

        QUEUED = "queued"
        RUNNING = "running"
        PAUSED = "paused"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    class Blame(models.TextChoices):
        """Who must act on an error."""

        USER = "user"
        SYSTEM = "system"

    # The Celery task that runs one attempt.
    task_name: ClassVar[str]

    status = models.CharField(max_length=12, choices=Status.choices, default=Status.QUEUED)
    attempt = models.PositiveIntegerField(default=0)
    epoch = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    cancel_requested = models.BooleanField(default=False)
    progress = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True)
    blame = models.CharField(max_length=8, choices=Blame.choices, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
        indexes = [
            models.Index(
                fields=["status", "lease_until"],
                condition=models.Q(status__in=["queued", "running"]),
                name="%(class)s_alive",
            )
        ]

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk} ({self.status})"

    @property
    def queue(self) -> str:
        """The Celery queue that an attempt waits in."""
        return "default"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in {self.Status.SUCCEEDED, self.Status.FAILED, self.Status.CANCELLED}


class ImportJob(Job):
    """A log file on its way into the captured calls."""

    task_name = "factory.run_import"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="import_jobs")
    filename = models.CharField(max_length=255)
    file_sha256 = models.CharField(max_length=64)
    file_bytes = models.BigIntegerField()
    counts = models.JSONField(default=dict, blank=True)  # {"read", "new", "known", "refused"}

    class Meta(Job.Meta):
        pass
