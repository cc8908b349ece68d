"""The JSON API of dataset versions: previewed, frozen, compared, exported; rows from outside."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Router, Schema
from pydantic import Field

from factory.api.base import JobOut, job_out, project_of
from factory.datasets.recipe import Recipe, recipe_from_json
from factory.decorators import download
from factory.formats.intake import CHUNK
from factory.models import DatasetVersion, ExampleImport, FreezeJob, Workload
from factory.selectors import dataset_version_of, dataset_versions, workload_in_project
from factory.services import jobs, versions
from factory.services.example_imports import take_examples
from labeling.services.exports import open_export
from labeling.services.release import release_or_start, release_preview

router = Router(tags=["datasets"])
SLUG = r"^[a-z0-9]+([_-][a-z0-9]+)*$"


class DatasetVersionOut(Schema):
    """A frozen dataset version."""

    id: int
    name: str
    number: int
    digest: str
    commit: str
    recipe: dict[str, Any]
    counts: dict[str, Any]
    funnel: list[list[Any]]
    contamination: dict[str, Any] | None
    files: list[dict[str, Any]]
    file_sha256: str
    created_at: datetime


class FreezeIn(Schema):
    """Which line of versions to add to, and by which recipe; by its own where none is given."""

    name: str = Field("main", min_length=1, max_length=48, pattern=SLUG)
    recipe: dict[str, Any] | None = None


class BranchIn(Schema):
    """The name of a new dataset, and what its recipe changes of the version's."""

    name: str = Field(min_length=1, max_length=48, pattern=SLUG)
    changes: dict[str, Any] = Field(default_factory=dict)


class PreviewOut(Schema):
    """What would be frozen now."""

    counts: dict[str, Any]
    funnel: list[list[Any]]


class FreezeJobOut(JobOut):
    """A version in the making."""

    name: str
    recipe: dict[str, Any]
    version: int | None


class ExampleImportOut(JobOut):
    """A file of training rows on its way in."""

    filename: str
    split: str
    counts: dict[str, Any]


def version_out(version: DatasetVersion) -> dict[str, Any]:
    """Return a version as `DatasetVersionOut` shows it."""
    fields = set(DatasetVersionOut.model_fields) - {"name"}
    return {"name": version.dataset.name, **{name: getattr(version, name) for name in fields}}


def freeze_job_out(job: FreezeJob) -> dict[str, Any]:
    """Return a freeze as `FreezeJobOut` shows it."""
    return {**job_out(job), "name": job.name, "recipe": job.recipe, "version": job.version_id}


def import_out(job: ExampleImport) -> dict[str, Any]:
    """Return an import as `ExampleImportOut` shows it."""
    return {**job_out(job), "filename": job.filename, "split": job.split, "counts": job.counts}


def asked_recipe(workload: Workload, body: FreezeIn) -> Recipe:
    """Return the recipe that a body names."""
    if body.recipe is not None:
        return recipe_from_json(body.recipe)
    return versions.recipe_of(workload, body.name)


@router.post("/workloads/{workload}/datasets", response={200: DatasetVersionOut, 202: FreezeJobOut})
def post_dataset(request: HttpRequest, workload: str, body: FreezeIn) -> tuple[int, dict[str, Any]]:
    """Freeze the workload's examples; where they are many, a job does it (202)."""
    found = workload_in_project(project_of(request), workload)
    version, job = release_or_start(found, name=body.name, recipe=asked_recipe(found, body))
    if version is not None:
        return 200, version_out(version)
    assert job is not None
    return 202, freeze_job_out(job)


@router.post("/workloads/{workload}/datasets/preview", response=PreviewOut)
def post_preview(request: HttpRequest, workload: str, body: FreezeIn) -> Any:
    """Count what a recipe would freeze now."""
    found = workload_in_project(project_of(request), workload)
    return release_preview(found, asked_recipe(found, body))


