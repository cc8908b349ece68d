"""What the gateway, the pages and the API read of students."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.db.models import Count, Prefetch, Q, QuerySet
from django.db.models.functions import Now

from distill.advice import Facts, Step, next_step
from distill.models import (
    Alias,
    AliasMove,
    Artifact,
    DistillationRun,
    Evaluation,
    ModelVersion,
    Route,
    VersionFile,
)
from distill.routing import RouteTable, Target
from distill.scoring import Prediction, score_rows
from distill.spec import Recommendation, TrainSpec, read_profile, recommended
from factory.charts import Axis, Chart, axis, curves
from factory.models import (
    ApiKey,
    DatasetEntry,
    DatasetVersion,
    Job,
    Project,
    Upstream,
    Workload,
)
from factory.models.example import Split
from factory.selectors import capped_count, dataset_versions, one
from factory.services.projects import upstream_key
from factory.storage import open_store
from factory.vault import WrongKey
from labeling.models import LabelJob, ReviewItem
from labeling.selectors import HUMAN, standing_reviews

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GatewayKey:
    """What the gateway must know of a key: whose it is, until when, and who answers its calls."""

    project_id: int
    project: str
    expires_at: datetime | None
    routes: RouteTable


def gateway_keys() -> dict[str, GatewayKey]:
    """Return every live capture key by its hash, with its project's routes."""
    live = ApiKey.objects.filter(revoked_at=None).filter(
        Q(expires_at=None) | Q(expires_at__gt=Now()), scopes__contains=[ApiKey.Scope.CAPTURE]
    )
    tables = _route_tables()
    nothing = RouteTable(default=None, students={})
    return {
        key.hash: GatewayKey(
            project_id=key.project_id,
            project=key.project.slug,
            expires_at=key.expires_at,
            routes=tables.get(key.project_id, nothing),
        )
        for key in live.select_related("project")
    }


def _route_tables() -> dict[int, RouteTable]:
    tables = {
        upstream.project_id: RouteTable(default=target, students={})
        for upstream in Upstream.objects.filter(is_default=True)
        if (target := _target(upstream, None)) is not None
    }
    routes = Route.objects.filter(deployment__is_live=True).select_related(
        "workload", "deployment__upstream", "fallback__upstream"
    )
    for route in routes:
        if route.deployment is None:
            continue
        project = route.workload.project_id
        table = tables.setdefault(project, RouteTable(default=None, students={}))
        student = _target(route.deployment.upstream, route.deployment.model)
        fallback = _target(route.fallback.upstream, route.fallback.model)
        if student is not None and fallback is not None:
            table.students[route.workload.slug] = (student, fallback, route.student_share)
    return tables


def _target(upstream: Upstream, model: str | None) -> Target | None:
    try:
        key = upstream_key(upstream)
    except WrongKey:  # one project's damaged key must not stop the others' calls
        logger.warning("upstream=%s has a key that cannot be read", upstream.pk)
        return None
    return Target(base_url=upstream.base_url, key=key, model=model, provider=upstream.name)


# --- gates: what a project or a workload holds ----------------------------------------------------
def run_in_project(project: Project, run_id: int) -> DistillationRun:
    """Return one of a project's runs."""
    return one(_runs().filter(workload__project=project, pk=run_id), "run")


def run_of_workload(workload: Workload, run_id: int) -> DistillationRun:
    """Return one of a workload's runs."""
    return one(_runs().filter(workload=workload, pk=run_id), "run")


def evaluation_of_workload(workload: Workload, evaluation_id: int) -> Evaluation:
    """Return one of a workload's evaluations with its run."""
    found = Evaluation.objects.filter(run__workload=workload, pk=evaluation_id)
    return one(
        found.select_related("artifact", "run__workload", "run__dataset_version__dataset"),
        "evaluation",
    )


def version_in_project(workload: Workload, number: int) -> ModelVersion:
    """Return a workload's published version by its number."""
    found = workload.model_versions.filter(number=number)
    return one(
        found.select_related("workload__project", "run", "evaluation__artifact", "created_by"),
        "model version",
    )


def _runs() -> QuerySet[DistillationRun]:
    return DistillationRun.objects.select_related(
        "workload__project", "dataset_version__dataset", "teacher", "created_by"
    )


