"""Insight: a job judges all labels, draws the learning curve, and fills the review queue."""

from dataclasses import asdict
from typing import Any

from django.db import transaction
from more_itertools import chunked

from factory.errors import InvalidInput
from factory.models import Example, Job, Workload
from factory.models.example import Split
from factory.services import jobs
from labeling.curves import learning_curve, worth_of_corrections
from labeling.models import AUDIT_SHARE, InsightRun, Review, Suspicion
from labeling.selectors.label import HUMAN
from labeling.selectors.review import settled_reviews
from labeling.services.review import MOST_AUDITED, queue_review
from labeling.services.suspicion import judged_examples, row_of
from labeling.suspicion import Doubt, Row

BATCH = 1000
BINS = 10


@transaction.atomic
def start_insight(
    workload: Workload,
    *,
    to_review: int | None = None,
    audit_share: float = AUDIT_SHARE,
    user: Any = None,
) -> InsightRun:
    """Enqueue a judgement of all labels; with `to_review`, it fills the review queue besides.

    One that is under way serves as well, unless the queue is to be filled.
    """
    Workload.objects.select_for_update(no_key=True).get(pk=workload.pk)
    if to_review is not None and to_review < 0:
        raise InvalidInput("suspicious cannot be negative", param="suspicious")
    if not 0.0 <= audit_share <= MOST_AUDITED:
        raise InvalidInput(f"audit_share is from 0 to {MOST_AUDITED}", param="audit_share")
    alive = workload.insight_runs.filter(status__in=[Job.Status.QUEUED, Job.Status.RUNNING])
    waiting = alive.filter(to_review=to_review).first()
    if waiting is not None:
        return waiting
    return jobs.enqueue(
        InsightRun(workload=workload, to_review=to_review, audit_share=audit_share, created_by=user)
    )


def insight_work(run: InsightRun) -> None:
    """Do all of it; each part is written as soon as it is there."""

    def on_progress(phase: str, done: int, total: int) -> None:
        unit = {"done": done, "total": total, "unit": "parts", "phase": phase}
        jobs.heartbeat(run, unit)

    workload = run.workload
    with jobs.kept(run):
        judged = judged_examples(workload, lambda *at: on_progress("judging the labels", *at))
    _keep(run, judged)
    scores = {example.pk: doubt.score for example, doubt in judged}
    facts: dict[str, Any] = {"judged": len(judged), "histogram": _histogram(judged)}
    with jobs.kept(run):
        train, before, corrected = _training_rows(workload)
        test = _test_rows(workload)
        schema = workload.output_schema
        curve = learning_curve(
            train, test, schema, lambda *at: on_progress("drawing the learning curve", *at)
        )
        facts["curve"] = None if curve is None else asdict(curve)
        facts["train_rows"], facts["test_rows"] = len(train), len(test)
        worth = worth_of_corrections(before, train, test, schema) if corrected else None
        facts["corrections"] = {"count": corrected, "worth": worth and asdict(worth)}
    if run.to_review is not None:
        on_progress("filling the review queue", 0, 1)
    with jobs.fenced(run):
        if run.to_review is not None:
            facts["queued"] = queue_review(
                workload, suspicious=run.to_review, audit_share=run.audit_share, scores=scores
            )
        jobs.succeed(run, facts=facts)


def _keep(run: InsightRun, judged: list[tuple[Example, Doubt]]) -> None:
    changing = ["workload", "run", "score", "probability", "rank", "likelier", "hint"]
    for batch in chunked(enumerate(judged, start=1), BATCH):
        rows = [
            Suspicion(
                example=example,
                workload_id=run.workload_id,
                run=run,
                score=doubt.score,
                probability=doubt.probability,
                rank=rank,
                likelier=doubt.likelier,
                hint=doubt.hint.replace("\0", "\ufffd"),
            )
            for rank, (example, doubt) in batch
        ]
        with jobs.fenced(run):
            # An example may have been erased since it was judged.
            alive = set(
                Example.objects.filter(pk__in=[row.example_id for row in rows])
                .select_for_update(no_key=True)
                .values_list("pk", flat=True)
            )
            Suspicion.objects.bulk_create(
                [row for row in rows if row.example_id in alive],
                update_conflicts=True,
                unique_fields=["example"],
                update_fields=changing,
            )
    with jobs.fenced(run):
        Suspicion.objects.filter(workload=run.workload).exclude(run=run).delete()


def _histogram(judged: list[tuple[Example, Doubt]]) -> list[int]:
    """Count the scores by tenths."""
    counts = [0] * BINS
    for _, doubt in judged:
        counts[min(BINS - 1, int(doubt.score * BINS))] += 1
    return counts


def _training_rows(workload: Workload) -> tuple[list[Row], list[Row], int]:
    """Return the training rows as they are, as they were before people corrected any, how many."""
    former = {
        example: before.get("target")
        for example, before in settled_reviews(workload)
        .filter(decision=Review.Decision.EDIT, item__example__split=Split.TRAIN)
        .values_list("item__example", "before")
    }
    labelled = workload.examples.filter(split=Split.TRAIN).exclude(target=None)
    labelled = labelled.exclude(status=Example.Status.DISCARDED)
    now: list[Row] = []
    before: list[Row] = []
    for example in labelled.only("workload", "messages", "target", "group").iterator(BATCH):
        now.append(row_of(example))
        example.target = former.get(example.pk, example.target)
        before.append(row_of(example))
    return now, before, len(former)


def _test_rows(workload: Workload) -> list[Row]:
    """Return the rows that a person stands behind: nothing is proven by any others."""
    trusted = workload.examples.filter(split=Split.TEST, provenance__in=HUMAN)
    trusted = trusted.exclude(target=None).exclude(status=Example.Status.DISCARDED)
    fields = ("workload", "messages", "target", "group")
    return [row_of(example) for example in trusted.only(*fields).order_by("id").iterator(BATCH)]
