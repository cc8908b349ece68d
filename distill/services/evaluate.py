"""Evaluations: every subject answers the same frozen rows, is scored, and the gate decides."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.db import transaction

from distill import gate
from distill.jobdir import JobDir
from distill.models import Artifact, DistillationRun, Evaluation
from distill.scoring import Prediction, Prices, Summary, score_rows, summarize
from distill.services.workbench import Json, job_folder, version_rows, watch
from distill.spec import EvalSpec
from factory.digest import canonical_json
from factory.errors import InvalidInput
from factory.messages import output_of
from factory.models import DatasetEntry, Workload
from factory.prices import price_of
from factory.services import jobs
from factory.storage import open_store
from labeling.services.exam import teacher_answers

MAX_NEW_TOKENS = {"classification": 24, "extraction": 256, "generation": 512}
HOUR_SECONDS = 3600


def start_evaluations(run: DistillationRun) -> list[Evaluation]:
    """Enqueue one evaluation per subject: teacher, untrained base, student, each quantized file."""
    subjects: list[tuple[str, Artifact | None]] = [
        (Evaluation.Subject.TEACHER, None),
        (Evaluation.Subject.BASE, None),
        (Evaluation.Subject.ADAPTER, None),
        *((Evaluation.Subject.GGUF, file) for file in run.artifacts.filter(kind="gguf")),
    ]
    return [
        jobs.enqueue(Evaluation(run=run, subject=subject, artifact=file))
        for subject, file in subjects
    ]


def run_evaluation(evaluation_id: int) -> None:
    """Run an evaluation job and, however it ended, let the gate decide if it was the last."""
    jobs.run(Evaluation, evaluation_id, evaluation_work)
    decide(Evaluation.objects.select_related("run").get(pk=evaluation_id).run)


def evaluation_work(evaluation: Evaluation) -> None:
    """Get the subject's answers, score them, and keep both."""
    if evaluation.subject == Evaluation.Subject.TEACHER:
        with jobs.kept(evaluation):
            answers = teacher_predictions(evaluation)
            path = _write(job_folder(evaluation) / "predictions.jsonl", answers)
    else:
        path = _child_predictions(evaluation)
    blob = open_store(settings.STORAGE_URL).put(path)
    metrics = metrics_of(evaluation, list(read_predictions(path)))
    with jobs.fenced(evaluation):
        jobs.succeed(evaluation, metrics=metrics, predictions_sha256=blob.sha256)
        decide(evaluation.run)  # in the same transaction: no end without its verdict


def metrics_of(evaluation: Evaluation, predictions: list[Prediction]) -> Json:
    """Score a subject's answers; `InvalidInput` where there are none to score."""
    if not predictions:
        raise InvalidInput(
            "There is nothing to measure on: no row of the test split has an answer by "
            f"{Evaluation.Subject(evaluation.subject).label}."
        )
    workload = evaluation.run.workload
    summary = summarize(
        predictions,
        workload.metric,
        workload.labels,
        required_fields(workload),
        _prices(evaluation),
    )
    return asdict(_with_own_cost(evaluation, summary))


def required_fields(workload: Workload) -> list[str]:
    """Return the fields that an extraction's answers must have."""
    schema = workload.output_schema or {}
    return list(schema.get("required", []))


def _prices(evaluation: Evaluation) -> Prices | None:
    teacher = evaluation.run.teacher
    if evaluation.subject != Evaluation.Subject.TEACHER or teacher is None:
        return None
    price = price_of(teacher.upstream.prices, teacher.model)
    return None if price is None else Prices(float(price["input"]), float(price["output"]))


def _with_own_cost(evaluation: Evaluation, summary: Summary) -> Summary:
    """Price a subject on an own machine: its median seconds at the machine's hourly rate."""
    if evaluation.subject == Evaluation.Subject.TEACHER or summary.latency_p50_ms is None:
        return summary
    seconds_of_1000 = summary.latency_p50_ms  # 1,000 calls, each this many thousandths of a second
    dollars = seconds_of_1000 / HOUR_SECONDS * settings.STUDENT_USD_PER_HOUR
    return replace(summary, cost_per_1000_usd=dollars)


def teacher_predictions(evaluation: Evaluation) -> Iterator[Prediction]:
    """Yield the teacher's answers: asked now, or as production recorded them without a teacher."""
    run = evaluation.run
    if run.teacher is None:
        yield from _recorded_predictions(run, evaluation.split)
        return
    rows = {
        row["id"]: row["messages"] for row in version_rows(run.dataset_version, evaluation.split)
    }

    def on_progress(done: int) -> None:
        jobs.heartbeat(evaluation, {"done": done, "total": len(rows), "unit": "rows"})

    asked = [(key, messages[:-1]) for key, messages in rows.items()]
    for answer in teacher_answers(run.teacher, run.workload, asked, on_progress):
        yield Prediction(
            id=answer.id,
            expected=rows[answer.id][-1]["content"],
            output=answer.output,
            latency_ms=answer.latency_ms,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
        )


