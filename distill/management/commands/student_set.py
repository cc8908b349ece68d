"""`manage.py student_set EVALUATION`: lay a student's answers beside the other label sets."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from distill.models import Evaluation
from distill.services.label_sets import write_student_set
from factory.management.arguments import errors_told


class Command(BaseCommand):
    help = "Keep an evaluation's predictions as a label set, to be compared with any other."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("evaluation", type=int)

    def handle(self, *_args: Any, evaluation: int, **_options: Any) -> None:
        rows = Evaluation.objects.select_related("run__workload", "artifact")
        found = rows.filter(pk=evaluation).first()
        if found is None:
            raise CommandError(f"there is no evaluation {evaluation}")
        with errors_told():
            made = write_student_set(found)
        self.stdout.write(f"set-{made.pk}: {made.rows} rows, {made.name}")
