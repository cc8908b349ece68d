"""The review queue: what people look at, in which order, and what their word changes."""

import hashlib
from collections.abc import Collection, Mapping
from heapq import nlargest, nsmallest
from math import ceil
from random import random
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Least, Now

from factory.errors import Conflict, InvalidInput, NotFound
from factory.models import Example, Workload
from factory.models.example import Provenance, Split
from factory.services.jobs import in_future
from factory.services.webhooks import tell
from labeling.answers import BrokenAnswer, check_output, comparable
from labeling.models import AUDIT_SHARE, Review, ReviewItem, ReviewLease
from labeling.selectors.label import HUMAN
from labeling.selectors.queue import (
    EVERYTHING,
    QueueFilter,
    fresh_items,
    policy_of,
    probe_candidates,
    skipped_items,
    standing_flags,
)
from labeling.selectors.review import VERDICTS, is_verdict, standing_on
from labeling.services.leases import IS_LIVE, has_room, lease
from labeling.services.suspicion import judged_examples

MOST_HELD = 10  # cards that a reviewer may have at once, over all their screens
RELOAD_SECONDS = 10  # a page that is loaded anew says goodbye after its successor was dealt cards
BEAT_SECONDS = 90  # more than a page waits between two heartbeats
MOST_AUDITED = 0.5  # of a queue
CHUNK = 2000
Decision = Review.Decision
Status = ReviewItem.Status
SETTLED = {Status.DONE, Status.DISPUTED}  # nothing more is wanted of reviewers


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
    All that nobody has decided yet waits for as many people as the workload's policy says.
    `scores` are the suspicions by example where they are known; else all rows are judged here.
    Returns the new items' counts: `audit` are test rows, `random` is the draw.
    """
    if suspicious < 0:
        raise InvalidInput("suspicious cannot be negative", param="suspicious")
    if not 0.0 <= audit_share <= MOST_AUDITED:
        raise InvalidInput(f"audit_share is from 0 to {MOST_AUDITED}", param="audit_share")
    audits = _queue_test_rows(workload)
    drawn = _draw(workload, ceil(suspicious * audit_share / (1.0 - audit_share)))
    counts = {"audit": audits, "random": drawn, "suspicious": _doubt(workload, suspicious, scores)}
    want(workload)
    if any(counts.values()):
        ready = {"workload": workload.slug, "items": sum(counts.values())}
        tell(workload.project_id, "review.item_ready", ready)
    return counts


def want(workload: Workload) -> None:
    """Let all that nobody has decided wait for as many people as the policy says.

    What is assigned goes to those whom it is assigned to, however many.
    """
    wanted = policy_of(workload).wanted
    untouched = workload.review_items.filter(status=Status.OPEN, given=0, assigned_to=None)
    numbers = list(untouched.exclude(wanted=wanted).values_list("pk", flat=True))
    ReviewItem.objects.filter(pk__in=numbers, status=Status.OPEN, given=0).update(wanted=wanted)


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


# --- dealing --------------------------------------------------------------------------------------
@transaction.atomic
def next_item(
    workload: Workload,
    user: User,
    *,
    skip: tuple[int, ...] = (),
    only: QueueFilter = EVERYTHING,
) -> ReviewItem | None:
    """Lease an item to a reviewer: one that they hold, else the first with a place for them.

    `skip` names items that their page shows already. An item never has more reviewers than it
    wants. What a reviewer skipped comes back to them when nothing else is left. A settled row that
    is shown again carries the answer that it had before, in memory only.
    """
    policy = policy_of(workload)
    mine = ReviewLease.objects.filter(reviewer=user, item__workload=workload, until__gt=Now())
    mine = mine.filter(Q(is_probe=True) | Q(item__status=Status.OPEN))
    numbers = set(mine.values_list("item", flat=True))
    tried = set(skip)
    while back := numbers.difference(tried):
        held = _first(ReviewItem.objects.filter(pk__in=back).order_by("-priority", "id"))
        if held is None:
            break
        # Behind the lock: it may have been decided since it was found.
        kept = held.leases.filter(reviewer=user).first()
        if kept is not None and (kept.is_probe or held.status == Status.OPEN):
            lease(held, user, policy.lease_seconds, is_probe=kept.is_probe)
            return _shown(held, kept)
        tried.add(held.pk)
    if len(numbers) >= MOST_HELD:
        return None
    if policy.probe_share > random():  # noqa: S311 - surprises a reviewer, guards nothing
        probe = _first(probe_candidates(workload, user).exclude(pk__in=skip).order_by("?"))
        if probe is not None:
            lease(probe, user, policy.lease_seconds, is_probe=True)
            return _shown(probe, probe.leases.get(reviewer=user))
    for waiting in (fresh_items(workload, user, only), skipped_items(workload, user, only)):
        while (item := _first(waiting.exclude(pk__in=tried))) is not None:
            if has_room(item, user):
                return lease(item, user, policy.lease_seconds)
            tried.add(item.pk)
    return None


def _first(items: QuerySet[ReviewItem]) -> ReviewItem | None:
    locked = items.select_for_update(skip_locked=True, of=("self",))
    return locked.select_related("example", "workload", "settled_by").first()


def _shown(item: ReviewItem, held: ReviewLease) -> ReviewItem:
    if held.is_probe and item.settled_by is not None:
        example, before = item.example, item.settled_by.before
        example.target, example.provenance = before["target"], before["provenance"]
        example.status = before["status"]
    return item


def card_of(item: ReviewItem, user: User) -> ReviewItem:
    """Return an item as a reviewer who holds it is shown it."""
    held = item.leases.filter(reviewer=user).first()
    return item if held is None else _shown(item, held)


@transaction.atomic
def heartbeat(workload: Workload, user: User, items: Collection[int]) -> list[int]:
    """Renew the leases on what a reviewer's page shows; return the items that are still theirs.

    The holder's lease comes before any other question: one that is over counts again where nobody
    took the place. An item that is just being dealt or decided keeps the lease that it has.
    """
    mine = ReviewLease.objects.filter(reviewer=user, item__workload=workload, item__in=items)
    free = ReviewItem.objects.select_for_update(skip_locked=True, of=("self",))
    found = {item.pk: item for item in free.filter(pk__in=mine.values("item")).order_by("pk")}
    kept = [
        held.pk
        for held in mine.filter(item__in=found).annotate(is_live=IS_LIVE)
        if held.is_live or has_room(found[held.item_id], user)
    ]
    seconds = policy_of(workload).lease_seconds
    ReviewLease.objects.filter(pk__in=kept).update(until=in_future(seconds))
    return list(mine.filter(until__gt=Now()).order_by("item").values_list("item", flat=True))


@transaction.atomic
def release(
    workload: Workload,
    user: User,
    items: Collection[int] | None = None,
    *,
    is_leaving: bool = False,
) -> int:
    """Give back what a reviewer holds, or only some items of it; return how many leases.

    Where a page `is_leaving` it may be loading anew: what was leased in the last moments then stays
    theirs until the new page has said that it is there.
    """
    mine = ReviewLease.objects.filter(reviewer=user, item__workload=workload, until__gt=Now())
    if items is not None:
        mine = mine.filter(item__in=items)
    kept = 0
    if is_leaving:
        renewed = policy_of(workload).lease_seconds - RELOAD_SECONDS
        new = list(mine.filter(until__gt=in_future(renewed)).values_list("pk", flat=True))
        soon = Least("until", in_future(BEAT_SECONDS))
        kept = mine.filter(pk__in=new).update(until=soon)
        mine = mine.exclude(pk__in=new)
    return mine.update(until=Now()) + kept


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
    reason: str = "",
    seconds: float = 0.0,
) -> Review:
    """Record what a reviewer decided, and do it; the same `review_id` again changes nothing.

    `output` counts for an edit only; an edit that changes nothing is an accept. The example changes
    with the last decision that is wanted, where all agree; else the item waits for a lead.
    `Conflict` where the item was decided or went to another reviewer; a lease that is over but was
    not given away still counts. `InvalidInput` names what is allowed where the answer breaks the
    format. A flag needs a reason or a note.
    """
    item = _locked(item.pk)
    if known := _known(review_id, item, user):
        return known
    held = item.leases.filter(reviewer=user).annotate(is_live=IS_LIVE).first()
    is_probe = held is not None and held.is_probe and item.settled_by is not None
    if held is not None and is_probe:
        _shown(item, held)
    else:
        _check_place(item, user, held)
    probe, compared = _probe(item, user) if is_probe else ("", {})
    decision, output = _checked(item, decision, output)
    if decision == Decision.FLAG and not (reason or note):
        raise InvalidInput("say why it is flagged: a reason or a note", param="reason")
    review = Review.objects.create(
        id=review_id,
        item=item,
        reviewer=user,
        decision=decision,
        output=output,
        reason=reason,
        note=note,
        seconds=max(0.0, seconds),
        before={**_state(item), **compared},
        probe=probe,
    )
    if decision == Decision.FLAG or not (is_probe or decision == Decision.SKIP):
        _settle(_locked(item.pk) if is_probe else item)
    if is_probe or item.status not in SETTLED:
        item.leases.filter(reviewer=user).delete()
    if not is_probe and decision != Decision.SKIP:
        _tell_of(review)
    return review


def _tell_of(review: Review) -> None:
    item = review.item
    told = {
        "workload": item.workload.slug,
        "item": item.pk,
        "example": item.example_id,
        "decision": review.decision,
        "status": item.status,
    }
    tell(item.workload.project_id, "review.item_reviewed", told)


@transaction.atomic
def adjudicate(
    item: ReviewItem,
    user: User,
    *,
    review_id: UUID,
    decision: str,
    output: str = "",
    note: str = "",
    reason: str = "",
    seconds: float = 0.0,
) -> Review:
    """Settle what reviewers dispute or flagged by a lead's word; who may is the caller's to ask.

    The same `review_id` again changes nothing; `Conflict` where the item waits for no lead.
    """
    item = _locked(item.pk)
    if known := _known(review_id, item, user):
        return known
    if item.status not in {Status.DISPUTED, Status.FLAGGED}:
        raise Conflict("this item waits for no lead: somebody settled it")
    if decision not in VERDICTS:
        raise InvalidInput("decision is one of accept, edit, reject", param="decision")
    decision, output = _checked(item, decision, output)
    review = Review.objects.create(
        id=review_id,
        item=item,
        reviewer=user,
        decision=decision,
        output=output,
        reason=reason,
        note=note,
        seconds=max(0.0, seconds),
        before=_state(item),
        is_authoritative=True,
    )
    _settle(item)
    _tell_of(review)
    return review


@transaction.atomic
def unflag(item: ReviewItem, user: User, *, note: str = "") -> ReviewItem:
    """Give a flagged item back to the queue, with a lead's note; `Conflict` where it is not."""
    item = _locked(item.pk)
    if item.status != Status.FLAGGED:
        raise Conflict("this item is not flagged any more")
    for flag in standing_flags(item):
        Review.objects.create(
            id=uuid4(), item=item, reviewer=user, decision=Decision.UNDO, undoes=flag, note=note
        )
    _settle(item)
    return item


