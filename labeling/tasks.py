"""Doorbells of label and insight: an id in, nothing out."""

from celery import shared_task

from factory.models import FreezeJob
from factory.services import jobs
from labeling.models import Application, BulkAccept, InsightRun, LabelJob, LabelSet
from labeling.services import bulk, insight, kinds, label, label_sets, release


@shared_task(name="factory.run_freeze")
def run_freeze(job_id: int) -> None:
    """Freeze one dataset version."""
    jobs.run(FreezeJob, job_id, release.freeze_work)


@shared_task(name="labeling.run_label_job")
def run_label_job(job_id: int) -> None:
    """Run one label job."""
    jobs.run(LabelJob, job_id, kinds.work_of_kind)


@shared_task(name="labeling.end_batches")
def end_batches(job_id: int) -> None:
    """Call off the batches of one label job."""
    label.end_batches(LabelJob.objects.get(pk=job_id))


@shared_task(name="labeling.run_label_set")
def run_label_set(job_id: int) -> None:
    """Combine the answers of one committee."""
    jobs.run(LabelSet, job_id, label_sets.label_set_work)


@shared_task(name="labeling.run_application")
def run_application(job_id: int) -> None:
    """Make one set's answers targets, or undo that."""
    jobs.run(Application, job_id, label_sets.application_work)


@shared_task(name="labeling.run_insight")
def run_insight(job_id: int) -> None:
    """Judge one workload's labels."""
    jobs.run(InsightRun, job_id, insight.insight_work)


@shared_task(name="labeling.run_bulk_accept")
def run_bulk_accept(job_id: int) -> None:
    """Accept many rows' own answers, or give them back."""
    jobs.run(BulkAccept, job_id, bulk.bulk_accept_work)
