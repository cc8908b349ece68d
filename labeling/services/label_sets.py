"""Label sets: made of several others, written by a student, and made the targets of rows."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from more_itertools import chunked

from factory.errors import Conflict, InvalidInput
from factory.models import Example, Job, Workload
from factory.models.example import Provenance
from factory.services import jobs
from labeling.answers import BrokenAnswer, check_output, comparable
from labeling.committee import METHODS, Votes, combine
from labeling.label_sets import in_cell, is_same
from labeling.models import Application, AppliedChange, LabelSet, SetAnswer
from labeling.selectors.label import HUMAN
from labeling.selectors.label_sets import (
    PRODUCTION,
    SetInfo,
    answers_of,
    confidences_of,
    set_of,
    usable,
)

BATCH = 1000
MOST_MEMBERS = 9
Scope = Application.Scope


# --- making ---------------------------------------------------------------------------------------
@transaction.atomic
def start_committee(
    workload: Workload,
    *,
    name: str,
    members: list[str],
    method: str = "dawid_skene",
    user: Any = None,
) -> LabelSet:
    """Enqueue the combination of two or more sets, by their keys.

    Of equal votes the earlier member's answer is taken, so the order says who is trusted more.
    """
    if not 2 <= len(set(members)) == len(members) <= MOST_MEMBERS:
        raise InvalidInput(f"a committee has 2 to {MOST_MEMBERS} different sets", param="members")
    if method not in METHODS:
        raise InvalidInput(f"method is one of {', '.join(METHODS)}", param="method")
    sets = [set_of(workload, key) for key in members]
    _refuse_taken(workload, name)
    return jobs.enqueue(
        LabelSet(
            workload=workload,
            name=name,
            source=LabelSet.Source.COMMITTEE,
            recipe={"members": members, "names": [one.name for one in sets], "method": method},
            may_train=all(one.may_train for one in sets),
            created_by=user,
        )
    )


def _refuse_taken(workload: Workload, name: str) -> None:
    if workload.label_sets.filter(name=name).exists():
        raise Conflict(f"there is a label set {name!r} already")


def label_set_work(label_set: LabelSet) -> None:
    """Combine the members' answers. Begun again after a crash, it is made anew."""
    workload, members = label_set.workload, label_set.recipe["members"]
    schema = workload.output_schema
    shown: dict[str, str] = {}
    with jobs.kept(label_set):
        ids, rows = _votes(workload, members, shown)
        outcome = combine(rows, label_set.recipe["method"], workload.labels)
    with jobs.fenced(label_set):
        label_set.answers.all().delete()
    kept = [(pk, one) for pk, one in zip(ids, outcome.rows, strict=True) if one is not None]
    for done, batch in enumerate(chunked(kept, BATCH)):
        progress = {"done": done * BATCH, "total": len(kept), "unit": "rows"}
        jobs.heartbeat(label_set, {**progress, "phase": "writing answers"})
        with jobs.fenced(label_set):
            SetAnswer.objects.bulk_create(
                SetAnswer(
                    label_set=label_set,
                    example_id=pk,
                    output=shown[one.answer],
                    confidence=one.confidence,
                )
                for pk, one in batch
            )
    recipe = {**label_set.recipe, "weights": outcome.weights, "schema": schema is not None}
    with jobs.fenced(label_set):
        jobs.succeed(label_set, rows=len(kept), recipe=recipe)


def _votes(
    workload: Workload, members: list[str], shown: dict[str, str]
) -> tuple[list[int], list[Votes]]:
    """Return the rows that any member answers, each member's answer in comparable form.

    `shown` comes to hold the first spelling of each; an answer that breaks the format is no vote.
    """
    schema = workload.output_schema
    asked = usable(workload).annotate(**{f"m{at}": answers_of(k) for at, k in enumerate(members)})
    columns = [f"m{at}" for at in range(len(members))]
    ids: list[int] = []
    rows: list[Votes] = []
    for pk, *answers in asked.order_by("pk").values_list("pk", *columns).iterator(BATCH):
        votes: list[str | None] = []
        for answer in answers:
            try:
                valid = check_output(answer or "", schema)
            except BrokenAnswer:
                votes.append(None)
                continue
            votes.append(key := comparable(valid, schema))
            shown.setdefault(key, valid)
        if any(vote is not None for vote in votes):
            ids.append(pk)
            rows.append(votes)
    return ids, rows


