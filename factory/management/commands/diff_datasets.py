"""`manage.py diff_datasets`: what changed from one dataset version to another."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from factory.management.arguments import add_workload, errors_told, workload_named
from factory.services.versions import diff, version_named

COUNTS = ("added", "removed", "retargeted", "reweighted", "moved", "same")


class Command(BaseCommand):
    help = "Compare two versions of a workload's datasets."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("before", help="as in main:1")
        parser.add_argument("after", help="as in main:2")
        add_workload(parser)
        parser.add_argument("--json", action="store_true", help="all of it, for a program")

    def handle(
        self, *_args: Any, before: str, after: str, project: str, workload: str, **options: Any
    ) -> None:
        found = workload_named(project, workload)
        with errors_told():
            change = diff(version_named(found, before), version_named(found, after))
        if options["json"]:
            self.stdout.write(json.dumps(change.as_json(), ensure_ascii=False, indent=2))
            return
        for name in COUNTS:
            self.stdout.write(f"{getattr(change, name):>9,}  {name}")
        for name, (was, now) in {**change.splits, **change.labels}.items():
            self.stdout.write(f"{was:>9,} -> {now:,}  {name}")
