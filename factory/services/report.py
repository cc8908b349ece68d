"""Suitability reports: a job measures, and what follows from its facts is reckoned when asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from heapq import nlargest
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.db.models import F, Max, Min, QuerySet, Sum, Window
from django.db.models.functions import RowNumber
from pydantic import TypeAdapter, ValidationError

from factory.discovery.discover import Kind, infer_kind, instruction_of
from factory.errors import InvalidInput
from factory.messages import first_choice, object_of
from factory.models import (
    CallGroup,
    CallTally,
    CapturedCall,
    Project,
    ReportAssumptions,
    SuitabilityReport,
    Workload,
)
from factory.prices import PriceBook
from factory.selectors import proposals
from factory.services import jobs
from factory.services.capture import project_prices
from factory.suitability.assumptions import assumed, checked_assumptions
from factory.suitability.measures import profile_of
from factory.suitability.report import Facts, Report, report_of
from factory.suitability.sampled import ERROR, Sampled
from factory.suitability.traffic import WINDOW_DAYS, Count, Traffic, traffic_of

Subject = CallGroup | Workload
Key = tuple[int | None, int | None]  # of a group or of a workload

SAMPLE = 2000  # of the newest calls; what is older says less about what comes
KIND_SAMPLE = 500
KEPT_REPORTS = 10  # of each prompt and workload
RANKED = 50  # prompts on the page of opportunities
STORED = TypeAdapter(Facts)


@dataclass(frozen=True)
class Opportunity:
    """A prompt or a workload in the ranking, with its newest report where there is one."""

    subject: Subject
    name: str
    calls: int
    job: SuitabilityReport | None
    report: Report | None

    @property
    def is_workload(self) -> bool:
        """Whether it is confirmed already."""
        return isinstance(self.subject, Workload)


# --- measuring ------------------------------------------------------------------------------------
@transaction.atomic
def start_report(subject: Subject, user: User | AnonymousUser | None = None) -> SuitabilityReport:
    """Enqueue a measurement; one that is under way already serves as well."""
    Project.objects.select_for_update(no_key=True).get(pk=subject.project_id)
    alive = [SuitabilityReport.Status.QUEUED, SuitabilityReport.Status.RUNNING]
    waiting = reports_on(subject).filter(status__in=alive).first()
    if waiting is not None:
        return waiting
    owner = {"workload": subject} if isinstance(subject, Workload) else {"group": subject}
    person = user if isinstance(user, User) else None
    return jobs.enqueue(
        SuitabilityReport(project_id=subject.project_id, created_by=person, **owner)
    )


def report_work(job: SuitabilityReport) -> None:
    """Measure the newest calls of the job's subject."""
    subject = job.workload or job.group
    assert subject is not None  # a constraint says so
    with jobs.kept(job):
        facts = facts_of(subject)
    with jobs.fenced(job):
        jobs.succeed(job, facts=STORED.dump_python(facts, mode="json"))


def facts_of(subject: Subject) -> Facts:
    """Measure and count; `InvalidInput` where there is no answered call."""
    groups = groups_of(subject)
    calls = sample_of(groups)
    if not any(call.status_code < ERROR for call in calls):
        raise InvalidInput("there is no answered call to measure yet")
    traffic = counted_traffic(subject.project, groups, calls[-1])
    profile = profile_of([as_sampled(call) for call in calls], kind_of(subject, calls))
    newest = calls[-1]
    names, day = (newest.response_model, newest.request_model), newest.created_at.date()
    book = project_prices(subject.project)
    price = book.price(names, newest.provider, day, round(profile.inputs.tokens_p50))
    asked = next(filter(None, names), "")
    return Facts(
        profile=profile,
        traffic=traffic,
        calls=sum(group.call_count for group in groups),
        model=traffic.models[0].model if traffic.models else asked,
        price=price,
        smaller=book.smaller(asked, newest.provider, day),
    )


def groups_of(subject: Subject) -> list[CallGroup]:
    """Return the prompts that a report looks at."""
    return [subject] if isinstance(subject, CallGroup) else list(subject.call_groups.all())


