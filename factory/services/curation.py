"""What people do about a curation: change the recipe, run, undo a step; and what its page shows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.db.models import Count, Q
from django.db.models.functions import Now

from factory.curation.balance import Line, balanced, before_and_after
from factory.curation.funnel import NOISE, REASONS
from factory.curation.recipe import STEPS, Recipe
from factory.errors import Conflict, UnderstudyError
from factory.messages import Json, variable_text
from factory.models import Curation, CurationRun, CurationStep, Example, Project, Workload
from factory.models.example import Split
from factory.selectors import capped_count, one
from factory.services import jobs
from factory.services.curate import (
    UNANSWERED,
    Pass,
    admit,
    new_calls_of,
    pass_of,
    restored,
    run_curation,
    start_curation,
)

BATCH = 500
BALANCE_SEED = 0
LABELS_SHOWN = 40
RUNS_SHOWN = 12
PAIRS_SHOWN = 6  # of contamination, of each tier
EXCERPT = 220  # characters
TITLES = {
    "answers": ("Answers", "calls"),
    "format": ("Label set or schema", "calls"),
    "exact": ("Exact duplicates", "calls"),
    "language": ("Language", "inputs"),
    "length": ("Length", "inputs"),
    "near": ("Near copies", "inputs"),
    "splits": ("Splits", "inputs"),
}

__all__ = ["save_recipe", "start_curation", "start_undo"]


# --- acts -----------------------------------------------------------------------------------------
def save_recipe(workload: Workload, given: object) -> Recipe:
    """Keep a recipe for the calls to come; `InvalidInput` names what is wrong with it."""
    recipe = Recipe.from_json(given)
    Curation.objects.update_or_create(workload=workload, defaults={"recipe": recipe.as_json()})
    return recipe


def recipe_of(workload: Workload) -> Recipe:
    """Return a workload's recipe."""
    found = Curation.objects.filter(workload=workload).first()
    return Recipe.from_json(found.recipe if found else {})


@transaction.atomic
def start_undo(step: CurationStep, user: User | AnonymousUser | None = None) -> CurationRun:
    """Enqueue the undoing of a step; `Conflict` where it holds nothing back any more."""
    Project.objects.select_for_update(no_key=True).get(pk=step.run.project_id)
    if not step.discarded.exists():
        raise Conflict("This step holds nothing back any more.")
    alive = [CurationRun.Status.QUEUED, CurationRun.Status.RUNNING]
    waiting = CurationRun.objects.filter(undoes=step, status__in=alive).first()
    if waiting is not None:
        return waiting
    person = user if isinstance(user, User) else None
    undoing = CurationRun(
        project=step.run.project, workload=step.workload, undoes=step, created_by=person
    )
    return jobs.enqueue(undoing)


def undo(step: CurationStep) -> int:
    """Undo a step here and now; return how many rows came back."""
    run = start_undo(step)
    jobs.run(CurationRun, run.pk, curation_work)
    run.refresh_from_db()
    if run.status != CurationRun.Status.SUCCEEDED:
        raise UnderstudyError(run.error or f"the undoing was {run.status}")
    return int(run.counts["restored"])


def curation_work(run: CurationRun) -> None:
    """Do what a run is for."""
    if run.undoes is None:
        run_curation(run)
    else:
        _undo(run, run.undoes)


def _undo(run: CurationRun, step: CurationStep) -> None:
    """Take back what a step discarded; what later steps keep back then is theirs."""
    total, done, last, before = step.discarded.count(), 0, 0, step.restored
    here = pass_of(step.run, step.workload)  # what is kept back again is kept back by its run
    while batch := _undo_batch(here, step, after=last):
        last, done = batch[-1].pk, done + len(batch)
        jobs.heartbeat(run, {"phase": "restoring", "done": done, "total": total, "unit": "rows"})
    with jobs.fenced(run):
        CurationStep.objects.filter(pk=step.pk).update(undone_at=Now())
        jobs.succeed(run, counts={"restored": step.restored - before})


@transaction.atomic
def _undo_batch(here: Pass, step: CurationStep, *, after: int) -> list[Example]:
    Project.objects.select_for_update(no_key=True).get(pk=here.workload.project_id)
    here.curation.refresh_from_db()
    batch = list(step.discarded.filter(pk__gt=after).order_by("pk")[:BATCH])
    if not batch:
        return []
    _recount(here, step, batch)
    placed = [restored(example) for example in batch if example.split]
    Example.objects.bulk_update(placed, ["status", "discard_reason", "discarded_by"])
    admit(here, [_unplaced(example) for example in batch if not example.split], past=step.name)
    back = sum(not example.discard_reason for example in batch)
    here.save()
    step.restored += back
    CurationStep.objects.filter(pk=step.pk).update(restored=step.restored)
    return batch