@transaction.atomic
def undo(workload: Workload, user: User, *, review_id: UUID) -> Review | None:
    """Take back a reviewer's last standing decision, by another event; None where there is none.

    The example becomes exactly what it was, and its item is leased to the reviewer again. What went
    on without them stays: a skip of what others settled, a verdict that a lead's word replaced.
    """
    if known := Review.objects.filter(pk=review_id, reviewer=user).first():
        return known
    last = _undoable(workload, user).order_by("-created_at", "-id").first()
    if last is None:
        return None
    item = _locked(last.item_id)
    undone = Review.objects.create(
        id=review_id, item=item, reviewer=user, decision=Decision.UNDO, undoes=last
    )
    if not last.probe or last.decision == Decision.FLAG:
        _settle(item)
    if last.probe or (item.status == Status.OPEN and has_room(item, user)):
        lease(item, user, policy_of(workload).lease_seconds, is_probe=bool(last.probe))
    elif item.status == Status.OPEN:
        raise Conflict("somebody else is at this item now")
    return undone


def _undoable(workload: Workload, user: User) -> QuerySet[Review]:
    mine = Review.objects.filter(item__workload=workload, reviewer=user, undone_by=None)
    mine = mine.exclude(decision=Decision.UNDO)
    final = Review.objects.filter(item=OuterRef("item"), is_authoritative=True, undone_by=None)
    passed = Q(decision=Decision.SKIP, probe="") & ~Q(item__status=Status.OPEN)
    passed |= Q(Exists(final), is_authoritative=False, probe="")
    return mine.exclude(passed)


