"""What a workload's page shows: the stations of its loop, and what to do next."""

from dataclasses import dataclass

from django.db.models import Count, Q

from distill.advice import Facts, Step, next_step
from distill.models import Alias, DistillationRun, Evaluation, ModelVersion
from distill.selectors.runs import gate_of, shipped_of
from factory.models import CallTally, DatasetVersion, Job, Workload
from factory.models.example import Split
from factory.selectors import call_total, capped_count, dataset_versions, uncurated
from labeling.models import LabelJob, ReviewItem
from labeling.selectors.label import HUMAN
from labeling.selectors.review import settled_reviews


@dataclass(frozen=True)
class Stage:
    """A station of the loop: its figure, and the page behind it."""

    name: str
    title: str
    figure: str | int
    detail: str = ""
    page: str = ""
    argument: int | None = None
    job: Job | None = None  # the one at work here

    @property
    def is_reached(self) -> bool:
        """Whether there is anything here yet."""
        return bool(self.figure)


@dataclass(frozen=True)
class Loop:
    """A workload on its way round: the stations in order, and what to do next."""

    stages: list[Stage]
    step: Step


@dataclass
class _Round:
    """The newest of everything, fetched once and read by several stations."""

    workload: Workload
    calls: int
    uncurated: int
    examples: dict[str, int]
    reviews: dict[str, int]
    label_job: LabelJob | None
    version: DatasetVersion | None
    changed: int
    run: DistillationRun | None
    evaluations: list[Evaluation]
    newest: ModelVersion | None
    aliases: dict[str, Alias]


def loop_of(workload: Workload) -> Loop:
    """Gather the workload's loop, in a number of queries that its size does not change."""
    now = _round(workload)
    return Loop(stages=[*_data_stages(now), *_model_stages(now)], step=next_step(_facts(now)))


def _round(workload: Workload) -> _Round:
    examples = workload.examples.aggregate(
        total=Count("id"),
        labeled=Count("id", filter=Q(status__in=["labeled", "reviewed"])),
        reviewed=Count("id", filter=Q(status="reviewed")),
        discarded=Count("id", filter=Q(status="discarded")),
        untrusted_test=Count(
            "id",
            filter=Q(split=Split.TEST, target__isnull=False)
            & ~Q(status="discarded")
            & ~Q(provenance__in=HUMAN),
        ),
        **{split: Count("id", filter=Q(split=split)) for split in Split.values},
    )
    version = next(iter(dataset_versions(workload)), None)
    run = workload.runs.select_related("dataset_version__dataset").order_by("-id").first()
    changed = settled_reviews(workload)
    aliases = Alias.objects.filter(workload=workload).select_related("version")
    return _Round(
        workload=workload,
        calls=call_total(CallTally.objects.filter(group__workload=workload)),
        uncurated=capped_count(uncurated(workload.project)),
        examples=examples,
        reviews=workload.review_items.aggregate(
            open=Count("id", filter=Q(status=ReviewItem.Status.OPEN)), total=Count("id")
        ),
        label_job=workload.label_jobs.select_related("teacher").order_by("-id").first(),
        version=version,
        changed=changed.filter(created_at__gt=version.created_at).count() if version else 0,
        run=run,
        evaluations=list(run.evaluations.select_related("artifact").order_by("id")) if run else [],
        newest=workload.model_versions.select_related("evaluation").order_by("-number").first(),
        aliases={alias.name: alias for alias in aliases},
    )


def _data_stages(now: _Round) -> list[Stage]:
    have, job, version = now.examples, now.label_job, now.version
    spent = f"{job.teacher.name}, ${job.spent_usd:.2f} of ${job.budget_usd:.2f}" if job else ""
    waiting = f"{now.reviews['open']:,} waiting" if now.reviews["open"] else "nobody is asked yet"
    return [
        Stage("calls", "Captured", now.calls, "calls", "calls"),
        Stage(
            "examples",
            "Examples",
            have["total"],
            f"{have['train']:,} train, {have['validation']:,} validation, {have['test']:,} test",
            "examples",
        ),
        Stage("label_jobs", "Labelled", have["labeled"], spent, "label_jobs", job=_alive(job)),
        Stage(
            "review",
            "Reviewed",
            have["reviewed"],
            "all decided" if now.reviews["total"] and not now.reviews["open"] else waiting,
            "review",
        ),
        Stage(
            "datasets",
            "Dataset",
            f"v{version.number}" if version else "",
            f"{sum(version.counts[s] for s in Split.values):,} rows frozen" if version else "",
            "datasets",
        ),
    ]


def _model_stages(now: _Round) -> list[Stage]:
    run, newest = now.run, now.newest
    shipped = shipped_of(now.evaluations) or (newest.evaluation if newest else None)
    at_work = next((job for job in map(_alive, now.evaluations) if job), None)
    production = now.aliases.get(Alias.Name.PRODUCTION)
    accuracy = shipped.metrics["accuracy"] if shipped else None
    return [
        Stage(
            "runs",
            "Student",
            f"run {run.pk}" if run else "",
            f"{run.status}, on {run.dataset_version}" if run else "",
            "run" if run else "runs",
            run.pk if run else None,
            _alive(run),
        ),
        Stage(
            "evaluation",
            "Evaluation",
            f"{accuracy['value']:.1%}" if accuracy else "",
            f"of {accuracy['n']:,} held-out rows, gate {gate_of(shipped) or 'open'}"
            if accuracy
            else "",
            "evaluation" if shipped else "runs",
            shipped.pk if shipped else None,
            at_work,
        ),
        Stage(
            "models",
            "Version",
            f"v{newest.number}" if newest else "",
            "published" if newest else "",
            "model" if newest else "models",
            newest.number if newest else None,
        ),
        Stage(
            "production",
            "Production",
            f"v{production.version.number}" if production else "",
            f"since {production.moved_at:%b %d, %H:%M} UTC" if production else "",
            "models",
        ),
        Stage("app", "Your app", now.workload.slug, "what it asks for as its model"),
    ]


def _facts(now: _Round) -> Facts:
    run, shipped, have = now.run, shipped_of(now.evaluations), now.examples
    production = now.aliases.get(Alias.Name.PRODUCTION)
    return Facts(
        calls=now.calls,
        uncurated=now.uncurated,
        examples=have["total"],
        labeled=have["labeled"],
        unlabeled=have["total"] - have["labeled"] - have["discarded"],
        at_work=_at_work(now),
        open_reviews=now.reviews["open"],
        untrusted_test_rows=have["untrusted_test"],
        is_frozen=now.version is not None,
        changed_since_freeze=now.changed,
        run=run.pk if run else 0,
        run_status=run.status if run else "",
        is_run_of_newest_version=bool(
            run and now.version and run.dataset_version_id == now.version.pk
        ),
        evaluation=shipped.pk if shipped else 0,
        gate=gate_of(shipped),
        newest_version=now.newest.number if now.newest else 0,
        is_run_published=bool(run and now.newest and now.newest.run_id == run.pk),
        production=production.version.number if production else 0,
    )


def _at_work(now: _Round) -> str:
    if _alive(now.label_job):
        return "The teacher"
    if _alive(now.run):
        return "The trainer"
    return "The examiner" if any(map(_alive, now.evaluations)) else ""


def _alive(job: Job | None) -> Job | None:
    return job if job is not None and not job.is_final else None
