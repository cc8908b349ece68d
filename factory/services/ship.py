"""The shipper: moves calls from the local spool into the database, each exactly once.

Beside it, erasures are carried out in the spool, what could not be kept is reported, and new calls
are given their groups.
"""

import logging
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
from celery import current_app
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
    connection,
)
from kombu.exceptions import OperationalError as BrokerAway
from more_itertools import constrained_batches

from factory.capture import spool
from factory.capture.frames import Frame, is_abandoned
from factory.capture.losses import Loss, loss_files, read_losses
from factory.errors import Unavailable
from factory.messages import CallRecord, record_from_json
from factory.models import CapturedCall, CaptureLoss, Project
from factory.models.call import HAS_TEXTS
from factory.services.capture import record_calls
from factory.services.discover import group_calls
from factory.services.erase_spool import count_dropped, erase_in_spool, erasure_of, wanted
from factory.services.twins import drop_traced

logger = logging.getLogger(__name__)

BATCH_CALLS, BATCH_BYTES = 2000, 8 * 1024 * 1024
LIMIT_EXCEEDED = "54"  # PostgreSQL's class of errors for what is too large for it
HOST = socket.gethostname()
GROUPING_LOCK = "understudy grouping"
RING_EXPIRES_SECONDS = 30


@dataclass(frozen=True)
class _Letter:
    """A record of the spool on its way."""

    segment: Path
    frame: Frame

    def __len__(self) -> int:
        return len(self.frame.body)


@dataclass(frozen=True)
class _Call:
    """A letter that was opened."""

    letter: _Letter
    record: CallRecord


def ship_once(folder: Path) -> int:
    """Ship what is in the spool now, oldest first; return how many calls were new.

    `Unavailable` where the database is away; that is no loss: the segments stay until it is back.
    """
    new = 0
    try:
        for batch in constrained_batches(
            _letters(folder), BATCH_BYTES, BATCH_CALLS, get_len=len, strict=False
        ):
            new += _ship(batch)
        for segment in spool.segments(folder):
            _clear(segment)
        spool.remove_unfinished(folder)
        erase_in_spool(folder, HOST)
        _report_losses(folder)
    except (DatabaseError, InterfaceError) as error:
        said = str(error).partition("\n")[0]  # what follows may quote a call
        raise Unavailable(f"the database is away, calls stay in the spool: {said}") from error
    except OSError as error:
        raise Unavailable(f"the spool cannot be moved on: {error.strerror}") from error
    return new


def retry_dead(folder: Path) -> int:
    """Put the calls that the database refused back in line; return how many."""
    CaptureLoss.objects.filter(host=HOST, reason=CaptureLoss.Reason.REFUSED).delete()
    return spool.unbury(folder)


def ring_grouping() -> None:
    """Ask a worker to group new calls; a broker that is away only delays it until beat asks."""
    try:
        current_app.send_task(
            "factory.group_calls", queue="default", retry=False, expires=RING_EXPIRES_SECONDS
        )
    except BrokerAway:
        logger.debug("broker away, new calls wait for beat to have them grouped")


def group_new_calls() -> int:
    """Give every project's new calls their groups; return how many there were.

    One process at a time does: a long backlog must not occupy every worker.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [GROUPING_LOCK])
        if not cursor.fetchone()[0]:
            return 0
        try:
            new = CapturedCall.objects.filter(HAS_TEXTS, group=None).order_by()
            projects = Project.objects.filter(pk__in=new.values("project").distinct())
            return sum(map(group_calls, projects))
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtext(%s))", [GROUPING_LOCK])


def _letters(folder: Path) -> Iterator[_Letter]:
    for segment in spool.segments(folder):
        for frame in spool.unshipped(segment):
            yield _Letter(segment, frame)


def _ship(batch: Sequence[_Letter]) -> int:
    calls: defaultdict[int, list[_Call]] = defaultdict(list)
    sought, erased = wanted(), Counter[int]()
    for letter in batch:
        try:
            told = orjson.loads(letter.frame.body)
            if erasure := erasure_of(told, sought):
                erased[erasure] += 1
                continue
            calls[int(told["project"])].append(_Call(letter, record_from_json(told["call"])))
        except (ValueError, LookupError, TypeError, OverflowError) as error:
            _bury(letter, error)
    projects = Project.objects.in_bulk(list(calls))
    for gone in calls.keys() - projects.keys():
        logger.warning("project=%s is gone, %s calls dropped", gone, len(calls[gone]))
    new = sum(_record(project, calls[project.pk]) for project in projects.values())
    for erasure, count in erased.items():
        count_dropped(HOST, erasure, count)
    ends = {letter.segment: letter.frame.end for letter in batch}
    for segment, end in ends.items():
        if refused := spool.dead_count(segment):
            _report(segment.stem, CaptureLoss.Reason.REFUSED, _loss(refused))
        spool.mark_shipped(segment, end)
        _clear(segment)
    return new


def _record(project: Project, calls: Sequence[_Call]) -> int:
    """Write calls; those that the database refuses are set aside, and hold up no other."""
    try:
        records = [call.record for call in calls]
        new = record_calls(project, records, CapturedCall.Source.GATEWAY)
        drop_traced(project, records)
    except Exception as error:
        if not _is_about_the_call(error):
            raise
        if len(calls) == 1:
            _bury(calls[0].letter, error)
            return 0
        middle = len(calls) // 2
        return _record(project, calls[:middle]) + _record(project, calls[middle:])
    return new


def _is_about_the_call(error: Exception) -> bool:
    """Whether a call itself is at fault, and not the database, its schema or the way to it."""
    if not isinstance(error, DatabaseError | InterfaceError):
        return True
    state = getattr(error.__cause__, "sqlstate", None)
    if isinstance(error, ProgrammingError):
        return state is None  # the value could not even be sent
    return isinstance(error, DataError | IntegrityError) or str(state).startswith(LIMIT_EXCEEDED)


def _bury(letter: _Letter, error: Exception) -> None:
    # What the error says may be what the call said.
    logger.error(
        "segment=%s offset=%s cannot be recorded and is set aside: %s",
        letter.segment.name, letter.frame.start, type(error).__name__,
    )  # fmt: skip
    spool.bury(letter.segment, letter.frame.body)


def _clear(segment: Path) -> None:
    """Remove a segment that is shipped and that nobody writes any more."""
    if not spool.is_done(segment):
        return
    if damages := spool.damages(segment):
        logger.error("segment=%s is damaged in %s places", segment.name, damages)
        _report(segment.stem, CaptureLoss.Reason.DAMAGED, _loss(damages))
    segment.unlink()


def _report_losses(folder: Path) -> None:
    """Tell the database what could not be kept; who has ended needs no file for it any more."""
    for path in loss_files(folder):
        with suppress(FileNotFoundError):  # its process ended a moment ago, without a loss
            has_ended = is_abandoned(path)
            for reason, loss in read_losses(path).items():
                _report(path.stem, reason, loss)
            if has_ended:
                path.unlink()


def _report(source: str, reason: str, loss: Loss) -> None:
    """Write a count down, where it is news; counts only grow."""
    row = {"host": HOST, "source": source, "reason": reason}
    if not CaptureLoss.objects.filter(**row, count__gte=loss.count).exists():
        told = {"count": loss.count, "last_at": datetime.fromtimestamp(loss.last_at, UTC)}
        made = {**told, "first_at": datetime.fromtimestamp(loss.first_at, UTC)}
        CaptureLoss.objects.update_or_create(**row, defaults=told, create_defaults=made)


def _loss(count: int) -> Loss:
    now = time.time()
    return Loss(count, now, now)