def _settle(item: ReviewItem) -> None:
    """Bring a locked item and its example to what its standing decisions come to.

    Nothing else changes either, so that any order of decisions and undoing comes to the same.
    """
    standing = list(standing_on(item))
    verdicts = [r for r in standing if is_verdict(r)]
    final = next((r for r in reversed(standing) if r.is_authoritative), None)
    flags = [r for r in standing if r.decision == Decision.FLAG]
    is_flagged = any(final is None or flag.created_at > final.created_at for flag in flags)
    item.given = len(verdicts)
    settler = final or _agreed(item, verdicts)
    if is_flagged and item.settled_by is None:
        settler = None
    if is_flagged:
        item.status = Status.FLAGGED
    elif settler is not None:
        item.status = Status.DONE
    else:
        item.status = Status.OPEN if item.given < item.wanted else Status.DISPUTED
    if item.settled_by is not None and item.settled_by != settler:
        _restore(item.example, item.settled_by.before)
        item.settled_by = None
    if settler is not None and item.settled_by is None:
        _apply(item.example, settler)
        item.settled_by = settler
    item.save(update_fields=["status", "given", "settled_by"])
    item.example.save(update_fields=["target", "provenance", "status"])
    if item.status in SETTLED:
        item.leases.filter(is_probe=False).delete()


