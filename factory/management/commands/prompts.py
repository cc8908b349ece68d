"""`manage.py prompts --project SLUG`: list the prompts in the traffic, and say whose they are."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from factory.management.arguments import add_project, errors_told, project_named
from factory.models import CallGroup, Project
from factory.selectors import group_of_project, prompts_of, twins, wording_of, workload_in_project
from factory.services.discover import accept_group, attach_group, detach_group, ignore_group

SHOWN = 100  # characters of a prompt in the list
NONE_YET = "no prompt was discovered yet: new calls are grouped within a minute of their coming"


class Command(BaseCommand):
    help = "List the prompts in a project's calls, or decide what becomes of one."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_project(parser)
        act = parser.add_mutually_exclusive_group()
        act.add_argument("--accept", type=int, metavar="ID", help="make a workload of it")
        act.add_argument("--ignore", type=int, metavar="ID", help="do not propose it again")
        act.add_argument(
            "--join", nargs=2, metavar=("ID", "WORKLOAD"), help="it is another wording of a job"
        )
        act.add_argument("--take-out", type=int, metavar="ID", help="it is none, after all")

    def handle(self, *_args: Any, project: str, **options: Any) -> None:
        with errors_told():
            self.stdout.write(told(project_named(project), options))


def told(project: Project, options: dict[str, Any]) -> str:
    """Do what was asked for and return what came of it."""
    if options["accept"]:
        return f"{accept_group(group_of_project(project, options['accept'])).slug} is a workload"
    if options["ignore"]:
        ignore_group(group_of_project(project, options["ignore"]))
        return "ignored"
    if options["join"]:
        number, slug = options["join"]
        group = group_of_project(project, int(number) if number.isdecimal() else 0)
        attach_group(group, workload_in_project(project, slug))
        return f"its calls are those of {slug}"
    if options["take_out"]:
        gone = detach_group(group_of_project(project, options["take_out"]))
        return f"proposed again; {gone} examples discarded"
    return "\n".join(map(line_of, prompts_of(project))) or NONE_YET


def line_of(group: CallGroup) -> str:
    """Return a prompt as one line of the list."""
    text = " ".join(wording_of(group).split())[:SHOWN] or "(little or nothing in common)"
    nearest = next((twin for twin in ([] if group.workload else twins(group)) if twin.share), None)
    state = "ignored" if group.is_ignored else "proposed"
    if group.workload:
        state = f"of {group.workload.slug}"
    elif nearest:
        state += f", {nearest.share:.0%} as {nearest.workload.slug}"
    return f"{group.pk:>8} {group.call_count:>10} calls  {state}: {text}"
