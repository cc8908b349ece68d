"""What the pages and services of review read."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, F, Max, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, Least, Now

from factory.errors import NotFound
from factory.intervals import Share, wilson
from factory.models import Workload
from factory.models.example import Split
from labeling.agreement import cohen_kappa
from labeling.answers import comparable
from labeling.models import Label, Review, ReviewItem, ReviewLease
from labeling.selectors.label import HUMAN

KINDS = {
    "accepted": Review.Decision.ACCEPT,
    "edited": Review.Decision.EDIT,
    "rejected": Review.Decision.REJECT,
    "skipped": Review.Decision.SKIP,
    "flags": Review.Decision.FLAG,
}
VERDICTS = [Review.Decision.ACCEPT, Review.Decision.EDIT, Review.Decision.REJECT]

DRAWS = ([Split.TEST], [Split.TRAIN, Split.VALIDATION])  # test rows are a draw of their own


def review_item_of(workload: Workload, item_id: int) -> ReviewItem:
    """Return one of a workload's review items with its example."""
    found = workload.review_items.filter(pk=item_id).select_related("example", "workload").first()
    if found is None:
        raise NotFound("There is no such review item, or it is not yours to see.")
    return found


def label_of_item(item: ReviewItem) -> Label | None:
    """Return what the teacher's latest votes said of an item's example."""
    found = Label.objects.filter(example=item.example_id).exclude(status=Label.Status.FAILED)
    return found.select_related("job__teacher", "job__guideline").order_by("-id").first()


def standing_reviews(workload: Workload) -> QuerySet[Review]:
    """Return the decisions that count: no undone ones, no undoing, no probes.

    Several people's for one item, where it wants several; `is_authoritative` are leads' words.
    """
    reviews = Review.objects.filter(item__workload=workload, undone_by=None, probe="")
    return reviews.exclude(decision=Review.Decision.UNDO)


def standing_on(item: ReviewItem) -> QuerySet[Review]:
    """Return what stands of an item in the order in which it was said, its probes' included."""
    standing = item.reviews.filter(undone_by=None).exclude(decision=Review.Decision.UNDO)
    return standing.order_by("created_at", "id")


def is_verdict(review: Review) -> bool:
    """Tell a reviewer's word about the answer from probes, skips, flags and leads' words."""
    return review.decision in VERDICTS and not (review.probe or review.is_authoritative)


def settled_reviews(workload: Workload) -> QuerySet[Review]:
    """Return the decisions that changed their examples: one for each settled item."""
    return Review.objects.filter(settled_item__workload=workload)


