"""Retention: calls leave when their time is over, whole months at once where all of them may go.

Examples stay, without their call: they are datasets, and leave by erasure. Tallies stay: a count of
a day is nobody's. Doing it twice, or twice at once, does it once.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

from django.db import OperationalError, connection, transaction
from django.db.models import Max, QuerySet

from factory.capture.partitions import first_id, month_after, start_of
from factory.errors import InvalidInput
from factory.models import CallGroup, CallKey, CapturedCall, Example, Feedback, Project, Workload
from factory.services.erase import delete_calls
from factory.services.partitions import drop_partition, ensure_partitions, months_present

logger = logging.getLogger(__name__)

BATCH = 1000
MAX_DAYS = 3650
LOCK_WAIT = "5s"  # a month is dropped between reads; who reads it longer is waited for next time


def set_retention(project: Project, days: int, *, workloads: dict[Workload, int]) -> None:
    """Say how long calls stay: a project's without a workload, and each workload's."""
    for number in (days, *workloads.values()):
        if not 1 <= number <= MAX_DAYS:
            raise InvalidInput(f"Calls stay for 1 to {MAX_DAYS} days", param="retention_days")
    with transaction.atomic():
        Project.objects.filter(pk=project.pk).update(retention_days=days)
        for workload, number in workloads.items():
            project.workloads.filter(pk=workload.pk).update(retention_days=number)


def make_partitions() -> None:
    """Make this month's partitions and the next one's, before a call needs them."""
    now = datetime.now(UTC)
    ensure_partitions([now, start_of(month_after(now.date().replace(day=1)))])


def expire_calls(now: datetime) -> Counter[str]:
    """Delete every call that is past its retention at `now`; return what went, by table.

    Empty where another worker is at it.
    """
    counts: Counter[str] = Counter()
    with _only_one() as is_ours:
        if is_ours:
            oldest = now - timedelta(days=longest_retention())
            for month in months_present():
                if start_of(month_after(month)) <= oldest:
                    counts["months"] += _drop_month(month)
            for calls in _expired(now):
                counts += _delete_all(calls)
            counts += _sweep_leftovers(oldest)
    return +counts


@contextmanager
def _only_one() -> Iterator[bool]:
    # Held by the connection: a worker that dies leaves it.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('expire calls'))")
        is_ours = bool(cursor.fetchone()[0])
        try:
            yield is_ours
        finally:
            if is_ours:
                cursor.execute("SELECT pg_advisory_unlock(hashtext('expire calls'))")


def longest_retention() -> int:
    """Return the days after which no project and no workload keeps a call."""
    days = Max("retention_days", default=0)
    rows = (Project.objects, Workload.objects)
    return max(int(found.aggregate(most=days)["most"]) for found in rows)


def _expired(now: datetime) -> Iterator[QuerySet[CapturedCall]]:
    for project in Project.objects.all():
        groups = project.call_groups.all()
        bound = first_id(now - timedelta(days=project.retention_days))
        yield project.calls.filter(pk__lt=bound, group=None)
        yield project.calls.filter(pk__lt=bound, group__in=_ids(groups.filter(workload=None)))
        for workload in project.workloads.all():
            bound = first_id(now - timedelta(days=workload.retention_days))
            yield project.calls.filter(
                pk__lt=bound, group__in=_ids(groups.filter(workload=workload))
            )


def _ids(groups: QuerySet[CallGroup]) -> list[int]:
    return list(groups.values_list("pk", flat=True))


def _delete_all(calls: QuerySet[CapturedCall]) -> Counter[str]:
    counts: Counter[str] = Counter()
    ids = calls.order_by("id").values_list("pk", flat=True)
    while batch := list(ids[:BATCH]):
        counts += delete_calls(batch, tombstones=False)
    return counts


def _drop_month(month: date) -> int:
    """Drop a month's calls and let go of its examples; 0 where somebody reads it just now."""
    first, last = (first_id(start_of(m)) for m in (month, month_after(month)))
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")
            Example.objects.filter(call__gte=first, call__lt=last).update(call=None)
            drop_partition(month)
    except OperationalError as error:
        logger.warning("month=%s stays until the next pass: %s", month, error)
        return 0
    return 1


def _sweep_leftovers(oldest: datetime) -> Counter[str]:
    """Delete what lies beside the months: keys, tombstones and feedback of calls that are gone."""
    bound = first_id(oldest)
    counts: Counter[str] = Counter()
    for model, name in ((CallKey, "keys"), (Feedback, "feedback")):
        rows = model._default_manager.filter(call__lt=bound)
        ids = rows.order_by("call").values_list("call_id", flat=True)
        while batch := list(ids[:BATCH]):
            counts[name] += model._default_manager.filter(call__in=batch).delete()[0]
    # Words about calls that never came.
    counts["feedback"] += Feedback.objects.filter(call=None, created_at__lt=oldest).delete()[0]
    return counts
