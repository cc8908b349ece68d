"""Monthly partitions of the calls: made before they are needed, dropped when all of them is old."""

from collections.abc import Iterable
from datetime import UTC, date, datetime

from django.db import connection, transaction

from factory.capture.partitions import (
    first_id,
    month_after,
    month_in,
    month_of,
    partition_name,
    start_of,
)
from factory.models import CallPayload, CallText, CapturedCall

# Each with the column that carries the call's id.
TABLES = {
    CapturedCall._meta.db_table: "id",
    CallPayload._meta.db_table: "call_id",
    CallText._meta.db_table: "call_id",
}
# A month of its own is made for calls of these months; what claims another time waits in the
# default partition: nobody makes thousands of tables by sending dates.
OLDEST_MONTHS, NEWEST_MONTHS = 36, 1


def ensure_partitions(moments: Iterable[datetime]) -> None:
    """Make the partitions that calls of these moments belong to, where they may have their own."""
    this = month_of(datetime.now(UTC))
    oldest, newest = month_after(this, -OLDEST_MONTHS), month_after(this, NEWEST_MONTHS)
    for month in {month_of(moment) for moment in moments}:
        if oldest <= month <= newest and not all(_exists(table, month) for table in TABLES):
            _make(month)


def months_present() -> list[date]:
    """List the months that have a partition, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass",
            [CapturedCall._meta.db_table],
        )
        found = {month_in(name) for (name,) in cursor.fetchall()}
    return sorted(month for month in found if month is not None)


@transaction.atomic
def drop_partition(month: date) -> None:
    """Drop a month of calls, with their payloads and search texts: no row is visited."""
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DROP TABLE IF EXISTS {partition_name(table, month)}")


def _exists(table: str, month: date) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [partition_name(table, month)])
        return bool(cursor.fetchone()[0])


@transaction.atomic
def _make(month: date) -> None:
    bounds = [str(first_id(start_of(m))) for m in (month, month_after(month))]
    with connection.cursor() as cursor:
        # One maker at a time; the lock is the transaction's and no table's.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('call partitions'))")
        for table, column in TABLES.items():
            name = partition_name(table, month)
            if _exists(table, month):
                continue
            # Made apart and then attached: a plain `PARTITION OF` would lock out every reader.
            cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
            cursor.execute(
                f"WITH early AS (DELETE FROM {table}_other WHERE {column} >= %s AND {column} < %s "
                f"RETURNING *) INSERT INTO {name} SELECT * FROM early",
                bounds,
            )
            cursor.execute(
                f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM (%s) TO (%s)", bounds
            )