def sample_of(groups: Sequence[CallGroup]) -> list[CapturedCall]:
    """Return the newest calls of some groups, the oldest first: each group takes an index scan."""
    newest: list[UUID] = []
    for group in groups:
        ids = group.calls.order_by("-id").values_list("pk", flat=True)[:SAMPLE]
        newest = nlargest(SAMPLE, [*newest, *ids])
    calls = CapturedCall.objects.filter(pk__in=newest).order_by("id")
    return list(calls.select_related("payload"))


def kind_of(subject: Subject, calls: Sequence[CapturedCall]) -> Kind:
    """Return what the answers are: as the workload says, else as they look."""
    if isinstance(subject, Workload):
        return Kind(subject.kind, subject.output_schema, subject.metric)
    answered = [call for call in calls if call.status_code < ERROR][-KIND_SAMPLE:]
    first = answered[0]
    outputs = (call.output for call in answered)
    return infer_kind(outputs, instruction_of(first.messages), first.fixed_params)


def as_sampled(call: CapturedCall) -> Sampled:
    """Return a call as the measures read it."""
    response = call.response or {}
    message = first_choice(response).get("message")
    details = object_of(object_of(response.get("usage")).get("completion_tokens_details"))
    hidden = details.get("reasoning_tokens")
    return Sampled(
        template=call.group_id or 0,
        messages=call.messages,
        params=call.fixed_params,
        output=call.output,
        digest=call.digest,
        status_code=call.status_code,
        finish_reason=call.finish_reason,
        is_partial=call.is_partial,
        has_called_tools=bool(object_of(message).get("tool_calls")),
        prompt_tokens=call.prompt_tokens,
        completion_tokens=call.completion_tokens,
        reasoning_tokens=hidden if isinstance(hidden, int) else 0,
        latency_ms=call.latency_ms,
        redactions=call.redactions,
    )


def prune_reports() -> int:
    """Delete all but the newest reports of each prompt and workload; return how many went.

    The newest that was finished stays: it is what the pages show.
    """
    newest = Window(RowNumber(), partition_by=["workload", "group"], order_by=[F("id").desc()])
    finished = SuitabilityReport.objects.filter(status=SuitabilityReport.Status.SUCCEEDED)
    shown = finished.order_by("workload", "group", "-id").distinct("workload", "group")
    ranked = SuitabilityReport.objects.annotate(age=newest).values("id", "age")
    old = [row["id"] for row in ranked.filter(age__gt=KEPT_REPORTS)]
    gone, _ = (
        SuitabilityReport.objects.filter(pk__in=old).exclude(pk__in=shown.values("pk")).delete()
    )
    return gone


# --- counting -------------------------------------------------------------------------------------
def counted_traffic(project: Project, groups: Sequence[CallGroup], newest: CapturedCall) -> Traffic:
    """Sum up the tallies of the last weeks that had calls."""
    tallies = CallTally.objects.filter(group__in=groups, is_error=False)
    last = tallies.aggregate(day=Max("day"))["day"] or newest.created_at.date()
    rows = (
        tallies.filter(day__gte=last - timedelta(days=WINDOW_DAYS + 1))
        .values("day", "model")
        .annotate(
            sum_calls=Sum("calls"),
            sum_priced=Sum("priced_calls"),
            sum_prompt=Sum("prompt_tokens"),
            sum_completion=Sum("completion_tokens"),
            sum_usd=Sum("cost_usd"),
        )
    )
    book = project_prices(project)
    counts = [_priced(row, book, newest) for row in rows]
    seen = CallGroup.objects.filter(pk__in=[group.pk for group in groups]).aggregate(
        first=Min("first_seen"), last=Max("last_seen")
    )
    return traffic_of(counts, seen["first"], seen["last"])


