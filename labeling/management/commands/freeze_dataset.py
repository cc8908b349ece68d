"""`manage.py freeze_dataset`: a workload's examples become a version, or show what would."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from factory.datasets.recipe import recipe_from_json
from factory.errors import InvalidInput
from factory.management.arguments import add_workload, errors_told, workload_named
from factory.messages import Json, object_of, parse_json
from factory.models import Workload
from factory.services.versions import recipe_of
from labeling.services.release import release, release_preview


class Command(BaseCommand):
    help = "Freeze examples as a dataset version, by the dataset's own recipe or a changed one."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_workload(parser)
        parser.add_argument("--name", default="main", help="of the dataset")
        parser.add_argument("--recipe", type=Path, help="a JSON file in place of the own recipe")
        parser.add_argument(
            "--set", action="append", default=[], metavar="NAME=JSON", dest="changes",
            help="""change one setting: seed=7, provenances=["uploaded"], balance={"mode":"cap"}""",
        )  # fmt: skip
        parser.add_argument("--preview", action="store_true", help="only count")

    def handle(self, *_args: Any, project: str, workload: str, **options: Any) -> None:
        found = workload_named(project, workload)
        with errors_told():
            recipe = recipe_from_json(asked(found, options))
            if options["preview"]:
                shown = release_preview(found, recipe)
            else:
                version = release(found, name=options["name"], recipe=recipe)
                shown = {"counts": version.counts, "funnel": version.funnel}
                self.stdout.write(f"{version}  {version.digest}")
        for reason, rows in shown["funnel"]:
            self.stdout.write(f"{rows:>9,}  {reason}")
        for split in ("train", "validation", "test"):
            self.stdout.write(f"{shown['counts'][split]:>9,}  {split}")


def asked(workload: Workload, options: Json) -> Json:
    """Return the recipe that the arguments come to, unchecked."""
    if options["recipe"]:
        recipe = object_of(parse_json(options["recipe"].read_bytes()))
    else:
        recipe = recipe_of(workload, options["name"]).as_json()
    for change in options["changes"]:
        name, equals, value = change.partition("=")
        if not equals:
            raise InvalidInput(f"--set {change}: as in seed=7")
        recipe[name] = parse_json(value.encode())
    return recipe
