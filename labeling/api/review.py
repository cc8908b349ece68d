"""The JSON API of review: cards and decisions for any reviewer's tool, and a lead's words.

A key opens a project, so each request names the member whom it speaks for. As on the pages, nobody
is told what others said of an item that still wants more.
"""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from factory.api.base import JobOut, job_out, project_of
from factory.models import Membership, Workload
from factory.selectors import workload_in_project
from labeling.api.label_sets import ShareOut, share_out
from labeling.models import AUDIT_SHARE, Review, ReviewItem, SavedView
from labeling.models.review import MOST_PROBED, MOST_WANTED
from labeling.selectors import queue as selectors
from labeling.selectors.queue import QueueFilter, filter_from
from labeling.selectors.review import probe_results, review_item_of, review_progress
from labeling.services import queue as queues
from labeling.services import review as reviews
from labeling.services.insight import start_insight

router = Router(tags=["review"])
Role = Membership.Role
MOST_CARDS = 5  # dealt at once


class PartIn(Schema):
    """A part of a queue; what is empty narrows nothing."""

    label: str = ""
    reason: str = ""
    provenance: str = ""
    origin: str = ""
    split: str = ""
    text: str = ""
    at_least: float | None = None
    at_most: float | None = None


class ReviewerIn(Schema):
    """Whom a request speaks for, by username."""

    reviewer: str


class NextIn(ReviewerIn):
    """How many cards to deal besides those that are held."""

    count: int = Field(1, ge=1, le=MOST_CARDS)
    held: list[int] = Field(default_factory=list, max_length=20)
    only: PartIn = Field(default_factory=PartIn)


class CardOut(Schema):
    """An item to decide, as its reviewer may see it."""

    id: int
    example: int
    reason: str
    score: float
    split: str
    messages: list[dict[str, Any]]
    target: str | None
    provenance: str
    until: datetime


class WhyOut(Schema):
    """Where a queue's items are; `leased` counts them by whose screen they are on."""

    total: int
    done: int
    disputed: int
    flagged: int
    yours: int
    others: int
    outside: int
    leased: dict[str, int]


class HandOut(Schema):
    """The cards, or why there is none."""

    cards: list[CardOut]
    why: WhyOut | None


class DecisionIn(ReviewerIn):
    """One decision; the caller makes `review_id`, and sent again it changes nothing."""

    review_id: UUID
    decision: Literal["accept", "edit", "reject", "skip", "flag"]
    output: str = Field("", max_length=200_000)
    note: str = Field("", max_length=2000)
    reason: str = Field("", max_length=40)
    seconds: float = Field(0.0, ge=0.0, le=86_400)


class WordIn(DecisionIn):
    """A lead's word."""

    decision: Literal["accept", "edit", "reject"]


class ReviewOut(Schema):
    """A decision as it was taken, and what its item is now."""

    review_id: UUID
    item: int
    decision: str
    output: str
    status: str


class UndoIn(ReviewerIn):
    """An undo; the caller makes `review_id`."""

    review_id: UUID


class UndoOut(Schema):
    """The decision that was taken back, null where there was none."""

    undone: UUID | None
    item: int | None


class ItemsIn(ReviewerIn):
    """Some of a reviewer's items."""

    items: list[int] = Field(max_length=100)


class ReleaseIn(ReviewerIn):
    """Some of a reviewer's items; null for all."""

    items: list[int] | None = Field(None, max_length=100)


class HeldOut(Schema):
    """The items that are still the reviewer's."""

    held: list[int]


class ReleasedOut(Schema):
    """How many leases ended."""

    released: int


class PolicyIn(Schema):
    """How a queue is worked through; null leaves what is."""

    wanted: int | None = Field(None, ge=1, le=MOST_WANTED)
    probe_share: float | None = Field(None, ge=0.0, le=MOST_PROBED)
    lease_seconds: int | None = Field(None, ge=1, le=86_400)


class QueueIn(PolicyIn):
    """What to queue besides the test rows, and how it is worked through."""

    suspicious: int = Field(ge=0, le=1_000_000)
    audit_share: float = Field(AUDIT_SHARE, ge=0.0, le=reviews.MOST_AUDITED)


class FillOut(JobOut):
    """The job that judges the labels and fills the queue."""

    facts: dict[str, Any]


class ViewOut(Schema):
    """A part of a queue under a name."""

    name: str
    only: dict[str, Any]


class QueueOut(Schema):
    """A queue: its counts, its policy, its named parts."""

    progress: dict[str, Any]
    wanted: int
    probe_share: float
    lease_seconds: int
    views: list[ViewOut]


class VersionOut(Schema):
    """An answer to an item, and whose; null stands for "discard it"."""

    output: str | None
    people: list[str]
    is_teachers: bool


class ItemOut(Schema):
    """An item; `versions` only where no reviewer is waited for."""

    id: int
    example: int
    reason: str
    score: float
    split: str
    status: str
    given: int
    wanted: int
    target: str | None
    provenance: str
    versions: list[VersionOut] | None
    flags: list[str]


