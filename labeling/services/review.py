"""The review queue: what people look at, in which order, and what their word changes."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from heapq import nlargest, nsmallest
from math import ceil
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from factory.errors import Conflict, InvalidInput, NotFound
from factory.models import Example, Workload
from factory.models.example import Provenance, Split
from factory.services.jobs import in_future
from labeling.answers import BrokenAnswer, check_output, comparable
from labeling.models import AUDIT_SHARE, Review, ReviewItem
from labeling.selectors.label import HUMAN
from labeling.selectors.review import standing_reviews
from labeling.services.suspicion import judged_examples

LEASE = timedelta(minutes=5)
LAST = 0.0  # the priority of what was skipped
MOST_AUDITED = 0.5  # of a queue
CHUNK = 2000
Decision = Review.Decision


# --- the queue ------------------------------------------------------------------------------------
def queue_review(
    workload: Workload,
    *,
    suspicious: int,
    audit_share: float = AUDIT_SHARE,
    scores: Mapping[int, float] | None = None,
) -> dict[str, int]:
    """Queue every test row that no person answered, the most suspicious other rows, and a draw.

    `audit_share` of what is queued besides the test rows is drawn at random, whatever is suspicious
    there: it measures the rest. Test rows and drawn ones come in an order that their digests alone
    decide: whatever part of them is done is a fair sample. Queued again, only what is new comes in.
    `scores` are the suspicions by example where they are known; else all rows are judged here.
    Returns the new items' counts: `audit` are test rows, `random` is the draw.
    """
    if suspicious < 0:
        raise InvalidInput("suspicious cannot be negative", param="suspicious")
    if not 0.0 <= audit_share <= MOST_AUDITED:
        raise InvalidInput(f"audit_share is from 0 to {MOST_AUDITED}", param="audit_share")
    audits = _queue_test_rows(workload)
    drawn = _draw(workload, ceil(suspicious * audit_share / (1.0 - audit_share)))
    return {"audit": audits, "random": drawn, "suspicious": _doubt(workload, suspicious, scores)}


def _open_to_review(workload: Workload) -> QuerySet[Example]:
    examples = workload.examples.exclude(target=None).exclude(provenance__in=HUMAN)
    return examples.exclude(status=Example.Status.DISCARDED).filter(review_item=None)


def _queue_test_rows(workload: Workload) -> int:
    rows = _open_to_review(workload).filter(split=Split.TEST)
    return _queue_drawn(workload, list(rows.only("workload", "digest")))


def _queue_drawn(workload: Workload, rows: list[Example]) -> int:
    items = [
        ReviewItem(
            example=example,
            workload=workload,
            reason=ReviewItem.Reason.AUDIT,
            priority=drawn_number(example.digest),
            draw=drawn_number(example.digest),
        )
        for example in rows
    ]
    ReviewItem.objects.bulk_create(items, ignore_conflicts=True)
    return len(items)


def drawn_number(digest: str) -> float:
    """Draw a number from 0 to 1 that only the digest decides."""
    return int.from_bytes(hashlib.sha256(f"audit:{digest}".encode()).digest()[:6]) / 2**48


def _draw(workload: Workload, count: int) -> int:
    """Take the next rows of the draw among all that a machine answered, reviewed or not.

    A row that is in the queue for another reason, or was decided already, is a part of the draw as
    well: without those, what suspicion picked would be missing from it.
    """
    if count == 0:
        return 0
    answered = workload.examples.exclude(target=None).exclude(split=Split.TEST)
    answered = answered.filter(review_item__draw=None)
    by_machine = ~Q(provenance__in=HUMAN) & ~Q(status=Example.Status.DISCARDED)
    candidates = answered.filter(by_machine | Q(review_item__isnull=False))
    digests = candidates.values_list("pk", "digest").iterator(CHUNK)
    taken = nlargest(count, ((drawn_number(digest), pk) for pk, digest in digests))
    examples = Example.objects.filter(pk__in=[pk for _, pk in taken])
    known = list(ReviewItem.objects.filter(example__in=examples).select_related("example"))
    for item in known:
        item.draw = drawn_number(item.example.digest)
    ReviewItem.objects.bulk_update(known, ["draw"])
    new = examples.exclude(pk__in=[item.example_id for item in known])
    _queue_drawn(workload, list(new.only("workload", "digest")))
    return len(taken)


def _doubt(workload: Workload, count: int, scores: Mapping[int, float] | None) -> int:
    if count == 0:
        return 0
    if scores is None:
        scores = {example.pk: doubt.score for example, doubt in judged_examples(workload)}
    waiting = _open_to_review(workload).exclude(split=Split.TEST).values_list("pk", flat=True)
    ranked = nsmallest(count, ((-scores[pk], pk) for pk in waiting if pk in scores))
    items = [
        ReviewItem(
            example_id=pk,
            workload=workload,
            reason=ReviewItem.Reason.SUSPICIOUS,
            priority=-score,
        )
        for score, pk in ranked
    ]
    ReviewItem.objects.bulk_create(items, ignore_conflicts=True)
    return len(items)


@transaction.atomic
def next_item(workload: Workload, user: User, *, skip: tuple[int, ...] = ()) -> ReviewItem | None:
    """Lease the next open item to a reviewer for five minutes: the one they hold, else the first.

    `skip` names items that their page shows already. Two reviewers never get the same item.
    """
    waiting = ReviewItem.objects.filter(workload=workload, status=ReviewItem.Status.OPEN)
    waiting = waiting.exclude(pk__in=skip).select_for_update(skip_locked=True, of=("self",))
    waiting = waiting.select_related("example", "workload").order_by("-priority", "id")
    free = Q(lease_until=None) | Q(lease_until__lte=Now())
    item = waiting.filter(leased_by=user, lease_until__gt=Now()).first()
    item = item or waiting.filter(free).first()
    if item is not None:
        _lease(item, user)
    return item


def _lease(item: ReviewItem, user: User) -> None:
    ReviewItem.objects.filter(pk=item.pk).update(
        leased_by=user, lease_until=in_future(LEASE.total_seconds())
    )
    item.refresh_from_db(fields=["leased_by", "lease_until"])


# --- decisions ------------------------------------------------------------------------------------
@transaction.atomic
def decide(
    item: ReviewItem,
    user: User,
    *,
    review_id: UUID,
    decision: str,
    output: str = "",
    note: str = "",
    seconds: float = 0.0,
) -> Review:
    """Record what a reviewer decided, and do it; the same `review_id` again changes nothing.

    `output` counts for an edit only; an edit that changes nothing is an accept. `Conflict` where
    the item was decided or went to another reviewer; a lease that is over but was not given away
    still counts. `InvalidInput` names what is allowed where the answer breaks the format.
    """
    item = _locked(item.pk)
    if known := Review.objects.filter(pk=review_id).first():
        if (known.item_id, known.reviewer_id) != (item.pk, user.pk):
            raise Conflict("this review_id names another review")
        return known
    if item.status == ReviewItem.Status.DONE:
        raise Conflict("this item was decided already")
    if item.leased_by_id != user.pk:
        raise Conflict("this item went back to the queue; take the next one")
    example = item.example
    before = _state(item)
    decision, output = _checked(item, decision, output)
    if decision == Decision.SKIP:
        item.priority = LAST
    elif decision == Decision.REJECT:
        item.status, example.status = ReviewItem.Status.DONE, Example.Status.DISCARDED
    else:
        item.status, example.status = ReviewItem.Status.DONE, Example.Status.REVIEWED
        example.target, example.provenance = output, Provenance.RELABELED_BY_HUMAN
    item.leased_by = item.lease_until = None
    _save(item)
    return Review.objects.create(
        id=review_id,
        item=item,
        reviewer=user,
        decision=decision,
        output=output,
        note=note,
        seconds=max(0.0, seconds),
        before=before,
    )


@transaction.atomic
def undo(workload: Workload, user: User, *, review_id: UUID) -> Review | None:
    """Take back a reviewer's last standing decision, by another event; None where there is none.

    The example becomes exactly what it was, and its item is leased to the reviewer again.
    `Conflict` where somebody else decided the item since.
    """
    if known := Review.objects.filter(pk=review_id, reviewer=user).first():
        return known
    last = standing_reviews(workload).filter(reviewer=user).order_by("-created_at", "-id").first()
    if last is None:
        return None
    item = _locked(last.item_id)
    newest = standing_reviews(workload).filter(item=item).order_by("-created_at", "-id").first()
    if newest != last:
        raise Conflict("this item was decided again since")
    item.status, item.priority = ReviewItem.Status.OPEN, last.before["priority"]
    if last.decision != Decision.SKIP:
        example = item.example
        example.target = last.before["target"]
        example.provenance = last.before["provenance"]
        example.status = last.before["status"]
    _save(item)
    _lease(item, user)
    return Review.objects.create(
        id=review_id, item=item, reviewer=user, decision=Decision.UNDO, undoes=last
    )


def _locked(item_id: int) -> ReviewItem:
    # The example is locked too: a label job may be about to write it.
    found = ReviewItem.objects.select_for_update(of=("self", "example"))
    item = found.select_related("example", "workload").filter(pk=item_id).first()
    if item is None:
        raise NotFound("There is no such review item, or it is not yours to see.")
    return item


def _state(item: ReviewItem) -> dict[str, Any]:
    example = item.example
    return {
        "target": example.target,
        "provenance": example.provenance,
        "status": example.status,
        "priority": item.priority,
    }


def _checked(item: ReviewItem, decision: str, output: str) -> tuple[str, str]:
    """Return the decision and the output that it means, empty where it means none."""
    target, schema = item.example.target, item.workload.output_schema
    if decision in {Decision.SKIP, Decision.REJECT}:
        return decision, ""
    if decision not in {Decision.ACCEPT, Decision.EDIT}:
        raise InvalidInput("decision is one of accept, edit, reject, skip", param="decision")
    if decision == Decision.ACCEPT and target is None:
        raise InvalidInput("there is no answer to accept yet: give one", param="output")
    given = output if decision == Decision.EDIT else target or ""
    try:
        wanted = check_output(given.replace("\0", "\ufffd"), schema)
    except BrokenAnswer as broken:
        raise InvalidInput(str(broken), param="output") from broken
    if target is not None and comparable(wanted, schema) == comparable(target, schema):
        return Decision.ACCEPT, target
    return decision, wanted


def _save(item: ReviewItem) -> None:
    item.save(update_fields=["status", "priority", "leased_by", "lease_until"])
    item.example.save(update_fields=["target", "provenance", "status"])
