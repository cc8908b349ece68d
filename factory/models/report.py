"""Suitability reports: what was measured of a prompt or a workload, and what people assume."""

from django.db import models

from factory.models.job import Job
from factory.models.project import Project
from factory.models.workload import CallGroup, Workload


class SuitabilityReport(Job):
    """One measurement of a prompt's or a workload's calls: numbers, and no text of theirs."""

    task_name = "factory.run_report"

    project = models.ForeignKey(Project, models.CASCADE, related_name="suitability_reports")
    group = models.ForeignKey(
        CallGroup, models.CASCADE, null=True, blank=True, related_name="suitability_reports"
    )
    workload = models.ForeignKey(
        Workload, models.CASCADE, null=True, blank=True, related_name="suitability_reports"
    )
    facts = models.JSONField(default=dict, blank=True)  # `report.Facts` as JSON

    class Meta(Job.Meta):
        constraints = [
            models.CheckConstraint(
                condition=models.Q(group=None) ^ models.Q(workload=None),
                name="report_on_one_thing",
            )
        ]


class ReportAssumptions(models.Model):
    """The assumptions that a project's people changed; the rest stays as it comes."""

    project = models.OneToOneField(Project, models.CASCADE, related_name="report_assumptions")
    changed = models.JSONField(default=dict)  # by `Assumption.name`

    def __str__(self) -> str:
        return f"assumptions of {self.project}"
