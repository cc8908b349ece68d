"""Bulk accept: what a score is sure of stands as it is, but for a sample that people look at."""

import hashlib
from heapq import nsmallest
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery
from more_itertools import chunked

from factory.errors import Conflict, InvalidInput
from factory.models import Example, Job, Workload
from factory.models.example import Provenance
from factory.services import jobs
from labeling.answers import BrokenAnswer, check_output, comparable
from labeling.models import BulkAccept, BulkRow, ReviewItem
from labeling.selectors.bulk import FEWEST_AUDITED, above, audit_size
from labeling.selectors.label import HUMAN
from labeling.services.review import want

BATCH = 1000
COLUMNS = ("target", "provenance", "status", "may_train")  # that an act may change
# The workload is read too: rows of its own manager would be asked for it one by one.
READ = ("workload", *COLUMNS)
QUEUED = ("reason", "priority", "wanted")  # of an item that it takes from the queue


# --- accepting ------------------------------------------------------------------------------------
@transaction.atomic
def start_bulk_accept(
    workload: Workload, *, score: str, at_least: float, user: Any = None
) -> BulkAccept:
    """Enqueue the acceptance of each row's own answer that `score` is at least so sure of.

    A random sample goes to people instead: 5 %, and 30 rows at least. `InvalidInput` where there
    is not more than such a sample; `Conflict` while another act is at work.
    """
    Workload.objects.select_for_update(no_key=True).get(pk=workload.pk)
    if not 0.0 <= at_least <= 1.0:
        raise InvalidInput("at_least is from 0 to 1", param="at_least")
    if (rows := above(workload, score, at_least).count()) <= FEWEST_AUDITED:
        said = f"there are {rows} such rows: people can look at all of them"
        raise InvalidInput(said, param="at_least")
    _refuse_busy(workload)
    return jobs.enqueue(
        BulkAccept(workload=workload, score=score, at_least=at_least, created_by=user)
    )


def _refuse_busy(workload: Workload) -> None:
    alive = [Job.Status.QUEUED, Job.Status.RUNNING, Job.Status.PAUSED]
    if workload.bulk_accepts.filter(status__in=alive).exists():
        raise Conflict("another bulk accept is at work: wait for it, or stop it")


def bulk_accept_work(act: BulkAccept) -> None:
    """Accept or give back, batch by batch; begun again after a crash, it goes on from there."""
    if act.undoes is not None:
        _revert(act, act.undoes)
        return
    if not act.changes.exists():
        with jobs.fenced(act):
            _draw(act)
    open_rows = above(act.workload, act.score, act.at_least).order_by("pk")
    numbers = list(open_rows.values_list("pk", flat=True))
    done = act.changes.filter(is_audit=False).count()
    progress = {"total": done + len(numbers), "unit": "rows"}
    for batch in chunked(numbers, BATCH):
        jobs.heartbeat(act, {**progress, "done": done})
        with jobs.fenced(act):
            _accept(act, batch)
        done += len(batch)
    with jobs.fenced(act):
        jobs.succeed(act, rows=act.changes.filter(is_audit=False).count())


def _draw(act: BulkAccept) -> None:
    """Put a sample before people, in an order that is as random; their word measures the rest."""
    rows = above(act.workload, act.score, act.at_least)
    digests = rows.values_list("pk", "digest").iterator(BATCH)
    numbers = {pk: _number(act, digest) for pk, digest in digests}
    drawn = nsmallest(audit_size(len(numbers)), numbers, key=lambda pk: numbers[pk])
    sample = list(rows.filter(pk__in=drawn).only(*READ))
    items = [
        ReviewItem(
            example_id=row.pk,
            workload=act.workload,
            reason=ReviewItem.Reason.AUDIT,
            priority=1.0 - numbers[row.pk],
        )
        for row in sample
    ]
    BulkRow.objects.bulk_create(_row(act, row, row.answer, is_audit=True) for row in sample)
    ReviewItem.objects.bulk_create(items, ignore_conflicts=True)
    want(act.workload)


def _number(act: BulkAccept, digest: str) -> float:
    """Draw a number from 0 to 1 that the row and the act alone decide."""
    return int.from_bytes(hashlib.sha256(f"bulk:{act.pk}:{digest}".encode()).digest()[:6]) / 2**48


def _row(act: BulkAccept, row: Any, answer: str, *, is_audit: bool = False) -> BulkRow:
    return BulkRow(
        act=act,
        example_id=row.pk,
        is_audit=is_audit,
        sure=row.sure,
        answer=answer,
        **{name: getattr(row, name) for name in COLUMNS},
    )


