"""`manage.py agreement --project SLUG --workload SLUG [--drawn]`: people beside the teacher."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from factory.management.arguments import errors_told
from labeling.agreement import Measure
from labeling.management.jobs import add_workload, workload_named
from labeling.selectors.quality import quality_of


class Command(BaseCommand):
    help = "Print agreement, calibration of the teacher's scores, and people's pace."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_workload(parser)
        parser.add_argument("--drawn", action="store_true", help="only rows drawn at random")

    def handle(
        self, *_args: Any, project: str, workload: str, drawn: bool, **_options: Any
    ) -> None:
        with errors_told():
            found = quality_of(workload_named(project, workload), drawn=drawn)
        both = found.agreements
        for who, one in (("people", both.people), ("people and teacher", both.everybody)):
            self._say(f"same answer, {who}", one.same)
            self._say(f"Krippendorff's alpha, {who}", one.alpha)
            self._say(f"Fleiss' kappa, {who}", one.fleiss)
        for pair in both.everybody.pairs:
            self._say(f"Cohen's kappa, {pair.first} and {pair.second}", pair.kappa)
        for label in both.everybody.labels:
            self._say(f"alpha of {label.label}", label.alpha)
        for bands in found.calibrations:
            if (error := bands.drawn.error) is not None:
                self.stdout.write(
                    f"{bands.name} is off by {error:.1%} on {bands.drawn.n} drawn rows "
                    f"({bands.drawn.by_chance or 0.0:.1%} by chance)"
                )
        for person in found.reviewers:
            self.stdout.write(
                f"{person.name}: {person.decisions} decisions, {person.seconds:.1f} s each"
            )

    def _say(self, name: str, measure: Measure) -> None:
        if measure.value is None:
            self.stdout.write(f"{name}: none, {measure.why}")
            return
        ends = "" if measure.low is None else f" ({measure.low:.3f} to {measure.high:.3f})"
        self.stdout.write(f"{name}: {measure.value:.3f}{ends} of {measure.n} rows")