def review_progress(workload: Workload, user: User | None = None) -> dict[str, Any]:
    """Return the queue's counts: items by state and reason, standing decisions, a person's own.

    `leased` items are open and on somebody's screen. `mine` counts probes as well. `missing` are
    the decisions that open items still want. `seconds_per_item` is the mean over standing
    decisions, a stretch above five minutes counted as five; None before the first.
    """
    items = workload.review_items.aggregate(
        total=Count("id"),
        open=Count("id", filter=Q(status=ReviewItem.Status.OPEN)),
        done=Count("id", filter=Q(status=ReviewItem.Status.DONE)),
        disputed=Count("id", filter=Q(status=ReviewItem.Status.DISPUTED)),
        flagged=Count("id", filter=Q(status=ReviewItem.Status.FLAGGED)),
        missing=Coalesce(Sum(F("wanted") - F("given"), filter=Q(status=ReviewItem.Status.OPEN)), 0),
        audit_open=Count(
            "id", filter=Q(status=ReviewItem.Status.OPEN, reason=ReviewItem.Reason.AUDIT)
        ),
        audit_total=Count("id", filter=Q(reason=ReviewItem.Reason.AUDIT)),
    )
    standing = Review.objects.filter(item__workload=workload, undone_by=None)
    kinds = {name: Count("id", filter=Q(decision=kind, probe="")) for name, kind in KINDS.items()}
    decisions = standing.exclude(decision=Review.Decision.UNDO).aggregate(
        **kinds,
        mine=Count("id", filter=Q(reviewer_id=user.pk if user else None)),
        seconds=Sum(Least(F("seconds"), 300.0), filter=Q(probe="")),
    )
    seconds = decisions.pop("seconds")
    counted = sum(decisions[name] for name in KINDS)
    leases = ReviewLease.objects.filter(item__workload=workload, is_probe=False, until__gt=Now())
    return {
        **items,
        **decisions,
        "leased": leases.values("item").distinct().count(),
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
    audited = settled_reviews(workload).filter(
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

    A row counts once all that were drawn before it are settled, skipped ones aside: suspicious rows
    are decided earlier than others, and would raise the rate of a draw that is half done.
    """
    counts: Counter[tuple[str, bool]] = Counter()
    for splits in DRAWS:
        for before, decision in _decided_draw(workload, splits):
            counts[before.get("provenance", ""), decision == Review.Decision.EDIT] += 1
    kinds = sorted({kind for kind, _ in counts})
    rates = [
        ErrorRate(kind, wilson(counts[kind, True], counts[kind, True] + counts[kind, False]))
        for kind in kinds
    ]
    wrong = sum(rate.share.count for rate in rates)
    return [ErrorRate("", wilson(wrong, counts.total())), *rates]


def draw_bound(workload: Workload, splits: list[Split]) -> float:
    """Return the draw from which down rows still wait: what is decided above it is a fair sample.

    A row that somebody skipped holds nothing up.
    """
    drawn = workload.review_items.filter(draw__isnull=False, example__split__in=splits)
    skipped = standing_reviews(workload).filter(decision=Review.Decision.SKIP)
    waiting = drawn.exclude(status=ReviewItem.Status.DONE).exclude(pk__in=skipped.values("item"))
    return waiting.aggregate(first=Max("draw"))["first"] or 0.0


def _decided_draw(workload: Workload, splits: list[Split]) -> list[tuple[dict[str, Any], str]]:
    bound = draw_bound(workload, splits)
    decided = settled_reviews(workload).filter(
        item__example__split__in=splits, item__draw__gt=bound
    )
    decided = decided.filter(decision__in=[Review.Decision.ACCEPT, Review.Decision.EDIT])
    return list(decided.exclude(before__provenance__in=HUMAN).values_list("before", "decision"))


def suspicious_decisions(workload: Workload) -> list[bool]:
    """Return whether each suspicious row that was decided was wrong, in the order of decisions."""
    decided = settled_reviews(workload).filter(
        item__reason=ReviewItem.Reason.SUSPICIOUS,
        decision__in=[Review.Decision.ACCEPT, Review.Decision.EDIT],
    )
    ordered = decided.order_by("created_at", "id").values_list("decision", flat=True)
    return [decision == Review.Decision.EDIT for decision in ordered]


@dataclass(frozen=True)
class ProbeResult:
    """How often a reviewer answered settled rows as they were settled.

    `kind` says by whom: "gold" by others, "repeat" by the reviewer. Skips and flags are in neither
    number.
    """

    reviewer: str
    kind: str
    share: Share


def probe_results(workload: Workload) -> list[ProbeResult]:
    """Measure reviewers by the settled rows that they were shown again."""
    schema = workload.output_schema
    answered = Review.objects.filter(item__workload=workload, undone_by=None, decision__in=VERDICTS)
    columns = ("reviewer__username", "probe", "decision", "output", "before__expected")
    probes = answered.exclude(probe="").values_list(*columns)
    counts: Counter[tuple[str, str, bool]] = Counter()
    for reviewer, kind, decision, output, expected in probes.exclude(probe="").values_list(
        *columns
    ):
        if decision == Review.Decision.REJECT or expected is None:
            is_right = decision == Review.Decision.REJECT and expected is None
        else:
            is_right = comparable(output, schema) == comparable(expected, schema)
        counts[reviewer, kind, is_right] += 1
    asked = sorted({(reviewer, kind) for reviewer, kind, _ in counts})
    return [
        ProbeResult(
            *who, wilson(counts[(*who, True)], counts[(*who, True)] + counts[(*who, False)])
        )
        for who in asked
    ]
