"""From raw calls to examples: a run takes new calls through the steps of their workload's recipe.

A step keeps rows back with a reason; what it kept back can be restored (`services/curation.py`).
A run is written batch by batch under the project's lock, so that it can stop and go on anywhere.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.db.models import Count, F, QuerySet
from django.db.models.functions import Now
from more_itertools import chunked, map_reduce

from factory.answers import comparable
from factory.curation.answers import is_refusal, misformed, unusable
from factory.curation.conversations import conversation_of
from factory.curation.funnel import NOISE, Funnel, noise, tally_from
from factory.curation.language import UNKNOWN, language_of
from factory.curation.lengths import outlier, usual_from_json, usual_of
from factory.curation.recipe import STEPS, Recipe
from factory.curation.splits import Dealer
from factory.curation.variable import Templates
from factory.dedupe import group_key, input_digest
from factory.errors import InvalidInput, UnderstudyError
from factory.messages import Json, output_of
from factory.models import (
    CapturedCall,
    Curation,
    CurationRun,
    CurationStep,
    Example,
    Project,
    Workload,
)
from factory.models.example import Provenance, Split
from factory.selectors import capped_count, uncurated
from factory.services import jobs
from factory.services.contamination import keep_report
from factory.services.discover import accept_all, group_calls
from factory.services.near import (
    Growth,
    Placing,
    index,
    index_all,
    index_examples,
    place_examples,
)

logger = logging.getLogger(__name__)

BATCH = 500
GIVEN_BATCH = 2000  # rows given at once; the more, the fewer pages of the index each touches
MEASURED = 500  # texts that say what is a usual length
# Reasons that lie in the answer, not in the input: a later whole answer brings the input back.
UNANSWERED = {
    "error": "answers", "tool_call": "answers", "empty": "answers", "truncated": "answers",
    "refused": "answers", "off_label": "format", "off_schema": "format",
}  # fmt: skip

Tell = Callable[[Counter[str]], None]


@dataclass
class Pass:
    """One run over one workload: its recipe, and what it has done so far."""

    run: CurationRun
    workload: Workload
    curation: Curation
    recipe: Recipe
    templates: Templates
    steps: dict[str, CurationStep]
    funnel: Funnel = field(default_factory=Funnel)

    def step(self, name: str) -> CurationStep:
        """Return the row of a step, to hang on it what it keeps back."""
        if name not in self.steps:
            recipe = self.recipe.as_json()
            self.steps[name] = CurationStep.objects.create(
                run=self.run,
                workload=self.workload,
                name=name,
                position=STEPS.index(name),
                recipe=recipe,
            )
        return self.steps[name]

    def keep_back(self, example: Example, step: str, reason: str) -> None:
        """Discard an example that is not saved yet."""
        example.status = Example.Status.DISCARDED
        example.discard_reason, example.discarded_by = reason, self.step(step)

    def save(self) -> None:
        """Write the steps' counts, and what the next batch has to know."""
        for name, tally in self.funnel:
            row = self.step(name)
            row.came_in, row.went_out = tally.came_in, tally.went_out
            row.reasons, row.samples = dict(tally.reasons), dict(tally.samples)
            row.facts = {fact: dict(counts) for fact, counts in tally.facts.items()}
            row.save()
        self.curation.save(update_fields=["dealt", "lengths"])


@dataclass
class Asked:
    """An input of a batch: its example, and how many calls asked it, in all and with an answer."""

    example: Example
    times: int = 0
    answered: int = 0


# --- doors ----------------------------------------------------------------------------------------
def curate(
    project: Project, *, accept_new: bool = False, on_batch: Tell = lambda _counts: None
) -> Counter[str]:
    """Turn a project's new calls into examples, here and now; return what became of them.

    Calls of prompts that are nobody's workload yet stay as they are, and count as waiting;
    `accept_new` makes workloads of those that are frequent enough.
    """
    group_calls(project)
    if accept_new:
        accept_all(project)
    counts: Counter[str] = Counter()
    if new_calls_of(project).exists():
        run = CurationRun.objects.create(project=project)
        jobs.run(CurationRun, run.pk, lambda job: counts.update(_run(job, on_batch)))
        run.refresh_from_db()
        if run.status != CurationRun.Status.SUCCEEDED:
            raise UnderstudyError(run.error or f"the curation was {run.status}")
    counts["waiting"] = _waiting(project)
    return +counts


