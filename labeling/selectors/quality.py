"""What the page of quality reads: agreement, calibration, pace, and what an hour of review buys."""

from dataclasses import dataclass, replace
from datetime import datetime
from math import copysign

from django.db.models import (
    Aggregate,
    Avg,
    Count,
    F,
    FloatField,
    Q,
    QuerySet,
)
from django.db.models.functions import Least

from factory.intervals import Share, wilson
from factory.models import Workload
from labeling.agreement import Agreement, Item, agreement_of
from labeling.answers import comparable
from labeling.calibration import Band, Calibration, calibration_of
from labeling.curves import Worth
from labeling.models import BulkAccept, Label, Review, Suspicion
from labeling.selectors.insight import Insight, insight_of, unanswered
from labeling.selectors.label import HUMAN
from labeling.selectors.review import (
    DRAWS,
    draw_bound,
    probe_results,
    settled_reviews,
    standing_reviews,
)

TEACHER = "the teacher"  # no user's name has a space
MOST_ROWS = 5000  # settled last; more would only narrow what is narrow already
MOST_TEXTS = 1000  # where nearly every answer is one of its own
LONGEST = 300.0  # seconds that a decision counts for
HOUR = 3600.0
NEVER = wilson(0, 0)
Decision = Review.Decision
ANSWERS = [Decision.ACCEPT, Decision.EDIT]


# --- agreement ------------------------------------------------------------------------------------
def rated_items(workload: Workload, *, drawn: bool = False) -> list[Item]:
    """Return the answers to each row that people answered last: theirs, and the machine's.

    Each person's answer is the one that stands, given without a look at other people's; leads'
    words on disputes, rows shown again and discards are none. With `drawn`, only rows drawn at
    random: others are in the queue because they are doubtful.
    """
    found = _given(workload)
    if drawn:
        found = found.filter(item__draw__isnull=False)
    schema = workload.output_schema
    rows: dict[int, dict[str, str]] = {}
    most = MOST_ROWS if workload.labels else MOST_TEXTS
    names = ("item_id", "reviewer__username", "output", "before")
    for item, name, output, before in found.order_by("-created_at", "-id").values_list(*names):
        if item not in rows and len(rows) == most:
            break
        row = rows.setdefault(item, {})
        row.setdefault(name, comparable(output, schema))
        if before.get("target") is not None and before.get("provenance") not in HUMAN:
            row.setdefault(TEACHER, comparable(before["target"], schema))
    return list(rows.values())


def _given(workload: Workload) -> QuerySet[Review]:
    return standing_reviews(workload).filter(decision__in=ANSWERS, is_authoritative=False)


@dataclass(frozen=True)
class Agreements:
    """How far people agree among each other, and with the teacher as one more rater."""

    people: Agreement
    everybody: Agreement
    rows: int

    @property
    def both(self) -> tuple[tuple[str, Agreement], ...]:
        """Return both by name."""
        return ("people", self.people), ("with the teacher", self.everybody)


def agreements(workload: Workload, *, drawn: bool = False) -> Agreements:
    """Measure the agreement of a workload's raters."""
    items = rated_items(workload, drawn=drawn)
    alone = [{name: item[name] for name in item if name != TEACHER} for item in items]
    return Agreements(agreement_of(alone), agreement_of(items), len(items))


# --- calibration ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Settled:
    """A row that people settled: its last answer, and the machine's that they were shown."""

    example: int
    is_drawn: bool
    answer: str
    shown: str | None
    at: datetime


def settled_rows(workload: Workload) -> list[Settled]:
    """Return the machine-answered rows that people settled last, discarded ones left out.

    `is_drawn` rows are a fair sample: all that were drawn before them are settled too, those aside
    that somebody skipped.
    """
    settling = settled_reviews(workload).filter(decision__in=ANSWERS)
    settling = settling.exclude(before__provenance__in=HUMAN)
    bounds = {
        split: bound
        for splits in DRAWS
        for bound in [draw_bound(workload, splits)]
        for split in splits
    }
    names = ("item__example_id", "item__draw", "item__example__split", "output", "before")
    rows = settling.order_by("-created_at").values_list(*names, "created_at")[:MOST_ROWS]
    return [
        Settled(
            example=example,
            is_drawn=draw is not None and draw > bounds.get(split, 1.0),
            answer=output,
            shown=before.get("target"),
            at=at,
        )
        for example, draw, split, output, before, at in rows
    ]


