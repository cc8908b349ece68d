"""The JSON API of augmentation."""

from decimal import Decimal
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from factory.api.base import JobOut, job_out, project_of
from factory.selectors import workload_in_project
from labeling.models import LabelJob
from labeling.selectors.augment import (
    augment_summary,
    augmentation_in_project,
    drafts_of,
)
from labeling.selectors.label import teacher_in_project
from labeling.services import augment as services
from labeling.services.label import cancel_label_job, pause_label_job, resume_label_job

router = Router(tags=["augment"])


class AugmentationIn(Schema):
    """How many drafts each method makes, who makes them, and what that may cost at most.

    Methods: paraphrase, rare_label, counterfactual, hard_negative, gap. `gaps` is the key of the
    label set whose wrong answers on held-out rows the method `gap` starts from.
    """

    teacher: str
    wanted: dict[str, int]
    per_seed: int = Field(services.PER_SEED, ge=1, le=services.MOST_AT_ONCE)
    votes: int = Field(1, ge=1, le=25)
    most_share: float = Field(services.SYNTHETIC_SHARE, gt=0, le=0.9)
    gaps: str = ""
    budget_usd: Decimal = Field(ge=0, le=1_000_000)


class AugmentationOut(JobOut):
    """An augmentation; `methods` are the drafts by method and fate."""

    wanted: dict[str, int]
    most_kept: int
    methods: dict[str, dict[str, int]]
    spent_usd: float
    budget_usd: float
    is_withdrawn: bool


class AugmentEstimateOut(Schema):
    """What an augmentation would ask and cost, and how many rows it could keep."""

    seeds: int
    drafts: int
    calls: int
    usd: float
    kept_at_most: int


class DraftOut(Schema):
    """One draft: kept as an example, or why not."""

    id: int
    method: str
    parent: int
    text: str
    expected: str
    answered: str
    status: str
    why: str
    example: int | None


class AugmentResumeIn(Schema):
    """What a paused augmentation goes on with."""

    budget_usd: Decimal | None = Field(None, ge=0, le=1_000_000)
    nevertheless: bool = False


@router.post("/workloads/{workload}/augmentations", response=AugmentationOut)
def post_augmentation(request: HttpRequest, workload: str, body: AugmentationIn) -> dict[str, Any]:
    """Start an augmentation."""
    project = project_of(request)
    options = {**body.dict(), "teacher": teacher_in_project(project, body.teacher)}
    found = workload_in_project(project, workload)
    return _out(services.start_augmentation(found, **options))


@router.post("/workloads/{workload}/augmentations/estimate", response=AugmentEstimateOut)
def post_augment_estimate(request: HttpRequest, workload: str, body: AugmentationIn) -> Any:
    """Say what an augmentation would cost, without starting it."""
    project = project_of(request)
    return services.estimate_augmentation(
        workload_in_project(project, workload),
        teacher=teacher_in_project(project, body.teacher),
        **body.dict(include={"wanted", "per_seed", "votes", "most_share"}),
    )


@router.get("/augmentations/{job}", response=AugmentationOut)
def get_augmentation(request: HttpRequest, job: int) -> dict[str, Any]:
    """Watch an augmentation."""
    return _out(augmentation_in_project(project_of(request), job))


@router.get("/augmentations/{job}/drafts", response=list[DraftOut])
def get_drafts(request: HttpRequest, job: int, status: str = "", method: str = "") -> Any:
    """List an augmentation's newest drafts."""
    found = augmentation_in_project(project_of(request), job)
    return [
        {
            "method": draft.seed.method,
            "parent": draft.seed.parent_id,
            "expected": draft.seed.expected,
            "example": draft.example_id,
            **{name: getattr(draft, name) for name in ("id", "text", "answered", "status", "why")},
        }
        for draft in drafts_of(found, status=status, method=method)
    ]


@router.post("/augmentations/{job}/cancel", response=AugmentationOut)
def post_augment_cancel(request: HttpRequest, job: int) -> dict[str, Any]:
    """Stop an augmentation; what it brought stays."""
    found = augmentation_in_project(project_of(request), job)
    cancel_label_job(found)
    return _again(found)


@router.post("/augmentations/{job}/pause", response=AugmentationOut)
def post_augment_pause(request: HttpRequest, job: int) -> dict[str, Any]:
    """Stop an augmentation until it is resumed."""
    found = augmentation_in_project(project_of(request), job)
    pause_label_job(found)
    return _again(found)


@router.post("/augmentations/{job}/resume", response=AugmentationOut)
def post_augment_resume(request: HttpRequest, job: int, body: AugmentResumeIn) -> dict[str, Any]:
    """Let a paused augmentation go on."""
    found = augmentation_in_project(project_of(request), job)
    resume_label_job(found, **body.dict())
    return _again(found)


@router.post("/augmentations/{job}/withdraw", response=AugmentationOut)
def post_withdraw(request: HttpRequest, job: int) -> dict[str, Any]:
    """Discard what an augmentation brought, but what people answered."""
    found = augmentation_in_project(project_of(request), job)
    services.withdraw(found)
    return _again(found)


@router.post("/augmentations/{job}/bring-back", response=AugmentationOut)
def post_bring_back(request: HttpRequest, job: int) -> dict[str, Any]:
    """Take a withdrawal back."""
    found = augmentation_in_project(project_of(request), job)
    services.bring_back(found)
    return _again(found)


def _again(job: LabelJob) -> dict[str, Any]:
    return _out(augmentation_in_project(job.workload.project, job.pk))


def _out(job: LabelJob) -> dict[str, Any]:
    summary = augment_summary(job)
    return {
        **job_out(job),
        "wanted": job.augmentation.wanted,
        "most_kept": job.augmentation.most_kept,
        "methods": {one.method: one.counts for one in summary.methods},
        "spent_usd": job.spent_usd,
        "budget_usd": job.budget_usd,
        "is_withdrawn": job.augmentation.is_withdrawn,
    }