@transaction.atomic
def write_label_set(
    workload: Workload, *, name: str, answers: Iterable[tuple[int, str]], user: Any = None
) -> LabelSet:
    """Keep a student's answers, given by example, as a set; the same name again is replaced.

    Answers about examples that are gone, or of another workload, are left out.
    """
    Workload.objects.select_for_update(no_key=True).get(pk=workload.pk)
    workload.label_sets.filter(name=name, source=LabelSet.Source.STUDENT).delete()
    _refuse_taken(workload, name)
    label_set = LabelSet.objects.create(
        workload=workload,
        name=name,
        source=LabelSet.Source.STUDENT,
        status=Job.Status.SUCCEEDED,
        created_by=user,
    )
    for batch in chunked(answers, BATCH):
        known = set(
            workload.examples.filter(pk__in=[pk for pk, _ in batch]).values_list("pk", flat=True)
        )
        rows = [
            SetAnswer(label_set=label_set, example_id=pk, output=output.replace("\0", "\ufffd"))
            for pk, output in batch
            if pk in known
        ]
        label_set.rows += len(SetAnswer.objects.bulk_create(rows))
    label_set.save(update_fields=["rows"])
    return label_set


def delete_label_set(label_set: LabelSet) -> None:
    """Delete a stored set; what was applied of it stays, and stays on record."""
    if not label_set.is_final:
        raise Conflict("it is still being made: stop it first")
    label_set.delete()


# --- applying -------------------------------------------------------------------------------------
@transaction.atomic
def start_application(
    workload: Workload,
    *,
    source: str,
    scope: str = Scope.ALL,
    other: str = "",
    cell: dict[str, str] | None = None,
    at_least: float = 0.0,
    user: User | None = None,
) -> Application:
    """Enqueue the act of making a set's answers the targets of rows; people's stay as they are.

    `scope` "agreed" takes rows where the set `other` says the same, "cell" those of one `cell`
    ("first", "second", "field") of the comparison with it. Answers that break the format, or are
    less sure than `at_least`, are left out.
    """
    found = set_of(workload, source)
    if source in {"people", "current"}:
        raise InvalidInput("these are the targets already", param="source")
    if scope not in Scope.values:
        raise InvalidInput(f"scope is one of {', '.join(Scope.values)}", param="scope")
    if scope != Scope.ALL:
        set_of(workload, other)
    if scope == Scope.CELL and not cell:
        raise InvalidInput("name the cell", param="cell")
    if not 0.0 <= at_least <= 1.0:
        raise InvalidInput("at_least is from 0 to 1", param="at_least")
    return jobs.enqueue(
        Application(
            workload=workload,
            source=source,
            source_name=found.name,
            scope=scope,
            other=other if scope != Scope.ALL else "",
            cell=cell if scope == Scope.CELL else None,
            at_least=at_least,
            created_by=user,
        )
    )


@transaction.atomic
def start_undo(act: Application, user: User | None = None) -> Application:
    """Enqueue the undoing of an act; `Conflict` where there is nothing to undo."""
    act = Application.objects.select_for_update(of=("self",)).get(pk=act.pk)
    if act.undoes_id is not None:
        raise Conflict("an undoing is not undone: apply the set again")
    if not act.is_final:
        raise Conflict("it is still at work: stop it first")
    undone = Application.objects.filter(undoes=act).first()
    if undone is not None and undone.status in {Job.Status.FAILED, Job.Status.CANCELLED}:
        undone.delete()
    elif undone is not None:
        raise Conflict("it was undone already")
    return jobs.enqueue(
        Application(
            workload=act.workload,
            source=act.source,
            source_name=act.source_name,
            undoes=act,
            created_by=user,
        )
    )


def application_work(act: Application) -> None:
    """Change the rows batch by batch; begun again after a crash, it goes on from there."""
    if act.undoes is not None:
        _undo(act, act.undoes)
        return
    source = set_of(act.workload, act.source)
    total = source.rows
    done = 0
    for batch in chunked(_chosen(act), BATCH):
        jobs.heartbeat(act, {"done": done, "total": total, "unit": "rows"})
        with jobs.fenced(act):
            _change(act, source, dict(batch))
        done += len(batch)
    with jobs.fenced(act):
        jobs.succeed(act, rows=act.changes.count())


