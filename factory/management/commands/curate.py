"""`manage.py curate --project SLUG`: turn new calls into examples."""

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser

from factory.management.arguments import add_project, errors_told, project_named
from factory.messages import parse_json
from factory.models import Project
from factory.selectors import workload_in_project
from factory.services import curation
from factory.services.curate import curate


class Command(BaseCommand):
    help = "Discover workloads in a project's new calls and turn these into examples."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_project(parser)
        parser.add_argument(
            "--accept", action="store_true", help="make workloads of the prompts that are proposed"
        )
        parser.add_argument("--workload", metavar="SLUG", help="for the three that follow")
        parser.add_argument("--funnel", action="store_true", help="show the newest run's steps")
        parser.add_argument("--recipe", metavar="FILE", help="change the recipe; - reads it")
        parser.add_argument("--undo", metavar="STEP", help="take back what a step discarded")

    def handle(self, *_args: Any, project: str, workload: str | None, **options: Any) -> None:
        with errors_told():
            found = project_named(project)
            if workload is None:
                self._curate(found, accept=options["accept"])
            elif options["recipe"]:
                self._change(found, workload, options["recipe"])
            elif options["undo"]:
                self._undo(found, workload, options["undo"])
            else:
                self._show(found, workload)

    def _curate(self, project: Project, *, accept: bool) -> None:
        self.stdout.write(f"calls: {listed(curate(project, accept_new=accept))}")
        for workload in project.workloads.order_by("slug"):
            placed = workload.examples.exclude(split="").values_list("split", flat=True)
            self.stdout.write(f"{workload.slug} ({workload.kind}): {listed(Counter(placed))}")

    def _show(self, project: Project, slug: str) -> None:
        page = curation.curation_page(workload_in_project(project, slug))
        self.stdout.write(orjson.dumps(page.recipe.as_json()).decode())
        for shown in page.steps:
            step = shown.step
            why = listed(step.reasons) if step.reasons else "all went on"
            self.stdout.write(f"{step.name}: {step.came_in} in, {step.went_out} out, {why}")

    def _change(self, project: Project, slug: str, file: str) -> None:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        recipe = curation.save_recipe(workload_in_project(project, slug), parse_json(raw))
        self.stdout.write(orjson.dumps(recipe.as_json()).decode())

    def _undo(self, project: Project, slug: str, name: str) -> None:
        page = curation.curation_page(workload_in_project(project, slug))
        step = next((shown.step for shown in page.steps if shown.step.name == name), None)
        if step is None:
            raise CommandError(f"the newest run has no step {name!r}")
        self.stdout.write(f"restored: {curation.undo(step)}")


def listed(counts: Mapping[str, int]) -> str:
    """Return counts as people read them."""
    return ", ".join(f"{n} {name}" for name, n in Counter(counts).most_common()) or "none"
