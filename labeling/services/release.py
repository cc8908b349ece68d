"""Dataset versions with all that labelling knows: confidences, rationales, teachers, the audit."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Count, F, Q, Sum

from factory.datasets.recipe import Recipe, recipe_from_json
from factory.messages import Json
from factory.models import DatasetVersion, FreezeJob, Workload
from factory.services import jobs
from factory.services.freeze import IN_REQUEST, Known, freeze, preview, start_freeze
from labeling.models import Label, LabelJob
from labeling.selectors.label import latest_confidences
from labeling.selectors.review import audit_result


def release(
    workload: Workload, *, name: str = "main", recipe: Recipe | None = None, user: Any = None
) -> DatasetVersion:
    """Freeze a version now, as `factory.services.freeze` does, with what labelling knows."""
    return freeze(workload, name=name, recipe=recipe, user=user, known=known_of(workload))


def release_or_start(
    workload: Workload, *, name: str, recipe: Recipe, user: Any = None
) -> tuple[DatasetVersion | None, FreezeJob | None]:
    """Freeze now where little is to be frozen, else start the job that does; the other is None."""
    if workload.examples.count() > IN_REQUEST:
        return None, start_freeze(workload, name=name, recipe=recipe, user=user)
    return release(workload, name=name, recipe=recipe, user=user), None


def release_preview(workload: Workload, recipe: Recipe) -> Json:
    """Return what a recipe would freeze now, without writing anything."""
    return preview(workload, recipe, known_of(workload))


def freeze_work(job: FreezeJob) -> None:
    """Freeze what a job's recipe selects."""

    def tell(phase: str, done: int) -> None:
        jobs.heartbeat(job, {"phase": phase, "done": done, "total": total, "unit": "rows"})

    total = job.workload.examples.count()
    with jobs.kept(job):
        version = freeze(
            job.workload,
            name=job.name,
            recipe=recipe_from_json(job.recipe),
            user=job.created_by,
            known=known_of(job.workload),
            on_progress=tell,
        )
    with jobs.fenced(job):
        jobs.succeed(job, version=version)


def known_of(workload: Workload) -> Known:
    """Return how the freezing asks what labelling knows."""
    return Known(
        confidences=lambda: latest_confidences(workload),
        rationales=rationales_of,
        facts=lambda: facts_of(workload),
    )


def rationales_of(examples: Sequence[int]) -> Mapping[int, str]:
    """Return why the teacher gave the targets that examples have now, where it said why."""
    said = Label.objects.filter(example__in=examples, output=F("example__target"))
    said = said.exclude(rationale="").order_by("example", "-id").distinct("example")
    return dict(said.values_list("example_id", "rationale"))


def facts_of(workload: Workload) -> Json:
    """Return what a dataset card tells of the labelling: teachers, terms, spend, the audit."""
    accepted = Count("label_jobs__labels", filter=Q(label_jobs__labels__status="accepted"))
    teachers = workload.project.teachers.filter(label_jobs__workload=workload)
    counted = teachers.annotate(accepted=accepted).order_by("name")
    spent = LabelJob.objects.filter(workload=workload).aggregate(sum=Sum("spent_usd"))["sum"]
    error = audit_result(workload).error
    return {
        "teachers": [
            {
                "name": teacher.name,
                "model": teacher.model,
                "may_train": teacher.may_train_on_outputs,
                "licence": teacher.licence,
                "labels": teacher.accepted,
            }
            for teacher in counted
        ],
        "spent_usd": None if spent is None else float(spent),
        "audit": {"count": error.count, "n": error.n, "low": error.low, "high": error.high},
    }
