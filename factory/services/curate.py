"""From raw calls to examples: which workload, seen before or not, which group, which split."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from more_itertools import chunked, map_reduce

from factory.dedupe import group_key, input_digest
from factory.errors import InvalidInput
from factory.messages import Json, output_of
from factory.models import CapturedCall, Example, Project, Workload
from factory.models.example import Provenance
from factory.selectors import capped_count, uncurated
from factory.services.discover import accept_all, group_calls
from factory.splits import split_of

logger = logging.getLogger(__name__)

BATCH = 500
WHOLE = {"", "stop"}  # how an answer ends that is all there
TOOL_CALLS = {"tool_calls", "function_call"}  # a student that only writes text cannot learn these

Key = tuple[int, str]  # a workload's id and an input's digest


def curate(
    project: Project,
    *,
    accept_new: bool = False,
    on_batch: Callable[[Counter[str]], None] = lambda _counts: None,
) -> Counter[str]:
    """Turn a project's new calls into examples; return what became of them, by reason.

    Calls of prompts that are nobody's workload yet stay as they are, and count as waiting;
    `accept_new` makes workloads of those that are frequent enough.
    """
    group_calls(project)
    if accept_new:
        accept_all(project)
    counts: Counter[str] = Counter()
    while batch := _curate_next(project, counts):
        on_batch(counts)
        logger.debug("project=%s calls=%s curated", project.pk, batch)
    nobodys = project.call_groups.filter(workload=None).values("pk")
    counts["waiting"] = capped_count(uncurated(project).filter(group__in=nobodys))
    return +counts


def add_examples(
    workload: Workload, rows: Iterable[tuple[list[Json], str]], *, split: str | None = None
) -> Counter[str]:
    """Add rows with known right answers (messages, target), to their own or to a given split.

    A row that is already known keeps its split and takes the given target. Where a split is asked
    for, rows that are known in another one, or near copies of such, are left out: what is meant to
    be tested on is never trained on, nor the other way round.
    """
    counts: Counter[str] = Counter()
    for batch in chunked(rows, BATCH):
        fresh: dict[str, Example] = {}
        for messages, target in batch:
            example = _new_example(workload, messages, origin=Example.Origin.UPLOAD)
            example.target, example.provenance = target, Provenance.UPLOADED
            example.status = Example.Status.REVIEWED
            fresh[example.digest] = example
        _keep_groups_together(list(fresh.values()), split)
        kept = [e for e in fresh.values() if split in {None, e.split}]
        digests = [example.digest for example in kept]
        known = workload.examples.filter(digest__in=digests).count()
        left_out = len(fresh) - len(kept)
        new = len(kept) - known
        counts.update(new=new, known=len(batch) - left_out - new, left_out=left_out)
        Example.objects.bulk_create(
            kept,
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


@transaction.atomic
def _curate_next(project: Project, counts: Counter[str]) -> int:
    # One curator at a time; captures go on, for they need a weaker lock.
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    owned = project.call_groups.exclude(workload=None).select_related("workload")
    owner = {group.pk: group.workload for group in owned if group.workload}
    new_calls = uncurated(project).filter(group__in=list(owner)).select_related("payload")
    batch = list(new_calls[:BATCH])
    fresh: dict[Key, Example] = {}
    repeats: Counter[Key] = Counter()
    for call in batch:
        if reason := unusable(call):
            counts[reason] += 1
            continue
        workload = owner[call.group_id]  # type: ignore[index]  # asked for by group
        key = workload.pk, call.digest
        repeats[key] += 1
        if key not in fresh:
            fresh[key] = _example_from_call(workload, call)
    known = _raise_weights(repeats)
    new = [example for key, example in fresh.items() if key not in known]
    for example in new:
        example.weight = repeats[example.workload_id, example.digest]
    _keep_groups_together(new)
    Example.objects.bulk_create(new, ignore_conflicts=True)
    CapturedCall.objects.filter(pk__in=[call.pk for call in batch]).update(curated_at=Now())
    counts.update(example=len(new), duplicate=repeats.total() - len(new))
    return len(batch)


def unusable(call: CapturedCall) -> str:
    """Say why no example can come of a call; empty where one can."""
    if call.status_code != HTTPStatus.OK:
        return "error"
    if call.finish_reason in TOOL_CALLS:
        return "tool_call"
    if not output_of(call.response).strip():
        return "empty"
    return "" if call.finish_reason in WHOLE else "truncated"


def _raise_weights(repeats: Counter[Key]) -> set[Key]:
    """Count repeats of known examples; return which are known."""
    found = Example.objects.filter(
        workload__in={workload for workload, _ in repeats}, digest__in={d for _, d in repeats}
    )
    ids = {(e.workload_id, e.digest): e.pk for e in found.only("workload_id", "digest")}
    known = ids.keys() & repeats.keys()
    for times, keys in map_reduce(known, repeats.__getitem__).items():
        again = Example.objects.filter(pk__in=[ids[key] for key in keys])
        again.update(weight=F("weight") + times)
    return known


def _keep_groups_together(new: list[Example], asked: str | None = None) -> None:
    """Give near copies of known rows their split, and the others the one asked for, if any.

    A group's split follows from its hash, unless the shares were changed or a split was given.
    """
    known = Example.objects.filter(
        workload__in={e.workload_id for e in new}, group__in={e.group for e in new}
    )
    splits = {(w, g): s for w, g, s in known.values_list("workload_id", "group", "split")}
    for example in new:
        key = (example.workload_id, example.group)
        example.split = splits.setdefault(key, asked or example.split)


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