@transaction.atomic
def start_curation(
    project: Project,
    workload: Workload | None = None,
    user: User | AnonymousUser | None = None,
) -> CurationRun:
    """Enqueue a run over a project's new calls, or one workload's; one under way serves as well."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    alive = [CurationRun.Status.QUEUED, CurationRun.Status.RUNNING]
    waiting = project.curation_runs.filter(status__in=alive, workload=workload, undoes=None).first()
    if waiting is not None:
        return waiting
    person = user if isinstance(user, User) else None
    return jobs.enqueue(CurationRun(project=project, workload=workload, created_by=person))


def run_curation(run: CurationRun) -> None:
    """Group new calls, and take those of workloads through the steps."""
    group_calls(run.project, lambda done: _tell(run, "grouping calls", done, 0))
    _run(run, lambda _counts: None)


def curation_of(workload: Workload) -> Curation:
    """Return what a workload's curator remembers, its index of near copies complete."""
    curation, _ = Curation.objects.get_or_create(workload=workload)
    _remember_templates(workload, curation)
    if not curation.is_indexed:
        index_all(workload, templates_of(curation))
        Curation.objects.filter(pk=curation.pk).update(is_indexed=True)
        curation.is_indexed = True
    return curation


def templates_of(curation: Curation) -> Templates:
    """Return the prompts of a workload, to tell what varies."""
    return Templates(curation.templates.values())


def _remember_templates(workload: Workload, curation: Curation) -> None:
    groups = workload.call_groups.exclude(signature__in=list(curation.templates))
    new = {
        group.signature: {k: v for k, v in group.skeleton.items() if k != "text"}
        for group in groups
    }
    if new:
        curation.templates = {**curation.templates, **new}
        Curation.objects.filter(pk=curation.pk).update(templates=curation.templates)


def pass_of(run: CurationRun, workload: Workload) -> Pass:
    """Return a run over a workload, gone on with where an earlier attempt of it ended."""
    curation = curation_of(workload)
    steps = {step.name: step for step in run.steps.filter(workload=workload)}
    recipe, templates = Recipe.from_json(curation.recipe), templates_of(curation)
    here = Pass(run, workload, curation, recipe, templates, steps)
    for name, row in steps.items():
        here.funnel[name] = tally_from(row.came_in, row.reasons, row.samples, row.facts)
    return here


# --- a run ----------------------------------------------------------------------------------------
def new_calls_of(project: Project, workload: Workload | None = None) -> QuerySet[CapturedCall]:
    """Return the new calls of a project's workloads, or of one."""
    groups = project.call_groups.exclude(workload=None)
    if workload is not None:
        groups = groups.filter(workload=workload)
    return uncurated(project).filter(group__in=list(groups.values_list("pk", flat=True)))


def _waiting(project: Project) -> int:
    nobodys = project.call_groups.filter(workload=None).values("pk")
    return capped_count(uncurated(project).filter(group__in=nobodys))


def _tell(run: CurationRun, phase: str, done: int, total: int) -> None:
    progress = {"phase": phase, "done": done, "total": total, "unit": "calls"}
    jobs.heartbeat(run, progress if total else {"phase": f"{phase}, {done:,} so far"})


def _run(run: CurationRun, on_batch: Tell) -> Counter[str]:
    total = capped_count(new_calls_of(run.project, run.workload))
    counts: Counter[str] = Counter()
    workloads = [run.workload] if run.workload else list(run.project.workloads.order_by("pk"))
    done, growth = 0, Growth()
    for workload in workloads:
        if not new_calls_of(run.project, workload).exists():
            continue
        here = pass_of(run, workload)
        while taken := _next_batch(here, counts):
            done += taken
            growth.add(taken)
            _tell(run, f"curating {workload.slug}", min(done, total), total)
            on_batch(counts)
        with jobs.kept(run):
            _close(here)
    if run.workload is None:
        counts["waiting"] = _waiting(run.project)
    with jobs.fenced(run):
        jobs.succeed(run, counts=dict(+counts))
    return counts


@transaction.atomic
def _next_batch(here: Pass, counts: Counter[str]) -> int:
    # One curator at a time; captures go on, for they need a weaker lock.
    Project.objects.select_for_update(no_key=True).get(pk=here.workload.project_id)
    here.curation.refresh_from_db()
    fresh = new_calls_of(here.workload.project, here.workload)
    batch = list(fresh.select_related("payload")[:BATCH])
    if batch:
        _curate(here, batch, counts)
        CapturedCall.objects.filter(pk__in=[call.pk for call in batch]).update(curated_at=Now())
        here.save()
    return len(batch)


