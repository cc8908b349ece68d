"""Erasure, whole: the job that reaches every row and file, in the order of the data.

First the calls and what is known of them, then, workload by workload, the examples with all that
was said about them and their rows in dataset versions, then what students made of those rows: job
folders, predictions. Students are not changed, they are named. Files go last, for until then the
rows tell which they are. Every step may be done again: a killed worker's successor does them all.
"""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Now

from distill.models import Artifact, DistillationRun, Evaluation, ModelVersion, VersionFile
from distill.services.workbench import job_folder
from factory.erasure import ErasureReport
from factory.errors import Conflict, NotFound
from factory.models import (
    DatasetVersion,
    Erasure,
    Example,
    Job,
    PayloadDictionary,
    Workload,
)
from factory.services import erase as calls_and_examples
from factory.services import jobs
from factory.services.dictionaries import repack, train_payload_dictionary
from factory.services.erase import FINAL, version_in_report, versions_with, write_without
from factory.services.versions import versions_with_file
from factory.storage import open_store
from labeling.models import LabelJob
from labeling.services import erase as labels

POLL_SECONDS = 0.5


def erasure_work(job: Erasure) -> None:
    """Erase, or rehearse it: find, take out, and report."""
    find(job)
    if job.is_rehearsal:
        report = rehearsed(job)
    else:
        calls_and_examples.remove_calls(job, lambda done: _tell(job, "taking calls out", done))
        job.targets["examples"] = sorted(calls_and_examples.examples_of(job))
        stop_users(job)
        remove_examples(job)
        stop_users(job)  # whoever began in between read the rows before they went
        clean_up_after_students(job)
        renew_dictionaries(job)
        remove_blobs(job)
        report = with_students(ErasureReport.from_json(job.report), withdrawn_by(job))
    with jobs.fenced(job):
        jobs.succeed(job, report=_with_rest(job, report).as_json())


def _tell(job: Erasure, phase: str, done: int, unit: str = "calls") -> None:
    total = len(job.targets.get("calls", [])) if phase != "looking" else 0
    jobs.heartbeat(job, {"phase": phase, "done": done, "total": total, "unit": unit})


def _with_rest(job: Erasure, report: ErasureReport) -> ErasureReport:
    report.erasure = job.pk
    sought = calls_and_examples.sought_of(job)
    report.not_reached = calls_and_examples.sentences(job, sought)
    if sought is not None:
        report.not_reached += labels.guidelines_with(job.project, sought)
    if report.runs:
        report.not_reached.append(
            "The weights of the students that saw the rows: they are flagged here and on their "
            "pages. Train anew on a fresh version to be rid of what they may remember."
        )
    return report


# --- finding --------------------------------------------------------------------------------------
def find(job: Erasure) -> None:
    """Keep the ids of all that is to go; what an earlier attempt found stays among it."""
    sought = calls_and_examples.sought_of(job)
    if sought is None:
        return
    project = job.project
    found = calls_and_examples.calls_with(
        project, sought, on_page=lambda done: _tell(job, "looking", done)
    )
    examples = calls_and_examples.examples_with(project, sought)
    examples |= labels.examples_about(project, sought)
    calls_and_examples.set_targets(job, found, examples)
    if not job.is_rehearsal:
        report = ErasureReport.from_json(job.report)
        with jobs.fenced(job):
            replies = labels.replies_with(project, sought)
            report.counts["teacher replies"] += labels.empty(replies)
            report.counts["drafts"] += labels.drafts_with(project, sought).delete()[0]
            report.counts += calls_and_examples.remove_waiting_with(project, sought)
            job.report = report.as_json()
            calls_and_examples.keep(job)


def rehearsed(job: Erasure) -> ErasureReport:
    """Count what would go, and name the versions and students that would be touched."""
    examples = calls_and_examples.examples_of(job)
    counts = Counter({"calls": len(job.targets["calls"]), "examples": len(examples)})
    counts += labels.count_said(examples)
    report = ErasureReport(counts=counts)
    versions = list(versions_with(examples))
    for version in versions:
        rows = version.entries.filter(example__in=examples).count()
        report.versions.append(version_in_report(version, rows))
        report.counts["dataset entries"] += rows
    return with_students(report, versions)


# --- taking out -----------------------------------------------------------------------------------
def remove_examples(job: Erasure) -> None:
    """Delete the examples and all that was said about them, a workload at a time."""
    wanted = Example.objects.filter(pk__in=job.targets["examples"])
    ids = wanted.order_by("workload").values_list("workload", flat=True).distinct()
    for workload in Workload.objects.filter(pk__in=list(ids)).select_related("project"):
        with jobs.fenced(job):
            calls_and_examples.lock_data(workload.pk)
            examples = set(wanted.filter(workload=workload).values_list("pk", flat=True))
            report = ErasureReport.from_json(job.report)
            report.counts += labels.erase_said(workload, examples)
            job.report = report.as_json()
            calls_and_examples.remove_examples(job, examples)
            calls_and_examples.keep(job)


