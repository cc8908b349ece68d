"""What the pages and services of review read."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, F, Max, Q, QuerySet, Sum
from django.db.models.functions import Least, Now

from factory.errors import NotFound
from factory.intervals import Share, wilson
from factory.models import Workload
from factory.models.example import Split
from labeling.agreement import cohen_kappa
from labeling.answers import comparable
from labeling.models import Label, Review, ReviewItem
from labeling.selectors.label import HUMAN


def review_item_of(workload: Workload, item_id: int) -> ReviewItem:
    """Return one of a workload's review items with its example."""
    found = workload.review_items.filter(pk=item_id).select_related("example", "workload").first()
    if found is None:
        raise NotFound("There is no such review item, or it is not yours to see.")
    return found


def label_of_item(item: ReviewItem) -> Label | None:
    """Return what the teacher's latest votes said of an item's example."""
    found = Label.objects.filter(example=item.example_id).exclude(status=Label.Status.FAILED)
    return found.select_related("job__teacher").order_by("-id").first()


def standing_reviews(workload: Workload) -> QuerySet[Review]:
    """Return the decisions that count: no undone ones, and no undoing."""
    reviews = Review.objects.filter(item__workload=workload, undone_by=None)
    return reviews.exclude(decision=Review.Decision.UNDO)


def review_progress(workload: Workload, user: User | None = None) -> dict[str, Any]:
    """Return the queue's counts: items by state and reason, standing decisions, a person's own.

    `leased` items are open and on somebody's screen. `seconds_per_item` is the mean over standing
    decisions, a stretch above five minutes counted as five; None before the first.
    """
    items = workload.review_items.aggregate(
        total=Count("id"),
        open=Count("id", filter=Q(status=ReviewItem.Status.OPEN)),
        done=Count("id", filter=Q(status=ReviewItem.Status.DONE)),
        leased=Count("id", filter=Q(status=ReviewItem.Status.OPEN, lease_until__gt=Now())),
        audit_open=Count(
            "id", filter=Q(status=ReviewItem.Status.OPEN, reason=ReviewItem.Reason.AUDIT)
        ),
        audit_total=Count("id", filter=Q(reason=ReviewItem.Reason.AUDIT)),
    )
    decisions = standing_reviews(workload).aggregate(
        accepted=Count("id", filter=Q(decision=Review.Decision.ACCEPT)),
        edited=Count("id", filter=Q(decision=Review.Decision.EDIT)),
        rejected=Count("id", filter=Q(decision=Review.Decision.REJECT)),
        skipped=Count("id", filter=Q(decision=Review.Decision.SKIP)),
        mine=Count("id", filter=Q(reviewer_id=user.pk if user else None)),
        seconds=Sum(Least(F("seconds"), 300.0)),
    )
    seconds = decisions.pop("seconds")
    counted = sum(decisions[name] for name in ("accepted", "edited", "rejected", "skipped"))
    return {
        **items,
        **decisions,
        "seconds_per_item": seconds / counted if counted else None,
    }


@dataclass(frozen=True)
class AuditResult:
    """How often people corrected what they audited: `error` is the share of edited items.

    Discarded items are in neither number. `kappa` is the agreement beyond chance between the
    targets before and after, None where it is undefined.
    """

    error: Share
    kappa: float | None


def audit_result(workload: Workload) -> AuditResult:
    """Measure the machine's labels by the audit: all decided test rows, drawn without a look."""
    audited = standing_reviews(workload).filter(
        item__reason=ReviewItem.Reason.AUDIT,
        item__example__split=Split.TEST,
        decision__in=[Review.Decision.ACCEPT, Review.Decision.EDIT],
    )
    schema = workload.output_schema
    pairs = [
        (comparable(before or "", schema), comparable(output, schema))
        for before, output in audited.values_list("before__target", "output")
    ]
    edited = audited.filter(decision=Review.Decision.EDIT).count()
    return AuditResult(error=wilson(edited, len(pairs)), kappa=cohen_kappa(pairs))


@dataclass(frozen=True)
class ErrorRate:
    """How often one kind of machine answer is wrong, by the rows drawn at random.

    `provenance` is empty for all kinds together.
    """

    provenance: str
    share: Share


def error_rates(workload: Workload) -> list[ErrorRate]:
    """Estimate how often machines' answers are wrong, from the draw; all together come first.

    A row counts once all that were drawn before it are decided, skipped ones aside: suspicious rows
    are decided earlier than others, and would raise the rate of a draw that is half done.
    """
    counts: Counter[tuple[str, bool]] = Counter()
    for splits in ([Split.TEST], [Split.TRAIN, Split.VALIDATION]):
        for before, decision in _decided_draw(workload, splits):
            counts[before.get("provenance", ""), decision == Review.Decision.EDIT] += 1
    kinds = sorted({kind for kind, _ in counts})
    rates = [
        ErrorRate(kind, wilson(counts[kind, True], counts[kind, True] + counts[kind, False]))
        for kind in kinds
    ]
    wrong = sum(rate.share.count for rate in rates)
    return [ErrorRate("", wilson(wrong, counts.total())), *rates]


def _decided_draw(workload: Workload, splits: list[Split]) -> list[tuple[dict[str, Any], str]]:
    drawn = workload.review_items.filter(draw__isnull=False, example__split__in=splits)
    waiting = drawn.filter(status=ReviewItem.Status.OPEN, priority__gt=0.0)
    bound = waiting.aggregate(first=Max("draw"))["first"] or 0.0
    decided = standing_reviews(workload).filter(
        item__example__split__in=splits, item__draw__gt=bound
    )
    decided = decided.filter(decision__in=[Review.Decision.ACCEPT, Review.Decision.EDIT])
    return list(decided.exclude(before__provenance__in=HUMAN).values_list("before", "decision"))


def suspicious_decisions(workload: Workload) -> list[bool]:
    """Return whether each suspicious row that was decided was wrong, in the order of decisions."""
    decided = standing_reviews(workload).filter(
        item__reason=ReviewItem.Reason.SUSPICIOUS,
        decision__in=[Review.Decision.ACCEPT, Review.Decision.EDIT],
    )
    ordered = decided.order_by("created_at", "id").values_list("decision", flat=True)
    return [decision == Review.Decision.EDIT for decision in ordered]
