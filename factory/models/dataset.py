"""Datasets: numbered, frozen selections of examples. What was used is never changed."""

from django.conf import settings
from django.db import models

from factory.models.example import Example, Provenance, Split
from factory.models.frozen import Frozen
from factory.models.job import Job
from factory.models.workload import Workload


class Dataset(models.Model):
    """A named line of versions."""

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="datasets")
    name = models.CharField(max_length=48)
    # The version whose recipe this line began with, null where it began with nothing.
    branched_from = models.ForeignKey(
        "DatasetVersion", on_delete=models.SET_NULL, null=True, related_name="branches"
    )
    recipe = models.JSONField(default=dict)  # what is frozen next: `recipe.Recipe`
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workload", "name"], name="dataset_name_per_workload")
        ]

    def __str__(self) -> str:
        return self.name


class DatasetVersion(models.Model):
    """An immutable version: its digest is the sha256 over its ordered entry digests.

    Its files follow from its rows and its recipe alone: made again they are the same bytes.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    recipe = models.JSONField(default=dict)  # `recipe.Recipe`
    recipe_digest = models.CharField(max_length=64, default="")
    counts = models.JSONField()  # {"train": n, "validation": n, "test": n, "labels": {...}, ...}
    funnel = models.JSONField(default=list)  # [[what was left out and why, rows], ...] in order
    contamination = models.JSONField(null=True)  # `curation.contamination`
    # What the labelling knew when it was frozen: teachers and their terms, spend, the audit.
    facts = models.JSONField(default=dict)
    card = models.TextField(default="")
    # [{"path", "split", "rows", "size", "sha256", "git_oid"}, ...]: what hub clients see.
    files = models.JSONField(default=list)
    commit = models.CharField(max_length=40, default="")  # sha1 of the files' manifest
    file_sha256 = models.CharField(max_length=64)
    file_bytes = models.BigIntegerField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "number"], name="version_number_per_dataset"
            ),
            Frozen(name="versions_are_frozen", open_columns=("created_by_id",)),
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
    rationale = models.TextField(default="")
    provenance = models.CharField(max_length=24, choices=Provenance.choices)
    weight = models.FloatField(default=1.0)  # how often training sees it, by the balance policy
    may_train = models.BooleanField(default=True)  # by the terms of whoever gave the target
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "position"], name="position_per_version"),
            models.UniqueConstraint(fields=["version", "example"], name="example_once_per_version"),
            Frozen(name="entries_are_frozen"),
        ]

    def __str__(self) -> str:
        return f"{self.version} #{self.position}"


class FreezeJob(Job):
    """A version in the making."""

    # The package that knows of teachers and reviewers has this task.
    task_name = "factory.run_freeze"

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="freeze_jobs")
    name = models.CharField(max_length=48)  # of the dataset
    recipe = models.JSONField()
    version = models.ForeignKey(
        DatasetVersion, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

    class Meta(Job.Meta):
        pass


class ExampleImport(Job):
    """A file of training rows on its way into a workload's examples."""

    task_name = "factory.run_example_import"

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="example_imports")
    filename = models.CharField(max_length=255)
    split = models.CharField(max_length=12, choices=Split.choices, blank=True)
    file_sha256 = models.CharField(max_length=64)
    file_bytes = models.BigIntegerField()
    counts = models.JSONField(default=dict, blank=True)

    class Meta(Job.Meta):
        pass