def _accept(act: BulkAccept, batch: list[int]) -> None:
    """Accept what is still as it was found, inside a fence; test rows and people's are not in it.

    The locks keep a reviewer from being dealt a row at the same moment, or deciding it: an item
    that somebody else holds stays where it is, and its row with it.
    """
    items = ReviewItem.objects.filter(example__in=batch).select_for_update(skip_locked=True)
    held = {item.example_id: item for item in items}
    list(Example.objects.filter(pk__in=batch).select_for_update(of=("self",)).values("pk"))
    found = above(act.workload, act.score, act.at_least).filter(pk__in=batch)
    changes = []
    allowed: dict[bool, list[int]] = {True: [], False: []}  # of rows whose target changes
    for row in found.annotate(item=F("review_item")).only(*READ).order_by("pk"):
        answer = _valid(act, row)
        if answer is None or (row.item is not None and row.pk not in held):
            continue
        changes.append(change := _row(act, row, answer))
        if row.item is not None:
            change.queued = {name: getattr(held[row.pk], name) for name in QUEUED}
        if row.target != answer:
            allowed[row.allowed].append(row.pk)
    BulkRow.objects.bulk_create(changes)
    _write(act, [change.example_id for change in changes], allowed)


def _write(act: BulkAccept, accepted: list[int], allowed: dict[bool, list[int]]) -> None:
    """Give rows their own answers; these stay a machine's word, whoever started the act."""
    mine = BulkRow.objects.filter(act=act, example=OuterRef("pk"))
    for may_train, changing in allowed.items():
        Example.objects.filter(pk__in=changing).update(
            target=Subquery(mine.values("answer")[:1]),
            provenance=Provenance.RELABELED_BY_MODEL,
            may_train=may_train,
        )
    Example.objects.filter(pk__in=accepted).update(status=Example.Status.LABELED)
    ReviewItem.objects.filter(example__in=accepted).delete()


def _valid(act: BulkAccept, row: Any) -> str | None:
    """Return the answer to accept, in the row's own spelling where it has it; None if broken."""
    schema = act.workload.output_schema
    try:
        answer = check_output(row.answer, schema)
    except BrokenAnswer:
        return None
    if row.target is not None and comparable(row.target, schema) == comparable(answer, schema):
        return str(row.target)
    return answer


# --- reverting ------------------------------------------------------------------------------------
@transaction.atomic
def start_revert(act: BulkAccept, user: User | None = None) -> BulkAccept:
    """Enqueue the reverting of an act; a revert that failed may be started again.

    `Conflict` where it was reverted already, is a revert itself, or is still at work.
    """
    act = BulkAccept.objects.select_for_update(of=("self",)).get(pk=act.pk)
    if act.undoes_id is not None:
        raise Conflict("a revert is not reverted: accept the rows again")
    if not act.is_final:
        raise Conflict("it is still at work: stop it first")
    undone = BulkAccept.objects.filter(undoes=act).first()
    if undone is not None and undone.status in {Job.Status.FAILED, Job.Status.CANCELLED}:
        undone.delete()
    elif undone is not None:
        raise Conflict("it was reverted already")
    _refuse_busy(act.workload)
    return jobs.enqueue(
        BulkAccept(
            workload=act.workload,
            score=act.score,
            at_least=act.at_least,
            undoes=act,
            created_by=user,
        )
    )


def _revert(act: BulkAccept, undone: BulkAccept) -> None:
    """Give rows back as they were, and their places in the queue; what changed since stays."""
    accepted = undone.changes.filter(is_audit=False).order_by("pk")
    total, done = accepted.count(), 0
    for batch in chunked(accepted.values_list("pk", flat=True), BATCH):
        jobs.heartbeat(act, {"done": done, "total": total, "unit": "rows"})
        with jobs.fenced(act):
            _restore(act.workload, batch)
        done += len(batch)
    with jobs.fenced(act):
        as_before = Q(example__target=F("target")) | Q(example__target=None, target=None)
        same = accepted.filter(as_before).exclude(example__provenance__in=HUMAN)
        jobs.succeed(act, rows=same.count())


def _restore(workload: Workload, batch: list[int]) -> None:
    changes = BulkRow.objects.filter(pk__in=batch)
    mine = changes.filter(example=OuterRef("pk"))
    rows = Example.objects.filter(bulk_rows__in=batch).exclude(provenance__in=HUMAN)
    rows = rows.exclude(status=Example.Status.DISCARDED)
    rows = rows.filter(Exists(mine.filter(answer=OuterRef("target"))))
    restored = [row.pk for row in rows.select_for_update(of=("self",)).only("pk")]
    Example.objects.filter(pk__in=restored).update(
        **{name: Subquery(mine.values(name)[:1]) for name in COLUMNS}
    )
    queued = changes.filter(example__in=restored).exclude(queued={})
    items = [
        ReviewItem(example_id=change.example_id, workload=workload, **change.queued)
        for change in queued
    ]
    ReviewItem.objects.bulk_create(items, ignore_conflicts=True)
