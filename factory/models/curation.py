"""Curation: each pass over a workload's new calls, what its steps did, the index of near copies."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from factory.models.example import Example
from factory.models.job import Job
from factory.models.project import Project
from factory.models.workload import Workload


class Curation(models.Model):
    """A workload's recipe, and what its curator has to remember from one pass to the next."""

    workload = models.OneToOneField(Workload, models.CASCADE, related_name="curation")
    recipe = models.JSONField(default=dict)  # `curation.recipe.Recipe`; empty: the defaults
    dealt = models.JSONField(default=dict)  # how many new groups got a split, by label
    # The prompts' constants as they were first seen: what varies must not change with them.
    templates = models.JSONField(default=dict)  # skeletons by signature
    lengths = models.JSONField(default=dict)  # what is usual here: `curation.lengths.Usual`
    contamination = models.JSONField(default=dict)  # the newest report; ids, no texts
    is_indexed = models.BooleanField(default=False)  # whether all placed rows have their keys

    def __str__(self) -> str:
        return f"curation of {self.workload}"


class CurationRun(Job):
    """One pass over the new calls of a project or of one workload; or the undoing of a step."""

    task_name = "factory.run_curation"

    project = models.ForeignKey(Project, models.CASCADE, related_name="curation_runs")
    workload = models.ForeignKey(
        Workload, models.CASCADE, null=True, blank=True, related_name="curation_runs"
    )
    undoes = models.ForeignKey(
        "CurationStep", models.CASCADE, null=True, blank=True, related_name="undone_in"
    )
    counts = models.JSONField(default=dict, blank=True)  # of calls, by what became of them

    class Meta(Job.Meta):
        pass


class CurationStep(models.Model):
    """What one step of a run did: how many rows came in, how many went on, why others did not."""

    run = models.ForeignKey(CurationRun, models.CASCADE, related_name="steps")
    workload = models.ForeignKey(Workload, models.CASCADE, related_name="curation_steps")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=16)
    came_in = models.PositiveIntegerField(default=0)
    went_out = models.PositiveIntegerField(default=0)
    reasons = models.JSONField(default=dict)  # {reason: rows}
    samples = models.JSONField(
        default=dict
    )  # {reason: [ids of examples]}: their texts may be erased
    facts = models.JSONField(default=dict)  # what else is worth seeing, by name
    recipe = models.JSONField(default=dict)  # the thresholds that it went by
    undone_at = models.DateTimeField(null=True)
    restored = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "workload", "name"], name="step_once_per_run")
        ]

    def __str__(self) -> str:
        return f"{self.name} of run {self.run_id}"


class NearKey(models.Model):
    """What an example is found by: its bands, its conversation, the beginnings of its messages.

    The keys are salted with the workload, so each workload has an index of its own. No key of an
    example is ever changed.
    """

    key = models.BigIntegerField(db_index=True)
    # No constraint: twenty look-ups per example would be most of what an insert costs.
    example = models.ForeignKey(
        Example, models.CASCADE, related_name="near_keys", db_constraint=False, db_index=False
    )

    class Meta:
        # Examples come in the order of their ids: a few kilobytes find all keys of one.
        indexes = [BrinIndex(fields=["example"], name="near_keys_by_example", autosummarize=True)]

    def __str__(self) -> str:
        return f"{self.key} of example {self.example_id}"
