"""Captured calls: redacted, then written once, whatever comes twice."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, transaction
from psycopg.types.json import Jsonb
from uuid_utils.compat import uuid7

from factory.dedupe import input_digest
from factory.messages import CallRecord, Json
from factory.models import CapturedCall, Project, Upstream
from factory.prices import cost_usd
from factory.redact import Redactor

# Fields that clients may send and that must never be stored or forwarded: they choose hosts or keys.
FOREIGN_FIELDS = {"api_base", "api_key", "base_url", "extra_headers", "extra_body", "organization"}
COLUMNS = (
    "id", "project_id", "request_id", "trace_id", "provider", "request_model", "response_model",
    "messages", "response", "request_params", "tools", "prompt_tokens", "completion_tokens",
    "finish_reason", "latency_ms", "ttft_ms", "status_code", "cost_usd", "metadata", "source",
    "route_reason", "redactions", "digest", "created_at",
)  # fmt: skip
JSON_COLUMNS = {"messages", "response", "request_params", "tools", "metadata", "redactions"}


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
    names = ", ".join(COLUMNS)
    table = CapturedCall._meta.db_table
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMP TABLE stage ON COMMIT DROP AS SELECT {names} FROM {table} WITH NO DATA"
        )
        with cursor.copy(f"COPY stage ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row([_cell(name, row[name]) for name in COLUMNS])
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM stage "
            "ON CONFLICT (project_id, request_id) DO NOTHING"
        )
        return int(cursor.rowcount)


def _cell(name: str, value: object) -> object:
    return Jsonb(value) if name in JSON_COLUMNS and value is not None else value


def _row(
    project: Project, record: CallRecord, source: str, prices: dict[str, Any]
) -> dict[str, Any]:
    redactor = Redactor()
    request = {k: v for k, v in record.request.items() if k not in FOREIGN_FIELDS}
    messages = redactor.value(request.pop("messages", []))
    model, tools = str(request.pop("model", "")), request.pop("tools", None)
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
    usage = answer.get("usage") if isinstance(answer.get("usage"), dict) else {}
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    answered_by = str(answer.get("model") or "")[:200]
    tokens = [_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")]
    return {
        "response_model": answered_by,
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "finish_reason": str((first or {}).get("finish_reason") or "")[:40],
        "cost_usd": cost_usd(prices, answered_by or model, tokens[0] or 0, tokens[1] or 0),
    }


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**31 else None
