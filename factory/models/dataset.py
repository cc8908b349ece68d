"""Datasets: numbered, frozen selections of examples. What was used is never changed."""

from django.conf import settings
from django.db import models

from factory.models.example import Example, Provenance, Split
from factory.models.workload import Workload


class Dataset(models.Model):
    """A named line of versions."""

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="datasets")
    name = models.CharField(max_length=48)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workload", "name"], name="dataset_name_per_workload")
        ]

    def __str__(self) -> str:
        return self.name


class DatasetVersion(models.Model):
    """An immutable version: its digest is the sha256 over its ordered entry digests."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    counts = models.JSONField()  # {"train": n, "validation": n, "test": n, "labels": {...}, ...}
    file_sha256 = models.CharField(max_length=64)
    file_bytes = models.BigIntegerField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="version_number_per_dataset")
        ]

    def __str__(self) -> str:
        return f"{self.dataset} v{self.number}"


class DatasetEntry(models.Model):
    """One row of a version, as it was when the version was frozen."""

    version = models.ForeignKey(DatasetVersion, on_delete=models.CASCADE, related_name="entries")
    position = models.PositiveIntegerField()
    example = models.ForeignKey(Example, on_delete=models.PROTECT, related_name="entries")
    split = models.CharField(max_length=12, choices=Split.choices)
    target = models.TextField()
    provenance = models.CharField(max_length=24, choices=Provenance.choices)
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "position"], name="position_per_version"),
            models.UniqueConstraint(fields=["version", "example"], name="example_once_per_version"),
        ]

    def __str__(self) -> str:
        return f"{self.version} #{self.position}"
