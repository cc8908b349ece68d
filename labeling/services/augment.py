"""Augmentation: a teacher makes new inputs, reads them blind, and what stands becomes examples."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import transaction

from factory.answers import labels_of
from factory.curation.variable import Templates
from factory.errors import BudgetExceeded, Conflict, InvalidInput, JobPaused
from factory.messages import Json
from factory.models import Example, Job, Workload
from factory.models.example import Split
from factory.services import jobs
from factory.services.curate import curation_of, templates_of
from labeling import augment, seeding
from labeling.answers import check_schema
from labeling.label_sets import is_same
from labeling.models import (
    Augmentation,
    Draft,
    LabelJob,
    Seed,
    Teacher,
)
from labeling.selectors.augment import children_of, parents_of, room_for_synthetic
from labeling.selectors.label import HUMAN, latest_guideline
from labeling.selectors.label_sets import answers_of, set_of, usable
from labeling.services.drafting import AugmentRun
from labeling.services.label import MAX_VOTES, client_for, cost_of, plan_of
from labeling.teacher import CHARACTERS_PER_TOKEN, TeacherClient

MOST_DRAFTS = 50_000
MOST_AT_ONCE = 10
PER_SEED = 4
SYNTHETIC_SHARE = 0.3  # of what is trained on, as a version's recipe has it by default
SMOKE_SEEDS = 4
SMOKE_KEPT = 0.25  # of the first drafts, below which nobody wants to buy the rest unseen
FAILURES = 2000  # wrong answers that are looked at
SAMPLE = 50  # rows that an estimate looks at
AUGMENTED = "augmented"  # the discard reason of rows whose augmentation was withdrawn
Status = Draft.Status


# --- starting -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class AugmentEstimate:
    """What an augmentation is likely to take; `kept_at_most` is what the synthetic share allows."""

    seeds: int
    drafts: int
    calls: int
    usd: Decimal
    kept_at_most: int


def methods_for(workload: Workload) -> list[str]:
    """Return the methods that make sense for a workload's answers."""
    if workload.output_schema is None:
        return [augment.PARAPHRASE, augment.GAP]
    if not labels_of(workload.output_schema):
        return [augment.PARAPHRASE, augment.COUNTERFACTUAL, augment.GAP]
    return list(seeding.CHOOSE)


