"""`manage.py make_tiny_base`: build the embedded student base, which needs no model hub."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Build a base model of a few million parameters for students that train on a CPU."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--output", type=Path, default=Path(settings.BASES_DIR) / "tiny")
        parser.add_argument("--corpus", type=Path, nargs="*", default=[], metavar="FILE")

    def handle(self, *_args: Any, output: Path, corpus: list[Path], **_options: Any) -> None:
        corpora = ["--corpus", *map(str, corpus)] if corpus else []
        done = subprocess.run(
            [sys.executable, "-m", "distill.gpu.tiny_base", str(output), *corpora],
            cwd=settings.BASE_DIR,
            check=False,
        )
        if done.returncode:
            raise CommandError(f"the base was not built (status {done.returncode})")
        self.stdout.write(
            f"The base is in {output}; runs use it unless STUDENT_BASE says otherwise."
        )
