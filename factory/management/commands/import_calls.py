"""`manage.py import_calls FILE... --project SLUG`: logged traffic, read from files."""

from argparse import BooleanOptionalAction
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from factory.formats.intake import CHUNK
from factory.formats.known import FORMATS
from factory.management.arguments import add_project, errors_told, project_named
from factory.models import Project
from factory.services.imports import import_lines
from factory.services.uploads import take_upload
from factory.storage import chunks_of

SHOWN_PROBLEMS = 20


class Command(BaseCommand):
    help = (
        "Import logged calls: JSON Lines or a JSON array, gzip or not, no copy is kept. Known are: "
        f"{'; '.join(known.title for known in FORMATS)}. Importing a file twice changes nothing."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, nargs="+")
        add_project(parser, may_create=True)
        parser.add_argument(
            "--wait",
            action=BooleanOptionalAction,
            default=True,
            help="import here and now; otherwise a worker does it, from a redacted copy",
        )

    def handle(
        self,
        *_args: Any,
        file: list[Path],
        project: str,
        create: bool,
        wait: bool,
        **_options: Any,
    ) -> None:
        with errors_told():
            target = project_named(project, create=create)
            for path in file:
                if wait:
                    self.import_now(target, path)
                else:
                    job = take_upload(target, chunks_of(path), filename=path.name)
                    self.stdout.write(f"import {job.pk} waits for a worker")

    def import_now(self, project: Project, file: Path) -> None:
        """Import in this process and its children, telling how far it is."""
        size, done = file.stat().st_size, Counter[str]()

        def chunks() -> Iterator[bytes]:
            with file.open("rb") as log:
                while chunk := log.read(CHUNK):
                    done["bytes"] += len(chunk)
                    yield chunk

        counts = import_lines(project, chunks(), self.teller(done, size), size=size)
        for problem in counts["problems"][:SHOWN_PROBLEMS]:
            self.stderr.write(f"line {problem['line']}: {problem['message']}")
        if counts["refused"] > SHOWN_PROBLEMS:
            self.stderr.write(f"all refused lines: {counts['refused_lines']}")
        other = f", {counts['skipped']} no model calls" if counts["skipped"] else ""
        self.stdout.write(
            f"{counts['read']} lines read: {counts['new']} new calls, {counts['known']} known, "
            f"{counts['refused']} refused{other}"
        )
        if counts["read"] == counts["refused"]:
            raise CommandError(f"{file} holds no call that can be read")

    def teller(self, done: Counter[str], total: int) -> Callable[[Counter[str]], None]:
        """Return what prints a line for each tenth of the file."""
        told = 0

        def tell(counts: Counter[str]) -> None:
            nonlocal told
            tenths = 10 * done["bytes"] // total
            if tenths > told:
                told = tenths
                self.stdout.write(f"{10 * tenths:3} %  {counts['read']} lines")

        return tell