# --- the loop -------------------------------------------------------------------------------------
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
    changed = standing_reviews(workload)
    aliases = Alias.objects.filter(workload=workload).select_related("version")
    return _Round(
        workload=workload,
        calls=capped_count(workload.calls.all()),
        uncurated=capped_count(workload.project.calls.filter(curated_at=None)),
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
    shipped = _shipped(now.evaluations) or (newest.evaluation if newest else None)
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
            f"of {accuracy['n']:,} held-out rows, gate {_gate(shipped) or 'open'}"
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
    run, shipped, have = now.run, _shipped(now.evaluations), now.examples
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
        gate=_gate(shipped),
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


def _gate(evaluation: Evaluation | None) -> str:
    if evaluation is None or evaluation.verdict is None:
        return ""
    return "passed" if evaluation.verdict["passed"] else "refused"


def _shipped(evaluations: list[Evaluation]) -> Evaluation | None:
    """Return the evaluation of the file that ships by default: the smallest that passed, if any."""
    files = [e for e in evaluations if e.artifact is not None and e.metrics]
    return min(files, key=lambda e: (_gate(e) != "passed", _size(e)), default=None)


def _size(evaluation: Evaluation) -> int:
    return evaluation.artifact.size if evaluation.artifact else 0


# --- runs and evaluations -------------------------------------------------------------------------
def runs_of(workload: Workload) -> list[DistillationRun]:
    """Return a workload's runs, the newest first, each with `shipped`: its best evaluation."""
    evaluations = Evaluation.objects.select_related("artifact").order_by("id")
    found = _runs().filter(workload=workload).order_by("-id")[:100]
    runs = list(found.prefetch_related(Prefetch("evaluations", queryset=evaluations), "versions"))
    for run in runs:
        run.shipped = _shipped(list(run.evaluations.all()))  # type: ignore[attr-defined]  # for the page
    return runs


@dataclass(frozen=True)
class SpecRow:
    """One parameter of a run, and why it has its value."""

    name: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Comparison:
    """Subjects on the same rows: their evaluations and the axis that their intervals share."""

    evaluations: list[Evaluation]
    scale: Axis


@dataclass(frozen=True)
class RunPage:
    """What a run's page shows."""

    chart: Chart | None
    points: int
    best_loss: float | None
    spec: list[SpecRow]
    comparison: Comparison
    shipped: Evaluation | None
    version: ModelVersion | None
    artifacts: list[Artifact]
    is_alive: bool


def run_page(run: DistillationRun) -> RunPage:
    """Gather a run's page."""
    points = list(run.points.order_by("step"))
    series: dict[str, Sequence[tuple[int, float]]] = {
        title: [(p.step, p.values[key]) for p in points if p.values.get(key) is not None]
        for title, key in (("training loss", "loss"), ("validation loss", "eval_loss"))
    }
    evaluations = list(run.evaluations.select_related("artifact").order_by("id"))
    jobs: list[Job] = [run, *evaluations]
    return RunPage(
        chart=curves(series, _last_step(run)) if points else None,
        points=len(points),
        best_loss=min((value for _, value in series["validation loss"]), default=None),
        spec=_spec_rows(run),
        comparison=compare(evaluations),
        shipped=_shipped(evaluations),
        version=run.versions.first(),
        artifacts=list(run.artifacts.order_by("kind", "filename")),
        is_alive=any(not job.is_final for job in jobs),
    )


def _last_step(run: DistillationRun) -> int:
    training = run.progress.get("phase") == "train"
    return int(run.progress.get("total") or 0) if training else 0


def _spec_rows(run: DistillationRun) -> list[SpecRow]:
    reasons = run.spec.get("reasons", {})
    hidden = {"base_model", "revision", "dataset_digest"}
    values = {k: v for k, v in run.spec.get("train", {}).items() if k not in hidden}
    known = [SpecRow(name, value, reasons.get(name, "")) for name, value in values.items()]
    return sorted(known, key=lambda row: not row.reason)


def compare(evaluations: list[Evaluation]) -> Comparison:
    """Lay evaluations side by side on one axis."""
    ends = [
        end
        for evaluation in evaluations
        if (accuracy := evaluation.metrics.get("accuracy"))
        for end in (accuracy["low"], accuracy["high"])
    ]
    return Comparison(evaluations=evaluations, scale=axis(ends))


def spec_advice(version: DatasetVersion | None) -> dict[str, Recommendation]:
    """Return the recommended values for a version and the usual base, each with its reason."""
    rows = int(version.counts[Split.TRAIN]) if version else 0
    return recommended(read_profile(Path(settings.STUDENT_BASE)), rows)


def spec_default(name: str) -> Any:
    """Return a training parameter's general default."""
    return next(item.default for item in fields(TrainSpec) if item.name == name)


def checks_of(evaluation: Evaluation | None) -> list[dict[str, Any]]:
    """Return what the gate looked at (`gate.Check` as JSON), empty before it has decided."""
    verdict = (evaluation.verdict if evaluation else None) or {}
    return list(verdict.get("checks", []))


@dataclass(frozen=True)
class WrongAnswer:
    """A held-out row that a subject got wrong."""

    question: list[dict[str, Any]]
    expected: str
    output: str
    is_valid: bool


@dataclass(frozen=True)
class EvaluationPage:
    """What an evaluation's page shows."""

    comparison: Comparison
    checks: list[dict[str, Any]]
    labels: list[str]
    confusion: list[tuple[str, list[tuple[str, int]]]]
    wrong: list[WrongAnswer]
    wrong_count: int
    next: int | None
    previous: int | None


WRONG_PER_PAGE = 25
MATRIX_LABELS = 30  # a wider table helps nobody


def evaluation_page(evaluation: Evaluation, start: int = 0) -> EvaluationPage:
    """Gather an evaluation's page; `start` is where the page of wrong answers begins."""
    others = evaluation.run.evaluations.select_related("artifact").order_by("id")
    wrong = _wrong(evaluation)
    confusion = evaluation.metrics.get("confusion") or {}
    labels = [*sorted(confusion), ""] if len(confusion) <= MATRIX_LABELS else []
    shown = wrong[start : start + WRONG_PER_PAGE]
    return EvaluationPage(
        comparison=compare(list(others)),
        checks=checks_of(evaluation),
        labels=labels,
        confusion=[
            (expected, [(given, confusion[expected].get(given, 0)) for given in labels])
            for expected in labels
            if expected
        ],
        wrong=_with_questions(evaluation, shown),
        wrong_count=len(wrong),
        next=start + WRONG_PER_PAGE if start + WRONG_PER_PAGE < len(wrong) else None,
        previous=max(0, start - WRONG_PER_PAGE) if start else None,
    )


def _wrong(evaluation: Evaluation) -> list[tuple[Prediction, bool]]:
    if not evaluation.predictions_sha256:
        return []
    workload = evaluation.run.workload
    required = list((workload.output_schema or {}).get("required", []))
    predictions = _predictions(evaluation)
    scores = score_rows(predictions, workload.metric, workload.labels, required)
    pairs = zip(predictions, scores, strict=True)
    return [(prediction, score.is_valid) for prediction, score in pairs if not score.is_correct]


def _predictions(evaluation: Evaluation) -> list[Prediction]:
    names = {item.name for item in fields(Prediction)}
    content = b"".join(open_store(settings.STORAGE_URL).read(evaluation.predictions_sha256))
    rows = [orjson.loads(line) for line in content.splitlines() if line]
    return [Prediction(**{k: v for k, v in row.items() if k in names}) for row in rows]


def _with_questions(
    evaluation: Evaluation, wrong: list[tuple[Prediction, bool]]
) -> list[WrongAnswer]:
    ids = [int(prediction.id) for prediction, _ in wrong if prediction.id.isdecimal()]
    entries = DatasetEntry.objects.filter(
        version=evaluation.run.dataset_version_id, example__in=ids
    ).select_related("example")
    questions = {str(entry.example_id): entry.example.messages for entry in entries}
    return [
        WrongAnswer(questions.get(p.id, []), p.expected, p.output, is_valid)
        for p, is_valid in wrong
    ]


# --- model versions -------------------------------------------------------------------------------
@dataclass(frozen=True)
class ModelsPage:
    """What the list of model versions shows."""

    versions: list[ModelVersion]
    aliases: dict[str, Alias]
    moves: list[AliasMove]
    can_roll_back: bool


def models_page(workload: Workload) -> ModelsPage:
    """Gather a workload's versions, where the aliases point, and how they came there."""
    versions = workload.model_versions.select_related("evaluation__artifact", "created_by")
    aliases = Alias.objects.filter(workload=workload).select_related("version").order_by("name")
    moves = workload.alias_moves.select_related("from_version", "to_version", "moved_by")
    named = {alias.name: alias for alias in aliases}
    return ModelsPage(
        versions=list(versions.prefetch_related("aliases").order_by("-number")[:200]),
        aliases=named,
        moves=list(moves.order_by("-id")[:20]),
        can_roll_back={Alias.Name.PRODUCTION, Alias.Name.PREVIOUS} <= named.keys(),
    )


def shipped_file(version: ModelVersion, files: list[VersionFile]) -> VersionFile | None:
    """Return the file that a version's figures were measured on."""
    measured = version.evaluation.artifact
    return next((file for file in files if measured and file.sha256 == measured.sha256), None)