def _priced(row: Mapping[str, Any], book: PriceBook, newest: CapturedCall) -> Count:
    """Return a tally; one counted before its price was known is priced by its tokens."""
    count = Count(
        day=row["day"],
        model=row["model"],
        calls=row["sum_calls"],
        priced_calls=row["sum_priced"],
        prompt_tokens=row["sum_prompt"],
        completion_tokens=row["sum_completion"],
        usd=float(row["sum_usd"]),
    )
    if count.priced_calls or not count.prompt_tokens:
        return count
    is_newest = newest.request_model == count.model
    names = (newest.response_model, count.model) if is_newest else (count.model,)
    price = book.price(names, newest.provider, count.day)
    if price is None:
        return count
    usd = price.cost(count.prompt_tokens, count.completion_tokens)
    return Count(**{**count.__dict__, "priced_calls": count.calls, "usd": float(usd)})


# --- reading --------------------------------------------------------------------------------------
def reports_on(subject: Subject) -> QuerySet[SuitabilityReport]:
    """Return a subject's reports, the newest first."""
    return subject.suitability_reports.order_by("-id")


def newest_report(subject: Subject) -> SuitabilityReport | None:
    """Return a subject's newest report, whatever became of it."""
    return reports_on(subject).first()


def measured_report(subject: Subject) -> SuitabilityReport | None:
    """Return the newest report that was finished."""
    return reports_on(subject).filter(status=SuitabilityReport.Status.SUCCEEDED).first()


def judged(row: SuitabilityReport | None, values: dict[str, float]) -> Report | None:
    """Return what a measurement comes to; None where there is none that this version can read."""
    if row is None or not row.facts or row.finished_at is None:
        return None
    try:
        facts = STORED.validate_python(row.facts)
    except ValidationError:
        return None
    return report_of(facts, values, row.finished_at.date())


def assumed_in(project: Project) -> dict[str, float]:
    """Return the numbers that a project's reports take for granted."""
    own = ReportAssumptions.objects.filter(project=project).first()
    changed = own.changed if own else {}
    return assumed(changed, student_usd_per_hour=settings.STUDENT_USD_PER_HOUR)


def change_assumptions(project: Project, given: dict[str, float]) -> None:
    """Keep the numbers that differ from what they are by themselves; all reports follow."""
    usual = assumed({}, student_usd_per_hour=settings.STUDENT_USD_PER_HOUR)
    changed = {k: v for k, v in checked_assumptions(given).items() if v != usual[k]}
    ReportAssumptions.objects.update_or_create(project=project, defaults={"changed": changed})


def opportunities(project: Project) -> list[Opportunity]:
    """Rank a project's workloads and proposed prompts, the best first, the unmeasured last."""
    workloads = project.workloads.prefetch_related("call_groups")[:RANKED]
    subjects: list[Subject] = [*workloads, *proposals(project)[:RANKED]]
    every = SuitabilityReport.objects.filter(project=project)
    newest = _last_by_subject(every)
    measured = _last_by_subject(every.filter(status=SuitabilityReport.Status.SUCCEEDED))
    values = assumed_in(project)
    found = [
        Opportunity(
            subject=subject,
            name=_name(subject),
            calls=sum(group.call_count for group in groups_of(subject)),
            job=newest.get(_key(subject)),
            report=judged(measured.get(_key(subject)), values),
        )
        for subject in subjects
    ]
    return sorted(found, key=_place)


def _last_by_subject(rows: QuerySet[SuitabilityReport]) -> dict[Key, SuitabilityReport]:
    last = rows.order_by("group", "workload", "-id").distinct("group", "workload")
    return {(row.group_id, row.workload_id): row for row in last}


def _key(subject: Subject) -> Key:
    is_workload = isinstance(subject, Workload)
    return (None, subject.pk) if is_workload else (subject.pk, None)


def _name(subject: Subject) -> str:
    if isinstance(subject, Workload):
        return subject.slug
    if not subject.skeleton.get("parent"):
        return "Calls that share no prompt"
    return str(subject.skeleton["text"])


def _place(found: Opportunity) -> tuple[tuple[int, float, int], int]:
    unmeasured = (3, 0.0, 0)
    return found.report.rank if found.report else unmeasured, -found.calls
