"""`manage.py label_sets --project SLUG --workload SLUG [...]`: list, compare, combine, apply."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from factory.errors import NotFound
from factory.management.arguments import errors_told
from factory.models import Workload
from labeling.committee import METHODS
from labeling.management.jobs import add_workload, done, workload_named
from labeling.selectors.label_sets import application_of, compare_sets, label_sets_of, set_of
from labeling.services.label_sets import (
    application_work,
    label_set_work,
    start_application,
    start_committee,
    start_undo,
)


class Command(BaseCommand):
    help = "List label sets by key; compare two, combine several, apply one, undo an act."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_workload(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--compare", nargs=2, metavar="KEY")
        what.add_argument("--combine", nargs="+", metavar="KEY")
        what.add_argument("--apply", metavar="KEY")
        what.add_argument("--undo", type=int, metavar="ACT")
        parser.add_argument("--name", default="committee", help="of the combined set")
        parser.add_argument("--method", choices=METHODS, default="dawid_skene")
        parser.add_argument("--where-agrees", default="", metavar="KEY", help="with --apply")
        parser.add_argument("--at-least", type=float, default=0.0, help="with --apply: how sure")

    def handle(self, *_args: Any, project: str, workload: str, **options: Any) -> None:
        with errors_told():
            found = workload_named(project, workload)
            if options["compare"]:
                self.compare(found, *options["compare"])
            elif options["combine"]:
                made = start_committee(
                    found, name=options["name"], members=options["combine"],
                    method=options["method"],
                )  # fmt: skip
                made = done(made, label_set_work)
                weights = ", ".join(f"{weight:.2f}" for weight in made.recipe["weights"])
                self.stdout.write(f"set-{made.pk}: {made.rows} rows, weights {weights}")
            elif options["apply"]:
                self.apply(found, **options)
            elif options["undo"]:
                self.undo(found, options["undo"])
            else:
                for one in label_sets_of(found):
                    self.stdout.write(f"{one.key:<12} {one.rows:>8}  {one.name} ({one.kind})")

    def compare(self, found: Workload, first: str, second: str) -> None:
        one, other = set_of(found, first), set_of(found, second)
        compared = compare_sets(found, one.key, other.key)
        share = compared.agreement
        if share.value is None:
            raise NotFound("the two have no row in common")
        kappa = "" if compared.kappa is None else f", kappa {compared.kappa:.3f}"
        said = f"{share.value:.2%} ({share.low:.2%} to {share.high:.2%}) of {share.n}{kappa}"
        self.stdout.write(f"{one.name} and {other.name} agree on {said}")
        for field in compared.fields:
            self.stdout.write(f"  {field.path}: {field.agreement.value:.2%}")

    def apply(self, found: Workload, **options: Any) -> None:
        other = options["where_agrees"]
        act = start_application(
            found, source=options["apply"], scope="agreed" if other else "all", other=other,
            at_least=options["at_least"],
        )  # fmt: skip
        act = done(act, application_work)
        self.stdout.write(f"act {act.pk}: {act.rows} rows got another target")

    def undo(self, found: Workload, number: int) -> None:
        act = done(start_undo(application_of(found, number)), application_work)
        self.stdout.write(f"act {act.pk}: {act.rows} rows are as before")