def _agreed(item: ReviewItem, verdicts: list[Review]) -> Review | None:
    """Return the verdict that settles an item, None while too few agree."""
    if not verdicts or len(verdicts) < item.wanted:
        return None
    standing = item.settled_by if item.settled_by in verdicts else None
    schema = item.workload.output_schema
    answers = {
        (v.decision == Decision.REJECT, comparable(v.output, schema) if v.output else "")
        for v in verdicts
    }
    return (standing or verdicts[-1]) if len(answers) == 1 else None


def _apply(example: Example, settler: Review) -> None:
    if settler.decision == Decision.REJECT:
        example.status = Example.Status.DISCARDED
    else:
        example.status = Example.Status.REVIEWED
        example.target, example.provenance = settler.output, Provenance.RELABELED_BY_HUMAN


def _restore(example: Example, before: Mapping[str, Any]) -> None:
    example.target = before["target"]
    example.provenance = before["provenance"]
    example.status = before["status"]


def _locked(item_id: int) -> ReviewItem:
    # The example is locked too: a label job may be about to write it.
    found = ReviewItem.objects.select_for_update(of=("self", "example"))
    found = found.select_related("example", "workload", "settled_by")
    item = found.filter(pk=item_id).first()
    if item is None:
        raise NotFound("There is no such review item, or it is not yours to see.")
    return item


def _known(review_id: UUID, item: ReviewItem, user: User) -> Review | None:
    known = Review.objects.filter(pk=review_id).first()
    if known is not None and (known.item_id, known.reviewer_id) != (item.pk, user.pk):
        raise Conflict("this review_id names another review")
    return known


def _check_place(item: ReviewItem, user: User, held: Any) -> None:
    if item.status in SETTLED:
        raise Conflict("this item was decided already")
    if held is None or held.is_probe:
        raise Conflict("this item went back to the queue; take the next one")
    if item.given >= item.wanted or not (held.is_live or has_room(item, user)):
        raise Conflict("this item went back to the queue; take the next one")


def _state(item: ReviewItem) -> dict[str, Any]:
    example = item.example
    return {
        "target": example.target,
        "provenance": example.provenance,
        "status": example.status,
        "priority": item.priority,
    }


def _probe(item: ReviewItem, user: User) -> tuple[Review.Probe, dict[str, Any]]:
    """Return what a probe measures, and what it is compared with: None stands for "discard it"."""
    own = next((r for r in standing_on(item).filter(reviewer=user) if is_verdict(r)), None)
    answer = own or item.settled_by
    assert answer is not None
    expected = None if answer.decision == Decision.REJECT else answer.output
    return Review.Probe.REPEAT if own else Review.Probe.GOLD, {"expected": expected}


def _checked(item: ReviewItem, decision: str, output: str) -> tuple[str, str]:
    """Return the decision and the output that it means, empty where it means none."""
    target, schema = item.example.target, item.workload.output_schema
    if decision in {Decision.SKIP, Decision.REJECT, Decision.FLAG}:
        return decision, ""
    if decision not in {Decision.ACCEPT, Decision.EDIT}:
        raise InvalidInput("decision is one of accept, edit, reject, skip, flag", param="decision")
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
