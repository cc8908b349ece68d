"""`manage.py create_key --project SLUG --name NAME`: an API key, printed once."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from factory.management.arguments import add_project, errors_told, project_named
from factory.models import ApiKey
from factory.services.keys import create_key


class Command(BaseCommand):
    help = "Make an API key. Only its hash is kept: note the key when it is printed."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_project(parser)
        parser.add_argument("--name", required=True, help="who will use it")
        parser.add_argument(
            "--scopes", default="capture", help=f"of {','.join(ApiKey.Scope.values)}"
        )

    def handle(self, *_args: Any, project: str, name: str, scopes: str, **_options: Any) -> None:
        with errors_told():
            key, raw = create_key(project_named(project), name=name, scopes=scopes.split(","))
        self.stderr.write(f"{key.name} opens {', '.join(key.scopes)}; the key is shown only now:")
        self.stdout.write(raw)  # alone there, so that a script can read it
