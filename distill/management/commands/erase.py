"""`manage.py erase --project SLUG --metadata user_id=42 --reason TEXT`: forget a subject."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from distill.services.erase import erasure_work
from factory.erasure import ErasureReport, Sought
from factory.management.arguments import add_project, errors_told, project_named
from factory.models import Erasure, Job, Project
from factory.services import jobs
from factory.services.erase import confirm, erase_calls, start_erasure


class Command(BaseCommand):
    help = (
        "Erase a subject's calls and all that was made of them. Without --yes it is only told "
        "what would go."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_project(parser)
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--metadata", metavar="KEY=VALUE", help="calls with this metadata")
        whose.add_argument("--value", help="calls and examples whose texts hold this")
        whose.add_argument(
            "--call", action="append", type=UUID, help="a call's id; may be repeated"
        )
        parser.add_argument("--reason", required=True, help="kept with the report")
        parser.add_argument("--yes", action="store_true", help="erase, do not only rehearse")

    def handle(self, *_args: Any, **options: Any) -> None:
        with errors_told():
            project = project_named(options["project"])
            if options["call"]:
                self.erase_named(project, options["call"], options["reason"], yes=options["yes"])
            else:
                self.erase_subject(
                    project, sought_in(options), options["reason"], yes=options["yes"]
                )

    def erase_subject(self, project: Project, sought: Sought, reason: str, *, yes: bool) -> None:
        rehearsal = self.done(start_erasure(project, sought, reason=reason, is_rehearsal=True))
        self.tell(rehearsal)
        if yes:
            self.tell(self.done(confirm(rehearsal)))

    def erase_named(self, project: Project, calls: list[UUID], reason: str, *, yes: bool) -> None:
        known = project.calls.filter(pk__in=calls).count()
        self.stdout.write(f"{known} of {len(calls)} calls are there")
        if yes and known:
            erase_calls(project, calls, reason=reason)
            self.tell(self.done(project.erasures.latest("pk")))

    def done(self, job: Erasure) -> Erasure:
        """Do a job here and now, unless a worker has it already."""
        jobs.run(Erasure, job.pk, erasure_work)
        job.refresh_from_db()
        if job.status != Job.Status.SUCCEEDED:
            raise CommandError(job.error or f"{job}: a worker has it; look at its page")
        return job

    def tell(self, job: Erasure) -> None:
        """Print a report."""
        report = ErasureReport.from_json(job.report)
        self.stdout.write("would go:" if job.is_rehearsal else f"erasure {job.pk}, gone:")
        for line in lines_of(report):
            self.stdout.write(f"  {line}")


def lines_of(report: ErasureReport) -> Iterator[str]:
    """Yield a report as people read it."""
    for name, count in report.counts.items():
        yield f"{count:,} {name}"
    for version in report.versions:
        yield "withdrawn: {workload} {name} v{number}, {rows} rows".format(**version)
    for run in report.runs:
        yield "saw the rows: {workload} run {id}".format(**run)
    for model in report.models:
        yield "saw the rows: {workload} v{number}".format(**model)
    for sentence in report.not_reached:
        yield f"not reached: {sentence}"


def sought_in(options: dict[str, Any]) -> Sought:
    """Return what the options name."""
    value, pair = options["value"], options["metadata"]
    return Sought.text(value) if value else Sought.pair(pair)