def _curate(here: Pass, calls: Sequence[CapturedCall], counts: Counter[str]) -> None:
    inputs = _read(here, calls, counts)
    known = {e.digest: e for e in here.workload.examples.filter(digest__in=list(inputs))}
    _count_repeats({known[digest].pk: inputs[digest].times for digest in known})
    entering = []
    for digest, asked in inputs.items():
        found = known.get(digest)
        if not asked.answered:
            continue
        if found is None:
            asked.example.weight = asked.times
            entering.append(asked.example)
        elif found.discard_reason in UNANSWERED and not found.split:
            entering.append(_healed(found, asked.example))
        else:
            here.funnel["exact"].sample("duplicate", found.pk)
    exact = here.funnel["exact"]
    exact.came_in += (answered := sum(asked.answered for asked in inputs.values()))
    exact.add("duplicate", answered - len(entering))
    counts["duplicate"] += answered - len(entering)
    admit(here, entering)
    counts["example"] += sum(not e.discard_reason for e in entering)
    counts.update(e.discard_reason for e in entering if e.discard_reason)
    bad = [a for digest, a in inputs.items() if not a.answered and digest not in known]
    _save_unanswered(here, bad)


def _read(here: Pass, calls: Sequence[CapturedCall], counts: Counter[str]) -> dict[str, Asked]:
    """Read a batch's calls; return its different inputs, each with a whole answer if it has one."""
    inputs: dict[str, Asked] = {}
    for call in calls:
        text = output_of(call.response).strip()
        reason = _reason(here, call, text)
        asked = inputs.get(call.digest)
        if asked is None or (not reason and not asked.answered):
            example = _example_from_call(here, call, text)
            if reason:
                example.target, example.provenance = None, ""
                here.keep_back(example, UNANSWERED[reason], reason)
            asked = inputs[call.digest] = Asked(example, asked.times if asked else 0)
        asked.times += 1
        asked.answered += not reason
        counts.update([reason] if reason else [])
    return inputs


def _reason(here: Pass, call: CapturedCall, text: str) -> str:
    """Count a call in the first two steps; say what is wrong with its answer, if anything."""
    answers, form = here.funnel["answers"], here.funnel["format"]
    answers.came_in += 1
    reason = unusable(call.status_code, call.finish_reason, call.response, text)
    if not reason and here.recipe.answers.refusals and is_refusal(text):
        reason = "refused"
    if reason:
        answers.add(reason)
        return reason
    form.came_in += 1
    if here.recipe.answers.format:
        reason = misformed(text, here.workload.output_schema)
        form.add(reason, 1 if reason else 0)
    return reason


def _count_repeats(times: dict[int, int]) -> None:
    """Count repeats of known examples."""
    for more, ids in map_reduce(times, times.__getitem__).items():
        Example.objects.filter(pk__in=ids).update(weight=F("weight") + more)


def _healed(known: Example, fresh: Example) -> Example:
    """Give an input that was kept back for its answer a whole one."""
    for name in ("call", "produced", "target", "provenance", "conversation"):
        setattr(known, name, getattr(fresh, name))
    restored(known)
    return known


def restored(example: Example) -> Example:
    """Take a discarded example back, as one that waits for its label or its review."""
    example.status, example.discard_reason = Example.Status.CAPTURED, ""
    example.discarded_by = None
    return example


def _save_unanswered(here: Pass, inputs: Sequence[Asked]) -> None:
    for asked in inputs:
        asked.example.weight = asked.times
        asked.example.group = group_key(asked.example.messages)
    Example.objects.bulk_create([asked.example for asked in inputs])
    for asked in inputs:
        reason = asked.example.discard_reason
        here.funnel[UNANSWERED[reason]].sample(reason, asked.example.pk)


def _close(here: Pass) -> None:
    """Look at the whole workload: answers that contradict each other, and what leaks."""
    if "near" in here.steps and here.workload.kind != Workload.Kind.GENERATION:
        step = here.steps["near"]
        step.facts[NOISE] = noise(_answers(here.workload))
        step.save(update_fields=["facts"])
    if here.recipe.contamination:
        keep_report(here.curation, here.templates)


def _answers(workload: Workload) -> Iterator[tuple[str, int, str]]:
    """Yield (cluster, example, what production answered), one cluster after the other."""
    said = workload.examples.exclude(produced=None).exclude(cluster="")
    schema = workload.output_schema
    rows = said.order_by("cluster", "id").values_list("cluster", "pk", "produced")
    for cluster, pk, produced in rows.iterator(BATCH):
        yield cluster, pk, comparable(produced or "", schema)


