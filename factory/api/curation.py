"""The JSON API of curation: runs, recipes, funnels, undoing."""

from typing import Any

from django.http import HttpRequest
from ninja import Body, Router, Schema

from factory.api.base import JobOut, job_out, project_of
from factory.selectors import workload_in_project
from factory.services import curation

router = Router(tags=["capture and curate"])


class RunOut(JobOut):
    """A run, and what became of its calls."""

    counts: dict[str, int]


class StepOut(Schema):
    """One step of the newest run; `holds_back` is what it keeps back now."""

    id: int
    name: str
    came_in: int
    went_out: int
    reasons: dict[str, int]
    samples: dict[str, list[int]]
    facts: dict[str, Any]
    holds_back: int
    restored: int


class CurationOut(Schema):
    """A workload's recipe, its newest funnel, and its newest contamination report."""

    recipe: dict[str, Any]
    new_calls: int
    steps: list[StepOut]
    contamination: dict[str, Any]


@router.post("/curate", response=JobOut)
def post_curate(request: HttpRequest) -> dict[str, Any]:
    """Turn the project's new calls into examples; a run under way serves as well."""
    return job_out(curation.start_curation(project_of(request)))


@router.post("/workloads/{workload}/curate", response=JobOut)
def post_workload_curate(request: HttpRequest, workload: str) -> dict[str, Any]:
    """Turn one workload's new calls into examples."""
    found = workload_in_project(project_of(request), workload)
    return job_out(curation.start_curation(found.project, found))


@router.get("/curations/{run}", response=RunOut)
def get_curation_run(request: HttpRequest, run: int) -> dict[str, Any]:
    """Get a run: how far it is, and what became of its calls."""
    found = curation.run_of_project(project_of(request), run)
    return {**job_out(found), "counts": found.counts}


@router.get("/workloads/{workload}/curation", response=CurationOut)
def get_curation(request: HttpRequest, workload: str) -> dict[str, Any]:
    """Get a workload's recipe, funnel and contamination report."""
    page = curation.curation_page(workload_in_project(project_of(request), workload))
    return {
        "recipe": page.recipe.as_json(),
        "new_calls": page.new_calls,
        "steps": [step_out(shown) for shown in page.steps],
        "contamination": page.curation.contamination if page.curation else {},
    }


@router.put("/workloads/{workload}/curation/recipe")
def put_recipe(request: HttpRequest, workload: str, body: Body[dict[str, Any]]) -> dict[str, Any]:
    """Change a workload's recipe; it holds for the calls to come. The answer is all of it."""
    found = workload_in_project(project_of(request), workload)
    return curation.save_recipe(found, body).as_json()


@router.post("/workloads/{workload}/curation/steps/{step}/undo", response=JobOut)
def post_undo(request: HttpRequest, workload: str, step: int) -> dict[str, Any]:
    """Take back what a step discarded."""
    found = workload_in_project(project_of(request), workload)
    return job_out(curation.start_undo(curation.step_of_workload(found, step)))


def step_out(shown: curation.StepShown) -> dict[str, Any]:
    """Return a step as `StepOut` shows it."""
    fields = {name: getattr(shown.step, name, None) for name in StepOut.model_fields}
    return {**fields, "holds_back": shown.holds_back}
