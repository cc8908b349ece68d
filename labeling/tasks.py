"""Doorbells of label: an id in, nothing out."""

from celery import shared_task

from factory.services import jobs
from labeling.models import LabelJob
from labeling.services import label


@shared_task(name="labeling.run_label_job")
def run_label_job(job_id: int) -> None:
    """Run one label job."""
    jobs.run(LabelJob, job_id, label.label_work)
