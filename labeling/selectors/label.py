"""What the pages and services of labelling read."""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Avg, Count, Exists, F, OuterRef, Q, QuerySet, Sum

from factory.errors import NotFound
from factory.models import Example, Project, Upstream, Workload
from factory.models.example import Provenance
from labeling.models import Guideline, Label, LabelJob, Teacher, TeacherReply

HUMAN = [Provenance.RELABELED_BY_HUMAN, Provenance.UPLOADED]
BINS = 10
LOST = Q(finish_reason="lost")


def teachers_of(project: Project) -> list[Teacher]:
    """Return a project's teachers by name, each with its upstream."""
    return list(project.teachers.select_related("upstream").order_by("name"))


def teacher_in_project(project: Project, name: str) -> Teacher:
    """Return a project's teacher by its name."""
    found = project.teachers.filter(name=name).select_related("upstream").first()
    if found is None:
        raise NotFound("There is no such teacher, or it is not yours to see.")
    return found


def teacher_of(project: Project, teacher_id: int) -> Teacher:
    """Return a project's teacher by its id."""
    found = project.teachers.filter(pk=teacher_id).select_related("upstream").first()
    if found is None:
        raise NotFound("There is no such teacher, or it is not yours to see.")
    return found


def upstream_in_project(project: Project, name: str) -> Upstream:
    """Return a project's upstream by its name."""
    found = project.upstreams.filter(name=name).first()
    if found is None:
        raise NotFound("There is no such upstream, or it is not yours to see.")
    return found


def latest_guideline(workload: Workload) -> Guideline | None:
    """Return the guideline that counts now."""
    return workload.guidelines.order_by("-number").first()


def labelable_examples(workload: Workload, *, applies: bool = True) -> QuerySet[Example]:
    """Return what a teacher may label: nothing discarded.

    Where its labels become targets, nothing that a person answered either.
    """
    examples = workload.examples.exclude(status=Example.Status.DISCARDED)
    return examples.exclude(provenance__in=HUMAN) if applies else examples


def unlabeled_examples(job: LabelJob) -> QuerySet[Example]:
    """Return the examples that a job has not labelled yet."""
    done = Label.objects.filter(job=job.pk, example=OuterRef("pk"))
    return labelable_examples(job.workload, applies=job.applies).filter(~Exists(done))


def label_jobs_of(workload: Workload) -> list[LabelJob]:
    """Return a workload's label jobs, the newest first."""
    found = workload.label_jobs.filter(kind=LabelJob.Kind.LABEL)
    found = found.select_related("teacher__upstream", "guideline", "created_by")
    return list(found.order_by("-id")[:100])


def label_job_of(workload: Workload, job_id: int) -> LabelJob:
    """Return one of a workload's label jobs."""
    found = workload.label_jobs.select_related("teacher__upstream", "guideline", "workload")
    job = found.filter(pk=job_id).first()
    if job is None:
        raise NotFound("There is no such label job, or it is not yours to see.")
    return job


def label_job_in_project(project: Project, job_id: int) -> LabelJob:
    """Return a label job of any of a project's workloads."""
    found = LabelJob.objects.filter(pk=job_id, workload__project=project)
    job = found.select_related("teacher__upstream", "guideline", "workload").first()
    if job is None:
        raise NotFound("There is no such label job, or it is not yours to see.")
    return job


@dataclass(frozen=True)
class LabelJobSummary:
    """What a label job came to.

    `histogram[i]` counts labels with a confidence from i/10 up, the last one 1.0 itself included;
    `problems` are the commonest errors with their counts.
    """

    statuses: dict[str, int]
    histogram: list[int]
    spent_usd: Decimal
    replies: int
    prompt_tokens: int
    completion_tokens: int
    problems: list[tuple[str, int]]
    probability: float | None  # the teacher's own, on average
    lost: int  # answers that may be billed and never arrived whole, and their part of the money
    lost_usd: Decimal


def label_job_summary(job: LabelJob) -> LabelJobSummary:
    """Gather the figures of a label job's page."""
    statuses = Counter(dict(job.labels.order_by().values_list("status").annotate(n=Count("id"))))
    counted = job.labels.exclude(status=Label.Status.FAILED).order_by()
    histogram = [0] * BINS
    for confidence, n in counted.values_list("confidence").annotate(n=Count("id")):
        histogram[min(BINS - 1, int(confidence * BINS))] += n
    paid = TeacherReply.objects.filter(job=job).aggregate(
        n=Count("id"),
        usd=Sum("cost_usd"),
        prompt=Sum("prompt_tokens"),
        out=Sum("completion_tokens"),
        lost=Count("id", filter=LOST),
        lost_usd=Sum("cost_usd", filter=LOST),
    )
    problems = job.labels.exclude(error="").order_by().values_list("error").annotate(n=Count("id"))
    return LabelJobSummary(
        statuses={status: statuses[status] for status in Label.Status.values},
        histogram=histogram,
        spent_usd=paid["usd"] or Decimal(0),
        replies=paid["n"],
        prompt_tokens=paid["prompt"] or 0,
        completion_tokens=paid["out"] or 0,
        problems=list(problems.order_by("-n")[:5]),
        probability=job.labels.aggregate(mean=Avg("probability"))["mean"],
        lost=paid["lost"],
        lost_usd=paid["lost_usd"] or Decimal(0),
    )


def latest_confidences(workload: Workload) -> dict[int, float]:
    """Return how sure the teacher was of each example's present target, where it voted for it."""
    found = Label.objects.filter(example__workload=workload, output=F("example__target"))
    found = found.order_by("example", "-id").distinct("example")
    return dict(found.values_list("example_id", "confidence"))
