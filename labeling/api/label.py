"""The JSON API of labelling."""

from decimal import Decimal
from typing import Any, Literal

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from factory.api.base import JobOut, job_out, project_of
from factory.selectors import workload_in_project
from labeling.models import LabelJob, Teacher
from labeling.selectors.label import (
    label_job_in_project,
    teacher_in_project,
    teachers_of,
    upstream_in_project,
)
from labeling.services.label import cancel_label_job as stop_label_job
from labeling.services.label import (
    create_priced_teacher,
    estimate_label_job,
    pause_label_job,
    resume_label_job,
    start_label_job,
)

router = Router(tags=["label"])


class LabelJobIn(Schema):
    """Which teacher labels, how often it is asked, and what that may cost at most."""

    teacher: str
    votes: int = Field(3, ge=1, le=25)
    budget_usd: Decimal = Field(gt=0, le=1_000_000)
    accept_confidence: float = Field(1.0, gt=0, le=1)
    mode: Literal["live", "batch"] = "live"
    rationale: bool = False
    few_shot: int = Field(0, ge=0, le=16)
    applies: bool = True
    panel_rows: int | None = Field(None, ge=0, le=1000)


class LabelJobOut(JobOut):
    """A label job."""

    teacher: str
    votes: int
    mode: str
    rationale: bool
    few_shot: int
    applies: bool
    budget_usd: float
    spent_usd: float
    smoke: dict[str, Any]
    panel: dict[str, Any]


class ResumeIn(Schema):
    """What a paused job goes on with."""

    budget_usd: Decimal | None = Field(None, gt=0, le=1_000_000)
    nevertheless: bool = False


class TeacherIn(Schema):
    """A model of an upstream, with its price, limits and terms."""

    name: str = Field(min_length=1, max_length=48)
    upstream: str
    model: str = Field(min_length=1, max_length=200)
    params: dict[str, Any] = Field(default_factory=dict)
    may_train_on_outputs: bool = True
    licence: str = Field("", max_length=120)
    terms: str = Field("", max_length=20_000)
    in_flight: int = Field(64, ge=1, le=1024)
    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)
    batch_price_share: float = Field(0.5, ge=0, le=1)
    asks_logprobs: bool = False
    input_usd: float | None = None
    output_usd: float | None = None


class TeacherOut(Schema):
    """A teacher."""

    name: str
    upstream: str
    model: str
    params: dict[str, Any]
    may_train_on_outputs: bool
    licence: str
    terms: str
    in_flight: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    batch_price_share: float
    asks_logprobs: bool


class EstimateOut(Schema):
    """What a label job would ask and cost."""

    rows: int
    calls: int
    usd: float


def label_job_out(job: LabelJob) -> dict[str, Any]:
    """Return a label job as `LabelJobOut` shows it."""
    own = set(LabelJobOut.model_fields) - set(JobOut.model_fields) - {"teacher"}
    figures = {name: getattr(job, name) for name in own}
    return {**job_out(job), **figures, "teacher": job.teacher.name}


def teacher_out(teacher: Teacher) -> dict[str, Any]:
    """Return a teacher as `TeacherOut` shows it."""
    shown = {name: getattr(teacher, name) for name in TeacherOut.model_fields}
    return {**shown, "upstream": teacher.upstream.name}


@router.get("/teachers", response=list[TeacherOut])
def get_teachers(request: HttpRequest) -> list[dict[str, Any]]:
    """List the project's teachers."""
    return [teacher_out(teacher) for teacher in teachers_of(project_of(request))]


@router.post("/teachers", response=TeacherOut)
def post_teacher(request: HttpRequest, body: TeacherIn) -> dict[str, Any]:
    """Name a model of an upstream as a teacher."""
    project = project_of(request)
    fields = body.dict(exclude={"upstream"})
    upstream = upstream_in_project(project, body.upstream)
    return teacher_out(create_priced_teacher(project, upstream=upstream, **fields))


@router.post("/workloads/{workload}/label-jobs", response=LabelJobOut)
def post_label_job(request: HttpRequest, workload: str, body: LabelJobIn) -> dict[str, Any]:
    """Start a label job."""
    project = project_of(request)
    job = start_label_job(
        workload_in_project(project, workload),
        **{**body.dict(), "teacher": teacher_in_project(project, body.teacher)},
    )
    return label_job_out(job)


@router.post("/workloads/{workload}/label-jobs/estimate", response=EstimateOut)
def post_estimate(request: HttpRequest, workload: str, body: LabelJobIn) -> Any:
    """Say what a label job would cost, without starting it."""
    project = project_of(request)
    return estimate_label_job(
        workload_in_project(project, workload),
        teacher=teacher_in_project(project, body.teacher),
        **body.dict(include={"votes", "mode", "rationale", "few_shot", "applies"}),
    )


@router.get("/label-jobs/{job_id}", response=LabelJobOut)
def get_label_job(request: HttpRequest, job_id: int) -> dict[str, Any]:
    """Watch a label job."""
    return label_job_out(label_job_in_project(project_of(request), job_id))


@router.post("/label-jobs/{job_id}/cancel", response=LabelJobOut)
def cancel_label_job(request: HttpRequest, job_id: int) -> dict[str, Any]:
    """Stop a label job; what it has labelled stays."""
    job = label_job_in_project(project_of(request), job_id)
    stop_label_job(job)
    job.refresh_from_db()
    return label_job_out(job)


@router.post("/label-jobs/{job_id}/pause", response=LabelJobOut)
def post_pause(request: HttpRequest, job_id: int) -> dict[str, Any]:
    """Stop a label job until it is resumed; what is on its way is waited for."""
    job = label_job_in_project(project_of(request), job_id)
    pause_label_job(job)
    job.refresh_from_db()
    return label_job_out(job)


@router.post("/label-jobs/{job_id}/resume", response=LabelJobOut)
def post_resume(request: HttpRequest, job_id: int, body: ResumeIn) -> dict[str, Any]:
    """Let a paused label job go on, with more budget or in spite of its smoke run."""
    job = label_job_in_project(project_of(request), job_id)
    resume_label_job(job, **body.dict())
    job.refresh_from_db()
    return label_job_out(job)
