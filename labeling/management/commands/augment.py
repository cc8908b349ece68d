"""`manage.py augment --project SLUG --workload SLUG --teacher NAME --drafts METHOD=N ...`."""

from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from factory.management.arguments import errors_told
from labeling.management.jobs import add_workload, done, workload_named
from labeling.models import Seed
from labeling.selectors.augment import augment_summary, augmentation_of, synthetic_share
from labeling.selectors.label import teacher_in_project
from labeling.services.augment import (
    PER_SEED,
    SYNTHETIC_SHARE,
    augment_work,
    estimate_augmentation,
    start_augmentation,
)


class Command(BaseCommand):
    help = "Let a teacher make up new training inputs, and keep those that stand."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_workload(parser)
        parser.add_argument("--teacher", required=True, metavar="NAME")
        parser.add_argument(
            "--drafts", required=True, action="append", metavar="METHOD=N",
            help=f"how many, by method: {', '.join(Seed.Method.values)}; may be repeated",
        )  # fmt: skip
        parser.add_argument("--per-seed", type=int, default=PER_SEED, metavar="N")
        parser.add_argument("--votes", type=int, default=1, help="how often drafts are read blind")
        parser.add_argument("--most-share", type=float, default=SYNTHETIC_SHARE)
        parser.add_argument("--gaps", default="", metavar="KEY", help="a label set's, for `gap`")
        parser.add_argument("--budget", type=Decimal, required=True, metavar="USD")
        parser.add_argument("--estimate", action="store_true", help="only say what it would take")

    def handle(
        self, *_args: Any, project: str, workload: str, teacher: str, drafts: list[str],
        per_seed: int, votes: int, most_share: float, gaps: str, budget: Decimal, estimate: bool,
        **_options: Any,
    ) -> None:  # fmt: skip
        options: dict[str, Any] = {
            "wanted": dict(map(_wanted, drafts)), "per_seed": per_seed, "votes": votes,
            "most_share": most_share,
        }  # fmt: skip
        with errors_told():
            found = workload_named(project, workload)
            by = teacher_in_project(found.project, teacher)
            if estimate:
                said = estimate_augmentation(found, teacher=by, **options)
                self.stdout.write(
                    f"{said.drafts} drafts, {said.calls} calls, about US$ {said.usd:.4f}; "
                    f"at most {said.kept_at_most} are kept"
                )
                return
            job = start_augmentation(found, teacher=by, gaps=gaps, budget_usd=budget, **options)
            done(job, augment_work)
            summary = augment_summary(augmentation_of(found, job.pk))
        for one in summary.methods:
            fates = ", ".join(f"{n} {status}" for status, n in one.counts.items() if n)
            self.stdout.write(f"{one.method}: {one.drafts} drafts: {fates or 'none'}")
        self.stdout.write(f"{synthetic_share(found).share:.1%} of the training rows are synthetic")


def _wanted(said: str) -> tuple[str, int]:
    method, _, count = said.partition("=")
    if not count.isdecimal():
        raise CommandError(f"--drafts {said}: say it as METHOD=N")
    return method, int(count)
