"""The review queue: what people look at, in which order, and what their word changes."""

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from factory.errors import Conflict, InvalidInput, NotFound
from factory.messages import variable_text
from factory.models import Example, Workload
from factory.models.example import Provenance, Split
from factory.services.jobs import in_future
from labeling.answers import BrokenAnswer, check_output, comparable
from labeling.models import Review, ReviewItem
from labeling.selectors.label import HUMAN, latest_confidences
from labeling.selectors.review import standing_reviews
from labeling.suspicion import Row, suspicions

LEASE = timedelta(minutes=5)
LAST = 0.0  # the priority of what was skipped
Decision = Review.Decision


# --- the queue ------------------------------------------------------------------------------------
def queue_review(workload: Workload, *, suspicious: int) -> dict[str, int]:
    """Queue every test row that no person answered, and the most suspicious other rows.

    Test rows come in an order drawn from their digests: whatever part of them is done is a fair
    sample. Queued again, only what is new comes in. Returns the new items' counts by reason.
    """
    if suspicious < 0:
        raise InvalidInput("suspicious cannot be negative", param="suspicious")
    audits = _queue_audits(workload)
    examples, scores = _scored(workload)
    ranked = sorted(zip(scores, examples, strict=True), key=lambda pair: (-pair[0], pair[1].pk))
    items = [
        ReviewItem(
            example=example,
            workload=workload,
            reason=ReviewItem.Reason.SUSPICIOUS,
            priority=score,
        )
        for score, example in ranked[:suspicious]
    ]
    ReviewItem.objects.bulk_create(items, ignore_conflicts=True)
    return {"audit": audits, "suspicious": len(items)}


def _open_to_review(workload: Workload) -> Any:
    examples = workload.examples.exclude(target=None).exclude(provenance__in=HUMAN)
    return examples.exclude(status=Example.Status.DISCARDED).filter(review_item=None)


def _queue_audits(workload: Workload) -> int:
    items = [
        ReviewItem(
            example=example,
            workload=workload,
            reason=ReviewItem.Reason.AUDIT,
            priority=_drawn(example.digest),
        )
        for example in _open_to_review(workload).filter(split=Split.TEST).only("id", "digest")
    ]
    ReviewItem.objects.bulk_create(items, ignore_conflicts=True)
    return len(items)


def _drawn(digest: str) -> float:
    """Draw a number from 0 to 1 that only the digest decides."""
    return int.from_bytes(hashlib.sha256(f"audit:{digest}".encode()).digest()[:6]) / 2**48


def _scored(workload: Workload) -> tuple[list[Example], list[float]]:
    # Answered rows are judged with the others: they teach the judge, though they are not queued.
    labelled = workload.examples.exclude(target=None).exclude(split=Split.TEST)
    labelled = labelled.exclude(status=Example.Status.DISCARDED).order_by("id")
    examples = list(labelled.only("id", "messages", "target", "group"))
    confidences = latest_confidences(workload)
    rows = [
        Row(
            text=variable_text(example.messages),
            output=example.target or "",
            group=example.group,
            confidence=confidences.get(example.pk),
        )
        for example in examples
    ]
    waiting = set(_open_to_review(workload).values_list("id", flat=True))
    scores = suspicions(rows, workload.output_schema)
    kept = [(e, s) for e, s in zip(examples, scores, strict=True) if e.pk in waiting]
    return [example for example, _ in kept], [score for _, score in kept]


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
