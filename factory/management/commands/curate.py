"""`manage.py curate --project SLUG`: turn new calls into examples."""

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from factory.management.arguments import add_project, errors_told, project_named
from factory.services.curate import curate


class Command(BaseCommand):
    help = "Discover workloads in a project's new calls and turn these into examples."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_project(parser)
        parser.add_argument(
            "--accept", action="store_true", help="make workloads of the prompts that are proposed"
        )

    def handle(self, *_args: Any, project: str, accept: bool, **_options: Any) -> None:
        with errors_told():
            found = project_named(project)
            self.stdout.write(f"calls: {listed(curate(found, accept_new=accept))}")
            for workload in found.workloads.order_by("slug"):
                splits = Counter(workload.examples.values_list("split", flat=True))
                self.stdout.write(f"{workload.slug} ({workload.kind}): {listed(splits)}")


def listed(counts: Counter[str]) -> str:
    """Return counts as people read them."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"
