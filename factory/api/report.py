"""The JSON API of suitability reports."""

from datetime import date, datetime
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema

from factory.api.base import JobOut, job_out, project_of
from factory.errors import NotFound
from factory.selectors import group_of_project, workload_in_project
from factory.services import report as reports
from factory.services.report import Subject

router = Router(tags=["capture and curate"])


class RangeOut(Schema):
    """The 5th, 50th and 95th percentile; null for what does not happen in three years."""

    low: float | None
    middle: float | None
    high: float | None


class BreakEvenOut(Schema):
    """The day on which a student has paid for itself: early, likely, late."""

    early: date | None
    likely: date | None
    late: date | None


class ReportOut(Schema):
    """Whether a prompt or a workload is worth a student, and why."""

    measured_at: datetime
    decision: str
    headline: str
    pros: list[str]
    cons: list[str]
    changes: list[str]
    tier: int
    tier_name: str
    tier_reasons: list[str]
    monthly_usd: float | None
    priced_share: float
    priced_token_share: float
    first_year_usd: RangeOut | None
    break_even: BreakEvenOut
    alternatives: list[dict[str, Any]]
    facts: dict[str, Any]
    assumed: dict[str, float]


class OpportunityOut(Schema):
    """A prompt (by `prompt`) or a workload (by `workload`) in the ranking, the best first."""

    prompt: int | None
    workload: str | None
    calls: int
    decision: str | None
    tier: int | None
    monthly_usd: float | None
    first_year_usd: float | None


@router.post("/workloads/{workload}/report", response=JobOut)
def post_workload_report(request: HttpRequest, workload: str) -> dict[str, Any]:
    """Measure a workload's newest calls; a measurement under way serves as well."""
    return job_out(reports.start_report(workload_in_project(project_of(request), workload)))


@router.get("/workloads/{workload}/report", response=ReportOut)
def get_workload_report(request: HttpRequest, workload: str) -> dict[str, Any]:
    """Get a workload's newest report."""
    return report_out(workload_in_project(project_of(request), workload))


@router.post("/prompts/{group}/report", response=JobOut)
def post_prompt_report(request: HttpRequest, group: int) -> dict[str, Any]:
    """Measure a prompt's newest calls; a measurement under way serves as well."""
    return job_out(reports.start_report(group_of_project(project_of(request), group)))


@router.get("/prompts/{group}/report", response=ReportOut)
def get_prompt_report(request: HttpRequest, group: int) -> dict[str, Any]:
    """Get a prompt's newest report."""
    return report_out(group_of_project(project_of(request), group))


@router.get("/opportunities", response=list[OpportunityOut])
def list_opportunities(request: HttpRequest) -> list[dict[str, Any]]:
    """Rank the project's workloads and proposed prompts."""
    return [opportunity_out(found) for found in reports.opportunities(project_of(request))]


def report_out(subject: Subject) -> dict[str, Any]:
    """Return a report as `ReportOut` shows it; `NotFound` before the first one is finished."""
    row = reports.measured_report(subject)
    report = reports.judged(row, reports.assumed_in(subject.project))
    if row is None or report is None:
        raise NotFound("There is no finished report. Ask for one by POST, and wait for its job.")
    case, traffic = report.case, report.case.traffic
    early, likely, late = report.break_even
    return {
        "measured_at": row.finished_at,
        **report.verdict.__dict__,
        "tier": case.tier.number,
        "tier_name": case.tier.name,
        "tier_reasons": case.tier.reasons,
        "monthly_usd": traffic.monthly_usd,
        "priced_share": traffic.priced_share,
        "priced_token_share": traffic.priced_token_share,
        "first_year_usd": case.forecast and case.forecast.first_year_usd.__dict__,
        "break_even": {"early": early, "likely": likely, "late": late},
        "alternatives": [alternative.__dict__ for alternative in case.alternatives],
        "facts": row.facts,
        "assumed": dict(case.assumed),
    }


def opportunity_out(found: reports.Opportunity) -> dict[str, Any]:
    """Return a place in the ranking as `OpportunityOut` shows it."""
    report = found.report
    forecast = report.case.forecast if report else None
    return {
        "prompt": None if found.is_workload else found.subject.pk,
        "workload": found.name if found.is_workload else None,
        "calls": found.calls,
        "decision": report and report.verdict.decision,
        "tier": report and report.case.tier.number,
        "monthly_usd": report and report.case.traffic.monthly_usd,
        "first_year_usd": forecast and forecast.first_year_usd.middle,
    }
