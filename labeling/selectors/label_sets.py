"""The label sets of a workload, side by side: who answered which rows, and where two differ.

A set has a key: `production`, `people`, `current`, `job-N` (a label job's) or `set-N` (a stored
one's). Its answers are an expression over examples, so that two sets are joined by the database.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import (
    Case,
    Count,
    F,
    FloatField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from factory.errors import InvalidInput, NotFound
from factory.intervals import Share, wilson
from factory.models import Example, Job, Project, Workload
from factory.models.example import Provenance
from labeling.agreement import kappa_of
from labeling.answers import comparable
from labeling.label_sets import Comparison, Group, compare, in_cell, is_same
from labeling.models import Application, AppliedChange, Label, LabelJob, LabelSet, SetAnswer
from labeling.selectors.label import HUMAN

PRODUCTION, PEOPLE, CURRENT = "production", "people", "current"
STORED = re.compile(r"(job|set)-([0-9]{1,9})")
USABLE = [Label.Status.ACCEPTED, Label.Status.UNSURE]
CHUNK = 2000
PAGE = 25
DRAWN = 5000  # rows that a list compares
NEWEST = 20  # label jobs, stored sets and acts that a page lists


@dataclass(frozen=True)
class SetInfo:
    """A set as pages name it. `may_train`: whether the terms of all who answered allow it."""

    key: str
    name: str
    kind: str
    rows: int
    may_train: bool = True
    job: Job | None = None


def label_sets_of(workload: Workload) -> list[SetInfo]:
    """Return a workload's sets: those that are always there first, then the newest others."""
    examples = usable(workload)
    counts = examples.annotate(produced_answer=answers_of(PRODUCTION)).aggregate(
        production=Count("id", filter=Q(produced_answer__isnull=False)),
        people=Count("id", filter=Q(provenance__in=HUMAN, target__isnull=False)),
        current=Count("id", filter=Q(target__isnull=False)),
    )
    return [
        SetInfo(PRODUCTION, "production", "what production answered", counts["production"]),
        SetInfo(PEOPLE, "people", "what people confirmed, corrected or gave", counts["people"]),
        SetInfo(CURRENT, "current targets", "what would be trained on", counts["current"]),
        *(_of_job(job) for job in _jobs(workload)[:NEWEST]),
        *(_of_stored(stored) for stored in workload.label_sets.order_by("-id")[:NEWEST]),
    ]


def set_of(workload: Workload, key: str) -> SetInfo:
    """Return one set by its key; `NotFound` where the workload has no such set."""
    for info in label_sets_of(workload):
        if info.key == key:
            return info
    if found := STORED.fullmatch(key):
        kind, number = found[1], int(found[2])
        if kind == "job" and (job := _jobs(workload).filter(pk=number).first()):
            return _of_job(job)
        if kind == "set" and (stored := workload.label_sets.filter(pk=number).first()):
            return _of_stored(stored)
    raise NotFound("There is no such label set, or it is not yours to see.")


def _jobs(workload: Workload) -> QuerySet[Any]:
    jobs = workload.label_jobs.filter(kind=LabelJob.Kind.LABEL).select_related("teacher")
    done = Count("labels", filter=Q(labels__status__in=USABLE))
    return jobs.annotate(answered=done).order_by("-id")


def _of_job(job: Any) -> SetInfo:
    name = f"{job.teacher.name}, job {job.pk}"
    may_train = job.teacher.may_train_on_outputs
    kind = f"{job.votes} vote{'' if job.votes == 1 else 's'} of {job.teacher.model}"
    return SetInfo(f"job-{job.pk}", name, kind, job.answered, may_train, job)


def _of_stored(stored: LabelSet) -> SetInfo:
    kind = str(LabelSet.Source(stored.source).label)
    return SetInfo(f"set-{stored.pk}", stored.name, kind, stored.rows, stored.may_train, stored)


# --- answers by key -------------------------------------------------------------------------------
def usable(workload: Workload) -> QuerySet[Example]:
    """Return the examples that sets are compared over: all that are not discarded."""
    return workload.examples.exclude(status=Example.Status.DISCARDED)


def answers_of(key: str) -> Any:
    """Return a set's answer as an expression over examples, NULL where it has none."""
    if key == PRODUCTION:
        # Rows from before production's answer was kept apart have it as their target, if at all.
        recorded = Case(When(provenance=Provenance.TEACHER, then=F("target")), default=None)
        return Coalesce(F("produced"), recorded, output_field=TextField())
    if key == PEOPLE:
        return Case(When(provenance__in=HUMAN, then=F("target")), output_field=TextField())
    if key == CURRENT:
        return F("target")
    return Subquery(_stored_answers(key).values("output")[:1], output_field=TextField())


def confidences_of(key: str) -> Any:
    """Return how sure a set is of its answer, NULL where it does not say."""
    if key in {PRODUCTION, PEOPLE, CURRENT}:
        return Value(None, output_field=FloatField())
    return Subquery(_stored_answers(key).values("confidence")[:1], output_field=FloatField())


def _stored_answers(key: str) -> QuerySet[Any]:
    found = STORED.fullmatch(key)
    if found is None:
        raise InvalidInput(f"{key!r} is no label set's key")
    if found[1] == "job":
        labels = Label.objects.filter(job=int(found[2]), status__in=USABLE)
        return labels.filter(example=OuterRef("pk"))
    return SetAnswer.objects.filter(label_set=int(found[2]), example=OuterRef("pk"))


