"""`manage.py import_examples`: rows whose right answers are known, in any of the known forms."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from factory.datasets.row_forms import FORMS
from factory.management.arguments import add_workload, errors_told, workload_named
from factory.models.example import Split
from factory.services.example_imports import add_rows
from factory.storage import chunks_of

SHOWN = 20


class Command(BaseCommand):
    help = (
        f"Add examples from JSON lines, a JSON array or CSV: {', '.join(f.title for f in FORMS)}, "
        "or a table with the columns prompt and target."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        add_workload(parser)
        parser.add_argument("--split", choices=Split.values, help="by default, by their group")

    def handle(
        self,
        *_args: Any,
        file: Path,
        project: str,
        workload: str,
        split: str | None,
        **_options: Any,
    ) -> None:
        found = workload_named(project, workload)
        with errors_told():
            counts = add_rows(found, chunks_of(file), split=split or "")
        self.stdout.write(
            f"{counts['new']} new examples, {counts['known']} known ones updated, "
            f"{counts['left_out']} left out: they are, or nearly are, in another split"
        )
        if counts["without_tools"]:
            self.stdout.write(f"{counts['without_tools']} had tools, which examples do not keep")
        for problem in counts["problems"][:SHOWN]:
            self.stderr.write(f"line {problem['line']}: {problem['message']}")
        if counts["refused"]:
            self.stderr.write(f"{counts['refused']} lines were refused")
        if counts["refused"] == counts["read"]:
            raise CommandError(f"{file} holds no row that can be read")
