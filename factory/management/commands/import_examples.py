"""`manage.py import_examples`: rows whose right answers are known, in OpenAI's chat format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from factory.errors import InvalidInput
from factory.messages import Json, parse_json, text_of, turns_of
from factory.models import Workload
from factory.models.example import Split
from factory.services.curate import add_examples


class Command(BaseCommand):
    help = 'Add examples from JSONL, {"messages": [..., {"role": "assistant", ...}]} a line.'
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--project", required=True)
        parser.add_argument("--workload", required=True)
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
        found = Workload.objects.filter(project__slug=project, slug=workload).first()
        if found is None:
            raise CommandError(f"there is no workload {project}/{workload}")
        try:
            counts = add_examples(found, rows_of(file), split=split)
        except InvalidInput as error:
            raise CommandError(error.message) from error
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}") from error
        self.stdout.write(
            f"{counts['new']} new examples, {counts['known']} known ones updated, "
            f"{counts['left_out']} left out: they are, or nearly are, in another split"
        )


def rows_of(file: Path) -> Iterator[tuple[list[Json], str]]:
    """Yield each row's messages and target; `InvalidInput` names the line that has none."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = parse_json(line)
            except InvalidInput as error:
                raise InvalidInput(f"line {number}: {error.message}") from error
            turns = turns_of(row) if isinstance(row, dict) else []
            if len(turns) < 2 or turns[-1].get("role") != "assistant":
                raise InvalidInput(f"line {number}: the last message must be the assistant's")
            yield turns[:-1], text_of(turns[-1].get("content")).strip()