# --- the steps that look at inputs ----------------------------------------------------------------
def admit(here: Pass, entering: Sequence[Example], *, past: str = "exact") -> None:
    """Take inputs through the steps after `past`; save and index them, those kept back too."""
    rest = list(entering)
    for name, look in (("language", _by_language), ("length", _by_length)):
        if STEPS.index(name) > STEPS.index(past):
            rest = look(here, rest)
    dealer = dealer_of(here.workload, here.curation)
    placing = place_examples(here.workload, rest, here.recipe, dealer, here.templates)
    here.curation.dealt = dealer.dealt
    near, splits = here.funnel["near"], here.funnel["splits"]
    near.came_in += len(rest)
    surplus = _surplus(here, rest)
    splits.came_in += len(rest) - len(surplus)
    for example, where in zip(rest, placing.placed, strict=True):
        near.facts["clusters"]["joined" if where.has_joined else "opened"] += 1
        near.facts["apart"].update([where.apart] if where.apart else [])
        splits.facts["rows"].update([example.split] if example.split else [])
        if not example.split:
            here.keep_back(example, "splits", "between_splits")
    for example in surplus:
        here.keep_back(example, "near", "near_duplicate")
    _save(here, entering, placing)


def dealer_of(workload: Workload, curation: Curation) -> Dealer:
    """Return who deals new groups out to the splits."""
    return Dealer(
        workload.slug,  # not the number: the same calls are split alike on every machine
        validation=workload.validation_share,
        test=workload.test_share,
        dealt=curation.dealt,
    )


def _by_language(here: Pass, examples: Sequence[Example]) -> list[Example]:
    step, tally = here.recipe.language, here.funnel["language"]
    tally.came_in += len(examples)
    kept = []
    for example in examples:
        language = language_of(here.templates.text(example.messages), step.sure_from)
        tally.facts["languages"][language] += 1
        if step.keep and language not in {*step.keep, UNKNOWN}:
            here.keep_back(example, "language", "other_language")
        else:
            kept.append(example)
    return kept


def _by_length(here: Pass, examples: Sequence[Example]) -> list[Example]:
    tally = here.funnel["length"]
    tally.came_in += len(examples)
    usual, kept = usual_from_json(here.curation.lengths), []
    for example in examples:
        text = here.templates.text(example.messages)
        if reason := outlier(text, here.recipe.length, usual):
            here.keep_back(example, "length", reason)
        else:
            kept.append(example)
    if usual is None:
        first = here.workload.examples.order_by("id").values_list("messages", flat=True)
        seen = [*first[:MEASURED], *(example.messages for example in kept)][:MEASURED]
        measured = usual_of([here.templates.text(messages) for messages in seen])
        here.curation.lengths = measured.as_json() if measured else {}
    return kept


def _surplus(here: Pass, placed: Sequence[Example]) -> list[Example]:
    """Return the rows beyond what a cluster keeps. Test rows stay: they are as production asks."""
    if not here.recipe.near.keep:
        return []
    mine = [e for e in placed if e.split and e.split != Split.TEST]
    held = here.workload.examples.filter(group__in={e.group for e in mine})
    held = held.exclude(status=Example.Status.DISCARDED).exclude(split="").order_by()
    sizes = Counter(dict(held.values_list("cluster").annotate(Count("id"))))
    surplus = []
    for example in mine:
        sizes[example.cluster] += 1
        if sizes[example.cluster] > here.recipe.near.keep:
            surplus.append(example)
    return surplus


SAVED = (
    "call", "produced", "target", "provenance", "conversation", "status", "discard_reason",
    "discarded_by", "cluster", "group", "split",
)  # fmt: skip


def _save(here: Pass, examples: Sequence[Example], placing: Placing) -> None:
    for example in examples:
        example.group = example.group or group_key(example.messages)
    known = [example for example in examples if example.pk is not None]
    Example.objects.bulk_create([example for example in examples if example.pk is None])
    Example.objects.bulk_update(known, SAVED)
    index(placing)
    for example in examples:
        if example.discard_reason and example.discarded_by:
            tally = here.funnel[example.discarded_by.name]
            tally.add(example.discard_reason)
            tally.sample(example.discard_reason, example.pk)


