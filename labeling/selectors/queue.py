"""Which items a reviewer may be dealt, which wait for a lead, and why there is none."""

from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet, Subquery, TextField
from django.db.models.functions import Cast, Now

from factory.errors import InvalidInput
from factory.models import Workload
from factory.selectors import CountRows, Page, one, page_of
from labeling.answers import comparable
from labeling.models import Review, ReviewItem, ReviewLease, ReviewPolicy, SavedView
from labeling.selectors.review import is_verdict, standing_on

REPEAT_AFTER = timedelta(hours=1)  # what was decided just now is remembered, not judged
Decision = Review.Decision
Status = ReviewItem.Status


# --- a part of the queue --------------------------------------------------------------------------
@dataclass(frozen=True)
class QueueFilter:
    """A part of a queue; what is empty narrows nothing, and the last two bound the score."""

    label: str = ""
    reason: str = ""
    provenance: str = ""
    origin: str = ""
    split: str = ""
    text: str = ""
    at_least: float | None = None
    at_most: float | None = None

    def said(self) -> dict[str, Any]:
        """Return what narrows, as JSON."""
        return {name: value for name, value in asdict(self).items() if value not in {"", None}}


EVERYTHING = QueueFilter()


def filter_from(said: dict[str, Any]) -> QueueFilter:
    """Return the filter that `said` gave; what another version of ours wrote is left out."""
    known = {field.name for field in fields(QueueFilter)}
    return QueueFilter(**{name: value for name, value in said.items() if name in known})


def narrowed(items: QuerySet[ReviewItem], only: QueueFilter) -> QuerySet[ReviewItem]:
    """Return the items that a filter leaves."""
    exact = {
        "example__target": only.label,
        "reason": only.reason,
        "example__provenance": only.provenance,
        "example__origin": only.origin,
        "example__split": only.split,
    }
    items = items.filter(**{column: value for column, value in exact.items() if value})
    if only.at_least is not None:
        items = items.filter(priority__gte=only.at_least)
    if only.at_most is not None:
        items = items.filter(priority__lte=only.at_most)
    if only.text:
        # As it is written in JSON, but for the quotes around it.
        texts = Cast("example__messages", TextField())
        items = items.alias(texts=texts).filter(texts__icontains=_as_json(only.text))
    return items


def _as_json(text: str) -> str:
    # PostgreSQL writes jsonb with escapes for these only.
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")


def saved_views(workload: Workload) -> list[SavedView]:
    """Return a queue's views by name."""
    return list(workload.saved_views.order_by("name"))


def view_of(workload: Workload, name: str) -> QueueFilter:
    """Return the part of a queue that a name stands for."""
    return filter_from(one(workload.saved_views.filter(name=name), "view").only)


def policy_of(workload: Workload) -> ReviewPolicy:
    """Return how a queue is worked through, with the defaults where nobody said."""
    found = ReviewPolicy.objects.filter(workload=workload).first()
    return found or ReviewPolicy(workload=workload)


# --- dealing --------------------------------------------------------------------------------------
def standing_of(user: User) -> QuerySet[Review]:
    """Return a person's standing decisions about the item of an outer query, probes left out."""
    mine = Review.objects.filter(item=OuterRef("pk"), reviewer=user, undone_by=None, probe="")
    return mine.exclude(decision=Decision.UNDO)


def live_leases() -> QuerySet[ReviewLease]:
    """Return the leases that are not over and keep a place, which a probe's does not."""
    return ReviewLease.objects.filter(until__gt=Now(), is_probe=False)


def _may_see(user: User) -> Q:
    through = ReviewItem.assigned_to.through.objects.filter(reviewitem=OuterRef("pk"))
    return ~Exists(through) | Q(Exists(through.filter(user=user)))


def items_with_room(workload: Workload, user: User, only: QueueFilter) -> QuerySet[ReviewItem]:
    """Return the open items that still have a place for a person, decided by them or not."""
    busy = live_leases().filter(item=OuterRef("pk")).exclude(reviewer=user)
    items = workload.review_items.filter(_may_see(user), status=Status.OPEN)
    items = items.alias(busy=CountRows(busy.values("id"))).filter(wanted__gt=F("given") + F("busy"))
    return narrowed(items, only)


def fresh_items(workload: Workload, user: User, only: QueueFilter) -> QuerySet[ReviewItem]:
    """Return what a person may be dealt and has neither decided nor skipped, in order."""
    items = items_with_room(workload, user, only).filter(~Exists(standing_of(user)))
    return items.order_by("-priority", "id")


def skipped_items(workload: Workload, user: User, only: QueueFilter) -> QuerySet[ReviewItem]:
    """Return what a person skipped and may be dealt again, the longest ago first."""
    mine = standing_of(user)
    latest = mine.order_by().values("item").annotate(at=Max("created_at")).values("at")
    items = items_with_room(workload, user, only)
    items = items.filter(~Exists(mine.exclude(decision=Decision.SKIP)), Exists(mine))
    return items.annotate(skipped_at=Subquery(latest)).order_by("skipped_at", "id")


