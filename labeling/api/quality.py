"""The JSON API of quality: agreement, calibration, pace; and bulk accept."""

from dataclasses import asdict
from typing import Any, Literal

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from factory.api.base import JobOut, job_out, project_of
from factory.selectors import workload_in_project
from labeling.agreement import Agreement
from labeling.api.label_sets import ShareOut, share_out
from labeling.models import BulkAccept
from labeling.selectors import bulk as selectors
from labeling.selectors.quality import quality_of
from labeling.services import bulk as services

router = Router(tags=["quality"])


class MeasureOut(Schema):
    """A figure over `n` rows with its 95 % interval; `why` says why it has none."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    why: str


class PairOut(Schema):
    """How far two raters agree."""

    first: str
    second: str
    same: ShareOut
    kappa: MeasureOut


class LabelOut(Schema):
    """How far raters agree whether an answer is this label."""

    label: str
    n: int
    alpha: MeasureOut


class AgreementOut(Schema):
    """How far raters agree, all together, two by two, and by label."""

    same: MeasureOut
    alpha: MeasureOut
    interval_alpha: MeasureOut | None
    fleiss: MeasureOut
    fleiss_answers: int
    pairs: list[PairOut]
    labels: list[LabelOut]


class BandOut(Schema):
    """Drawn rows by what the score said: `said` on average, and the share that was right."""

    low: float
    high: float
    said: float | None
    right: ShareOut


class CalibrationOut(Schema):
    """A score beside people's verdicts on drawn rows; `error` is the expected calibration error."""

    score: str
    error: float | None
    by_chance: float | None
    bands: list[BandOut]


class ReviewerOut(Schema):
    """What a person decided, and in how many seconds (the median)."""

    name: str
    decisions: int
    accepted: int
    edited: int
    rejected: int
    skipped: int
    seconds: float
    gold: ShareOut
    repeat: ShareOut


class HourOut(Schema):
    """What an hour of review is likely to bring; `worth` is accuracy of a linear model."""

    rows: float
    left: int
    wrong: ShareOut
    worth: dict[str, float] | None


class QualityOut(Schema):
    """What is known of people's and the teacher's answers up to this moment."""

    rows: int
    people: AgreementOut
    with_teacher: AgreementOut
    calibrations: list[CalibrationOut]
    reviewers: list[ReviewerOut]
    hour: HourOut | None
    is_exhausted: bool


class CutOut(Schema):
    """What a cut would take; `error` is how wrong drawn rows above it were."""

    at_least: float
    rows: int
    audited: int
    accepted: int
    queued: int
    error: ShareOut


class BulkAcceptIn(Schema):
    """Whose answers to accept, and from where on."""

    score: str = "votes"
    at_least: float = Field(ge=0.0, le=1.0)


class BulkAcceptOut(JobOut):
    """An act that accepted rows in bulk, or reverts one; `wrong` is its sample's share."""

    score: str
    at_least: float
    rows: int
    undoes: int | None
    sampled: int
    waiting: int
    wrong: ShareOut


@router.get("/workloads/{workload}/quality", response=QualityOut)
def get_quality(
    request: HttpRequest, workload: str, rows: Literal["all", "drawn"] = "all"
) -> dict[str, Any]:
    """Get agreement, calibration and pace; `rows=drawn` is for agreement on drawn rows alone."""
    named = workload_in_project(project_of(request), workload)
    found = quality_of(named, drawn=rows == "drawn")
    counts = ("name", "decisions", "accepted", "edited", "rejected", "skipped", "seconds")
    hour = found.hour
    return {
        "rows": found.agreements.rows,
        "people": _agreement_out(found.agreements.people),
        "with_teacher": _agreement_out(found.agreements.everybody),
        "calibrations": [
            {
                "score": one.name,
                "error": one.drawn.error,
                "by_chance": one.drawn.by_chance,
                "bands": [
                    {
                        **{name: getattr(band, name) for name in ("low", "high", "said")},
                        "right": share_out(band.right),
                    }
                    for band in one.drawn.bands
                ],
            }
            for one in found.calibrations
        ],
        "reviewers": [
            {
                **{name: getattr(person, name) for name in counts},
                "gold": share_out(person.gold),
                "repeat": share_out(person.repeat),
            }
            for person in found.reviewers
        ],
        "hour": hour
        and {
            "rows": hour.rows,
            "left": hour.left,
            "wrong": share_out(hour.wrong),
            "worth": hour.worth and asdict(hour.worth),
        },
        "is_exhausted": found.insight.is_exhausted,
    }


def _agreement_out(found: Agreement) -> dict[str, Any]:
    return {
        "same": asdict(found.same),
        "alpha": asdict(found.alpha),
        "interval_alpha": found.interval_alpha and asdict(found.interval_alpha),
        "fleiss": asdict(found.fleiss),
        "fleiss_answers": found.fleiss_answers,
        "pairs": [
            {
                "first": pair.first,
                "second": pair.second,
                "same": share_out(pair.same),
                "kappa": asdict(pair.kappa),
            }
            for pair in found.pairs
        ],
        "labels": [
            {"label": label.label, "n": label.n, "alpha": asdict(label.alpha)}
            for label in found.labels
        ],
    }


@router.get("/workloads/{workload}/bulk-accepts/cuts", response=list[CutOut])
def get_cuts(
    request: HttpRequest, workload: str, score: str = "votes", at_least: float | None = None
) -> list[dict[str, Any]]:
    """Count what cuts would take, the strictest first."""
    found = workload_in_project(project_of(request), workload)
    names = ("at_least", "rows", "audited", "accepted", "queued")
    return [
        {**{name: getattr(cut, name) for name in names}, "error": share_out(cut.error)}
        for cut in selectors.cuts_of(found, score, at_least)
    ]


@router.post("/workloads/{workload}/bulk-accepts", response=BulkAcceptOut)
def post_bulk_accept(request: HttpRequest, workload: str, body: BulkAcceptIn) -> dict[str, Any]:
    """Accept each row's own answer above a score, but for a random sample."""
    found = workload_in_project(project_of(request), workload)
    return _act_out(services.start_bulk_accept(found, **body.dict()))


@router.get("/bulk-accepts/{number}", response=BulkAcceptOut)
def get_bulk_accept(request: HttpRequest, number: int) -> dict[str, Any]:
    """Watch an act, and how wrong its sample is."""
    return _act_out(selectors.bulk_accept_in_project(project_of(request), number))


@router.post("/bulk-accepts/{number}/revert", response=BulkAcceptOut)
def post_revert(request: HttpRequest, number: int) -> dict[str, Any]:
    """Give all rows of an act back as they were."""
    found = selectors.bulk_accept_in_project(project_of(request), number)
    return _act_out(services.start_revert(found))


def _act_out(act: BulkAccept) -> dict[str, Any]:
    audit = selectors.audit_of(act)
    return {
        **job_out(act),
        **{name: getattr(act, name) for name in ("score", "at_least", "rows")},
        "undoes": act.undoes_id,
        "sampled": audit.drawn,
        "waiting": audit.waiting,
        "wrong": share_out(audit.error),
    }