def _recount(here: Pass, step: CurationStep, batch: Sequence[Example]) -> None:
    """Let rows go on from the step that kept them back; `admit` counts them from language on."""
    tally = here.funnel[step.name]
    tally.reasons.subtract(example.discard_reason for example in batch)
    at, counted = STEPS.index(step.name), STEPS.index("language")
    for name in STEPS[at + 1 : counted]:
        here.funnel[name].came_in += len(batch)
    if step.name == "near":
        here.funnel["splits"].came_in += len(batch)
    elif step.name == "splits":  # placed again, by the two steps that place
        for name in ("near", "splits"):
            here.funnel[name].came_in -= len(batch)


def _unplaced(example: Example) -> Example:
    if example.discard_reason in UNANSWERED:
        example.target, example.provenance = None, ""
    return restored(example)


# --- reading --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Shown:
    """An example as a sample shows it."""

    id: int
    text: str
    answer: str
    call_id: Any


@dataclass(frozen=True)
class Reason:
    """Why a step kept rows back: how many, and some of them."""

    name: str
    said: str
    rows: int
    samples: list[Shown]


@dataclass(frozen=True)
class StepShown:
    """A step of a run as the funnel draws it; widths in percent of the calls that came in."""

    step: CurationStep
    title: str
    unit: str
    passed: float
    held: float
    reasons: list[Reason]
    holds_back: int  # now: what was restored or answered since is not


@dataclass(frozen=True)
class Disagreement:
    """Near copies that production answered differently."""

    answers: list[tuple[str, int]]  # with how many rows, the most frequent first
    rows: list[Shown]


@dataclass(frozen=True)
class Pair:
    """A held-out row and a training row that is like it."""

    split: str
    tier: str
    similarity: float
    held_out: Shown
    train: Shown


@dataclass(frozen=True)
class CurationPage:
    """What the page of a workload's curation shows."""

    recipe: Recipe
    curation: Curation | None
    run: CurationRun | None
    runs: list[CurationRun]
    is_busy: bool
    new_calls: int
    steps: list[StepShown]
    shares: list[tuple[str, dict[str, int]]]
    balance: list[Line]
    conflicts: list[Disagreement]
    noise: Json
    pairs: list[Pair]


def runs_of(workload: Workload) -> Any:
    """Return the runs that a workload's calls were in, the newest first."""
    mine = Q(workload=workload) | Q(workload=None, steps__workload=workload)
    waiting = Q(workload=None, status__in=[CurationRun.Status.QUEUED, CurationRun.Status.RUNNING])
    runs = workload.project.curation_runs.filter(mine | waiting)
    return runs.order_by("-id").distinct()


def run_of_project(project: Project, run: int) -> CurationRun:
    """Return one of a project's runs."""
    return one(project.curation_runs.filter(pk=run).select_related("project"), "curation")


def step_of_workload(workload: Workload, step: int) -> CurationStep:
    """Return one of a workload's steps."""
    steps = workload.curation_steps.select_related("run__project", "workload")
    return one(steps.filter(pk=step), "step")


def curation_page(workload: Workload, run_id: int | None = None) -> CurationPage:
    """Gather the page: the newest run's funnel, or another run's."""
    runs = list(runs_of(workload)[:RUNS_SHOWN])
    done = [run for run in runs if run.undoes_id is None and run.steps.exists()]
    run = next((run for run in runs if run.pk == run_id), done[0] if done else None)
    curation = Curation.objects.filter(workload=workload).first()
    recipe = Recipe.from_json(curation.recipe if curation else {})
    steps = list(run.steps.filter(workload=workload).order_by("position")) if run else []
    noise: Json = next((step.facts[NOISE] for step in steps if NOISE in step.facts), {})
    report = curation.contamination if curation else {}
    return CurationPage(
        recipe=recipe,
        curation=curation,
        run=run,
        runs=runs,
        is_busy=any(not run.is_final for run in runs),
        new_calls=capped_count(new_calls_of(workload.project, workload)),
        steps=_steps_shown(steps),
        shares=_shares(workload),
        balance=_balance(workload, recipe),
        conflicts=_conflicts(workload, noise),
        noise=noise,
        pairs=_pairs(report),
    )


