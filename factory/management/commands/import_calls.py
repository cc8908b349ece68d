"""`manage.py import_calls FILE.jsonl --project SLUG`: logged traffic, read from a file."""

from argparse import BooleanOptionalAction
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from factory.management.arguments import add_project, errors_told, project_named
from factory.models import Project
from factory.services.imports import import_lines, lines_of, start_import
from factory.storage import chunks_of


class Command(BaseCommand):
    help = "Import logged calls, one JSON object a line. Importing a file twice changes nothing."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        add_project(parser, may_create=True)
        parser.add_argument(
            "--wait",
            action=BooleanOptionalAction,
            default=True,
            help="import here and now; otherwise a worker does it",
        )

    def handle(
        self, *_args: Any, file: Path, project: str, create: bool, wait: bool, **_options: Any
    ) -> None:
        with errors_told():
            target = project_named(project, create=create)
            if wait:
                self.import_now(target, file)
            else:
                job = start_import(target, file, filename=file.name)
                self.stdout.write(f"import {job.pk} waits for a worker")

    def import_now(self, project: Project, file: Path) -> None:
        """Import in this process, telling how far it is."""
        counts = import_lines(
            project, lines_of(chunks_of(file)), on_batch=self.teller(file.stat().st_size)
        )
        for problem in counts["problems"]:
            self.stderr.write(f"line {problem['line']}: {problem['message']}")
        self.stdout.write(
            f"{counts['read']} calls read: {counts['new']} new, {counts['known']} known, "
            f"{counts['refused']} refused"
        )
        if counts["read"] == counts["refused"]:
            raise CommandError(f"{file} holds no call that can be read")

    def teller(self, total_bytes: int) -> Callable[[Counter[str]], None]:
        """Return what prints a line for each tenth of the file."""
        told = 0

        def tell(counts: Counter[str]) -> None:
            nonlocal told
            tenths = 10 * counts["bytes"] // total_bytes
            if tenths > told:
                told = tenths
                self.stdout.write(f"{10 * tenths:3} %  {counts['read']} calls")

        return tell
