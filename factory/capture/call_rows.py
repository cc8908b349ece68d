"""A call as the database takes it: a line for COPY into the calls, a tuple into their payloads."""

import struct
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from factory.capture.dialects import chat_form
from factory.capture.endpoints import FOREIGN_FIELDS
from factory.capture.partitions import id_bytes
from factory.capture.payloads import Packer
from factory.dedupe import input_digest
from factory.messages import CallRecord, Json, first_choice, object_of, turns_of
from factory.prices import PriceBook

COLUMNS = (
    "id", "project_id", "request_id", "response_id", "trace_id", "endpoint", "provider",
    "request_model", "response_model", "prompt_tokens", "completion_tokens", "finish_reason",
    "latency_ms", "ttft_ms", "status_code", "is_partial", "cost_usd", "metadata", "source",
    "route_reason", "redactions", "digest", "created_at",
)  # fmt: skip
PAYLOAD_COLUMNS = ("call_id", "dictionary_id", "body")
SUMS = ("calls", "priced_calls", "prompt_tokens", "completion_tokens", "cost_usd", "latency_ms_sum")
MAX_TOKENS = 100_000_000  # of one call; what claims more is not a count
ERROR = 400  # the first HTTP status of those that are no answer
# What COPY's text format gives a meaning of its own.
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
NULL = "\\N"
# COPY's binary format: a signature, tuples of a count and length-prefixed fields, an end.
BINARY_HEAD, BINARY_END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
PLAIN_TUPLE = struct.Struct("!hi16sii")  # 3 fields: the id, no dictionary, the body's length
TRAINED_TUPLE = struct.Struct("!hi16siqi")


class CallRow(NamedTuple):
    """One call, ready to be written; of plain values, which cross to another process fast."""

    request_id: str
    call_id: str
    cells: bytes
    payload: bytes
    counted_as: tuple[str, str, bool]  # its day in UTC, its model, whether it is an error
    adds: tuple[int, int, int, int, Decimal | int, int]  # to `SUMS` of what it is counted as


@dataclass(frozen=True)
class RowMaker:
    """Makes rows of one project's redacted calls. Not to be shared between threads."""

    project_id: int
    source: str
    prices: PriceBook
    dictionary_id: int | None
    packer: Packer

    def row(self, record: CallRecord) -> CallRow:
        """Return a redacted call's row."""
        asked, response = chat_form(record.endpoint, record.request, record.response)
        params = {k: v for k, v in asked.items() if k not in FOREIGN_FIELDS}
        messages = turns_of(params)
        model, tools = str(params.pop("model", ""))[:200], params.pop("tools", None)
        params.pop("messages", None)
        answered = _answer_columns(record, response, model, self.prices)
        at = record.created_at.astimezone(UTC).isoformat()
        named = id_bytes(record.created_at, f"{self.project_id} {record.request_id}")
        written = named.hex()
        columns = {
            "id": written,
            "project_id": self.project_id,
            "request_id": record.request_id,
            "trace_id": record.trace_id[:128],
            "endpoint": record.endpoint,
            "provider": record.provider[:64],
            "request_model": model,
            "latency_ms": record.latency_ms,
            "ttft_ms": record.ttft_ms,
            "status_code": record.status_code,
            "is_partial": "t" if record.is_partial else "f",
            "metadata": orjson.dumps(record.metadata).decode(),
            "source": self.source,
            "route_reason": record.route_reason,
            "redactions": orjson.dumps(record.redactions or {}).decode(),
            "digest": input_digest(messages),
            "created_at": at,
            **answered,
        }
        body = self.packer.pack(
            {"messages": messages, "response": response, "request_params": params, "tools": tools}
        )
        cost = answered["cost_usd"]
        return CallRow(
            record.request_id, written,
            _line([columns[name] for name in COLUMNS]), self._payload(named, body),
            (at[:10], model, record.status_code >= ERROR),
            (
                1, cost is not None, answered["prompt_tokens"] or 0,
                answered["completion_tokens"] or 0, cost or 0, record.latency_ms or 0,
            ),
        )  # fmt: skip

    def _payload(self, named: bytes, body: bytes) -> bytes:
        if self.dictionary_id is None:
            return PLAIN_TUPLE.pack(3, 16, named, -1, len(body)) + body
        return TRAINED_TUPLE.pack(3, 16, named, 8, self.dictionary_id, len(body)) + body


def _line(cells: list[object]) -> bytes:
    written = [NULL if cell is None else str(cell) for cell in cells]
    line = "\t".join(written)
    # Nearly every line is fine as it is: no sign in it but those that were just put there.
    is_plain = line.count("\\") == cells.count(None) and line.count("\t") == len(cells) - 1
    if not is_plain or "\n" in line or "\r" in line:
        line = "\t".join(NULL if cell is None else str(cell).translate(ESCAPES) for cell in cells)
    return line.encode() + b"\n"


def _answer_columns(
    record: CallRecord, response: Json | None, model: str, prices: PriceBook
) -> dict[str, Any]:
    answer = response or {}
    usage = object_of(answer.get("usage"))
    details = object_of(usage.get("prompt_tokens_details"))
    answered_by = str(answer.get("model") or "")[:200]
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    tokens = (prompt, completion, _count(details.get("cached_tokens")) or 0)
    day = record.created_at.date()
    return {
        "response_id": str(answer.get("id") or "")[:128],
        "response_model": answered_by,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "finish_reason": str(first_choice(answer).get("finish_reason") or "")[:40],
        "cost_usd": prices.cost((answered_by, model), record.provider, day, tokens),
    }


def _count(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= MAX_TOKENS else None
