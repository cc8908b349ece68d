"""What may be accepted in bulk, what a cut would take, and how wrong an act turned out."""

from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any

from django.db.models import (
    Count,
    Exists,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
)
from django.db.models.functions import Coalesce, Now

from factory.errors import InvalidInput, NotFound
from factory.intervals import Share, wilson
from factory.models import Example, Project, Workload
from factory.models.example import Split
from labeling.answers import comparable
from labeling.models import (
    AppliedChange,
    BulkAccept,
    BulkRow,
    Label,
    Review,
    ReviewItem,
    ReviewLease,
    Suspicion,
)
from labeling.selectors.label import HUMAN
from labeling.selectors.label_sets import USABLE, usable
from labeling.selectors.quality import scored_rows

AUDIT_SHARE, FEWEST_AUDITED = 0.05, 30  # of the rows above a cut, drawn for people to look at
CUTS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
LATE = timedelta(hours=1)  # what was on a screen so lately may still be decided there
NEWEST = 20
Score = BulkAccept.Score
Decision = Review.Decision
# A cut of 0.7 takes what is 0.7 sure, whatever binary fractions say.
TINY = 1e-9


# --- what may be accepted -------------------------------------------------------------------------
def candidates(workload: Workload, score: str) -> QuerySet[Any]:
    """Return the rows whose own answer a score may accept, each with `sure`, `answer`, `allowed`.

    Left out are rows that people answered or have before them, drawn rows, whose people's word
    measures the rest, and test rows, which prove a student and take a person's word. `allowed`:
    whether the terms of whoever gave the answer let it train.
    """
    rows = usable(workload).exclude(provenance__in=HUMAN)
    rows = rows.filter(split__in=[Split.TRAIN, Split.VALIDATION])
    acts = BulkRow.objects.filter(example=OuterRef("pk"), act__undone_by=None)
    rows = rows.filter(~Exists(acts), Q(review_item=None) | _is_untouched())
    return _with_answers(rows, score).filter(sure__isnull=False, answer__isnull=False)


def _is_untouched() -> Q:
    item = OuterRef("review_item")
    assigned = ReviewItem.assigned_to.through.objects.filter(reviewitem=item)
    leased = ReviewLease.objects.filter(item=item, until__gt=Now() - LATE)
    said = Review.objects.filter(item=item)
    is_open = Q(review_item__status=ReviewItem.Status.OPEN, review_item__draw=None)
    return is_open & ~Q(Exists(assigned)) & ~Q(Exists(leased)) & ~Q(Exists(said))


def _with_answers(rows: QuerySet[Example], score: str) -> QuerySet[Any]:
    if score not in Score.values:
        raise InvalidInput(f"score is one of {', '.join(Score.values)}", param="score")
    if score == Score.INSIGHT:
        # A target that changed since it was judged was not judged.
        labelled = Label.objects.filter(
            example=OuterRef("example"), created_at__gt=OuterRef("run__created_at")
        )
        applied = AppliedChange.objects.filter(
            example=OuterRef("example"), application__created_at__gt=OuterRef("run__created_at")
        )
        judged = Suspicion.objects.filter(example=OuterRef("pk"))
        judged = judged.filter(~Exists(labelled), ~Exists(applied))
        sure = judged.annotate(sure=Coalesce("probability", Value(1.0) - F("score")))
        return rows.annotate(
            sure=Subquery(sure.values("sure")[:1]), answer=F("target"), allowed=F("may_train")
        )
    column = "confidence" if score == Score.VOTES else "probability"
    labels = Label.objects.filter(example=OuterRef("pk"), status__in=USABLE).order_by("-id")
    return rows.annotate(
        sure=Subquery(labels.values(column)[:1]),
        answer=Subquery(labels.values("output")[:1], output_field=TextField()),
        allowed=Subquery(labels.values("may_train")[:1]),
    )


def above(workload: Workload, score: str, at_least: float) -> QuerySet[Any]:
    """Return the candidates that a score is sure enough of."""
    return candidates(workload, score).filter(sure__gte=at_least - TINY)


def audit_size(rows: int) -> int:
    """Return how many of so many rows are drawn for people to look at."""
    return max(FEWEST_AUDITED, ceil(rows * AUDIT_SHARE))


