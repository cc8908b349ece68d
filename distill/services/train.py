"""Distillation runs: from a frozen dataset version to an adapter and quantized GGUF files."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from distill.jobdir import JobDir
from distill.models import Artifact, DistillationRun, TrainingPoint
from distill.services.evaluate import start_evaluations
from distill.services.workbench import Json, job_folder, trained_rows, version_rows, watch
from distill.spec import (
    ExportSpec,
    SpecError,
    TrainSpec,
    read_profile,
    recommended,
    spec_digest,
    train_spec,
)
from factory.errors import InvalidInput
from factory.models import DatasetVersion, Workload
from factory.models.example import Split
from factory.services import jobs
from factory.storage import open_store
from labeling.models import Teacher

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
DEFAULT_QUANTIZATIONS = ("Q8_0", "Q4_K_M")


def start_run(
    workload: Workload,
    version: DatasetVersion,
    *,
    base_model: str = "",
    teacher: Teacher | None = None,
    overrides: dict[str, Any] | None = None,
    user: Any = None,
) -> DistillationRun:
    """Enqueue a run with recommended values, each with its reason; `overrides` change them.

    Without a teacher the student is later compared with the answers that production recorded.
    """
    if version.dataset.workload_id != workload.pk:
        raise InvalidInput("that dataset version belongs to another workload", param="version")
    if version.erased_rows.exists():
        raise InvalidInput(
            "that dataset version is withdrawn: rows of it were erased; freeze a new one",
            param="version",
        )
    base = known_base(base_model)
    rows = int(version.counts[Split.TRAIN])
    try:
        changed = {**(overrides or {}), "dataset_digest": version.digest}
        if fixed := {"base_model", "threads"} & changed.keys():
            raise InvalidInput(f"{', '.join(fixed)} cannot be overridden", param="overrides")
        spec = train_spec(base, read_profile(Path(base)), rows, **changed)
    except SpecError as error:
        raise InvalidInput(str(error), param="overrides") from error
    reasons = recommended(read_profile(Path(base)), rows)
    return jobs.enqueue(
        DistillationRun(
            workload=workload,
            dataset_version=version,
            teacher=teacher,
            base_model=base,
            base_revision=spec.revision,
            spec={
                "train": asdict(spec),
                "quantizations": list(DEFAULT_QUANTIZATIONS),
                "reasons": {name: advice.reason for name, advice in reasons.items()},
            },
            spec_digest=spec_digest(spec),
            seed=spec.seed,
            created_by=user,
        )
    )


def known_base(name: str) -> str:
    """Return the base a caller may name: the installation's own, a hub id, a folder of BASES_DIR.

    No other folder: it could be another project's student.
    """
    name = name or settings.STUDENT_BASE
    if HUB_ID.fullmatch(name) and not Path(name).exists():
        return name
    folder, bases = Path(name).resolve(), Path(settings.BASES_DIR).resolve()
    is_ours = name == settings.STUDENT_BASE or folder.parent == bases
    if not is_ours or not (folder / "config.json").is_file():
        raise InvalidInput(
            f"{name} is no base: give a hub id (org/model) or a folder in {bases.name}/; "
            "`manage.py make_tiny_base` makes the embedded one",
            param="base_model",
        )
    return str(folder)


def run_work(run: DistillationRun) -> None:
    """Train, export, keep the files, ask for the evaluations; goes on where an attempt stopped."""
    trained = train(run)
    exported = export(run, job_folder(run) / "train" / trained["adapter"])
    with jobs.kept(run):
        files = list(_kept_files(run, trained, exported))
    with jobs.fenced(run):
        Artifact.objects.bulk_create(files, ignore_conflicts=True)
        metrics = {"train": _figures(trained), "export": _figures(exported)}
        jobs.succeed(run, metrics=metrics)
        start_evaluations(run)


def train(run: DistillationRun) -> Json:
    """Run the training step, its curve points going to the database as they come."""
    folder = job_folder(run) / "train"
    if not (folder / "spec.json").exists():
        tables = {
            "train": trained_rows(run.dataset_version),
            "validation": version_rows(run.dataset_version, Split.VALIDATION),
        }
        JobDir.create(folder, TrainSpec(**run.spec["train"]), tables)
    curve = Curve(run)
    return watch(run, "train", folder, curve.add)


def export(run: DistillationRun, adapter: Path) -> Json:
    """Run the export step: merge, convert, quantize."""
    folder = job_folder(run) / "export"
    spec = ExportSpec(
        base_model=run.base_model,
        revision=run.base_revision,
        adapter=str(adapter),
        name=run.workload.slug,
        quantizations=tuple(run.spec["quantizations"]),
        card={"run": str(run.pk), "dataset": run.dataset_version.digest[:64]},
        threads=settings.TRAINER_THREADS,
    )
    JobDir.create(folder, spec, {})
    return watch(run, "export", folder, last_event)


def last_event(events: list[Json]) -> Json:
    """Return the progress that people see: the newest event's phase and position."""
    event = events[-1]
    return {
        "phase": event["phase"],
        "done": event["step"],
        "total": event["max_steps"],
        "unit": "steps",
    }


class Curve:
    """Gathers training events by step and keeps the run's points in step with them."""

    def __init__(self, run: DistillationRun) -> None:
        self.run = run
        self.values: dict[int, Json] = {}

    def add(self, events: list[Json]) -> Json:
        """Write the changed points; a resumed run repeats steps, and the newest value counts."""
        changed: set[int] = set()
        for event in events:
            figures = {k: event[k] for k in POINT_FIELDS if k in event}
            if {"loss", "eval_loss"} & figures.keys():
                self.values.setdefault(event["step"], {}).update(figures)
                changed.add(event["step"])
        points = [
            TrainingPoint(run=self.run, step=s, values=self.values[s]) for s in sorted(changed)
        ]
        with transaction.atomic():
            TrainingPoint.objects.bulk_create(
                points,
                update_conflicts=True,
                unique_fields=["run", "step"],
                update_fields=["values"],
            )
        return last_event(events)


POINT_FIELDS = ("loss", "eval_loss", "learning_rate", "epoch", "tokens")


def _kept_files(run: DistillationRun, trained: Json, exported: Json) -> Iterator[Artifact]:
    store = open_store(settings.STORAGE_URL)
    folder = job_folder(run)
    for step, result in (("train", trained), ("export", exported)):
        for listed in result["files"]:
            path = folder / step / listed["path"]
            blob = store.put(path)
            if blob.sha256 != listed["sha256"]:
                raise InvalidInput(f"{path.name} changed after it was made")
            is_gguf = listed.get("kind") == "gguf"
            yield Artifact(
                run=run,
                kind=Artifact.Kind.GGUF if is_gguf else Artifact.Kind.ADAPTER,
                quantization=listed.get("quantization", ""),
                filename=path.name if is_gguf else f"adapter/{path.name}",
                sha256=blob.sha256,
                size=blob.size,
            )


def _figures(result: Json) -> Json:
    return {k: v for k, v in result.items() if k not in {"files", "adapter", "merged"}}
