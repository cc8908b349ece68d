"""Doorbells of capture: an id in, nothing out."""

from celery import shared_task

from factory.models import ImportJob
from factory.services import imports, jobs


@shared_task(name="factory.run_import")
def run_import(job_id: int) -> None:
    """Run one import job."""
    jobs.run(ImportJob, job_id, imports.import_work)


@shared_task(name="factory.sweep_jobs")
def sweep_jobs() -> None:
    """Requeue the jobs of dead workers."""
    jobs.sweep()
