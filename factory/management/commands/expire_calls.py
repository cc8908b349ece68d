"""`manage.py expire_calls`: delete the calls whose time is over, as every night does."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from factory.management.arguments import errors_told
from factory.services.retention import expire_calls, make_partitions


class Command(BaseCommand):
    help = "Delete the calls that are past their workload's or project's retention."
    requires_system_checks = ()

    def handle(self, *_args: Any, **_options: Any) -> None:
        with errors_told():
            make_partitions()
            counts = expire_calls(timezone.now())
        said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        self.stdout.write(said or "nothing is past its time")
