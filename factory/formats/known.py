"""The formats that logs come in, and which of them a line is."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from factory.errors import InvalidInput
from factory.formats import (
    chat_rows,
    langfuse,
    litellm,
    log_line,
    openai_batch,
    stored_completions,
)
from factory.messages import MAX_ID, CallRecord, Json


class Format(NamedTuple):
    """A format: what people call it, how it is recognised, how it is read."""

    title: str
    fields: str  # what a line must have, for people
    matches: Callable[[Json], bool]
    read: Callable[[Json, datetime], list[CallRecord]]


FORMATS = (
    Format(
        "Understudy's log line", "id, started_at, request, response",
        log_line.matches, log_line.read,
    ),
    Format(
        "OpenAI batch, input and output joined", "custom_id, body, response",
        openai_batch.matches, openai_batch.read,
    ),
    Format(
        "LiteLLM StandardLoggingPayload", "id, call_type, startTime, model, messages, response",
        litellm.matches, litellm.read,
    ),
    Format(
        "Langfuse observations or traces", "id, type, traceId, startTime, model, input, output",
        langfuse.matches, langfuse.read,
    ),
    Format(
        "OpenAI stored completions", "object, id, created, model, messages, choices",
        stored_completions.matches, stored_completions.read,
    ),
    Format(
        "OpenAI chat rows (training files)", "messages, the last one the assistant's",
        chat_rows.matches, chat_rows.read,
    ),
)  # fmt: skip


def lines_in(value: object) -> list[object]:
    """Return what an envelope (`{"data": [...]}`, as APIs page) holds, else the value itself."""
    if isinstance(value, dict) and isinstance(value.get("data"), list) and not format_of(value):
        return list(value["data"])
    return [value]


def format_of(line: Json) -> Format | None:
    """Return a line's format, None where it is unknown."""
    return next((known for known in FORMATS if known.matches(line)), None)


def calls_in(line: object, at: datetime) -> list[CallRecord]:
    """Read the calls of one parsed line; `at` is when calls happened that do not say it.

    None of them where the line tells of something else, as a span of a trace does.
    """
    if not isinstance(line, dict):
        raise InvalidInput("A line is one JSON object")
    known = format_of(line)
    if known is None:
        raise InvalidInput(f"None of the known formats: {told()}")
    calls = known.read(line, at)
    if any(not 0 < len(call.request_id) <= MAX_ID for call in calls):
        raise InvalidInput(f"id: 1 to {MAX_ID} characters", param="id")
    return calls


def told() -> str:
    """Return the known formats in a sentence."""
    return "; ".join(known.title for known in FORMATS)
