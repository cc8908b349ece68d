"""Captured calls: redacted, then written once, whatever comes twice."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.db import connection, transaction

from factory.capture.call_rows import (
    BINARY_END,
    BINARY_HEAD,
    COLUMNS,
    PAYLOAD_COLUMNS,
    SUMS,
    CallRow,
    RowMaker,
)
from factory.messages import CallRecord
from factory.models import CallKey, CallPayload, CallTally, CapturedCall, Project, Upstream
from factory.models.call import packer_of
from factory.prices import PriceBook
from factory.redaction.redact import Policy, redacted
from factory.services.partitions import ensure_partitions

CALLS, PAYLOADS = CapturedCall._meta.db_table, CallPayload._meta.db_table
KEYS, TALLIES = CallKey._meta.db_table, CallTally._meta.db_table
TALLY_SUMS = (
    "count(*) AS calls, count(cost_usd) AS priced_calls, "
    "coalesce(sum(prompt_tokens), 0) AS prompt_tokens, "
    "coalesce(sum(completion_tokens), 0) AS completion_tokens, "
    "coalesce(sum(cost_usd), 0) AS cost_usd, coalesce(sum(latency_ms), 0) AS latency_ms_sum"
)
ADD_TO_TALLY = "ON CONFLICT ON CONSTRAINT one_tally_per_day DO UPDATE SET " + ", ".join(
    f"{name} = tally.{name} + excluded.{name}" for name in SUMS
)
DAY = "(created_at AT TIME ZONE 'UTC')::date"
# All writers take the keys in one order, so none deadlock; who holds a key writes its call.
TAKE_KEYS = (
    f"INSERT INTO {KEYS} (project_id, request_id, call_id) "
    "SELECT %s, * FROM unnest(%s::text[], %s::uuid[]) ON CONFLICT DO NOTHING RETURNING request_id"
)
COPY_CALLS = f"COPY {CALLS} ({', '.join(COLUMNS)}) FROM STDIN"
COPY_PAYLOADS = f"COPY {PAYLOADS} ({', '.join(PAYLOAD_COLUMNS)}) FROM STDIN (FORMAT BINARY)"
ADD_TALLIES = (
    f"INSERT INTO {TALLIES} AS tally (project_id, day, model, is_error, {', '.join(SUMS)}) "
    f"VALUES ({', '.join(['%s'] * (4 + len(SUMS)))}) {ADD_TO_TALLY}"
)


def project_prices(project: Project) -> PriceBook:
    """Return what the project knows of prices, over all its upstreams."""
    own: dict[str, Any] = {}
    addresses: dict[str, str] = {}
    for upstream in Upstream.objects.filter(project=project):
        own.update(upstream.prices)
        addresses[upstream.name] = upstream.base_url
    return PriceBook(own, addresses)


def record_calls(project: Project, records: Iterable[CallRecord], source: str) -> int:
    """Write calls, redacted by the project's policy; return how many were new.

    Idempotent by request id: a call that comes again, by any door, changes nothing.
    """
    maker, policy = row_maker(project, source), Policy.from_json(project.redaction)
    return insert_rows(project.pk, [maker.row(redacted(record, policy)) for record in records])


def row_maker(project: Project, source: str) -> RowMaker:
    """Return what makes rows of the project's redacted calls, by the thread that asks."""
    newest = project.payload_dictionaries.order_by("-id").values_list("pk", flat=True).first()
    return RowMaker(project.pk, source, project_prices(project), newest, packer_of(newest))


@transaction.atomic
def insert_rows(project_id: int, rows: Iterable[CallRow]) -> int:
    """Write rows of one project; return how many were new.

    Taking a call's key tells whether it is new; only then is it copied, straight into the tables.
    """
    given: dict[str, CallRow] = {}
    for row in rows:
        given.setdefault(row.request_id, row)
    if not given:
        return 0
    days = {row.counted_as[0] for row in given.values()}
    ensure_partitions(datetime.fromisoformat(day).replace(tzinfo=UTC) for day in days)
    names = sorted(given)
    with connection.cursor() as cursor:
        cursor.execute(TAKE_KEYS, [project_id, names, [given[name].call_id for name in names]])
        taken = {name for (name,) in cursor.fetchall()}
        fresh = [given[name] for name in names if name in taken]
        if fresh:
            _copy(cursor, COPY_CALLS, b"".join(row.cells for row in fresh))
            payloads = b"".join(row.payload for row in fresh)
            _copy(cursor, COPY_PAYLOADS, BINARY_HEAD + payloads + BINARY_END)
            cursor.executemany(ADD_TALLIES, _tallies(project_id, fresh))
    return len(fresh)


def _copy(cursor: Any, statement: str, data: bytes) -> None:
    with connection.wrap_database_errors, cursor.copy(statement) as copy:
        copy.write(data)


def _tallies(project_id: int, rows: Iterable[CallRow]) -> list[list[Any]]:
    """Sum the rows up by day, model and outcome, in the one order that all writers lock in."""
    added = defaultdict(list)
    for row in rows:
        added[row.counted_as].append(row.adds)
    return [[project_id, *key, *map(sum, zip(*added[key], strict=True))] for key in sorted(added)]