class ItemsOut(Schema):
    """A page of items, and the cursor of the next, empty at the end."""

    items: list[ItemOut]
    next: str


class ItemsQuery(PartIn):
    """Which items to list."""

    status: Literal["", "open", "disputed", "flagged", "done"] = ""
    at: str = ""


class AssignIn(Schema):
    """Who gets what nobody has decided of a part; nobody named: everybody."""

    people: list[str] = Field(max_length=200)
    only: PartIn = Field(default_factory=PartIn)


class ProbeOut(Schema):
    """How often a reviewer answered settled rows as they were settled."""

    reviewer: str
    kind: str
    right: ShareOut


# --- cards and decisions --------------------------------------------------------------------------
@router.post("/workloads/{workload}/review/next", response=HandOut)
def post_next(request: HttpRequest, workload: str, body: NextIn) -> dict[str, Any]:
    """Lease the next cards to a reviewer; those that they hold already come first."""
    found = _workload(request, workload)
    user = queues.reviewer_named(found, body.reviewer)
    only, held = _part(body.only), list(body.held)
    dealt: list[ReviewItem] = []
    while len(dealt) < body.count:
        item = reviews.next_item(found, user, skip=tuple(held), only=only)
        if item is None:
            break
        dealt.append(item)
        held.append(item.pk)
    why = None if held else _why_out(selectors.why_empty(found, user, only))
    return {"cards": [_card_out(item, user.pk) for item in dealt], "why": why}


@router.post("/workloads/{workload}/review/items/{item}/decide", response=ReviewOut)
def post_decision(
    request: HttpRequest, workload: str, item: int, body: DecisionIn
) -> dict[str, Any]:
    """Take a reviewer's decision on an item that they hold."""
    found = _workload(request, workload)
    user = queues.reviewer_named(found, body.reviewer)
    review = reviews.decide(review_item_of(found, item), user, **body.dict(exclude={"reviewer"}))
    return _review_out(review)


@router.post("/workloads/{workload}/review/undo", response=UndoOut)
def post_undo(request: HttpRequest, workload: str, body: UndoIn) -> dict[str, Any]:
    """Take a reviewer's last standing decision back; its card is theirs again."""
    found = _workload(request, workload)
    user = queues.reviewer_named(found, body.reviewer)
    undo = reviews.undo(found, user, review_id=body.review_id)
    return {"undone": undo and undo.undoes_id, "item": undo and undo.item_id}


@router.post("/workloads/{workload}/review/heartbeat", response=HeldOut)
def post_heartbeat(request: HttpRequest, workload: str, body: ItemsIn) -> dict[str, Any]:
    """Keep the cards that a reviewer still looks at."""
    found = _workload(request, workload)
    user = queues.reviewer_named(found, body.reviewer)
    return {"held": reviews.heartbeat(found, user, body.items)}


@router.post("/workloads/{workload}/review/release", response=ReleasedOut)
def post_release(request: HttpRequest, workload: str, body: ReleaseIn) -> dict[str, Any]:
    """Give cards back."""
    found = _workload(request, workload)
    user = queues.reviewer_named(found, body.reviewer)
    return {"released": reviews.release(found, user, body.items)}


# --- the queue ------------------------------------------------------------------------------------
@router.get("/workloads/{workload}/review", response=QueueOut)
def get_queue(request: HttpRequest, workload: str) -> dict[str, Any]:
    """Get a queue's counts, policy and named parts."""
    found = _workload(request, workload)
    policy = selectors.policy_of(found)
    return {
        "progress": review_progress(found),
        "wanted": policy.wanted,
        "probe_share": policy.probe_share,
        "lease_seconds": policy.lease_seconds,
        "views": [_view_out(view) for view in selectors.saved_views(found)],
    }


@router.post("/workloads/{workload}/review/queue", response=FillOut)
def post_queue(request: HttpRequest, workload: str, body: QueueIn) -> dict[str, Any]:
    """Fill a queue: a job judges the labels first."""
    found = _workload(request, workload)
    queues.set_policy(found, **body.dict(include=set(PolicyIn.model_fields)))
    run = start_insight(found, to_review=body.suspicious, audit_share=body.audit_share)
    return {**job_out(run), "facts": run.facts}


@router.patch("/workloads/{workload}/review", response=QueueOut)
def patch_queue(request: HttpRequest, workload: str, body: PolicyIn) -> dict[str, Any]:
    """Change how a queue is worked through; what nobody has decided follows at once."""
    queues.set_policy(_workload(request, workload), **body.dict())
    return get_queue(request, workload)