def both_answered(workload: Workload, first: str, second: str) -> QuerySet[Any]:
    """Return the examples that two sets answer, each with `first` and `second`."""
    asked = usable(workload).annotate(first=answers_of(first), second=answers_of(second))
    return asked.filter(first__isnull=False, second__isnull=False)


# --- comparing ------------------------------------------------------------------------------------
def compare_sets(workload: Workload, first: str, second: str, field: str = "") -> Comparison:
    """Compare two sets: equal pairs are counted by the database, and come in one by one."""
    return compare(_groups(workload, first, second), workload.output_schema, field)


def _groups(workload: Workload, first: str, second: str) -> Iterator[Group]:
    pairs = both_answered(workload, first, second).order_by().values_list("first", "second")
    yield from pairs.annotate(n=Count("id")).iterator(CHUNK)


@dataclass(frozen=True)
class Agreement:
    """How far two sets agree; kappa is for labels only."""

    agreement: Share
    kappa: float | None


@dataclass(frozen=True)
class ComparedRow:
    """A row with the answers of two sets."""

    example: Example
    first: str
    second: str
    agrees: bool


@dataclass(frozen=True)
class ComparedRows:
    """A page of rows; `after` asks for the next, None where there is none."""

    rows: list[ComparedRow]
    after: str | None


def compared_rows(
    workload: Workload,
    first: str,
    second: str,
    *,
    cell: tuple[str, str] | None = None,
    field: str = "",
    at: str = "",
) -> ComparedRows:
    """Return rows of two sets, those of a cell or all, the disagreements first.

    `at` is what the page before gave as `after`.
    """
    schema = workload.output_schema
    part, _, last = (at or "0:0").partition(":")
    if part not in {"0", "1"} or not (last.isascii() and last.isdecimal()):
        raise InvalidInput("the place in the list cannot be read", param="at")
    found: list[ComparedRow] = []
    for agrees in [False, True][int(part) :]:
        start = int(last) if agrees == bool(int(part)) else 0
        for row in _rows_from(workload, first, second, start, agrees=agrees):
            if cell is None or in_cell(row.first, row.second, cell, schema, field):
                if len(found) == PAGE:
                    shown = found[-1]
                    return ComparedRows(found, f"{int(shown.agrees)}:{shown.example.pk}")
                found.append(row)
    return ComparedRows(found, None)


def _rows_from(
    workload: Workload, first: str, second: str, after: int, *, agrees: bool
) -> Iterator[ComparedRow]:
    rows = both_answered(workload, first, second).filter(pk__gt=after).order_by("pk")
    if not agrees:
        rows = rows.exclude(first=F("second"))
    # The workload is loaded too: rows of its own manager would be asked for it one by one.
    rows = rows.only("workload", "messages", "provenance", "status", "split", "target")
    for example in rows.iterator(CHUNK):
        if is_same(example.first, example.second, workload.output_schema) == agrees:
            yield ComparedRow(example, example.first, example.second, agrees)


def agreement_with(workload: Workload, key: str, other: str) -> Agreement | None:
    """Return how far a set agrees with another, None where they share no row.

    Of many rows it is that of some, drawn by their digests: a list has no time for more.
    """
    drawn = both_answered(workload, key, other).order_by("digest")[:DRAWN]
    counts: Counter[tuple[str, str]] = Counter()
    schema = workload.output_schema
    for first, second in drawn.values_list("first", "second"):
        counts[comparable(first, schema), comparable(second, schema)] += 1
    if not counts:
        return None
    same = sum(n for (first, second), n in counts.items() if first == second)
    return Agreement(wilson(same, counts.total()), kappa_of(counts) if workload.labels else None)


# --- acts -----------------------------------------------------------------------------------------
def applications_of(workload: Workload) -> list[Application]:
    """Return the newest acts that made a set's answers targets, or took that back."""
    acts = workload.applications.select_related("undone_by", "undoes", "created_by")
    return list(acts.order_by("-id")[:NEWEST])


def application_of(workload: Workload, act: int) -> Application:
    """Return one act."""
    found = workload.applications.select_related("undone_by", "undoes").filter(pk=act).first()
    if found is None:
        raise NotFound("There is no such act, or it is not yours to see.")
    return found


def application_in_project(project: Project, act: int) -> Application:
    """Return one act of any of a project's workloads."""
    found = Application.objects.filter(pk=act, workload__project=project)
    one = found.select_related("workload", "undone_by", "undoes").first()
    if one is None:
        raise NotFound("There is no such act, or it is not yours to see.")
    return one


def set_in_project(project: Project, number: int) -> LabelSet:
    """Return a stored set of any of a project's workloads."""
    found = LabelSet.objects.filter(pk=number, workload__project=project).first()
    if found is None:
        raise NotFound("There is no such label set, or it is not yours to see.")
    return found


def standing_change_of(example: Example) -> AppliedChange | None:
    """Return the last act that changed an example's target and was not undone."""
    changes = AppliedChange.objects.filter(example=example, application__undone_by=None)
    changes = changes.filter(application__undoes=None, after=example.target or "")
    return changes.select_related("application").order_by("-id").first()


def undone_by(act: Application) -> Application | None:
    """Return the act that undoes an act, None where there is none."""
    return Application.objects.filter(undoes=act).first()