@dataclass(frozen=True)
class ScoreBands:
    """One score beside people's verdicts: over the fair sample, and over all settled rows.

    Only the first says whether the score keeps its word: the others are in the queue because they
    are doubtful, or from a band that was accepted.
    """

    name: str
    title: str
    drawn: Calibration
    every: Calibration

    @property
    def rows(self) -> list[tuple[Band, Band]]:
        """Return each band of the fair sample beside that of all settled rows, the surest first."""
        return list(zip(self.drawn.bands, self.every.bands, strict=True))[::-1]


def calibrations(workload: Workload) -> list[ScoreBands]:
    """Compare each score with people's verdicts; scores that no settled row has are left out."""
    rows = settled_rows(workload)
    found = []
    for score in BulkAccept.Score:
        scored = scored_rows(workload, score, rows)
        if scored:
            drawn = [(sure, right) for sure, right, is_drawn in scored if is_drawn]
            every = [(sure, right) for sure, right, _ in scored]
            found.append(
                ScoreBands(
                    score.value, str(score.label), calibration_of(drawn), calibration_of(every)
                )
            )
    return found


def scored_rows(
    workload: Workload, score: str, rows: list[Settled] | None = None
) -> list[tuple[float, bool, bool]]:
    """Return how sure a score was of its answer when people settled a row, and what they said.

    The three are the score, whether people say the same, and whether the row was drawn at random.
    """
    rows = settled_rows(workload) if rows is None else rows
    schema = workload.output_schema
    said = _judged(rows) if score == BulkAccept.Score.INSIGHT else _labelled(rows, score)
    found = []
    for row in rows:
        if row.example in said:
            sure, answer = said[row.example]
            is_right = comparable(answer, schema) == comparable(row.answer, schema)
            found.append((sure, is_right, row.is_drawn))
    return found


def _labelled(rows: list[Settled], score: str) -> dict[int, tuple[float, str]]:
    """Return the last label of each row before people decided, by row."""
    column = "confidence" if score == BulkAccept.Score.VOTES else "probability"
    decided = {row.example: row.at for row in rows}
    usable = [Label.Status.ACCEPTED, Label.Status.UNSURE]
    labels = Label.objects.filter(example__in=decided, status__in=usable).exclude(**{column: None})
    found: dict[int, tuple[float, str]] = {}
    for example, sure, output, at in labels.order_by("id").values_list(
        "example_id", column, "output", "created_at"
    ):
        if at <= decided[example]:
            found[example] = (sure, output)
    return found


def _judged(rows: list[Settled]) -> dict[int, tuple[float, str]]:
    """Return how likely what people were shown is, where it was judged before they decided."""
    shown = {row.example: row for row in rows if row.shown is not None}
    doubts = Suspicion.objects.filter(example__in=shown)
    names = ("example_id", "probability", "score", "run__created_at")
    return {
        example: (1.0 - score if probability is None else probability, shown[example].shown or "")
        for example, probability, score, at in doubts.values_list(*names)
        if at <= shown[example].at
    }


# --- people ---------------------------------------------------------------------------------------
class Median(Aggregate):
    """The middle of the values."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(0.5) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()


@dataclass(frozen=True)
class Reviewer:
    """What a person decided, and how fast: `seconds` is the median of a decision.

    `gold` and `repeat` are the shares of settled rows, shown again, that the person answered as
    others had settled them, or as before.
    """

    name: str
    decisions: int
    accepted: int
    edited: int
    rejected: int
    skipped: int
    seconds: float
    mean_seconds: float
    gold: Share
    repeat: Share

    @property
    def probes(self) -> tuple[tuple[str, Share], ...]:
        """Return both shares by name."""
        return ("hidden gold", self.gold), ("same twice", self.repeat)

    @property
    def accept_rate(self) -> float | None:
        """Return the share of the machine's answers that the person let stand."""
        answered = self.accepted + self.edited
        return self.accepted / answered if answered else None

    @property
    def per_hour(self) -> float | None:
        """Return how many decisions an hour takes, None where no time was measured."""
        return HOUR / self.mean_seconds if self.mean_seconds else None


