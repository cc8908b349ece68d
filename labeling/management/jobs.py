"""How a command does the work of a job that it has just enqueued."""

from collections.abc import Callable
from typing import TypeVar

from django.core.management.base import CommandError

from factory.management.arguments import add_workload, workload_named
from factory.models import Job
from factory.services import jobs

__all__ = ["add_workload", "done", "workload_named"]

J = TypeVar("J", bound=Job)


def done(job: J, work: Callable[[J], None]) -> J:
    """Do a job here, unless a worker took it first; `CommandError` where it did not succeed."""
    jobs.run(type(job), job.pk, work)
    job.refresh_from_db()
    if job.status == Job.Status.RUNNING:
        raise CommandError(f"a worker took {job} first: its page shows how far it is")
    if job.status != Job.Status.SUCCEEDED:
        raise CommandError(f"{job}: {job.error}")
    return job
