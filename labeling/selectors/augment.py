"""What the pages and services of augmentation read."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, F, Q, QuerySet

from factory.answers import labels_of
from factory.errors import NotFound
from factory.intervals import Share, wilson
from factory.messages import variable_text
from factory.models import Example, Project, Workload
from factory.models.example import Split
from labeling.augment import distinct
from labeling.models import Draft, LabelJob, Seed
from labeling.selectors.label import HUMAN

NEWEST = 100
SHOWN = 30  # drafts on a page
COMPARED = 500  # texts of each side, by which diversity is told


def parents_of(workload: Workload) -> QuerySet[Example]:
    """Return the rows that new inputs may be made from: real training rows with a sound answer.

    Never held-out rows, nor rows whose answer is likely to be wrong and was seen by nobody.
    """
    rows = workload.examples.filter(split=Split.TRAIN, may_train=True).exclude(target=None)
    rows = rows.exclude(status=Example.Status.DISCARDED).exclude(origin=Example.Origin.SYNTHETIC)
    rows = rows.exclude(~Q(provenance__in=HUMAN) & Q(suspicion__likelier__gt=""))
    labels = labels_of(workload.output_schema)
    return rows.filter(target__in=labels) if labels else rows


@dataclass(frozen=True)
class SyntheticShare:
    """How much of what may be trained on was made up."""

    real: int
    made: int

    @property
    def share(self) -> float:
        """Of all, 0 to 1."""
        return self.made / (self.real + self.made) if self.made else 0.0


def synthetic_share(workload: Workload) -> SyntheticShare:
    """Count real and synthetic training rows that have an answer."""
    rows = workload.examples.filter(split=Split.TRAIN).exclude(target=None)
    rows = rows.exclude(status=Example.Status.DISCARDED).order_by()
    is_made = Q(origin=Example.Origin.SYNTHETIC)
    counts = rows.aggregate(made=Count("pk", filter=is_made), real=Count("pk", filter=~is_made))
    return SyntheticShare(**counts)


def room_for_synthetic(workload: Workload, most_share: float) -> int:
    """Return how many more synthetic rows the share allows, 0 where it is reached."""
    now = synthetic_share(workload)
    return max(0, int(most_share / (1 - most_share) * now.real + 1e-9) - now.made)


def children_of(job: LabelJob) -> QuerySet[Example]:
    """Return the examples that an augmentation brought."""
    return Example.objects.filter(draft__job=job)


def augmentations_of(workload: Workload) -> list[LabelJob]:
    """Return a workload's augmentations, the newest first, each with how many drafts it kept."""
    found = workload.label_jobs.filter(kind=LabelJob.Kind.AUGMENT, augmentation__isnull=False)
    is_kept = Q(drafts__status=Draft.Status.KEPT)
    found = found.annotate(drafted=Count("drafts"), kept=Count("drafts", filter=is_kept))
    return list(found.select_related("augmentation", "teacher").order_by("-id")[:NEWEST])


def augmentation_of(workload: Workload, job_id: int) -> LabelJob:
    """Return one augmentation's job."""
    return _one(workload.label_jobs.filter(pk=job_id))


def augmentation_in_project(project: Project, job_id: int) -> LabelJob:
    """Return an augmentation of any of a project's workloads."""
    return _one(LabelJob.objects.filter(pk=job_id, workload__project=project))


def _one(found: QuerySet[LabelJob]) -> LabelJob:
    found = found.filter(kind=LabelJob.Kind.AUGMENT, augmentation__isnull=False)
    related = ("augmentation", "teacher__upstream", "workload", "guideline")
    job = found.select_related(*related).first()
    if job is None:
        raise NotFound("There is no such augmentation, or it is not yours to see.")
    return job


@dataclass(frozen=True)
class MethodCounts:
    """What one method's drafts came to; `counts` are by status, in the order of the statuses."""

    method: str
    name: str
    seeds: int
    counts: dict[str, int]

    @property
    def drafts(self) -> int:
        """All of them."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class LabelGrowth:
    """How many training rows a label has without the augmentation, and how many it added."""

    label: str
    before: int
    added: int


@dataclass(frozen=True)
class AugmentSummary:
    """What an augmentation came to.

    `diversity` is distinct-2 of the kept drafts and of as many parents; None below two texts.
    `wrong` is how many of its rows people corrected, of those that they looked at.
    """

    methods: list[MethodCounts]
    statuses: dict[str, int]
    labels: list[LabelGrowth]
    diversity: tuple[float, float] | None
    wrong: Share
    problems: list[tuple[str, int]]
    unasked: int


def augment_summary(job: LabelJob) -> AugmentSummary:
    """Gather the figures of an augmentation's page."""
    pairs = job.drafts.order_by().values_list("seed__method", "status").annotate(n=Count("id"))
    counts = {(method, status): n for method, status, n in pairs}
    seeds = dict(job.seeds.order_by().values_list("method").annotate(n=Count("id")))
    methods = [
        MethodCounts(
            method=method,
            name=str(Seed.Method(method).label),
            seeds=seeds.get(method, 0),
            counts={status: counts.get((method, status), 0) for status in Draft.Status.values},
        )
        for method in Seed.Method.values
        if method in seeds or job.augmentation.wanted.get(method)
    ]
    problems = job.seeds.exclude(problem="").order_by().values_list("problem")
    return AugmentSummary(
        methods=methods,
        statuses={
            status: sum(one.counts[status] for one in methods) for status in Draft.Status.values
        },
        labels=_growth(job),
        diversity=_diversity(job),
        wrong=_wrong(job),
        problems=list(problems.annotate(n=Count("id")).order_by("-n")[:5]),
        unasked=job.seeds.filter(is_done=False).count(),
    )


def _growth(job: LabelJob) -> list[LabelGrowth]:
    labels = labels_of(job.workload.output_schema)
    if not labels:
        return []
    rows = job.workload.examples.filter(split=Split.TRAIN).exclude(status=Example.Status.DISCARDED)
    before = _by_target(rows.exclude(draft__job=job))
    added = _by_target(rows.filter(draft__job=job))
    return [LabelGrowth(label, before[label], added[label]) for label in labels]


def _by_target(rows: QuerySet[Example]) -> Counter[str]:
    return Counter(dict(rows.order_by().values_list("target").annotate(n=Count("id"))))


def _diversity(job: LabelJob) -> tuple[float, float] | None:
    kept = job.drafts.filter(status=Draft.Status.KEPT).select_related("seed__parent", "example")
    pairs = list(kept.order_by("id")[:COMPARED])
    parents = {draft.seed.parent_id: draft.seed.parent for draft in pairs}
    count = min(len(pairs), len(parents))
    if count < 2:
        return None
    made = distinct(_texts([draft.example for draft in pairs if draft.example][:count]))
    real = distinct(_texts(list(parents.values())[:count]))
    return None if made is None or real is None else (made, real)


def _texts(rows: Iterable[Example]) -> list[str]:
    return [variable_text(row.messages) for row in rows]


def _wrong(job: LabelJob) -> Share:
    seen = job.drafts.filter(example__provenance__in=HUMAN)
    return wilson(seen.exclude(example__target=F("answered")).count(), seen.count())


def drafts_of(job: LabelJob, *, status: str = "", method: str = "") -> list[Draft]:
    """Return the newest drafts of an augmentation, of one fate or method where it is named."""
    found = job.drafts.all()
    if status:
        found = found.filter(status=status)
    if method:
        found = found.filter(seed__method=method)
    return list(found.select_related("seed__parent", "example").order_by("-id")[:SHOWN])
