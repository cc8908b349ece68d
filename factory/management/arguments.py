"""What the commands share: how a project is named, and how our errors are told."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getpass

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from factory.embedded import EmbeddedError
from factory.errors import UnderstudyError
from factory.models import Project, Workload
from factory.services.projects import create_project


def add_project(parser: CommandParser, *, may_create: bool = False) -> None:
    """Add `--project`, and `--create` where the command may make it."""
    parser.add_argument("--project", required=True, metavar="SLUG")
    if may_create:
        parser.add_argument("--create", action="store_true", help="make the project if need be")


def project_named(slug: str, *, create: bool = False) -> Project:
    """Return the project; `CommandError` where there is none and none is to be made."""
    found = Project.objects.filter(slug=slug).first()
    if found is None and create:
        found = create_project(slug=slug, name=slug)
    if found is None:
        raise CommandError(f"there is no project {slug!r}")
    return found


def add_workload(parser: CommandParser) -> None:
    """Add `--project` and `--workload`."""
    add_project(parser)
    parser.add_argument("--workload", required=True, metavar="SLUG")


def workload_named(project: str, slug: str) -> Workload:
    """Return the workload; `CommandError` where there is none."""
    found = Workload.objects.filter(project__slug=project, slug=slug).first()
    if found is None:
        raise CommandError(f"there is no workload {project}/{slug}")
    return found


def ask_secret(what: str) -> str:
    """Ask for a secret, unseen; from a pipe, take its first line. Everyone sees arguments."""
    if sys.stdin.isatty():
        return getpass(f"{what}: ")
    return sys.stdin.readline().rstrip("\n")


@contextmanager
def errors_told() -> Iterator[None]:
    """Turn errors that are the caller's into a sentence and status 1."""
    try:
        yield
    except (UnderstudyError, EmbeddedError, OSError) as error:
        raise CommandError(str(error)) from error
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from error