def reviewers_of(workload: Workload) -> list[Reviewer]:
    """Return what each person decided, the busiest first; time beyond five minutes is a break."""
    reviews = standing_reviews(workload).order_by()
    took = Least(F("seconds"), LONGEST)
    rows = reviews.values("reviewer__username").annotate(
        decisions=Count("id"),
        accepted=Count("id", filter=Q(decision=Decision.ACCEPT)),
        edited=Count("id", filter=Q(decision=Decision.EDIT)),
        rejected=Count("id", filter=Q(decision=Decision.REJECT)),
        skipped=Count("id", filter=Q(decision=Decision.SKIP)),
        middle=Median(took),
        mean=Avg(took),
    )
    probed = {(one.reviewer, one.kind): one.share for one in probe_results(workload)}
    people = [
        Reviewer(
            name=row["reviewer__username"],
            seconds=row["middle"],
            mean_seconds=row["mean"],
            gold=probed.get((row["reviewer__username"], Review.Probe.GOLD), NEVER),
            repeat=probed.get((row["reviewer__username"], Review.Probe.REPEAT), NEVER),
            **{
                name: row[name]
                for name in ("decisions", "accepted", "edited", "rejected", "skipped")
            },
        )
        for row in rows
    ]
    return sorted(people, key=lambda person: (-person.decisions, person.name))


# --- what an hour buys ----------------------------------------------------------------------------
@dataclass(frozen=True)
class Hour:
    """What an hour on the suspicious rows is likely to bring, at the pace of people so far.

    `rows` are decided in an hour; `left` are there to decide. `wrong` is the share of rows that
    will be wrong, by the last batch. `worth` is None where no correction has been measured yet.
    """

    rows: float
    left: int
    wrong: Share
    worth: Worth | None

    @property
    def reach(self) -> float:
        """Return how many rows the hour gets to."""
        return min(self.rows, self.left)


def hour_of(workload: Workload, insight: Insight, people: list[Reviewer]) -> Hour | None:
    """Return what an hour buys, None before suspicious rows were decided or time was measured."""
    decisions = sum(person.decisions for person in people)
    seconds = sum(person.mean_seconds * person.decisions for person in people)
    if not insight.batches or not seconds:
        return None
    last = insight.batches[-1]
    hour = Hour(
        HOUR * decisions / seconds,
        unanswered(workload).count(),
        wilson(last.wrong, last.decided),
        worth=None,
    )
    if insight.worth is None or insight.curve is None or not insight.corrections:
        return hour
    times = hour.reach * last.share / insight.corrections
    error = 1.0 - insight.curve.measured[-1].value
    ends = (insight.worth.value, insight.worth.low, insight.worth.high)
    return replace(hour, worth=Worth(*(_repeated(gain, error, times) for gain in ends)))


def _repeated(gain: float, error: float, times: float) -> float:
    """Return what so many times the same work brings, if each removes the same share of the error.

    `error` is what is left now, after the first time: more than that no work can bring.
    """
    before = error + abs(gain)
    share = abs(gain) / before if before else 0.0
    return copysign(error * (1.0 - (1.0 - share) ** times), gain)


@dataclass(frozen=True)
class Quality:
    """All of it, and the insight that it leans on."""

    agreements: Agreements
    calibrations: list[ScoreBands]
    reviewers: list[Reviewer]
    hour: Hour | None
    insight: Insight


def quality_of(workload: Workload, *, drawn: bool = False) -> Quality:
    """Gather all that is known up to this moment."""
    insight, people = insight_of(workload), reviewers_of(workload)
    return Quality(
        agreements=agreements(workload, drawn=drawn),
        calibrations=calibrations(workload),
        reviewers=people,
        hour=hour_of(workload, insight, people),
        insight=insight,
    )