# --- rows that are given --------------------------------------------------------------------------
def add_examples(
    workload: Workload, rows: Iterable[tuple[list[Json], str]], *, split: str | None = None
) -> Counter[str]:
    """Add rows with known right answers (messages, target), to their own or to a given split.

    A row that is already known keeps its split and takes the given target. Where a split is asked
    for, rows that are known in another one, or near copies of such, are left out: what is meant to
    be tested on is never trained on, nor the other way round. So are near copies of rows of two
    splits.
    """
    counts: Counter[str] = Counter()
    growth = Growth()
    for batch in chunked(rows, GIVEN_BATCH):
        fresh: dict[str, Example] = {}
        for messages, target in batch:
            example = _given_example(workload, messages, target)
            fresh[example.digest] = example
        new, left_out = _add(workload, fresh, split)
        counts.update(new=new, known=len(batch) - left_out - new, left_out=left_out)
        growth.add(new)
    return counts


@transaction.atomic
def index_children(workload: Workload, examples: Sequence[Example]) -> None:
    """Let later rows find saved examples that took their group and split from known ones."""
    Project.objects.select_for_update(no_key=True).get(pk=workload.project_id)
    index_examples(workload, examples, templates_of(curation_of(workload)))


GIVEN = ("target", "provenance", "status", "may_train", "discard_reason", "discarded_by")


@transaction.atomic
def _add(workload: Workload, fresh: dict[str, Example], asked: str | None) -> tuple[int, int]:
    """Save a batch of given rows; return how many were new, and how many are left out."""
    Project.objects.select_for_update(no_key=True).get(pk=workload.project_id)
    curation = curation_of(workload)
    known = {e.digest: e for e in workload.examples.filter(digest__in=list(fresh))}
    for digest, example in known.items():
        for name in GIVEN:
            setattr(example, name, getattr(fresh[digest], name))
    entering = [known.get(digest, given) for digest, given in fresh.items()]
    entering = [example for example in entering if not example.split]
    dealer = dealer_of(workload, curation)
    recipe = Recipe.from_json(curation.recipe)
    templates = templates_of(curation)
    placing = place_examples(workload, entering, recipe, dealer, templates, asked=asked)
    placing.rows = [row for row in placing.rows if _is_taken(row.example, asked)]
    kept = {e.digest: e for e in (*known.values(), *entering) if _is_taken(e, asked)}
    new = [example for example in kept.values() if example.pk is None]
    Example.objects.bulk_create(new)
    old = [example for example in kept.values() if example.digest in known]
    Example.objects.bulk_update(old, [*GIVEN, "cluster", "group", "split"])
    index(placing)
    Curation.objects.filter(pk=curation.pk).update(dealt=dealer.dealt)
    return len(new), len(fresh) - len(kept)


def _is_taken(example: Example, asked: str | None) -> bool:
    return bool(example.split) and asked in {None, example.split}


def set_split_shares(workload: Workload, *, validation: float, test: float) -> Workload:
    """Say which part of new groups is held out; rows that are there already never move."""
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise InvalidInput("validation and test are shares that leave something to train on")
    workload.validation_share, workload.test_share = validation, test
    workload.save(update_fields=["validation_share", "test_share"])
    return workload


def set_label_set(workload: Workload, labels: list[str]) -> Workload:
    """Fix a classification workload's label set."""
    if len(set(labels)) < 2 or not all(label.strip() for label in labels):
        raise InvalidInput("a label set needs at least two different labels", param="labels")
    workload.kind = Workload.Kind.CLASSIFICATION
    workload.output_schema = {"type": "string", "enum": sorted(set(labels))}
    workload.save(update_fields=["kind", "output_schema"])
    return workload


# --- examples -------------------------------------------------------------------------------------
def _example_from_call(here: Pass, call: CapturedCall, text: str) -> Example:
    named = here.recipe.conversations
    return Example(
        workload=here.workload,
        call=call,
        origin=Example.Origin.REQUEST_LOG,
        messages=call.messages,
        produced=text or None,
        target=text,
        provenance=Provenance.TEACHER,
        digest=call.digest,
        conversation=conversation_of(
            call.metadata, call.trace_id, keys=named.metadata, traces=named.traces
        ),
    )


def _given_example(workload: Workload, messages: list[Json], target: str) -> Example:
    return Example(
        workload=workload,
        origin=Example.Origin.UPLOAD,
        messages=messages,
        target=target,
        provenance=Provenance.UPLOADED,
        status=Example.Status.REVIEWED,
        digest=input_digest(messages),
    )
