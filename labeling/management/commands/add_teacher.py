"""`manage.py add_teacher NAME --project SLUG --upstream NAME --model MODEL`: who labels."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from factory.management.arguments import add_project, errors_told, project_named
from labeling.selectors.label import upstream_in_project
from labeling.services.label import create_priced_teacher


class Command(BaseCommand):
    help = "Name a model of an upstream as a teacher, with its price, limits and terms."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        add_project(parser)
        parser.add_argument("--upstream", required=True, metavar="NAME")
        parser.add_argument("--model", required=True, help="as the upstream names it")
        parser.add_argument("--params", default='{"temperature": 0.7}', metavar="JSON")
        parser.add_argument(
            "--price", nargs=2, type=float, metavar=("IN", "OUT"), help="US$ per million tokens"
        )
        parser.add_argument("--in-flight", type=int, default=64, metavar="N")
        parser.add_argument("--requests-per-minute", type=int, metavar="N")
        parser.add_argument("--tokens-per-minute", type=int, metavar="N")
        parser.add_argument("--logprobs", action="store_true", help="ask how sure it is")
        parser.add_argument("--licence", default="", help="or terms, by name")
        parser.add_argument(
            "--no-training", action="store_true",
            help="its terms forbid training on its answers: it may only be compared",
        )  # fmt: skip

    def handle(
        self, *_args: Any, name: str, project: str, upstream: str, model: str, params: str,
        price: list[float] | None, in_flight: int, requests_per_minute: int | None,
        tokens_per_minute: int | None, logprobs: bool, licence: str, no_training: bool,
        **_options: Any,
    ) -> None:  # fmt: skip
        try:
            given = json.loads(params)
        except ValueError as error:
            raise CommandError(f"--params is not JSON: {error}") from error
        with errors_told():
            found = project_named(project)
            teacher = create_priced_teacher(
                found,
                upstream=upstream_in_project(found, upstream),
                model=model,
                input_usd=price[0] if price else None,
                output_usd=price[1] if price else None,
                name=name,
                params=given,
                in_flight=in_flight,
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                asks_logprobs=logprobs,
                licence=licence,
                may_train_on_outputs=not no_training,
            )
        self.stdout.write(f"{teacher.name} is {teacher.model} at {upstream}")
