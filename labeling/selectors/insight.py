"""What the page of insight reads: error rates, review yields, curves, and what they come to."""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from pydantic import TypeAdapter, ValidationError

from factory.errors import NotFound
from factory.intervals import Share, wilson
from factory.models import Job, Project, Workload
from factory.models.example import Provenance
from labeling.curves import Curve, Worth, Yield, is_exhausted, yields
from labeling.models import InsightRun, ReviewItem, Suspicion
from labeling.selectors.review import error_rates, suspicious_decisions

SHOWN = 25  # suspicious rows on a page
NEXT = 100  # reviews whose worth is told
FEW = 30  # random rows below which a rate is only a hint
CURVE: TypeAdapter[Curve] = TypeAdapter(Curve)
WORTH: TypeAdapter[Worth] = TypeAdapter(Worth)


@dataclass(frozen=True)
class Rate:
    """An error rate under the name of whose answers it is about."""

    name: str
    share: Share


@dataclass(frozen=True)
class NextReviews:
    """What the next 100 suspicious rows are likely to bring.

    `found` is how many of them will be wrong, by the last batch of decisions; `worth` what their
    correction adds to the linear model, as far as past corrections say.
    """

    found: Share
    worth: Worth | None


@dataclass(frozen=True)
class Insight:
    """All that is known of a workload's labels."""

    job: InsightRun | None
    measured: InsightRun | None
    rates: list[Rate]
    batches: list[Yield]
    is_exhausted: bool
    curve: Curve | None
    corrections: int
    worth: Worth | None
    next_reviews: NextReviews | None
    random_open: int
    suspicious_open: int

    @property
    def overall(self) -> Share:
        """How often machines' answers are wrong, whichever machine's."""
        return self.rates[0].share

    @property
    def is_hint(self) -> bool:
        """Whether the rate rests on too few rows."""
        return self.overall.n < FEW

    @property
    def last_batch(self) -> Yield | None:
        """The latest decisions about suspicious rows."""
        return self.batches[-1] if self.batches else None

    @property
    def base_rate(self) -> float | None:
        """The rate that suspicious rows must beat, None where it is not known well enough."""
        return None if self.is_hint else self.overall.value


def insight_of(workload: Workload) -> Insight:
    """Gather what is known: the newest run's figures, and the decisions up to this moment."""
    runs = workload.insight_runs.order_by("-id")
    measured = runs.filter(status=Job.Status.SUCCEEDED).first()
    facts: dict[str, Any] = measured.facts if measured else {}
    corrections = facts.get("corrections") or {}
    rates = [Rate(_name(rate.provenance), rate.share) for rate in error_rates(workload)]
    batches = yields(suspicious_decisions(workload))
    waiting = workload.review_items.filter(status=ReviewItem.Status.OPEN)
    worth = _read(WORTH, corrections.get("worth"))
    known = rates[0].share.value if rates[0].share.n >= FEW else None
    return Insight(
        job=runs.first(),
        measured=measured,
        rates=rates,
        batches=batches,
        is_exhausted=is_exhausted(batches, known),
        curve=_read(CURVE, facts.get("curve")),
        corrections=corrections.get("count", 0),
        worth=worth,
        next_reviews=_next(batches, corrections.get("count", 0), worth),
        random_open=waiting.filter(draw__isnull=False).count(),
        suspicious_open=waiting.filter(reason=ReviewItem.Reason.SUSPICIOUS).count(),
    )


def _name(provenance: str) -> str:
    return str(Provenance(provenance).label) if provenance else "all machine answers"


def _read(kind: TypeAdapter[Any], stored: Any) -> Any:
    """Return what a run stored, None where another version of ours stored it otherwise."""
    try:
        return None if stored is None else kind.validate_python(stored)
    except ValidationError:
        return None


def _next(batches: list[Yield], corrections: int, worth: Worth | None) -> NextReviews | None:
    if not batches:
        return None
    last = batches[-1]
    found = wilson(last.wrong, last.decided)
    if worth is None or corrections == 0:
        return NextReviews(found, None)
    share = NEXT * last.share / corrections
    return NextReviews(found, Worth(worth.value * share, worth.low * share, worth.high * share))


def suspicious_rows(workload: Workload, after: int = 0) -> list[Suspicion]:
    """Return the most suspicious rows that nobody answered, below a rank."""
    return list(unanswered(workload).filter(rank__gt=after)[:SHOWN])


def unanswered(workload: Workload) -> QuerySet[Suspicion]:
    """Return the suspicions about machines' answers, the worst first."""
    machines = [Provenance.TEACHER, Provenance.RELABELED_BY_MODEL]
    found = workload.suspicions.filter(example__provenance__in=machines)
    return found.select_related("example").order_by("rank")


def insight_run_of(workload: Workload) -> InsightRun | None:
    """Return the newest run."""
    return workload.insight_runs.order_by("-id").first()


def insight_run_in_project(project: Project, run: int) -> InsightRun:
    """Return a run of any of a project's workloads."""
    found = InsightRun.objects.filter(pk=run, workload__project=project).first()
    if found is None:
        raise NotFound("There is no such run, or it is not yours to see.")
    return found
