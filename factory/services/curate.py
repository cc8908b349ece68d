"""From raw calls to examples: which workload, seen before or not, which group, which split."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from more_itertools import chunked

from factory.dedupe import group_key, input_digest
from factory.discover import infer_kind, instruction_of, signature, slug_for
from factory.errors import InvalidInput
from factory.messages import Json, output_of
from factory.models import CapturedCall, Example, Project, Workload
from factory.models.example import Provenance
from factory.splits import split_of

logger = logging.getLogger(__name__)

BATCH = 500
DISCOVERY_SAMPLE = 500
MIN_CALLS = 20  # fewer calls of one signature are not yet a workload
USABLE_ENDINGS = {"", "stop", "tool_calls"}


def curate(
    project: Project, on_batch: Callable[[Counter[str]], None] = lambda counts: None
) -> Counter[str]:
    """Turn a project's new calls into examples; return what became of them, by reason.

    Calls of a signature that is still too rare stay, and are looked at again next time.
    """
    discover_workloads(project)
    workloads = {w.signature: w for w in project.workloads.exclude(signature="")}
    counts: Counter[str] = Counter()
    for batch in chunked(_uncurated(project), BATCH):
        counts.update(_curate_batch(batch, workloads))
        on_batch(counts)
    return counts


def discover_workloads(project: Project) -> list[Workload]:
    """Make a workload for each signature that occurs often enough and has none yet."""
    known = set(project.workloads.values_list("signature", flat=True))
    samples: dict[str, list[CapturedCall]] = {}
    for call in _uncurated(project):
        name = signature(call.messages, _fixed_params(call))
        if name not in known and len(samples.setdefault(name, [])) < DISCOVERY_SAMPLE:
            samples[name].append(call)
    frequent = [(name, calls) for name, calls in samples.items() if len(calls) >= MIN_CALLS]
    return [_make_workload(project, name, calls) for name, calls in frequent]


def add_examples(
    workload: Workload, rows: Iterable[tuple[list[Json], str]], *, split: str | None = None
) -> Counter[str]:
    """Add rows with known right answers (messages, target), to their own or to a given split.

    A row that is already known keeps its split and takes the given target.
    """
    counts: Counter[str] = Counter()
    for batch in chunked(rows, BATCH):
        fresh: dict[str, Example] = {}
        for messages, target in batch:
            example = _new_example(workload, messages, origin=Example.Origin.UPLOAD)
            example.split = split or example.split
            example.target, example.provenance = target, Provenance.UPLOADED
            example.status = Example.Status.REVIEWED
            fresh[example.digest] = example
        known = set(
            workload.examples.filter(digest__in=fresh).values_list("digest", flat=True)
        )
        counts.update(new=len(fresh) - len(known), known=len(batch) - len(fresh) + len(known))
        Example.objects.bulk_create(
            fresh.values(),
            update_conflicts=True,
            unique_fields=["workload", "digest"],
            update_fields=["target", "provenance", "status"],
        )
    return counts


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


def _uncurated(project: Project) -> Iterator[CapturedCall]:
    # Keyset pages by primary key: stable while the batches before are marked, no long cursor.
    waiting = project.calls.filter(curated_at=None).order_by("id")
    page = list(waiting[:BATCH])
    while page:
        yield from page
        page = list(waiting.filter(id__gt=page[-1].pk)[:BATCH])


def _fixed_params(call: CapturedCall) -> dict[str, Any]:
    return {**call.request_params, "tools": call.tools}


def _make_workload(project: Project, name: str, calls: list[CapturedCall]) -> Workload:
    instruction = instruction_of(calls[0].messages)
    kind = infer_kind((output_of(call.response) for call in calls), instruction)
    slug = slug_for(instruction, calls[0].metadata)
    taken = set(project.workloads.values_list("slug", flat=True))
    candidates = [slug, *(f"{slug}-{n}" for n in range(2, len(taken) + 3))]
    workload = Workload(
        project=project,
        slug=next(candidate for candidate in candidates if candidate not in taken),
        kind=kind.kind,
        instruction=instruction,
        signature=name,
        output_schema=kind.output_schema,
        metric=kind.metric,
    )
    try:
        with transaction.atomic():
            workload.save(force_insert=True)
    except IntegrityError:  # another worker discovered it at the same moment
        return project.workloads.get(signature=name)
    logger.info("workload=%s discovered as %s", workload.pk, kind.kind)
    return workload


@transaction.atomic
def _curate_batch(batch: list[CapturedCall], workloads: dict[str, Workload]) -> Counter[str]:
    counts: Counter[str] = Counter()
    fresh: dict[tuple[int, str], Example] = {}
    repeats: Counter[tuple[int, str]] = Counter()
    for call in batch:
        workload = workloads.get(signature(call.messages, _fixed_params(call)))
        if workload is None:
            counts["waiting"] += 1
            continue
        call.workload, call.curated_at = workload, Now()
        if reason := unusable(call):
            counts[reason] += 1
            continue
        key = (workload.pk, call.digest)
        repeats[key] += 1
        fresh.setdefault(key, _example_from_call(workload, call))
    known = _bump_known(repeats)
    counts["duplicate"] += sum(repeats.values()) - len(repeats) + len(known)
    new = [example for key, example in fresh.items() if key not in known]
    for example in new:
        example.weight = repeats[example.workload_id, example.digest]
    Example.objects.bulk_create(new, ignore_conflicts=True)
    counts["example"] += len(new)
    CapturedCall.objects.bulk_update(
        [call for call in batch if call.workload_id], ["workload", "curated_at"]
    )
    return counts


def unusable(call: CapturedCall) -> str:
    """Say why no example can come of a call; empty where one can."""
    if call.status_code != 200:
        return "error"
    if not output_of(call.response).strip():
        return "empty"
    return "" if call.finish_reason in USABLE_ENDINGS else "truncated"


def _bump_known(repeats: Counter[tuple[int, str]]) -> set[tuple[int, str]]:
    digests = [digest for _, digest in repeats]
    workloads = {workload for workload, _ in repeats}
    found = Example.objects.filter(workload__in=workloads, digest__in=digests)
    known = {(e.workload_id, e.digest): e for e in found.only("workload_id", "digest", "weight")}
    for key, example in known.items():
        Example.objects.filter(pk=example.pk).update(weight=F("weight") + repeats[key])
    return set(known)


def _new_example(workload: Workload, messages: list[Json], **fields: Any) -> Example:
    group = group_key(messages)
    return Example(
        workload=workload,
        messages=messages,
        digest=input_digest(messages),
        group=group,
        split=split_of(
            group,
            salt=f"workload:{workload.pk}",
            validation=workload.validation_share,
            test=workload.test_share,
        ),
        **fields,
    )


def _example_from_call(workload: Workload, call: CapturedCall) -> Example:
    return _new_example(
        workload,
        call.messages,
        call=call,
        origin=Example.Origin.REQUEST_LOG,
        target=output_of(call.response).strip(),
        provenance=Provenance.TEACHER,
    )
