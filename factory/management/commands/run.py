"""`manage.py run NAME`: become one process of the installation, as a container does."""

import os
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from factory.processes import NAMES, process


class Command(BaseCommand):
    help = "Become one process. Starts no embedded server and migrates nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", choices=NAMES)
        parser.add_argument("--host", default="127.0.0.1", help="where `web` listens")
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *_args: Any, name: str, host: str, port: int, **_options: Any) -> None:
        chosen = process(name, var_dir=settings.VAR_DIR, host=host, port=port)
        # WhiteNoise warns where the folder is missing that an installation may collect into.
        settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
        if chosen.cwd is not None:
            os.chdir(chosen.cwd)
        os.execvpe(chosen.argv[0], list(chosen.argv), os.environ | dict(chosen.env))  # noqa: S606
