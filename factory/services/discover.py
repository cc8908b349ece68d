"""Workloads found in the traffic: each new call gets its group, and groups become workloads.

Runs beside the capture, never in it. The same pass puts the call's words where search finds them.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Case, OuterRef, QuerySet, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce, Greatest, Least

from factory.capture.call_rows import SUMS
from factory.discovery.discover import infer_kind, instruction_of, slug_for
from factory.discovery.skeletons import Skeletons, skeleton_from_json
from factory.errors import Conflict
from factory.messages import Json, output_of
from factory.models import CallGroup, CallTally, CapturedCall, Example, Project, Workload
from factory.models.call import HAS_TEXTS
from factory.models.example import Provenance
from factory.selectors import examples_of_group, proposals
from factory.services.capture import ADD_TO_TALLY, CALLS, DAY, TALLIES, TALLY_SUMS
from factory.services.projects import create_workload
from factory.services.search import index_calls

logger = logging.getLogger(__name__)

BATCH = 500
ERROR = 400  # the first HTTP status of those that are no answer
EVIDENCE = 300  # calls of no skeleton that are looked at again: they may be the first of one
MOVED_AT_ONCE = 2000  # calls of a group that others came out of, looked at again
SAMPLE = 500  # calls that a workload's kind is inferred from
TAKEN_OUT = "taken_out"  # why an example is discarded that left with its wording
# What an example was before its wording was taken out: whose word its target is tells.
STATUS_BEFORE = Case(
    When(provenance=Provenance.RELABELED_BY_MODEL, then=Value(Example.Status.LABELED)),
    When(
        provenance__in=[Provenance.RELABELED_BY_HUMAN, Provenance.UPLOADED],
        then=Value(Example.Status.REVIEWED),
    ),
    default=Value(Example.Status.CAPTURED),
)


def group_calls(project: Project, on_batch: Callable[[int], None] = lambda _: None) -> int:
    """Give every new call of a project its group; return how many there were."""
    total = 0
    while grouped := _group_batch(project):
        total += grouped
        on_batch(total)
    return total


@transaction.atomic
def accept_group(group: CallGroup, *, slug: str = "") -> Workload:
    """Make a workload of a proposed group; its calls, past and to come, are the workload's."""
    group = CallGroup.objects.select_for_update().select_related("project").get(pk=group.pk)
    if group.workload is not None:
        raise Conflict(f"This prompt belongs to {group.workload.slug} already.")
    calls = list(group.calls.filter(status_code__lt=ERROR).select_related("payload")[:SAMPLE])
    first = calls[0] if calls else group.calls.select_related("payload")[0]
    instruction = instruction_of(first.messages)
    kind = infer_kind((output_of(c.response) for c in calls), instruction, first.fixed_params)
    group.workload = create_workload(
        group.project,
        slug=slug or _free_slug(group.project, slug_for(instruction, first.metadata)),
        kind=kind.kind,
        instruction=instruction,
        output_schema=kind.output_schema,
        metric=kind.metric,
    )
    group.save(update_fields=["workload"])
    logger.info("workload=%s made of group=%s as %s", group.workload.pk, group.pk, kind.kind)
    return group.workload


def accept_all(project: Project) -> list[Workload]:
    """Make a workload of every proposed group."""
    return [accept_group(group) for group in proposals(project)]


@transaction.atomic
def attach_group(group: CallGroup, workload: Workload) -> None:
    """Let a group's calls belong to a workload that is there: another wording of its prompt.

    Examples that left with the wording come back.
    """
    _lock(group.project)
    group.refresh_from_db(fields=["workload"])
    if group.workload not in {None, workload}:
        raise Conflict(f"This prompt belongs to {group.workload.slug}: take it out first.")
    group.workload, group.is_ignored = workload, False
    group.save(update_fields=["workload", "is_ignored"])
    left = workload.examples.filter(discard_reason=TAKEN_OUT, call__group=group)
    left.update(status=STATUS_BEFORE, discard_reason="")


@transaction.atomic
def detach_group(group: CallGroup) -> int:
    """Take a wording out of its workload; return how many examples were discarded with it.

    The group is a proposal again, and all its calls wait to be curated for whoever takes it next.
    Frozen dataset versions keep their rows. Examples whose calls have expired stay.
    """
    _lock(group.project)
    group.refresh_from_db(fields=["workload"])
    if group.workload is None:
        raise Conflict("This prompt belongs to no workload.")
    logger.info("group=%s taken out of workload=%s", group.pk, group.workload.pk)
    gone = examples_of_group(group).update(
        status=Example.Status.DISCARDED, discard_reason=TAKEN_OUT
    )
    made = Example.objects.filter(workload=group.workload, call__group=group)
    made.update(weight=0)  # its calls are counted anew when they are curated again
    group.calls.exclude(curated_at=None).update(curated_at=None)
    group.workload, group.is_ignored = None, False
    group.save(update_fields=["workload", "is_ignored"])
    return gone


def ignore_group(group: CallGroup) -> None:
    """Do not propose a group again."""
    group.is_ignored = True
    group.save(update_fields=["is_ignored"])


