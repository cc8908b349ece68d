"""The JSON API of insight and of judges."""

from decimal import Decimal
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from factory.api.base import JobOut, job_out, project_of
from factory.selectors import workload_in_project
from labeling.api.label_sets import ShareOut, share_out
from labeling.models import AUDIT_SHARE, InsightRun, LabelJob
from labeling.selectors.insight import insight_of, insight_run_in_project, suspicious_rows
from labeling.selectors.judge import judge_summary, judging_in_project
from labeling.selectors.label import teacher_in_project
from labeling.services.insight import start_insight
from labeling.services.judge import ROWS, start_judging

router = Router(tags=["insight"])


class InsightIn(Schema):
    """How many suspicious rows to queue for review, if any, and which share to draw besides."""

    to_review: int | None = Field(None, ge=0, le=1_000_000)
    audit_share: float = Field(AUDIT_SHARE, ge=0.0, le=0.5)


class InsightRunOut(JobOut):
    """A judgement of all labels; `facts` hold the learning curve and what was queued."""

    facts: dict[str, Any]


class RateOut(Schema):
    """How often whose answers are wrong."""

    whose: str
    wrong: ShareOut


class InsightOut(Schema):
    """What is known of a workload's labels up to this moment."""

    facts: dict[str, Any]
    error_rates: list[RateOut]
    yields: list[float]
    is_exhausted: bool


class SuspicionOut(Schema):
    """A doubtful label: `probability` by a model that has not seen it, null for JSON and text."""

    example: int
    rank: int
    score: float
    probability: float | None
    target: str | None
    likelier: str
    hint: str


class JudgeIn(Schema):
    """Who judges whose answers, and what that may cost at most."""

    teacher: str
    first: str
    second: str = ""
    most: int = Field(ROWS, ge=1, le=10_000)
    budget_usd: Decimal = Field(ge=0, le=1_000_000)
    force: bool = False


class JudgeOut(JobOut):
    """A judge; `score` is the share for the first set, or that passed, of what is conclusive."""

    counts: dict[str, int]
    score: ShareOut
    inconclusive: ShareOut
    agreement_with_people: ShareOut
    judges_its_own: bool


@router.post("/workloads/{workload}/insight", response=InsightRunOut)
def post_insight(request: HttpRequest, workload: str, body: InsightIn) -> dict[str, Any]:
    """Judge a workload's labels; with `to_review`, fill the review queue by what is found."""
    found = workload_in_project(project_of(request), workload)
    return _run_out(start_insight(found, **body.dict()))


@router.get("/insight/{run}", response=InsightRunOut)
def get_insight_run(request: HttpRequest, run: int) -> dict[str, Any]:
    """Watch a judgement of labels."""
    return _run_out(insight_run_in_project(project_of(request), run))


@router.get("/workloads/{workload}/insight", response=InsightOut)
def get_insight(request: HttpRequest, workload: str) -> dict[str, Any]:
    """Get error rates, review yields, and the newest judgement's figures."""
    insight = insight_of(workload_in_project(project_of(request), workload))
    return {
        "facts": insight.measured.facts if insight.measured else {},
        "error_rates": [{"whose": r.name, "wrong": share_out(r.share)} for r in insight.rates],
        "yields": [batch.share for batch in insight.batches],
        "is_exhausted": insight.is_exhausted,
    }


@router.get("/workloads/{workload}/suspicious", response=list[SuspicionOut])
def get_suspicious(request: HttpRequest, workload: str, after: int = 0) -> list[dict[str, Any]]:
    """List the most suspicious answers of machines, below a rank."""
    names = ("rank", "score", "probability", "likelier", "hint")
    return [
        {
            **{name: getattr(row, name) for name in names},
            "example": row.example_id,
            "target": row.example.target,
        }
        for row in suspicious_rows(workload_in_project(project_of(request), workload), after)
    ]


@router.post("/workloads/{workload}/judges", response=JudgeOut)
def post_judge(request: HttpRequest, workload: str, body: JudgeIn) -> dict[str, Any]:
    """Let a model check one set's answers, or choose between two sets'."""
    project = project_of(request)
    options = {**body.dict(), "teacher": teacher_in_project(project, body.teacher)}
    return _judge_out(start_judging(workload_in_project(project, workload), **options))


@router.get("/judges/{job}", response=JudgeOut)
def get_judge(request: HttpRequest, job: int) -> dict[str, Any]:
    """Watch a judge."""
    return _judge_out(judging_in_project(project_of(request), job))


def _run_out(run: InsightRun) -> dict[str, Any]:
    return {**job_out(run), "facts": run.facts}


def _judge_out(job: LabelJob) -> dict[str, Any]:
    summary = judge_summary(job)
    return {
        **job_out(job),
        "counts": summary.counts,
        "score": share_out(summary.score),
        "inconclusive": share_out(summary.inconclusive),
        "agreement_with_people": share_out(summary.agreement),
        "judges_its_own": job.judging.forced,
    }
