"""`manage.py add_upstream NAME --project SLUG --url URL`: an endpoint that models answer at."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from factory.management.arguments import add_project, ask_secret, errors_told, project_named
from factory.models import Upstream
from factory.services.projects import save_upstream


class Command(BaseCommand):
    help = "Name a model provider or a server of your own, or change one; asks for its key."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        add_project(parser, may_create=True)
        parser.add_argument("--url", required=True, metavar="URL", help="as far as /v1, mostly")
        parser.add_argument("--default", action="store_true", help="takes every model not named")
        parser.add_argument(
            "--models", nargs="+", metavar="PATTERN", help="the models that it answers, as gpt-*"
        )
        parser.add_argument(
            "--price", nargs=3, action="append", default=[], metavar=("MODEL", "IN", "OUT"),
            help="US$ per million tokens; may be repeated",
        )  # fmt: skip
        parser.add_argument("--dialect", default="", choices=Upstream.Dialect.values)
        parser.add_argument("--no-key", action="store_true", help="it wants none")

    def handle(
        self, *_args: Any, name: str, project: str, create: bool, url: str, default: bool,
        models: list[str] | None, price: list[list[str]], dialect: str, no_key: bool,
        **_options: Any,
    ) -> None:  # fmt: skip
        with errors_told(), transaction.atomic():
            prices = {model: {"input": float(i), "output": float(o)} for model, i, o in price}
            saved = save_upstream(
                project_named(project, create=create),
                name=name,
                base_url=url,
                key="" if no_key else ask_secret(f"Key for {name}"),
                is_default=default,
                prices=prices or None,
                model_patterns=models,
                dialect=dialect,
            )
        self.stdout.write(f"{saved.name} answers at {saved.base_url}")
