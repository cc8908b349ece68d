"""`manage.py insight --project SLUG --workload SLUG [--review N]`: judge a workload's labels."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from factory.management.arguments import errors_told
from labeling.management.jobs import add_workload, done, workload_named
from labeling.models import AUDIT_SHARE
from labeling.selectors.insight import insight_of, suspicious_rows
from labeling.services.insight import insight_work, start_insight


class Command(BaseCommand):
    help = "Judge all labels, draw the learning curve, and fill the review queue if asked to."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_workload(parser)
        parser.add_argument("--review", type=int, help="suspicious rows to queue for review")
        parser.add_argument("--audit-share", type=float, default=AUDIT_SHARE)
        parser.add_argument("--show", type=int, default=10, help="suspicious rows to print")

    def handle(
        self, *_args: Any, project: str, workload: str, review: int | None, audit_share: float,
        show: int, **_options: Any,
    ) -> None:  # fmt: skip
        with errors_told():
            found = workload_named(project, workload)
            run = start_insight(found, to_review=review, audit_share=audit_share)
            facts = done(run, insight_work).facts
        self.stdout.write(f"{facts['judged']} labels judged")
        if queued := facts.get("queued"):
            self.stdout.write(f"queued: {', '.join(f'{n} {name}' for name, n in queued.items())}")
        insight = insight_of(found)
        for rate in insight.rates:
            share = rate.share
            if share.n:
                said = f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%}) of {share.n}"
                self.stdout.write(f"wrong, {rate.name}: {said}")
        if curve := insight.curve:
            more = curve.more
            said = f"{more.value:+.2%} ({more.low:+.2%} to {more.high:+.2%})"
            self.stdout.write(f"the next 1,000 labels: {said} accuracy of a linear model")
        for row in suspicious_rows(found)[:show]:
            self.stdout.write(f"{row.rank:>6}  {row.score:.2f}  {row.example.target}  {row.hint}")
