"""How a command does the work of a job that it has just enqueued."""

from collections.abc import Callable
from typing import TypeVar

from django.core.management.base import CommandError, CommandParser

from factory.management.arguments import add_project, project_named
from factory.models import Job, Workload
from factory.selectors import workload_in_project
from factory.services import jobs

J = TypeVar("J", bound=Job)


def add_workload(parser: CommandParser) -> None:
    """Add `--project` and `--workload`."""
    add_project(parser)
    parser.add_argument("--workload", required=True, metavar="SLUG")


def workload_named(project: str, workload: str) -> Workload:
    """Return a project's workload by both names."""
    return workload_in_project(project_named(project), workload)


def done(job: J, work: Callable[[J], None]) -> J:
    """Do a job here, unless a worker took it first; `CommandError` where it did not succeed."""
    jobs.run(type(job), job.pk, work)
    job.refresh_from_db()
    if job.status == Job.Status.RUNNING:
        raise CommandError(f"a worker took {job} first: its page shows how far it is")
    if job.status != Job.Status.SUCCEEDED:
        raise CommandError(f"{job}: {job.error}")
    return job