# --- before an act --------------------------------------------------------------------------------
@dataclass(frozen=True)
class Cut:
    """What a cut takes: `rows`, `audited` of them for people, `queued` of them out of the queue.

    `error` is how often people corrected drawn rows above the cut; without any it may be anything.
    """

    at_least: float
    rows: int
    queued: int
    error: Share

    @property
    def audited(self) -> int:
        """The rows that are drawn for people."""
        return min(self.rows, audit_size(self.rows))

    @property
    def accepted(self) -> int:
        """The rows that are accepted."""
        return self.rows - self.audited

    @property
    def is_possible(self) -> bool:
        """Whether there are more rows than the sample takes."""
        return self.rows > FEWEST_AUDITED


def cuts_of(workload: Workload, score: str, chosen: float | None = None) -> list[Cut]:
    """Return what cuts would take, the strictest first; `chosen` is one of them."""
    levels = sorted({*CUTS, *([] if chosen is None else [chosen])}, reverse=True)
    waiting = Q(review_item__isnull=False)
    counts: dict[str, Any] = {}
    for at, level in enumerate(levels):
        counts[f"rows{at}"] = Count("id", filter=Q(sure__gte=level - TINY))
        counts[f"queued{at}"] = Count("id", filter=waiting & Q(sure__gte=level - TINY))
    found = candidates(workload, score).aggregate(**counts)
    drawn = [(sure, right) for sure, right, is_drawn in scored_rows(workload, score) if is_drawn]
    cuts = []
    for at, level in enumerate(levels):
        verdicts = [right for sure, right in drawn if sure >= level - TINY]
        error = wilson(verdicts.count(False), len(verdicts))
        cuts.append(Cut(level, found[f"rows{at}"], found[f"queued{at}"], error))
    return cuts


# --- after it -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Audit:
    """What people said of an act's sample: `error` is the share whose answer was wrong.

    Rows that they discarded are in neither number. Before all are decided it is a hint: what is
    doubtful is decided first.
    """

    drawn: int
    error: Share
    discarded: int

    @property
    def waiting(self) -> int:
        """The rows that nobody has decided yet."""
        return self.drawn - self.error.n - self.discarded


def audit_of(act: BulkAccept) -> Audit:
    """Measure an act by its sample."""
    schema = act.workload.output_schema
    wrong = right = discarded = 0
    sample = act.changes.filter(is_audit=True)
    names = ("answer", "example__review_item__settled_by__decision")
    for answer, decision, output in sample.values_list(
        *names, "example__review_item__settled_by__output"
    ):
        if decision == Decision.REJECT:
            discarded += 1
        elif decision is not None:
            is_right = comparable(answer, schema) == comparable(output, schema)
            right, wrong = right + is_right, wrong + (not is_right)
    return Audit(sample.count(), wilson(wrong, wrong + right), discarded)


def standing_rows(act: BulkAccept) -> QuerySet[BulkRow]:
    """Return an act's accepted rows that are still as it left them."""
    accepted = act.changes.filter(is_audit=False, example__target=F("answer"))
    return accepted.exclude(example__provenance__in=HUMAN)


def act_on(example: Example) -> BulkRow | None:
    """Return the standing act that accepted an example's answer, None where there is none."""
    accepted = example.bulk_rows.filter(is_audit=False, act__undone_by=None)
    accepted = accepted.filter(answer=example.target or "").exclude(example__provenance__in=HUMAN)
    return accepted.select_related("act").order_by("-id").first()


def bulk_accepts_of(workload: Workload) -> list[BulkAccept]:
    """Return the newest acts, each with the one that reverts it."""
    acts = workload.bulk_accepts.select_related("created_by", "undone_by", "undoes", "workload")
    return list(acts.order_by("-id")[:NEWEST])


def bulk_accept_of(workload: Workload, number: int) -> BulkAccept:
    """Return one act."""
    acts = workload.bulk_accepts.select_related("created_by", "undone_by", "undoes", "workload")
    found = acts.filter(pk=number).first()
    if found is None:
        raise NotFound("There is no such act, or it is not yours to see.")
    return found


def bulk_accept_in_project(project: Project, number: int) -> BulkAccept:
    """Return one act of any of a project's workloads."""
    acts = BulkAccept.objects.filter(pk=number, workload__project=project)
    found = acts.select_related("workload", "undone_by", "undoes").first()
    if found is None:
        raise NotFound("There is no such act, or it is not yours to see.")
    return found


def reverted_by(act: BulkAccept) -> BulkAccept | None:
    """Return the act that reverts an act, None where there is none."""
    return BulkAccept.objects.filter(undoes=act).first()