@router.get("/workloads/{workload}/datasets", response=list[DatasetVersionOut])
def list_versions(request: HttpRequest, workload: str) -> list[dict[str, Any]]:
    """List the workload's dataset versions, the newest first."""
    found = workload_in_project(project_of(request), workload)
    return [version_out(version) for version in dataset_versions(found)]


@router.get("/workloads/{workload}/freezes/{job_id}", response=FreezeJobOut)
def get_freeze(request: HttpRequest, workload: str, job_id: int) -> dict[str, Any]:
    """Watch a freeze."""
    found = workload_in_project(project_of(request), workload)
    return freeze_job_out(versions.freeze_job_of(found, job_id))


@router.post("/workloads/{workload}/freezes/{job_id}/cancel", response=FreezeJobOut)
def cancel_freeze(request: HttpRequest, workload: str, job_id: int) -> dict[str, Any]:
    """Stop a freeze."""
    found = workload_in_project(project_of(request), workload)
    job = versions.freeze_job_of(found, job_id)
    jobs.cancel(job)
    job.refresh_from_db()
    return freeze_job_out(job)


@router.get("/workloads/{workload}/datasets/{name}/{number}", response=DatasetVersionOut)
def get_version(request: HttpRequest, workload: str, name: str, number: int) -> dict[str, Any]:
    """Get one version."""
    return version_out(_version(request, workload, name, number))


@router.post("/workloads/{workload}/datasets/{name}/{number}/branch", response=PreviewOut)
def post_branch(request: HttpRequest, workload: str, name: str, number: int, body: BranchIn) -> Any:
    """Begin a dataset of another name from a version's recipe; freeze it by its name."""
    version = _version(request, workload, name, number)
    recipe = recipe_from_json({**version.recipe, **body.changes})
    versions.branch(version, name=body.name, recipe=recipe)
    return release_preview(version.dataset.workload, recipe)


@router.get("/workloads/{workload}/datasets/{name}/{number}/diff")
def get_diff(
    request: HttpRequest, workload: str, name: str, number: int, before: str
) -> dict[str, Any]:
    """Say what changed from another version (`before=main:1`) to this one."""
    after = _version(request, workload, name, number)
    other = versions.version_named(after.dataset.workload, before)
    return versions.diff(other, after).as_json()


@router.get("/workloads/{workload}/datasets/{name}/{number}/export")
def get_export(
    request: HttpRequest,
    workload: str,
    name: str,
    number: int,
    form: str = "openai",
    split: str = "train",
) -> StreamingHttpResponse:
    """Download rows: `openai`, `preferences`, `trl`, `alpaca`, `sharegpt` or `csv`."""
    export = open_export(_version(request, workload, name, number), form, split)
    return download(export.chunks, size=export.size, filename=export.filename, kind=export.kind)


@router.post("/workloads/{workload}/examples", response={202: ExampleImportOut})
def post_examples(
    request: HttpRequest, workload: str, filename: str = "rows.jsonl", split: str = ""
) -> tuple[int, dict[str, Any]]:
    """Take a file of training rows as the body: any known form, gzip or not.

    They are redacted while they come in; a job then adds them.
    """
    found = workload_in_project(project_of(request), workload)
    return 202, import_out(take_examples(found, _chunks(request), filename=filename, split=split))


@router.get("/workloads/{workload}/examples/imports/{job_id}", response=ExampleImportOut)
def get_example_import(request: HttpRequest, workload: str, job_id: int) -> dict[str, Any]:
    """Watch an import of rows."""
    found = workload_in_project(project_of(request), workload)
    return import_out(versions.example_import_of(found, job_id))


def _version(request: HttpRequest, workload: str, name: str, number: int) -> DatasetVersion:
    found = workload_in_project(project_of(request), workload)
    return dataset_version_of(found, name, number)


def _chunks(request: HttpRequest) -> Iterator[bytes]:
    while chunk := request.read(CHUNK):
        yield chunk