def probe_candidates(workload: Workload, user: User) -> QuerySet[ReviewItem]:
    """Return settled items that may be shown to a person once more, in no order."""
    asked = Review.objects.filter(item=OuterRef("pk"), reviewer=user).exclude(probe="")
    held = ReviewLease.objects.filter(item=OuterRef("pk"), reviewer=user)
    settled = workload.review_items.filter(
        status=Status.DONE, settled_by__created_at__lt=Now() - REPEAT_AFTER
    )
    return settled.filter(~Exists(asked), ~Exists(held))


# --- for leads ------------------------------------------------------------------------------------
def items_page(
    workload: Workload, *, status: str = "", only: QueueFilter = EVERYTHING, at: str = ""
) -> Page[ReviewItem]:
    """Return a page of a queue's items in the order they came."""
    items = narrowed(workload.review_items.select_related("example"), only)
    if status:
        if status not in Status.values:
            raise InvalidInput(f"status is one of {', '.join(Status.values)}", param="status")
        items = items.filter(status=status)
    return page_of(items, ("id",), at)


def items_for_leads(workload: Workload) -> QuerySet[ReviewItem]:
    """Return what waits for a lead's word, the oldest first."""
    waiting = workload.review_items.filter(status__in=[Status.DISPUTED, Status.FLAGGED])
    return waiting.select_related("example", "workload").order_by("id")


@dataclass(frozen=True)
class Version:
    """One answer to an item, and whose; `output` is None for "discard it".

    `key` names it to whoever chooses: a review's id, or "accept" for what the example has now.
    """

    key: str
    output: str | None
    people: list[str]
    notes: list[str]
    is_teachers: bool


def versions_of(item: ReviewItem) -> list[Version]:
    """Return the answers to an item side by side, the commonest first; of a tie, the teacher's.

    Answers that differ in nothing that counts are one.
    """
    schema, target = item.workload.output_schema, item.example.target
    found: dict[str | None, list[Review]] = {}
    for review in filter(is_verdict, standing_on(item).select_related("reviewer")):
        is_reject = review.decision == Decision.REJECT
        found.setdefault(None if is_reject else comparable(review.output, schema), []).append(
            review
        )
    teachers = None if target is None else comparable(target, schema)
    if teachers is not None:
        found.setdefault(teachers, [])
    versions = [
        Version(
            key=str(reviews[0].pk) if reviews else Decision.ACCEPT.value,
            output=None if answer is None else (reviews[0].output if reviews else target),
            people=sorted(review.reviewer.username for review in reviews),
            notes=[review.note for review in reviews if review.note],
            is_teachers=answer is not None and answer == teachers,
        )
        for answer, reviews in found.items()
    ]
    return sorted(versions, key=lambda v: (-len(v.people) - v.is_teachers, not v.is_teachers))


def standing_flags(item: ReviewItem) -> QuerySet[Review]:
    """Return an item's flags that no lead has answered, the first first."""
    flags = standing_on(item).filter(decision=Decision.FLAG)
    return flags.select_related("reviewer")


# --- why there is none ----------------------------------------------------------------------------
@dataclass(frozen=True)
class WhyEmpty:
    """Where the items are that a person is not dealt; `leased` names who has them on a screen."""

    total: int
    done: int
    disputed: int
    flagged: int
    yours: int
    others: int
    leased: list[tuple[str, int]]
    outside: int


def why_empty(workload: Workload, user: User, only: QueueFilter = EVERYTHING) -> WhyEmpty:
    """Say where a queue's items are: each open one counts once, for the first reason that holds.

    `outside` are left out by the filter, `yours` you decided and others have not, `others` are
    assigned to other people, and the rest lies on screens.
    """
    counts = workload.review_items.aggregate(
        total=Count("id"),
        **{status: Count("id", filter=Q(status=status)) for status in Status.values},
    )
    waiting = workload.review_items.filter(status=Status.OPEN)
    inside = narrowed(waiting, only)
    decided = Exists(standing_of(user).exclude(decision=Decision.SKIP))
    yours = inside.filter(decided).count()
    left = inside.filter(~decided)
    others = left.exclude(_may_see(user)).count()
    leases = live_leases().filter(item__in=left.filter(_may_see(user)).values("pk"))
    names = leases.exclude(reviewer=user).values_list("reviewer__username")
    return WhyEmpty(
        total=counts["total"],
        done=counts[Status.DONE],
        disputed=counts[Status.DISPUTED],
        flagged=counts[Status.FLAGGED],
        yours=yours,
        others=others,
        leased=list(names.annotate(n=Count("item")).order_by("reviewer__username")),
        outside=counts[Status.OPEN] - inside.count(),
    )
