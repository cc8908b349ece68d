"""`manage.py judge --project SLUG --workload SLUG --teacher NAME --first KEY [--second KEY]`."""

from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from factory.intervals import Share
from factory.management.arguments import errors_told
from labeling.management.jobs import add_workload, done, workload_named
from labeling.selectors.judge import judge_summary
from labeling.selectors.label import teacher_in_project
from labeling.services.judge import ROWS, judge_work, start_judging


class Command(BaseCommand):
    help = "Let a model check one label set's answers, or choose between two sets'."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_workload(parser)
        parser.add_argument("--teacher", required=True, metavar="NAME", help="who judges")
        parser.add_argument("--first", required=True, metavar="KEY")
        parser.add_argument("--second", default="", metavar="KEY")
        parser.add_argument("--rows", type=int, default=ROWS)
        parser.add_argument("--budget", type=Decimal, required=True, metavar="USD")
        parser.add_argument("--force", action="store_true", help="even its own answers")

    def handle(
        self, *_args: Any, project: str, workload: str, teacher: str, first: str, second: str,
        rows: int, budget: Decimal, force: bool, **_options: Any,
    ) -> None:  # fmt: skip
        with errors_told():
            found = workload_named(project, workload)
            job = start_judging(
                found, teacher=teacher_in_project(found.project, teacher), first=first,
                second=second, most=rows, budget_usd=budget, force=force,
            )  # fmt: skip
            summary = judge_summary(done(job, judge_work))
        self.stdout.write(", ".join(f"{n} {name}" for name, n in summary.counts.items()))
        self.stdout.write(f"for the first, or passed: {written(summary.score)}")
        self.stdout.write(f"agrees with people: {written(summary.agreement)}")


def written(share: Share) -> str:
    """Return a share with its interval."""
    if share.value is None:
        return "nothing to say"
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%}) of {share.n}"