def estimate_augmentation(
    workload: Workload,
    *,
    teacher: Teacher,
    wanted: Mapping[str, int],
    per_seed: int = PER_SEED,
    votes: int = 1,
    most_share: float = SYNTHETIC_SHARE,
) -> AugmentEstimate:
    """Estimate an augmentation by a sample of the rows it may start from, all drafts being read."""
    seeds = sum(_seeds(wanted, per_seed).values())
    drafts = seeds * per_seed
    sample = list(parents_of(workload).order_by("digest")[:SAMPLE])
    said = sum(len(str(row.messages)) for row in sample) // max(1, len(sample))
    text = said // CHARACTERS_PER_TOKEN
    answer = sum(len(row.target or "") for row in sample) // max(1, len(sample))
    written = cost_of(teacher, text + 300, text * per_seed)
    read = cost_of(teacher, text + 100, answer // CHARACTERS_PER_TOKEN + 12)
    return AugmentEstimate(
        seeds=seeds,
        drafts=drafts,
        calls=seeds + drafts * votes,
        usd=written * seeds + read * drafts * votes,
        kept_at_most=room_for_synthetic(workload, most_share),
    )


def _seeds(wanted: Mapping[str, int], per_seed: int) -> dict[str, int]:
    """Return how many questions of each method bring so many drafts."""
    return {method: -(-count // per_seed) for method, count in wanted.items() if count}


@transaction.atomic
def start_augmentation(
    workload: Workload,
    *,
    teacher: Teacher,
    wanted: Mapping[str, int],
    budget_usd: Decimal,
    per_seed: int = PER_SEED,
    votes: int = 1,
    most_share: float = SYNTHETIC_SHARE,
    gaps: str = "",
    user: User | None = None,
) -> LabelJob:
    """Enqueue an augmentation: `wanted` drafts by method, kept up to the share of synthetic rows.

    `gaps` is the key of a label set: its wrong answers on held-out rows say which training rows to
    start from. The texts of held-out rows are never part of a question.
    """
    Workload.objects.select_for_update(no_key=True).get(pk=workload.pk)
    if teacher.project_id != workload.project_id:
        raise InvalidInput("the teacher belongs to another project", param="teacher")
    if not teacher.may_train_on_outputs:
        raise InvalidInput(
            f"{teacher}'s terms do not allow training on what it writes", param="teacher"
        )
    if budget_usd < 0:
        raise InvalidInput("budget_usd cannot be negative", param="budget_usd")
    asked = set_of(workload, gaps) if gaps else None
    _check_wanted(workload, wanted, per_seed, has_gaps=asked is not None)
    check_schema(workload.output_schema)
    cost_of(teacher, 0, 0)
    alive = workload.label_jobs.filter(status__in=[Job.Status.QUEUED, Job.Status.RUNNING])
    if alive.filter(kind=LabelJob.Kind.AUGMENT).exists():
        raise Conflict("an augmentation of this workload is still at work")
    if not parents_of(workload).exists():
        raise Conflict("there is no training row with an answer to start from: label some first")
    room = room_for_synthetic(workload, most_share)
    if room == 0:
        raise Conflict(
            f"synthetic rows are {most_share:.0%} of what is trained on already: more real rows, "
            "or a larger share, make room"
        )
    job = jobs.enqueue(
        LabelJob(
            workload=workload,
            teacher=teacher,
            guideline=latest_guideline(workload),
            kind=LabelJob.Kind.AUGMENT,
            votes=_votes(workload, wanted, votes),
            budget_usd=budget_usd,
            created_by=user,
        )
    )
    Augmentation.objects.create(
        job=job,
        wanted=dict(wanted),
        per_seed=per_seed,
        most_kept=room,
        gaps=gaps,
        gaps_name=asked.name[:160] if asked else "",
    )
    return job


def _check_wanted(
    workload: Workload, wanted: Mapping[str, int], per_seed: int, *, has_gaps: bool
) -> None:
    allowed = methods_for(workload)
    for method, count in wanted.items():
        if method not in allowed:
            raise InvalidInput(
                f"{method} is no method for this workload: {', '.join(allowed)}", param="wanted"
            )
        if not 0 <= count <= MOST_DRAFTS:
            raise InvalidInput(f"drafts are from 0 to {MOST_DRAFTS}", param="wanted")
    if not any(wanted.values()):
        raise InvalidInput("say of at least one method how many drafts it makes", param="wanted")
    if wanted.get(augment.GAP) and not has_gaps:
        raise InvalidInput(
            "gaps are filled from somebody's wrong answers: name the label set that holds them",
            param="gaps",
        )
    if not 1 <= per_seed <= MOST_AT_ONCE:
        raise InvalidInput(f"per_seed is from 1 to {MOST_AT_ONCE}", param="per_seed")


def _votes(workload: Workload, wanted: Mapping[str, int], votes: int) -> int:
    """Return how often drafts are read blind; `InvalidInput` where that would say nothing."""
    if not 1 <= votes <= MAX_VOTES:
        raise InvalidInput(f"votes is a whole number from 1 to {MAX_VOTES}", param="votes")
    if workload.output_schema is None:
        return 1  # two free texts are never the same
    is_open = wanted.get(augment.COUNTERFACTUAL) and not labels_of(workload.output_schema)
    return max(votes, 2) if is_open else votes


# --- the work -------------------------------------------------------------------------------------
def augment_work(job: LabelJob) -> None:
    """Ask what was not asked yet; begun again after a crash, it goes on from there."""
    if job.pause_requested:
        raise JobPaused("Paused.")
    if not job.augmentation.is_planned:
        _plan(job)
    try:
        if not job.smoke.get("passed") and not job.smoke_waived:
            _smoke(job)
        _draft(job)
    except BudgetExceeded as exceeded:
        raise JobPaused(f"{exceeded.message} A higher budget lets it go on.") from exceeded
    with jobs.fenced(job):
        jobs.succeed(job)


def _plan(job: LabelJob) -> None:
    """Choose the seeds, once: what is asked must not depend on what was answered."""
    augmentation = job.augmentation
    with jobs.kept(job):
        ground = _ground(job)
        planned = seeding.plan(ground, _seeds(augmentation.wanted, augmentation.per_seed))
    with jobs.fenced(job):
        seeds = [
            Seed(
                job=job,
                number=number,
                method=one.method,
                parent_id=one.parent,
                expected=one.expected,
                against=one.against,
                is_open=one.is_open,
            )
            for number, one in enumerate(planned)
        ]
        Seed.objects.bulk_create(seeds, batch_size=1000)
        Augmentation.objects.filter(pk=augmentation.pk).update(is_planned=True)


def _ground(job: LabelJob) -> seeding.Field:
    workload = job.workload
    templates = templates_of(curation_of(workload))
    rows = parents_of(workload)
    drawn = list(rows.order_by("digest")[: seeding.POOL])
    counts = _label_counts(workload, drawn)
    known = {row.pk for row in drawn}
    for label, count in counts.items():
        if 0 < count <= seeding.RARE_ROWS:
            drawn += [row for row in rows.filter(target=label) if row.pk not in known]
    return seeding.Field(
        parents=[
            seeding.Parent(row.pk, row.group, text, row.target or "")
            for row in drawn
            if (text := augment.varied_part(row.messages, templates.slots(row.messages)))
        ],
        labels=counts,
        failures=list(_failures(job, templates)),
    )


def _failures(job: LabelJob, templates: Templates) -> Iterator[seeding.Failure]:
    """Yield the held-out rows that the set of the gaps answers wrongly, a fair part of them."""
    workload, key = job.workload, job.augmentation.gaps
    if not key:
        return
    held_out = usable(workload).exclude(split=Split.TRAIN).annotate(said=answers_of(key))
    rows = held_out.exclude(target=None).exclude(said=None).order_by("digest")
    left = FAILURES
    for row in rows.iterator(SAMPLE):
        if left and not is_same(row.said, row.target or "", workload.output_schema):
            left -= 1
            yield seeding.Failure(templates.text(row.messages), row.target or "", row.said)


def _label_counts(workload: Workload, drawn: Sequence[Example]) -> dict[str, int]:
    labels = labels_of(workload.output_schema)
    if len(drawn) < seeding.POOL:
        counts = Counter(row.target for row in drawn)
        return {label: counts[label] for label in labels}
    rows = parents_of(workload)
    return {label: rows.filter(target=label).count() for label in labels}


def _smoke(job: LabelJob) -> None:
    """Ask the first seeds; `JobPaused` where too little of it stands to buy the rest unseen."""
    run = _draft(job, most=SMOKE_SEEDS)
    drafts, kept = run.counts.total(), run.counts[Status.KEPT]
    reasons = Counter(run.counts)
    reasons.pop(Status.KEPT, None)
    report: Json = {
        "rows": drafts,
        "failed": drafts - kept,
        "passed": kept >= SMOKE_KEPT * drafts and drafts > 0,
        "reasons": [[str(Status(status).label), n] for status, n in reasons.most_common(3)],
    }
    with jobs.fenced(job):
        LabelJob.objects.filter(pk=job.pk).update(smoke=report)
    job.smoke = report
    if not report["passed"] and job.seeds.filter(is_done=False).exists():
        said = "; ".join(f"{reason} ({n})" for reason, n in report["reasons"])
        problem = job.seeds.exclude(problem="").values_list("problem", flat=True).first()
        raise JobPaused(
            f"Smoke run: {kept} of the first {drafts} drafts stand. {said or problem or ''}"
        )


def _draft(job: LabelJob, most: int | None = None) -> AugmentRun:
    client = client_for(job.teacher)
    run = AugmentRun(job, plan_of(job), client, most)
    async_to_sync(_run)(run, client)
    return run


async def _run(run: AugmentRun, client: TeacherClient) -> None:
    async with client:
        await run.run()


# --- afterwards -----------------------------------------------------------------------------------
@transaction.atomic
def withdraw(job: LabelJob) -> int:
    """Discard all that an augmentation brought, but what people answered; return how many.

    `Conflict` while it is at work. Versions that were frozen with the rows keep them.
    """
    if not job.is_final and job.status != Job.Status.PAUSED:
        raise Conflict("the augmentation is still at work: stop it first")
    rows = children_of(job).exclude(provenance__in=HUMAN)
    count = rows.exclude(status=Example.Status.DISCARDED).update(
        status=Example.Status.DISCARDED, discard_reason=AUGMENTED
    )
    Augmentation.objects.filter(job=job).update(is_withdrawn=True)
    return count


@transaction.atomic
def bring_back(job: LabelJob) -> int:
    """Take back what `withdraw` did; return how many rows come back."""
    gone = children_of(job).filter(status=Example.Status.DISCARDED, discard_reason=AUGMENTED)
    count = gone.update(status=Example.Status.LABELED, discard_reason="")
    Augmentation.objects.filter(job=job).update(is_withdrawn=False)
    return count
