"""Captured calls: redacted, then written once, whatever comes twice."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, transaction
from psycopg.types.json import Jsonb
from uuid_utils.compat import uuid7

from factory.dedupe import input_digest
from factory.messages import CallRecord, Json, first_choice, turns_of
from factory.models import CapturedCall, Project, Upstream
from factory.prices import cost_usd, price_of
from factory.redact import Redactor

# Fields that clients may send and that are never stored or forwarded: they choose hosts or keys.
FOREIGN_FIELDS = {"api_base", "api_key", "base_url", "extra_headers", "extra_body", "organization"}
COLUMNS = (
    "id", "project_id", "request_id", "trace_id", "provider", "request_model", "response_model",
    "messages", "response", "request_params", "tools", "prompt_tokens", "completion_tokens",
    "finish_reason", "latency_ms", "ttft_ms", "status_code", "cost_usd", "metadata", "source",
    "route_reason", "redactions", "digest", "created_at",
)  # fmt: skip
JSON_COLUMNS = {"messages", "response", "request_params", "tools", "metadata", "redactions"}
MAX_TOKENS = 100_000_000  # of one call; what claims more is not a count
# The stage is made once per connection. All writers insert in one order, so none deadlock.
NAMES, TABLE = ", ".join(COLUMNS), CapturedCall._meta.db_table
MAKE_STAGE = (
    "CREATE TEMP TABLE IF NOT EXISTS call_stage ON COMMIT DELETE ROWS AS "
    f"SELECT {NAMES} FROM {TABLE} WITH NO DATA"
)
FILL_STAGE = f"COPY call_stage ({NAMES}) FROM STDIN"
INSERT_NEW = (
    f"INSERT INTO {TABLE} ({NAMES}) SELECT {NAMES} FROM call_stage ORDER BY request_id "
    "ON CONFLICT (project_id, request_id) DO NOTHING"
)


def project_prices(project: Project) -> dict[str, Any]:
    """Return the project's known prices by model name, over all its upstreams."""
    prices: dict[str, Any] = {}
    for upstream in Upstream.objects.filter(project=project):
        prices.update(upstream.prices)
    return prices


def record_calls(project: Project, records: Iterable[CallRecord], source: str) -> int:
    """Write calls by COPY into a stage and one insert; return how many were new.

    Idempotent by request id: a call that comes again, by any door, changes nothing.
    """
    prices = project_prices(project)
    rows = [_row(project, record, source, prices) for record in records]
    return insert_rows(rows) if rows else 0


def insert_rows(rows: Sequence[dict[str, Any]]) -> int:
    """Insert prepared rows, leaving out those that are known; return how many were new."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(MAKE_STAGE)
        with connection.wrap_database_errors, cursor.copy(FILL_STAGE) as copy:
            for row in rows:
                copy.write_row([_cell(name, row[name]) for name in COLUMNS])
        cursor.execute(INSERT_NEW)
        new = int(cursor.rowcount)
        cursor.execute("DELETE FROM call_stage")  # the caller's transaction may go on
        return new


def _cell(name: str, value: object) -> object:
    return Jsonb(value) if name in JSON_COLUMNS and value is not None else value


def _row(
    project: Project, record: CallRecord, source: str, prices: dict[str, Any]
) -> dict[str, Any]:
    redactor = Redactor()
    request = {k: v for k, v in record.request.items() if k not in FOREIGN_FIELDS}
    messages = redactor.value(turns_of(request))
    model, tools = str(request.pop("model", "")), request.pop("tools", None)
    request.pop("messages", None)
    response = redactor.value(record.response)
    return {
        "id": uuid7(),
        "project_id": project.pk,
        "request_id": record.request_id,
        "trace_id": record.trace_id,
        "provider": record.provider,
        "request_model": model[:200],
        "messages": messages,
        "response": response,
        "request_params": redactor.value(request),
        "tools": redactor.value(tools),
        "latency_ms": record.latency_ms,
        "ttft_ms": record.ttft_ms,
        "status_code": record.status_code,
        "metadata": redactor.value(record.metadata),
        "source": source,
        "route_reason": record.route_reason,
        "redactions": redactor.counts,
        "digest": input_digest(messages),
        "created_at": record.created_at,
        **_answer_columns(response, model, prices),
    }


def _answer_columns(response: Json | None, model: str, prices: dict[str, Any]) -> dict[str, Any]:
    answer = response or {}
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    answered_by = str(answer.get("model") or "")[:200]
    priced_as = answered_by if price_of(prices, answered_by) else model
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    return {
        "response_model": answered_by,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "finish_reason": str(first_choice(answer).get("finish_reason") or "")[:40],
        "cost_usd": cost_usd(prices, priced_as, prompt, completion),
    }


def _count(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= MAX_TOKENS else None
