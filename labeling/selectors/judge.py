"""What the pages of judges read, and which models are behind a label set."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from factory.errors import NotFound
from factory.intervals import Share, wilson
from factory.models import CapturedCall, Project, Workload
from labeling.judge import FAIL, FIRST, INCONCLUSIVE, PASS, SECOND, TIE
from labeling.label_sets import is_same
from labeling.models import LabelJob, Verdict
from labeling.selectors.label import HUMAN
from labeling.selectors.label_sets import CURRENT, PEOPLE, PRODUCTION, STORED

NEWEST = 20
SAMPLE = 200  # newest calls, whose models are taken for production's
PAGE = 50


def models_behind(workload: Workload, key: str) -> set[str]:
    """Return the models that gave a set's answers, by the names that endpoints know them by."""
    if key == PEOPLE:
        return set()
    if key == PRODUCTION:
        return _production_models(workload)
    if key == CURRENT:
        jobs = workload.label_jobs.filter(kind=LabelJob.Kind.LABEL, applies=True)
        labelled = jobs.values_list("teacher__model", flat=True)
        return {*labelled, *_production_models(workload)}
    found = STORED.fullmatch(key)
    if found is None:
        return set()
    if found[1] == "job":
        job = workload.label_jobs.filter(pk=int(found[2])).select_related("teacher").first()
        return _models_of(job) if job else set()
    stored = workload.label_sets.filter(pk=int(found[2])).first()
    members: Sequence[str] = stored.recipe.get("members", []) if stored else []
    return {model for member in members for model in models_behind(workload, member)}


def _models_of(job: LabelJob) -> set[str]:
    answered = job.labels.exclude(answered_by="").values_list("answered_by", flat=True)
    return {job.teacher.model, *answered.order_by().distinct()}


def _production_models(workload: Workload) -> set[str]:
    newest = workload.examples.exclude(call=None).order_by("-pk").values_list("call", flat=True)
    calls = CapturedCall.objects.filter(pk__in=list(newest[:SAMPLE]))
    pairs = calls.values_list("request_model", "response_model")
    return {model for pair in pairs for model in pair if model}


@dataclass(frozen=True)
class JudgeSummary:
    """What a judge said, and how far it can be believed.

    `score` is the share of conclusive verdicts for the first set (ties aside), or that passed;
    `inconclusive` is out of all. `agreement` is with people, over conclusive verdicts on rows where
    people's answer decides the case.
    """

    counts: dict[str, int]
    score: Share
    inconclusive: Share
    agreement: Share


def judge_summary(job: LabelJob) -> JudgeSummary:
    """Gather the figures of a judge's page."""
    counts = Counter(job.verdicts.order_by().values_list("outcome", flat=True))
    for_it = counts[FIRST] + counts[PASS]
    against = counts[SECOND] + counts[FAIL]
    return JudgeSummary(
        counts={name: counts[name] for name in _outcomes(job)},
        score=wilson(for_it, for_it + against),
        inconclusive=wilson(counts[INCONCLUSIVE], counts.total()),
        agreement=_agreement_with_people(job),
    )


def _outcomes(job: LabelJob) -> list[str]:
    if job.judging.second:
        return [FIRST, SECOND, TIE, INCONCLUSIVE]
    return [PASS, FAIL, INCONCLUSIVE]


def _agreement_with_people(job: LabelJob) -> Share:
    known = job.verdicts.filter(example__provenance__in=HUMAN).exclude(outcome=INCONCLUSIVE)
    schema = job.workload.output_schema
    hits = total = 0
    columns = ("outcome", "first", "second", "example__target")
    for outcome, first, second, right in known.values_list(*columns):
        is_first = is_same(first, right or "", schema)
        if not job.judging.second:
            wanted = PASS if is_first else FAIL
        elif is_first:
            wanted = FIRST
        elif is_same(second, right or "", schema):
            wanted = SECOND
        else:
            continue  # both are wrong: people's answer does not say which is better
        total += 1
        hits += outcome == wanted
    return wilson(hits, total)


def judgings_of(workload: Workload) -> list[LabelJob]:
    """Return a workload's newest judges."""
    found = workload.label_jobs.filter(kind=LabelJob.Kind.JUDGE, judging__isnull=False)
    return list(found.select_related("judging", "teacher").order_by("-id")[:NEWEST])


def judging_of(workload: Workload, job_id: int) -> LabelJob:
    """Return one judge's job with its case."""
    return _one(workload.label_jobs.filter(pk=job_id))


def judging_in_project(project: Project, job_id: int) -> LabelJob:
    """Return one judge's job of any of a project's workloads."""
    return _one(LabelJob.objects.filter(pk=job_id, workload__project=project))


def _one(found: QuerySet[LabelJob]) -> LabelJob:
    found = found.filter(kind=LabelJob.Kind.JUDGE, judging__isnull=False)
    job = found.select_related("judging", "teacher", "workload", "guideline").first()
    if job is None:
        raise NotFound("There is no such judge, or it is not yours to see.")
    return job


def verdicts_of(job: LabelJob, outcome: str = "") -> list[Verdict]:
    """Return a judge's verdicts, one kind of them where it is named."""
    found = job.verdicts.filter(outcome=outcome) if outcome else job.verdicts.all()
    return list(found.select_related("example").order_by("pk")[:PAGE])