@router.get("/workloads/{workload}/review/items", response=ItemsOut)
def get_items(request: HttpRequest, workload: str, query: Query[ItemsQuery]) -> dict[str, Any]:
    """List a queue's items."""
    found = _workload(request, workload)
    only = filter_from(query.dict(exclude={"status", "at"}))
    page = selectors.items_page(found, status=query.status, only=only, at=query.at)
    return {"items": [_item_out(item) for item in page.rows], "next": page.next}


@router.post("/workloads/{workload}/review/assign", response=dict[str, int])
def post_assignment(request: HttpRequest, workload: str, body: AssignIn) -> dict[str, int]:
    """Give a part of the queue to people; returns the numbers of items."""
    found = _workload(request, workload)
    people = [queues.reviewer_named(found, name) for name in dict.fromkeys(body.people)]
    return queues.assign(found, people, only=_part(body.only))


@router.put("/workloads/{workload}/review/views/{name}", response=ViewOut)
def put_view(request: HttpRequest, workload: str, name: str, body: PartIn) -> dict[str, Any]:
    """Keep a part of a queue under a name."""
    found = _workload(request, workload)
    return _view_out(queues.save_view(found, None, name=name, only=_part(body)))


@router.delete("/workloads/{workload}/review/views/{name}", response=dict[str, str])
def delete_view(request: HttpRequest, workload: str, name: str) -> dict[str, str]:
    """Forget a name."""
    queues.delete_view(_workload(request, workload), name)
    return {"deleted": name}


@router.get("/workloads/{workload}/review/probes", response=list[ProbeOut])
def get_probes(request: HttpRequest, workload: str) -> list[dict[str, Any]]:
    """Get how reviewers answered settled rows that they were shown again."""
    results = probe_results(_workload(request, workload))
    return [{"reviewer": r.reviewer, "kind": r.kind, "right": share_out(r.share)} for r in results]


# --- a lead's word --------------------------------------------------------------------------------
@router.post("/workloads/{workload}/review/items/{item}/adjudicate", response=ReviewOut)
def post_word(request: HttpRequest, workload: str, item: int, body: WordIn) -> dict[str, Any]:
    """Settle an item that is disputed or flagged; `reviewer` must be a lead."""
    found = _workload(request, workload)
    lead = queues.reviewer_named(found, body.reviewer, Role.LEAD)
    options = body.dict(exclude={"reviewer"})
    return _review_out(reviews.adjudicate(review_item_of(found, item), lead, **options))


@router.post("/workloads/{workload}/review/items/{item}/unflag", response=ItemOut)
def post_unflag(request: HttpRequest, workload: str, item: int, body: ReviewerIn) -> dict[str, Any]:
    """Give a flagged item back to the queue; `reviewer` must be a lead."""
    found = _workload(request, workload)
    lead = queues.reviewer_named(found, body.reviewer, Role.LEAD)
    return _item_out(reviews.unflag(review_item_of(found, item), lead))


# --- how it is written ----------------------------------------------------------------------------
def _workload(request: HttpRequest, workload: str) -> Workload:
    return workload_in_project(project_of(request), workload)


def _part(part: PartIn) -> QueueFilter:
    return filter_from(part.dict())


def _card_out(item: ReviewItem, user_id: int) -> dict[str, Any]:
    example = item.example
    lease = item.leases.filter(reviewer=user_id).values_list("until", flat=True)
    return {
        "id": item.pk,
        "example": example.pk,
        "reason": item.reason,
        "score": item.priority,
        "split": example.split,
        "messages": example.messages,
        "target": example.target,
        "provenance": example.provenance,
        "until": lease.get(),
    }


def _why_out(why: selectors.WhyEmpty) -> dict[str, Any]:
    names = set(WhyOut.model_fields) - {"leased"}
    return {**{name: getattr(why, name) for name in names}, "leased": dict(why.leased)}


def _review_out(review: Review) -> dict[str, Any]:
    status = ReviewItem.objects.values_list("status", flat=True).get(pk=review.item_id)
    return {
        "review_id": review.pk,
        "item": review.item_id,
        "decision": review.decision,
        "output": review.output,
        "status": status,
    }


def _view_out(view: SavedView) -> dict[str, Any]:
    return {"name": view.name, "only": view.only}


def _item_out(item: ReviewItem) -> dict[str, Any]:
    is_open = item.status == ReviewItem.Status.OPEN
    versions = None if is_open else selectors.versions_of(item)
    flags = selectors.standing_flags(item) if item.status == ReviewItem.Status.FLAGGED else []
    own = ("status", "given", "wanted", "reason")
    return {
        **{name: getattr(item, name) for name in own},
        "id": item.pk,
        "example": item.example_id,
        "score": item.priority,
        "split": item.example.split,
        "target": item.example.target,
        "provenance": item.example.provenance,
        "versions": versions and [_version_out(version) for version in versions],
        "flags": [f"{flag.reviewer.username}: {flag.reason or flag.note}" for flag in flags],
    }


def _version_out(version: selectors.Version) -> dict[str, Any]:
    return {name: getattr(version, name) for name in VersionOut.model_fields}
