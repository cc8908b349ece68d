"""Erasure in one host's spool, by the shipper that runs there: no other process reaches its disk.

Until what was sought is forgotten (`erase.LATE`), calls of before the erasure that come late are
dropped on their way; what had been set aside is looked through once. A row tells what it came to.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from factory.capture import spool
from factory.erasure import Sought
from factory.messages import object_of
from factory.models import ErasedSpool, Erasure, Job
from factory.services.erase import LATE, sought_of
from factory.vault import WrongKey

logger = logging.getLogger(__name__)

IN_FORCE = [Job.Status.QUEUED, Job.Status.RUNNING, Job.Status.SUCCEEDED]


@dataclass(frozen=True)
class Wanted:
    """Whose calls an erasure takes out of the records of a spool."""

    erasure: int
    project: int
    until: float  # Unix seconds; calls that were made since are none of the erasure's
    sought: Sought

    def covers(self, record: object) -> bool:
        """Tell whether a record is to go: `{"project": ..., "call": CallRecord.as_json()}`."""
        told = object_of(record)
        call = object_of(told.get("call"))
        at = call.get("created_at")
        is_later = isinstance(at, int | float) and at > self.until
        is_ours = told.get("project") == self.project and not is_later
        return is_ours and self.sought.is_in_call(call)


def wanted() -> list[Wanted]:
    """Return what the erasures in force look for."""
    rows = Erasure.objects.filter(is_rehearsal=False, status__in=IN_FORCE).exclude(sought="")
    return [found for row in rows.order_by("pk") if (found := _wanted_by(row))]


def erasure_of(record: object, sought: Sequence[Wanted]) -> int | None:
    """Return the erasure that a record falls under, None where it is to be kept."""
    return next((one.erasure for one in sought if one.covers(record)), None)


def count_dropped(host: str, erasure: int, calls: int) -> None:
    """Count calls that were dropped on their way."""
    row, _ = ErasedSpool.objects.get_or_create(erasure_id=erasure, host=host)
    ErasedSpool.objects.filter(pk=row.pk).update(dropped=F("dropped") + calls)


def erase_in_spool(folder: Path, host: str) -> None:
    """Do this host's part of each erasure: once what was set aside, then see the segments go.

    For the shipper alone, when it has shipped.
    """
    cleared = ErasedSpool.objects.filter(host=host, cleared_at__isnull=False).values("erasure")
    recent = Erasure.objects.filter(created_at__gt=timezone.now() - LATE, is_rehearsal=False)
    for erasure in recent.filter(status__in=IN_FORCE).exclude(pk__in=cleared):
        _look_through(folder, host, erasure)
        if not spool.holds_before(folder, erasure.created_at.timestamp()):
            ErasedSpool.objects.filter(erasure=erasure, host=host).update(cleared_at=Now())
            logger.info("erasure=%s host=%s: the spool is clear", erasure.pk, host)


def _look_through(folder: Path, host: str, erasure: Erasure) -> None:
    # A call that is set aside later was looked at on its way.
    if ErasedSpool.objects.filter(erasure=erasure, host=host, dead__isnull=False).exists():
        return
    sought = _wanted_by(erasure)
    if erasure.sought and sought is None:
        return
    # Of named calls nothing is set aside: they are in the database.
    dead = spool.prune_dead(folder, lambda body: _is_covered(body, sought)) if sought else 0
    ErasedSpool.objects.update_or_create(erasure=erasure, host=host, defaults={"dead": dead})


def _is_covered(body: bytes, sought: Wanted) -> bool:
    try:
        return sought.covers(orjson.loads(body))
    except orjson.JSONDecodeError:
        return False


def _wanted_by(erasure: Erasure) -> Wanted | None:
    try:
        sought = sought_of(erasure)
    except WrongKey as error:  # shipping goes on
        logger.error("erasure=%s: %s", erasure.pk, error.message)  # noqa: TRY400 - it says it all
        return None
    if sought is None:
        return None
    return Wanted(erasure.pk, erasure.project_id, erasure.created_at.timestamp(), sought)
