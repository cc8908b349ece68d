"""`manage.py verify_dataset`: a version's files are made again and compared, byte by byte."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from factory.management.arguments import add_workload, errors_told, workload_named
from factory.services.versions import damaged_files, restore_files, version_named


class Command(BaseCommand):
    help = "Make a version's files again from its rows; say which differ from the stored ones."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("named", metavar="VERSION", help="as in main:1")
        add_workload(parser)
        parser.add_argument("--restore", action="store_true", help="store lost files again")

    def handle(self, *_args: Any, named: str, project: str, workload: str, **options: Any) -> None:
        found = workload_named(project, workload)
        with errors_told():
            version = version_named(found, named)
            if options["restore"]:
                restore_files(version)
            damaged = damaged_files(version)
        if damaged:
            raise CommandError(f"{version}: {', '.join(damaged)}")
        files = len(version.files) + 1
        self.stdout.write(f"{version}: {files} files, the same bytes  {version.digest}")