def _recorded_predictions(run: DistillationRun, split: str) -> Iterator[Prediction]:
    entries = DatasetEntry.objects.filter(
        version=run.dataset_version, split=split, example__call__isnull=False
    )
    for entry in entries.select_related("example__call").order_by("position").iterator(500):
        call = entry.example.call
        if call is not None:
            yield Prediction(
                id=str(entry.example_id),
                expected=entry.target,
                output=output_of(call.response),
                latency_ms=call.latency_ms,
                prompt_tokens=call.prompt_tokens or 0,
                completion_tokens=call.completion_tokens or 0,
            )


def _child_predictions(evaluation: Evaluation) -> Path:
    run, folder = evaluation.run, job_folder(evaluation)
    if not (folder / "spec.json").exists():
        with jobs.kept(evaluation):
            spec = _eval_spec(evaluation)
        JobDir.create(folder, spec, {"rows": version_rows(run.dataset_version, evaluation.split)})
    result = watch(evaluation, "evaluate", folder, _progress)
    return folder / str(result["predictions"])


def _eval_spec(evaluation: Evaluation) -> EvalSpec:
    run = evaluation.run
    spec = EvalSpec(
        engine="hf",
        model=run.base_model,
        revision=run.base_revision,
        max_new_tokens=MAX_NEW_TOKENS[run.workload.kind],
        threads=settings.TRAINER_THREADS,
    )
    if evaluation.subject == Evaluation.Subject.GGUF and evaluation.artifact is not None:
        file = _fetched(evaluation, [evaluation.artifact])[0]
        return replace(spec, engine="gguf", model=str(file), revision="", threads=1)
    if evaluation.subject == Evaluation.Subject.ADAPTER:
        files = _fetched(evaluation, run.artifacts.filter(kind=Artifact.Kind.ADAPTER))
        return replace(spec, adapter=str(files[0].parent))
    return spec


def _fetched(evaluation: Evaluation, artifacts: Iterable[Artifact]) -> list[Path]:
    """Bring artifacts out of the store: what is measured are the bytes that would ship."""
    store, paths = open_store(settings.STORAGE_URL), []
    for artifact in artifacts:
        path = job_folder(evaluation) / "model" / artifact.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            store.fetch(artifact.sha256, path)
        paths.append(path)
    return paths


def _progress(events: list[Json]) -> Json:
    event = events[-1]
    progress = {"done": event["step"], "total": event["max_steps"], "unit": "rows"}
    return {**progress, "phase": event["phase"]}


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Read a predictions file."""
    names = Prediction.__dataclass_fields__
    with path.open("rb") as file:
        for line in file:
            yield Prediction(**{k: v for k, v in orjson.loads(line).items() if k in names})


def _write(path: Path, predictions: Iterable[Prediction]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for prediction in predictions:
            file.write(canonical_json(asdict(prediction)) + b"\n")
    return path


def decide(run: DistillationRun) -> list[Json]:
    """Write the gate's verdict on each quantized file once every evaluation has ended.

    Deciding again gives the same verdicts, so whoever finishes last may call it twice.
    """
    with transaction.atomic():
        DistillationRun.objects.select_for_update().get(pk=run.pk)
        evaluations = list(run.evaluations.select_related("artifact", "run__workload"))
        if not all(evaluation.is_final for evaluation in evaluations):
            return []
        subjects = {evaluation.pk: _subject(evaluation) for evaluation in evaluations}
        by_kind = {e.subject: subjects[e.pk] for e in evaluations}
        verdicts = []
        for evaluation in evaluations:
            if evaluation.subject != Evaluation.Subject.GGUF or not evaluation.metrics:
                continue
            verdict = gate.decide(
                student=subjects[evaluation.pk],
                teacher=by_kind[Evaluation.Subject.TEACHER],
                base=by_kind[Evaluation.Subject.BASE],
                unquantized=by_kind[Evaluation.Subject.ADAPTER],
                majority_baseline=evaluation.metrics["majority_baseline"],
            )
            evaluation.verdict = asdict(verdict)
            evaluation.save(update_fields=["verdict"])
            verdicts.append(evaluation.verdict)
        return verdicts


def _subject(evaluation: Evaluation) -> gate.Subject:
    name = evaluation.artifact.filename if evaluation.artifact else evaluation.subject
    if not evaluation.predictions_sha256:  # it failed: nothing is known of it
        return gate.Subject(name=name, correct={})
    workload = evaluation.run.workload
    scores = score_rows(
        stored_predictions(evaluation), workload.metric, workload.labels, required_fields(workload)
    )
    return gate.Subject(
        name=name,
        correct={score.id: score.is_correct for score in scores},
        invalid_rate=evaluation.metrics["invalid_rate"],
    )


def stored_predictions(evaluation: Evaluation) -> list[Prediction]:
    """Return an evaluation's predictions from the store."""
    path = job_folder(evaluation) / "stored-predictions.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    open_store(settings.STORAGE_URL).fetch(evaluation.predictions_sha256, path)
    return list(read_predictions(path))


def best_evaluation(run: DistillationRun) -> Evaluation | None:
    """Return the passing file's evaluation that ships by default: the smallest file that passed."""
    passed: list[Any] = [
        evaluation
        for evaluation in run.evaluations.filter(subject=Evaluation.Subject.GGUF)
        .exclude(artifact=None)
        .select_related("artifact")
        if evaluation.verdict and evaluation.verdict["passed"]
    ]
    return min(passed, key=lambda e: e.artifact.size, default=None)
