"""Erasures: what was asked to be forgotten, by whom, why, and what became of it."""

from django.db import models

from factory.models.dataset import DatasetVersion
from factory.models.job import Job
from factory.models.project import Project


class Erasure(Job):
    """The erasure of some calls and all that was made of them, or the rehearsal of one.

    Kept for ever as the proof that it was done; it holds ids and counts, and no content.
    """

    class Kind(models.TextChoices):
        """What the calls were found by."""

        CALLS = "calls", "named calls"
        METADATA = "metadata", "a pair of their metadata"
        VALUE = "value", "a value in their texts"

    # The package that reaches everything has this task.
    task_name = "factory.run_erasure"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="erasures")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    # `erasure.Sought`, encrypted; emptied once no late call of the subject is expected any more.
    sought = models.TextField(blank=True)
    reason = models.CharField(max_length=500)
    asked_by = models.CharField(max_length=200)  # a person's or a key's name, as it was then
    is_rehearsal = models.BooleanField(default=False)
    # Ids of what is to go: {"calls", "examples", "blobs", "dictionaries"}; a retry goes on by them.
    targets = models.JSONField(default=dict, blank=True)
    report = models.JSONField(default=dict, blank=True)  # `erasure.ErasureReport`

    class Meta(Job.Meta):
        pass


class ErasedSpool(models.Model):
    """What an erasure came to in the spool of one host, whose shipper carries it out there."""

    erasure = models.ForeignKey(Erasure, on_delete=models.CASCADE, related_name="spools")
    host = models.CharField(max_length=255)
    # Calls that went: on their way, and out of those that had been set aside (null before those
    # were looked at). A shipper that is killed may miscount what it had in hand.
    dropped = models.PositiveBigIntegerField(default=0)
    dead = models.PositiveBigIntegerField(null=True)
    # When nothing was left there of before the erasure, not even what is recorded already.
    cleared_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["erasure", "host"], name="erased_spool_once_per_host")
        ]

    def __str__(self) -> str:
        return f"{self.host}: {self.dropped} dropped, {self.dead} of those set aside"


class ErasedRows(models.Model):
    """What a dataset version lost: it is withdrawn, and its digest can still be verified.

    The version's digest is made of its entries' digests in order: those that are left, and these.
    """

    erasure = models.ForeignKey(Erasure, on_delete=models.CASCADE, related_name="erased_rows")
    version = models.ForeignKey(
        DatasetVersion, on_delete=models.CASCADE, related_name="erased_rows"
    )
    former_sha256 = models.CharField(max_length=64)  # of the file that held the rows
    entries = models.JSONField()  # [[position, split, digest], ...]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["erasure", "version"], name="erased_rows_once_per_erasure"
            )
        ]

    def __str__(self) -> str:
        return f"{len(self.entries)} rows of {self.version}"
