"""What the pages and the API read of runs and evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.db.models import Prefetch, QuerySet

from distill.models import Artifact, DistillationRun, Evaluation, ModelVersion
from distill.scoring import Prediction, score_rows
from distill.spec import Recommendation, TrainSpec, read_profile, recommended
from factory.charts import Axis, Chart, axis, curves
from factory.models import DatasetEntry, DatasetVersion, Job, Project, Workload
from factory.models.example import Split
from factory.selectors import one
from factory.storage import open_store


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


def evaluation_in_project(project: Project, evaluation_id: int) -> Evaluation:
    """Return an evaluation of any of a project's workloads."""
    found = Evaluation.objects.filter(run__workload__project=project, pk=evaluation_id)
    return one(found.select_related("artifact", "run__workload"), "evaluation")


def _runs() -> QuerySet[DistillationRun]:
    return DistillationRun.objects.select_related(
        "workload__project", "dataset_version__dataset", "teacher", "created_by"
    )


def shipped_of(evaluations: list[Evaluation]) -> Evaluation | None:
    """Return the evaluation of the file that ships by default: the smallest that passed, if any."""
    files = [e for e in evaluations if e.artifact is not None and e.metrics]
    return min(files, key=lambda e: (gate_of(e) != "passed", _size(e)), default=None)


def _size(evaluation: Evaluation) -> int:
    return evaluation.artifact.size if evaluation.artifact else 0


def gate_of(evaluation: Evaluation | None) -> str:
    """Say what the gate decided: "passed", "refused", or nothing yet."""
    if evaluation is None or evaluation.verdict is None:
        return ""
    return "passed" if evaluation.verdict["passed"] else "refused"


def runs_of(workload: Workload) -> list[DistillationRun]:
    """Return a workload's runs, the newest first, each with `shipped`: its best evaluation."""
    evaluations = Evaluation.objects.select_related("artifact").order_by("id")
    found = _runs().filter(workload=workload).order_by("-id")[:100]
    runs = list(found.prefetch_related(Prefetch("evaluations", queryset=evaluations), "versions"))
    for run in runs:
        run.shipped = shipped_of(list(run.evaluations.all()))  # type: ignore[attr-defined]  # for the page
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
        shipped=shipped_of(evaluations),
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