def withdrawn_by(job: Erasure) -> list[DatasetVersion]:
    """Return the dataset versions that this erasure took rows out of."""
    found = DatasetVersion.objects.filter(erased_rows__erasure=job).order_by("pk")
    return list(found.select_related("dataset__workload"))


def stop_users(job: Erasure) -> None:
    """Cancel the jobs that hold rows which are to go, and wait until they are over."""
    examples = job.targets["examples"]
    versions = [*versions_with(examples), *withdrawn_by(job)]
    runs = DistillationRun.objects.filter(dataset_version__in=versions)
    evaluations = Evaluation.objects.filter(run__dataset_version__in=versions)
    workloads = Example.objects.filter(pk__in=examples).values("workload")
    label_jobs = LabelJob.objects.filter(workload__in=workloads)
    for rows in (label_jobs, runs, evaluations):
        for user in rows.exclude(status__in=FINAL):
            _cancel(user)
        # A worker ends its job at the next heartbeat; one that lost its lease can do no more.
        at_work: QuerySet[Any] = rows.filter(status=Job.Status.RUNNING, lease_until__gt=Now())
        while at_work.exists():
            _tell(job, "waiting for jobs that read the rows", 0)
            time.sleep(POLL_SECONDS)


def _cancel(user: Job) -> None:
    try:
        jobs.cancel(user)
    except Conflict:
        return  # it ended by itself meanwhile


def clean_up_after_students(job: Erasure) -> None:
    """Remove the job folders that held the rows, and the rows' lines in predictions."""
    versions = withdrawn_by(job)
    evaluations = Evaluation.objects.filter(run__dataset_version__in=versions).order_by("pk")
    users: list[Job] = [*DistillationRun.objects.filter(dataset_version__in=versions)]
    for user in (*users, *evaluations):
        shutil.rmtree(job_folder(user), ignore_errors=True)
    erased = {str(example) for example in job.targets["examples"]}
    for evaluation in evaluations.exclude(predictions_sha256=""):
        _clean_predictions(job, evaluation, erased)


def _clean_predictions(job: Erasure, evaluation: Evaluation, erased: Collection[str]) -> None:
    former, store = evaluation.predictions_sha256, open_store(settings.STORAGE_URL)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.jsonl"
        try:
            write_without(store, former, path, lambda row: row["id"] in erased)
        except NotFound:  # an earlier attempt, or nobody, left something to clean
            return
        cleaned = store.put(path).sha256
    if cleaned == former:
        return
    report = ErasureReport.from_json(job.report)
    report.counts["prediction files"] += 1
    job.report = report.as_json()
    job.targets["blobs"] = sorted({*job.targets.get("blobs", []), former})
    with jobs.fenced(job):
        Evaluation.objects.filter(pk=evaluation.pk).update(predictions_sha256=cleaned)
        calls_and_examples.keep(job)


def renew_dictionaries(job: Erasure) -> None:
    """Replace the compression dictionary where it holds what only the erased calls said."""
    leaking = PayloadDictionary.objects.filter(pk__in=job.targets.get("dictionaries", []))
    newest = job.project.payload_dictionaries.order_by("-id").first()
    if newest is not None and leaking.exists():
        if newest in leaking:
            train_payload_dictionary(job.project, needed=True)
        repack(job.project, lambda: _tell(job, "packing the other calls anew", 0))


def remove_blobs(job: Erasure) -> None:
    """Remove the files that held the rows, unless something else is stored by the same bytes."""
    store = open_store(settings.STORAGE_URL)
    waiting = job.targets.get("blobs", [])
    for sha256 in set(waiting) - _in_use(waiting):
        store.remove(sha256)


def _in_use(blobs: Sequence[str]) -> set[str]:
    held: Iterable[tuple[QuerySet[Any], str]] = (
        (DatasetVersion.objects.all(), "file_sha256"),
        (Evaluation.objects.all(), "predictions_sha256"),
        (Artifact.objects.all(), "sha256"),
        (VersionFile.objects.all(), "sha256"),
    )
    used = {
        sha256
        for rows, column in held
        for sha256 in rows.filter(**{f"{column}__in": blobs}).values_list(column, flat=True)
    }
    return used | {blob for blob in blobs if versions_with_file(blob).exists()}


# --- students -------------------------------------------------------------------------------------
def with_students(report: ErasureReport, versions: Sequence[DatasetVersion]) -> ErasureReport:
    """Add the runs that used the versions, and the models that came of them."""
    runs = DistillationRun.objects.filter(dataset_version__in=versions).order_by("pk")
    models = ModelVersion.objects.filter(run__in=runs).order_by("pk")
    named = runs.values("pk", "workload__slug")
    report.runs = [{"workload": row["workload__slug"], "id": row["pk"]} for row in named]
    numbered = models.values("number", "workload__slug")
    report.models = [
        {"workload": row["workload__slug"], "number": row["number"]} for row in numbered
    ]
    return report