def _chosen(act: Application) -> Iterator[tuple[int, str]]:
    """Yield the rows that an act is about with their new targets."""
    schema = act.workload.output_schema
    open_rows = _open_rows(act).annotate(
        answer=answers_of(act.source), sure=confidences_of(act.source)
    )
    open_rows = open_rows.exclude(answer=None).filter(Q(sure=None) | Q(sure__gte=act.at_least))
    if act.scope != Scope.ALL:
        open_rows = open_rows.annotate(said=answers_of(act.other)).exclude(said=None)
    columns = ["pk", "answer", *(["said"] if act.scope != Scope.ALL else [])]
    rows = open_rows.order_by("pk").values_list(*columns)
    for pk, answer, *said in rows.iterator(BATCH):
        try:
            valid = check_output(answer, schema)
        except BrokenAnswer:
            continue
        if act.scope == Scope.AGREED and not is_same(answer, said[0], schema):
            continue
        if act.scope == Scope.CELL and not _is_in_cell(act, answer, said[0]):
            continue
        yield pk, valid


def _is_in_cell(act: Application, answer: str, said: str) -> bool:
    cell = act.cell or {}
    wanted = (cell.get("first", ""), cell.get("second", ""))
    return in_cell(answer, said, wanted, act.workload.output_schema, cell.get("field", ""))


def _open_rows(act: Application) -> QuerySet[Example]:
    done = AppliedChange.objects.filter(application=act, example=OuterRef("pk"))
    rows = usable(act.workload).exclude(provenance__in=HUMAN)
    return rows.filter(~Exists(done))


def _change(act: Application, source: SetInfo, targets: dict[int, str]) -> None:
    """Change rows, inside a fence; the lock keeps a reviewer's decision from being overwritten."""
    provenance = Provenance.TEACHER if act.source == PRODUCTION else Provenance.RELABELED_BY_MODEL
    rows = Example.objects.select_for_update(of=("self",)).filter(pk__in=list(targets))
    rows = rows.exclude(provenance__in=HUMAN).exclude(status=Example.Status.DISCARDED)
    changes = [
        AppliedChange(
            application=act,
            example=row,
            target=row.target,
            provenance=row.provenance,
            status=row.status,
            may_train=row.may_train,
            after=targets[row.pk],
        )
        for row in rows.only("id", "target", "provenance", "status", "may_train").order_by("pk")
        if row.target != targets[row.pk] or row.provenance != provenance
    ]
    AppliedChange.objects.bulk_create(changes)
    mine = AppliedChange.objects.filter(application=act, example=OuterRef("pk"))
    Example.objects.filter(pk__in=[change.example_id for change in changes]).update(
        target=Subquery(mine.values("after")[:1]),
        provenance=provenance,
        status=Example.Status.LABELED,
        may_train=source.may_train,
    )


def _undo(act: Application, undone: Application) -> None:
    """Restore the rows that are still as the act left them; what changed since stays."""
    total, done = undone.changes.count(), 0
    for batch in chunked(undone.changes.order_by("pk").values_list("pk", flat=True), BATCH):
        jobs.heartbeat(act, {"done": done, "total": total, "unit": "rows"})
        with jobs.fenced(act):
            _restore(undone, batch)
        done += len(batch)
    with jobs.fenced(act):
        as_before = Q(example__target=F("target")) | Q(example__target=None, target=None)
        jobs.succeed(act, rows=undone.changes.filter(as_before).count())


def _restore(undone: Application, batch: list[int]) -> None:
    mine = AppliedChange.objects.filter(
        application=undone, pk__in=batch, example=OuterRef("pk"), after=OuterRef("target")
    )
    rows = Example.objects.filter(workload=undone.workload_id, applied_changes__in=batch)
    rows = rows.exclude(provenance__in=HUMAN).filter(Exists(mine))
    rows.update(
        target=Subquery(mine.values("target")[:1]),
        provenance=Subquery(mine.values("provenance")[:1]),
        status=Subquery(mine.values("status")[:1]),
        may_train=Subquery(mine.values("may_train")[:1]),
    )


def applied_rows(act: Application) -> int:
    """Count the rows that are still as an act left them."""
    return act.changes.filter(example__target=F("after")).count()