def _steps_shown(steps: Sequence[CurationStep]) -> list[StepShown]:
    widest = max((step.came_in for step in steps), default=0) or 1
    ids = {pk for step in steps for sample in step.samples.values() for pk in sample}
    known = _shown(ids)
    holding = dict(
        Example.objects.filter(discarded_by__in=[step.pk for step in steps])
        .order_by()
        .values_list("discarded_by")
        .annotate(Count("id"))
    )
    return [
        StepShown(
            step=step,
            title=TITLES[step.name][0],
            unit=TITLES[step.name][1],
            passed=round(100 * step.went_out / widest, 2),
            held=round(100 * (step.came_in - step.went_out) / widest, 2),
            reasons=[
                Reason(name, REASONS[name], rows, _of(known, step.samples.get(name, ())))
                for name, rows in sorted(step.reasons.items(), key=lambda pair: -pair[1])
                if rows
            ],
            holds_back=holding.get(step.pk, 0),
        )
        for step in steps
    ]


def _shown(ids: set[int]) -> dict[int, Shown]:
    rows = Example.objects.filter(pk__in=ids).only("messages", "produced", "call_id")
    return {
        row.pk: Shown(
            row.pk, variable_text(row.messages)[:EXCERPT], row.produced or "", row.call_id
        )
        for row in rows
    }


def _of(known: dict[int, Shown], ids: Sequence[int]) -> list[Shown]:
    return [known[pk] for pk in ids if pk in known]


def _shares(workload: Workload) -> list[tuple[str, dict[str, int]]]:
    """Count a workload's rows by label and split, the most frequent label first."""
    rows = workload.examples.exclude(split="").exclude(status=Example.Status.DISCARDED).order_by()
    labels: dict[str, Counter[str]] = {"all rows": Counter()}
    named = set(workload.labels)
    for target, split, n in (
        rows.values_list("target", "split").annotate(n=Count("id"))
        if named
        else (("", split, n) for split, n in rows.values_list("split").annotate(n=Count("id")))
    ):
        labels["all rows"][split] += n
        if target in named:
            labels.setdefault(target, Counter())[split] += n
    ordered = sorted(labels.items(), key=lambda pair: -pair[1].total())
    return [(label, dict(counts)) for label, counts in ordered[:LABELS_SHOWN]]


def _balance(workload: Workload, recipe: Recipe) -> list[Line]:
    if not workload.labels or recipe.policy.mode == "none":
        return []
    rows = workload.examples.filter(split=Split.TRAIN, target__in=workload.labels)
    rows = rows.exclude(status=Example.Status.DISCARDED).order_by("id")
    labels = [str(target) for target in rows.values_list("target", flat=True)]
    copies = balanced(labels, recipe.policy, BALANCE_SEED)
    return before_and_after(labels, copies)[:LABELS_SHOWN]


def _conflicts(workload: Workload, noise: Json) -> list[Disagreement]:
    clusters = noise.get("samples", [])
    rows = workload.examples.filter(cluster__in=clusters).exclude(produced=None).order_by("id")
    of_cluster: dict[str, list[int]] = {cluster: [] for cluster in clusters}
    for cluster, pk in rows.values_list("cluster", "pk")[: 100 * len(clusters)]:
        of_cluster[cluster].append(pk)
    known = _shown({pk for found in of_cluster.values() for pk in found[:PAIRS_SHOWN]})
    answers: dict[str, Counter[str]] = {cluster: Counter() for cluster in clusters}
    for cluster, produced, n in (
        rows.order_by().values_list("cluster", "produced").annotate(n=Count("id"))
    ):
        answers[cluster][produced or ""] += n
    return [
        Disagreement(answers[cluster].most_common(PAIRS_SHOWN), _of(known, found))
        for cluster, found in of_cluster.items()
        if found
    ]


def _pairs(report: Json) -> list[Pair]:
    """Return contamination's sample pairs with their texts, the nearest of each tier first."""
    found = [
        (name, tier, pair)
        for name, split in report.get("splits", {}).items()
        for tier in ("exact", "near", "neighbours")
        for pair in split[tier]["samples"][:PAIRS_SHOWN]
    ]
    known = _shown({pair[end] for _, _, pair in found for end in ("held_out", "train")})
    return [
        Pair(name, tier, pair["similarity"], known[pair["held_out"]], known[pair["train"]])
        for name, tier, pair in found
        if pair["held_out"] in known and pair["train"] in known
    ]
