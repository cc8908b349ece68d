"""Months as ranges of uuid7: which partition holds a call, and where a month begins in ids."""

import hashlib
from datetime import UTC, date, datetime
from uuid import UUID

MILLISECOND_BITS = 80  # of a uuid7, below its 48 bits of Unix milliseconds (RFC 9562, 5.7)
NOT_RANDOM = 0xF << 76 | 0x3 << 62  # version and variant
VERSION_7 = 0x7 << 76 | 0x2 << 62


def call_id(created_at: datetime, seed: str) -> UUID:
    """Return the uuid7 of a moment; the same moment and seed give the same id.

    A call that is sent again then lands on its own id, whatever process writes it.
    """
    return UUID(bytes=id_bytes(created_at, seed))


def id_bytes(created_at: datetime, seed: str) -> bytes:
    """Return the 16 bytes of `call_id`."""
    milliseconds = max(0, round(created_at.timestamp() * 1000))
    random = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:10], "big")
    value = (milliseconds << MILLISECOND_BITS) | random & ~NOT_RANDOM | VERSION_7
    return value.to_bytes(16, "big")


def first_id(moment: datetime) -> UUID:
    """Return the bound that no earlier call's id reaches and every later one's does."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << MILLISECOND_BITS)


def month_of(moment: datetime) -> date:
    """Return the first day of a moment's month, in UTC."""
    return moment.astimezone(UTC).date().replace(day=1)


def start_of(month: date) -> datetime:
    """Return a month's first moment."""
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def month_after(month: date, months: int = 1) -> date:
    """Return the month that many months later (or earlier)."""
    count = month.year * 12 + month.month - 1 + months
    return date(count // 12, count % 12 + 1, 1)


def partition_name(table: str, month: date) -> str:
    """Return the name of a table's partition."""
    return f"{table}_{month:%Y_%m}"


def month_in(partition: str) -> date | None:
    """Return the month that a partition's name tells, None for the default one."""
    try:
        return datetime.strptime(partition[-7:], "%Y_%m").replace(tzinfo=UTC).date()
    except ValueError:
        return None
