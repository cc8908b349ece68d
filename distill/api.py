"""The JSON API: students, and the one document that lists every route of the API."""

from typing import Any

from django.http import HttpRequest
from django.urls import path
from ninja import NinjaAPI, Router, Schema
from pydantic import Field

from distill.models import DistillationRun, Evaluation, ModelVersion
from distill.selectors.runs import evaluation_in_project, run_in_project
from distill.selectors.versions import version_in_project
from distill.services.label_sets import write_student_set
from distill.services.publish import move_alias, publish
from distill.services.train import start_run
from factory.api.base import (
    JobOut,
    KeyAuth,
    StrictParser,
    install_errors,
    job_out,
    project_of,
)
from factory.api.curation import router as curation_router
from factory.api.feedback import router as feedback_router
from factory.api.ingest import router as factory_router
from factory.api.otlp import router as otlp_router
from factory.api.privacy import router as privacy_router
from factory.api.prompts import router as prompts_router
from factory.api.report import router as report_router
from factory.api.webhooks import router as webhooks_router
from factory.errors import NotFound
from factory.models import DatasetVersion
from factory.selectors import workload_in_project
from factory.services import jobs
from labeling.api.augment import router as augment_router
from labeling.api.datasets import router as datasets_router
from labeling.api.insight import router as insight_router
from labeling.api.label import router as labeling_router
from labeling.api.label_sets import router as label_sets_router
from labeling.api.quality import router as quality_router
from labeling.api.review import router as review_router
from labeling.selectors.label import teacher_in_project

router = Router(tags=["distill and publish"])


class RunIn(Schema):
    """What to train on and how; everything but the version has a recommended value."""

    dataset_version: int
    base_model: str = Field("", max_length=500)
    teacher: str = ""
    overrides: dict[str, int | float | str | bool] = Field(default_factory=dict)


class RunOut(JobOut):
    """A distillation run."""

    base_model: str
    spec: dict[str, Any]
    metrics: dict[str, Any]


class EvaluationOut(JobOut):
    """One subject's scores."""

    subject: str
    file: str | None
    split: str
    metrics: dict[str, Any]
    verdict: dict[str, Any] | None


class PublishIn(Schema):
    """Why a run is published although the gate refused it; empty where it passed."""

    override_reason: str = Field("", max_length=2000)


class VersionOut(Schema):
    """A published model version."""

    number: int
    commit: str
    files: list[dict[str, Any]]


class AliasIn(Schema):
    """Where an alias should point, and where the caller believes that it points now."""

    to: int
    expected: int | None = None


def run_out(run: DistillationRun) -> dict[str, Any]:
    """Return a run as `RunOut` shows it."""
    return {
        **job_out(run),
        "base_model": run.base_model,
        "spec": run.spec,
        "metrics": run.metrics,
    }


def version_out(version: ModelVersion) -> dict[str, Any]:
    """Return a version as `VersionOut` shows it."""
    files = version.files.order_by("path").values("path", "sha256", "size")
    return {"number": version.number, "commit": version.commit, "files": list(files)}


@router.post("/workloads/{workload}/runs", response=RunOut)
def post_run(request: HttpRequest, workload: str, body: RunIn) -> dict[str, Any]:
    """Start a distillation run."""
    project = project_of(request)
    found = workload_in_project(project, workload)
    version = DatasetVersion.objects.filter(
        dataset__workload=found, pk=body.dataset_version
    ).first()
    if version is None:
        raise NotFound("There is no such dataset version, or it is not yours to see.")
    teacher = teacher_in_project(project, body.teacher) if body.teacher else None
    run = start_run(
        found,
        version,
        base_model=body.base_model,
        teacher=teacher,
        overrides=dict(body.overrides),
    )
    return run_out(run)


@router.get("/runs/{run_id}", response=RunOut)
def get_run(request: HttpRequest, run_id: int) -> dict[str, Any]:
    """Watch a run."""
    return run_out(run_in_project(project_of(request), run_id))


@router.post("/runs/{run_id}/cancel", response=RunOut)
def cancel_run(request: HttpRequest, run_id: int) -> dict[str, Any]:
    """Stop a run."""
    run = run_in_project(project_of(request), run_id)
    jobs.cancel(run)
    run.refresh_from_db()
    return run_out(run)


@router.get("/runs/{run_id}/evaluations", response=list[EvaluationOut])
def list_evaluations(request: HttpRequest, run_id: int) -> list[dict[str, Any]]:
    """List a run's evaluations."""
    run = run_in_project(project_of(request), run_id)
    rows = Evaluation.objects.filter(run=run).select_related("artifact").order_by("id")
    return [
        {
            **job_out(row),
            "subject": row.subject,
            "file": row.artifact and row.artifact.filename,
            "split": row.split,
            "metrics": row.metrics,
            "verdict": row.verdict,
        }
        for row in rows
    ]


@router.post("/evaluations/{evaluation_id}/label-set")
def post_student_set(request: HttpRequest, evaluation_id: int) -> dict[str, Any]:
    """Lay a student's answers beside the other label sets; the same ones again are replaced."""
    made = write_student_set(evaluation_in_project(project_of(request), evaluation_id))
    return {"key": f"set-{made.pk}", "name": made.name, "rows": made.rows}


@router.post("/runs/{run_id}/publish", response=VersionOut)
def post_version(request: HttpRequest, run_id: int, body: PublishIn) -> dict[str, Any]:
    """Publish a run's files as the workload's next model version."""
    run = run_in_project(project_of(request), run_id)
    return version_out(publish(run, override_reason=body.override_reason))


@router.get("/workloads/{workload}/versions", response=list[VersionOut])
def list_versions(request: HttpRequest, workload: str) -> list[dict[str, Any]]:
    """List the published versions, the newest first."""
    found = workload_in_project(project_of(request), workload)
    return [version_out(version) for version in found.model_versions.order_by("-number")]


@router.post("/workloads/{workload}/aliases/{name}", response=VersionOut)
def post_alias(request: HttpRequest, workload: str, name: str, body: AliasIn) -> dict[str, Any]:
    """Move an alias, provided that it still points where the caller believes."""
    found = workload_in_project(project_of(request), workload)
    to = version_in_project(found, body.to)
    expected = None if body.expected is None else version_in_project(found, body.expected)
    return version_out(move_alias(found, name=name, to=to, expected=expected).version)


api = NinjaAPI(
    title="Understudy",
    version="1",
    description="Capture, label, distill and publish. Keys need the scope `api`.",
    auth=KeyAuth(),
    parser=StrictParser(),
    docs_url="docs",
)
install_errors(api)
api.add_router("", factory_router)
api.add_router("", feedback_router)
api.add_router("", otlp_router)
api.add_router("", privacy_router)
api.add_router("", prompts_router)
api.add_router("", curation_router)
api.add_router("", report_router)
api.add_router("", webhooks_router)
api.add_router("", datasets_router)
api.add_router("", labeling_router)
api.add_router("", augment_router)
api.add_router("", label_sets_router)
api.add_router("", insight_router)
api.add_router("", review_router)
api.add_router("", quality_router)
api.add_router("", router)
urlpatterns = [path("", api.urls)]
