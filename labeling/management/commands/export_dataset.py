"""`manage.py export_dataset`: a version's rows in another trainer's form."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from factory.datasets.row_forms import EXPORTS
from factory.management.arguments import add_workload, errors_told, workload_named
from factory.models.example import Split
from factory.services.versions import version_named
from labeling.services.exports import export_version


class Command(BaseCommand):
    help = "Write a version's rows to a file."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("named", metavar="VERSION", help="as in main:1")
        parser.add_argument("file", type=Path)
        add_workload(parser)
        parser.add_argument("--form", choices=list(EXPORTS), default="openai")
        parser.add_argument("--split", choices=[*Split.values, "all"], default="train")

    def handle(
        self, *_args: Any, named: str, file: Path, project: str, workload: str, **options: Any
    ) -> None:
        found = workload_named(project, workload)
        split = "" if options["split"] == "all" else options["split"]
        with errors_told(), file.open("wb") as target:
            lines = export_version(version_named(found, named), options["form"], split, target)
        self.stdout.write(f"{lines:,} lines")
        if options["form"] == "csv":
            self.stdout.write("Cells that a spreadsheet would calculate have a ' in front.")