def _lock(project: Project) -> None:
    # One at a time per project; captures go on, for they need a weaker lock.
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def _free_slug(project: Project, slug: str) -> str:
    taken = set(project.workloads.values_list("slug", flat=True))
    candidates = [slug, *(f"{slug}-{n}" for n in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)


@transaction.atomic
def _group_batch(project: Project) -> int:
    _lock(project)
    new = project.calls.filter(HAS_TEXTS, group=None).order_by("id").select_related("payload")
    batch = list(new[:BATCH])
    if not batch:
        return 0
    skeletons = _skeletons(project)
    # What was learnt is kept as skeletons only; the newest calls that fitted none are the evidence.
    for call in _unlike_others(project):
        skeletons.assign(call.messages, call.fixed_params)
    skeletons.assign_all([(call.messages, call.fixed_params) for call in batch])
    moved = list(_calls_of(project, skeletons.take_split()))
    groups = _saved(project, skeletons, batch[0].created_at)
    _assign([*batch, *moved], skeletons, groups)
    index_calls(batch)
    return len(batch)


def _skeletons(project: Project) -> Skeletons:
    groups = list(project.call_groups.all())
    return Skeletons(
        (skeleton_from_json(_without_text(group.skeleton)) for group in groups),
        settled={group.signature for group in groups if group.workload_id},
    )


def _without_text(skeleton: Json) -> Json:
    return {name: part for name, part in skeleton.items() if name != "text"}


def _unlike_others(project: Project) -> QuerySet[CapturedCall]:
    unlike = project.call_groups.filter(skeleton__parent="").values_list("pk", flat=True)
    calls = project.calls.filter(group__in=list(unlike)).order_by("-id")
    return calls.select_related("payload")[:EVIDENCE]


def _calls_of(project: Project, signatures: set[str]) -> QuerySet[CapturedCall]:
    """Return the newest calls of groups that others came out of: some may be theirs."""
    groups = project.call_groups.filter(signature__in=signatures, workload=None)
    calls = project.calls.filter(group__in=list(groups.values_list("pk", flat=True)))
    return calls.order_by("-id").select_related("payload")[:MOVED_AT_ONCE]


def _saved(project: Project, skeletons: Skeletons, seen: datetime) -> dict[str, CallGroup]:
    """Save what was learnt; return the groups by signature."""
    CallGroup.objects.bulk_create(
        [
            CallGroup(
                project=project, signature=changed.signature, first_seen=seen, last_seen=seen,
                skeleton={**changed.as_json(), "text": changed.text()},
            )
            for changed in skeletons.take_changed()
        ],
        update_conflicts=True,
        unique_fields=["project", "signature"],
        update_fields=["skeleton"],
    )  # fmt: skip
    return {group.signature: group for group in project.call_groups.all()}


def _assign(
    calls: Sequence[CapturedCall], skeletons: Skeletons, groups: dict[str, CallGroup]
) -> None:
    members: defaultdict[str, list[CapturedCall]] = defaultdict(list)
    for call in calls:
        match = skeletons.match(call.messages, call.fixed_params)
        if groups[match.signature].pk != call.group_id:
            members[match.signature].append(call)
    for name, joining in members.items():
        _join(groups[name], joining)


def _join(group: CallGroup, calls: Sequence[CapturedCall]) -> None:
    ids = [call.pk for call in calls]
    times = [call.created_at for call in calls]
    left = {call.group_id for call in calls if call.group_id is not None}
    _count(ids, "-")
    CapturedCall.objects.filter(pk__in=ids).update(group=group)
    _count(ids, "")
    _recount({group.pk, *left})
    CallGroup.objects.filter(pk=group.pk).update(
        first_seen=Least("first_seen", min(times)), last_seen=Greatest("last_seen", max(times))
    )


def count_out(calls: Sequence[CapturedCall]) -> None:
    """Take calls that are about to go out of the counts of their days and groups."""
    _count([call.pk for call in calls], "-")
    _recount({call.group_id for call in calls if call.group_id is not None})


def _recount(groups: set[int]) -> None:
    answered = CallTally.objects.filter(group=OuterRef("pk"), is_error=False).values("group")
    CallGroup.objects.filter(pk__in=groups).update(
        call_count=Coalesce(Subquery(answered.annotate(sum=Sum("calls")).values("sum")), 0)
    )


def _count(ids: list[UUID], sign: str) -> None:
    """Add calls to (or, with "-", take them from) the tallies of the groups they are in."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TALLIES} AS tally "
            f"(project_id, group_id, day, model, is_error, {', '.join(SUMS)}) "
            f"SELECT project_id, group_id, day, model, is_error, "
            f"{', '.join(sign + name for name in SUMS)} FROM ("
            f"SELECT project_id, group_id, {DAY} AS day, request_model AS model, "
            f"status_code >= 400 AS is_error, {TALLY_SUMS} "
            f"FROM {CALLS} WHERE id = ANY(%s) GROUP BY 1, 2, 3, 4, 5) moved "
            f"ORDER BY 1, 2, 3, 4, 5 {ADD_TO_TALLY}",
            [ids],
        )
