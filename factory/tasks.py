"""Doorbells of capture: an id in, nothing out."""

from celery import shared_task
from django.utils import timezone

from factory.models import CurationRun, ExampleImport, ImportJob, SuitabilityReport
from factory.services import (
    curation,
    dictionaries,
    erase,
    example_imports,
    feedback,
    idempotency,
    imports,
    jobs,
    otlp,
    report,
    retention,
    ship,
    webhooks,
)


@shared_task(name="factory.run_import")
def run_import(job_id: int) -> None:
    """Run one import job."""
    jobs.run(ImportJob, job_id, imports.import_work)


@shared_task(name="factory.run_example_import")
def run_example_import(job_id: int) -> None:
    """Run one import of training rows."""
    jobs.run(ExampleImport, job_id, example_imports.example_import_work)


@shared_task(name="factory.sweep_jobs")
def sweep_jobs() -> None:
    """Requeue the jobs of dead workers."""
    jobs.sweep()


@shared_task(name="factory.group_calls")
def group_calls() -> None:
    """Give new calls their groups, and their words to the search."""
    ship.group_new_calls()


@shared_task(name="factory.expire_calls")
def expire_calls() -> None:
    """Delete the calls whose time is over, late ones of erased subjects, and old reports."""
    retention.make_partitions()
    retention.expire_calls(timezone.now())
    erase.erase_late_calls()
    report.prune_reports()


@shared_task(name="factory.tend_dictionaries")
def tend_dictionaries() -> None:
    """Train the compression dictionaries that are due."""
    dictionaries.tend_dictionaries()


@shared_task(name="factory.settle_held")
def settle_held() -> None:
    """Write the traced calls that nothing more will come of."""
    otlp.settle_held()


@shared_task(name="factory.attach_feedback")
def attach_feedback() -> None:
    """Give feedback the calls that have come since."""
    feedback.attach_feedback()


@shared_task(name="factory.run_report")
def run_report(job_id: int) -> None:
    """Measure one prompt or workload."""
    jobs.run(SuitabilityReport, job_id, report.report_work)


@shared_task(name="factory.sweep_ingest")
def sweep_ingest() -> None:
    """Forget answers that are old enough, and the files of imports that are over."""
    idempotency.sweep_requests()
    imports.sweep_uploads()
    example_imports.sweep_rows()
    webhooks.prune_deliveries()


@shared_task(name="factory.send_webhooks")
def send_webhooks() -> None:
    """Tell what is due."""
    webhooks.send_due()


@shared_task(name="factory.run_curation")
def run_curation(job_id: int) -> None:
    """Take new calls through the steps, or undo one."""
    jobs.run(CurationRun, job_id, curation.curation_work)
