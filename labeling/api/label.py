"""The JSON API of labelling."""

from decimal import Decimal
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from factory.api.base import JobOut, job_out, project_of
from factory.selectors import workload_in_project
from factory.services import jobs
from labeling.models import LabelJob
from labeling.selectors.label import label_job_in_project, teacher_in_project
from labeling.services.label import estimate_label_job, start_label_job

router = Router(tags=["label"])


class LabelJobIn(Schema):
    """Which teacher labels, how often it is asked, and what that may cost at most."""

    teacher: str
    votes: int = Field(3, ge=1, le=25)
    budget_usd: Decimal = Field(gt=0, le=1_000_000)


class LabelJobOut(JobOut):
    """A label job."""

    teacher: str
    votes: int
    budget_usd: float
    spent_usd: float


class EstimateOut(Schema):
    """What a label job would ask and cost."""

    rows: int
    calls: int
    usd: float


def label_job_out(job: LabelJob) -> dict[str, Any]:
    """Return a label job as `LabelJobOut` shows it."""
    figures = {name: getattr(job, name) for name in ("votes", "budget_usd", "spent_usd")}
    return {**job_out(job), **figures, "teacher": job.teacher.name}


@router.post("/workloads/{workload}/label-jobs", response=LabelJobOut)
def post_label_job(request: HttpRequest, workload: str, body: LabelJobIn) -> dict[str, Any]:
    """Start a label job."""
    project = project_of(request)
    job = start_label_job(
        workload_in_project(project, workload),
        teacher=teacher_in_project(project, body.teacher),
        votes=body.votes,
        budget_usd=body.budget_usd,
    )
    return label_job_out(job)


@router.post("/workloads/{workload}/label-jobs/estimate", response=EstimateOut)
def post_estimate(request: HttpRequest, workload: str, body: LabelJobIn) -> Any:
    """Say what a label job would cost, without starting it."""
    project = project_of(request)
    return estimate_label_job(
        workload_in_project(project, workload),
        teacher=teacher_in_project(project, body.teacher),
        votes=body.votes,
    )


@router.get("/label-jobs/{job_id}", response=LabelJobOut)
def get_label_job(request: HttpRequest, job_id: int) -> dict[str, Any]:
    """Watch a label job."""
    return label_job_out(label_job_in_project(project_of(request), job_id))


@router.post("/label-jobs/{job_id}/cancel", response=LabelJobOut)
def cancel_label_job(request: HttpRequest, job_id: int) -> dict[str, Any]:
    """Stop a label job; what it has labelled stays."""
    job = label_job_in_project(project_of(request), job_id)
    jobs.cancel(job)
    job.refresh_from_db()
    return label_job_out(job)
