"""What a call looks like: chat bodies and the log lines that carry them, checked at the door."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from factory.errors import InvalidInput

MAX_DEPTH = 64  # of nesting; no API of the field needs more, and recursion costs stack
MAX_METADATA_PAIRS, MAX_METADATA_KEY, MAX_METADATA_VALUE = 16, 64, 512  # OpenAI's limits
MAX_ID, MAX_MODEL = 128, 200
LATEST = 32_503_680_000  # unix seconds of the year 3000
MAX_MS = 2**31 - 1

Json = dict[str, Any]


def parse_json(raw: bytes) -> Any:
    """Parse JSON from outside; `InvalidInput` says where it breaks.

    Strict (no NaN, no lone surrogates), and without what PostgreSQL cannot hold: NUL becomes
    U+FFFD.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"The body is not JSON: {error}", code="invalid_json") from error
    # NUL comes only as its escape, depth only by brackets: most bodies show neither.
    brackets = raw.count(b"[") + raw.count(b"{")
    return clean(value) if brackets > MAX_DEPTH or b"\\u0000" in raw else value


def clean(value: Any, depth: int = 0) -> Any:
    """Return the value without NUL characters; `InvalidInput` past `MAX_DEPTH` levels."""
    if depth > MAX_DEPTH:
        raise InvalidInput(f"JSON nested deeper than {MAX_DEPTH} levels", code="invalid_json")
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, list):
        return [clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean(item, depth + 1) for key, item in value.items()}
    return value


def object_of(value: object) -> Json:
    """Return a value that should be an object; an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def objects_in(value: object) -> list[Json]:
    """Return the objects of a value that should be a list of them."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def string_of(value: object) -> str:
    """Return a value that should be a string; an empty one where it is none."""
    return value if isinstance(value, str) else ""


def text_of(content: object) -> str:
    """Return a message's text; the text parts of a multi-part content, joined by newlines."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part.get("text", "") for part in content if isinstance(part, dict)]
    return "\n".join(part for part in parts if isinstance(part, str) and part)


def turns_of(request: Json) -> list[Json]:
    """Return a request's messages without what no model could be given: a turn needs a role."""
    messages = request.get("messages")
    turns = messages if isinstance(messages, list) else []
    return [m for m in turns if isinstance(m, dict) and isinstance(m.get("role"), str)]


def variable_text(messages: list[Json]) -> str:
    """Return what differs from call to call: every turn but the system's and the developer's."""
    turns = [m for m in messages if m.get("role") not in {"system", "developer"}]
    return "\n".join(text_of(m.get("content")) for m in turns)


def first_choice(response: Json | None) -> Json:
    """Return a chat completion's first choice, empty where there is none."""
    choices = (response or {}).get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def output_of(response: Json | None) -> str:
    """Return the text of a chat completion's first choice, empty where there is none."""
    message = first_choice(response).get("message")
    return text_of(message.get("content")) if isinstance(message, dict) else ""


class _Request(BaseModel):
    """The part of a chat completion request that we read; the rest is kept as it came."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1, max_length=MAX_MODEL)
    messages: list[Json] = Field(min_length=1)

    @field_validator("messages")
    @classmethod
    def each_has_a_role(cls, messages: list[Json]) -> list[Json]:
        """Refuse turns that no model could have been given."""
        if not all(isinstance(message.get("role"), str) for message in messages):
            raise ValueError("each message needs a role")
        return messages


class _LogLine(BaseModel):
    """One line of a log export: the request as sent, the response as received."""

    id: str = Field(min_length=1, max_length=MAX_ID)
    started_at: float = Field(ge=0, le=LATEST)
    latency_ms: float | None = Field(default=None, ge=0, le=MAX_MS)
    status_code: int = Field(default=200, ge=100, le=599)
    metadata: dict[str, Any] = Field(default_factory=dict)
    request: _Request
    response: Json | None = None


@dataclass  # not frozen, which would treble what it takes to make one of millions
class CallRecord:
    """One call as it happened, not to be changed; `redactions` says whether it was redacted."""

    request_id: str
    created_at: datetime
    request: Json
    response: Json | None
    status_code: int
    latency_ms: int | None = None
    ttft_ms: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    trace_id: str = ""
    provider: str = ""
    route_reason: str = ""
    endpoint: str = "chat/completions"
    is_partial: bool = False  # the client left, or the answer broke off
    redactions: dict[str, int] | None = None  # by kind; None: nobody has redacted it yet

    def as_json(self) -> Json:
        """Return the record for a spool or a log line; `record_from_json` reads it back."""
        return {**self.__dict__, "created_at": self.created_at.timestamp()}


def record_from_json(value: Json) -> CallRecord:
    """Read what `CallRecord.as_json` wrote."""
    return CallRecord(**{**value, "created_at": datetime.fromtimestamp(value["created_at"], UTC)})


def record_from_log(value: Any) -> CallRecord:
    """Read one parsed line of a log file; `InvalidInput` names the first wrong field."""
    line = value if _is_in_order(value) else _checked(value)
    latency = line.get("latency_ms")
    return CallRecord(
        request_id=line["id"],
        created_at=datetime.fromtimestamp(line["started_at"], UTC),
        request=line["request"],
        response=line.get("response"),
        status_code=line.get("status_code", 200),
        latency_ms=None if latency is None else round(latency),
        metadata=checked_metadata(line.get("metadata", {})),
    )


def _is_in_order(line: Any) -> bool:
    """Tell at a glance a line that `_LogLine` takes as it is; only the others need its judgement.

    It costs a tenth of what the model does, and a log has millions of lines.
    """
    request = line.get("request") if type(line) is dict else None
    if type(request) is not dict:
        return False
    name, model, turns = line.get("id"), request.get("model"), request.get("messages")
    response, latency = line.get("response"), line.get("latency_ms", 0)
    return (
        type(name) is str and 0 < len(name) <= MAX_ID
        and type(model) is str and 0 < len(model) <= MAX_MODEL
        and type(turns) is list and len(turns) > 0
        and all(type(turn) is dict and type(turn.get("role")) is str for turn in turns)
        and type(line.get("metadata", {})) is dict
        and (response is None or type(response) is dict)
        and _is_number(line.get("started_at"), 0, LATEST)
        and (latency is None or _is_number(latency, 0, MAX_MS))
        and type(status := line.get("status_code", 200)) is int and 100 <= status <= 599
    )  # fmt: skip


def _is_number(value: object, least: int, most: int) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and least <= value <= most


def _checked(value: Any) -> Json:
    try:
        line = _LogLine.model_validate(value)
    except ValidationError as error:
        raise InvalidInput(first_problem(error), param=first_location(error)) from error
    return {**line.model_dump(exclude={"request"}), "request": value["request"]}


def checked_metadata(given: object) -> dict[str, str]:
    """Return metadata within OpenAI's limits; `InvalidInput` says which limit was passed."""
    if not isinstance(given, dict):
        raise InvalidInput("metadata must be an object", param="metadata")
    if len(given) > MAX_METADATA_PAIRS:
        raise InvalidInput(f"metadata holds at most {MAX_METADATA_PAIRS} pairs", param="metadata")
    pairs = {
        str(key): value if isinstance(value, str) else str(value) for key, value in given.items()
    }
    if any(len(k) > MAX_METADATA_KEY or len(v) > MAX_METADATA_VALUE for k, v in pairs.items()):
        raise InvalidInput(
            f"metadata keys hold {MAX_METADATA_KEY} characters, values {MAX_METADATA_VALUE}",
            param="metadata",
        )
    return pairs


def first_location(error: ValidationError) -> str:
    """Name the field of a validation error's first problem, dotted."""
    return ".".join(str(part) for part in error.errors()[0]["loc"])


def first_problem(error: ValidationError) -> str:
    """Say a validation error's first problem in a sentence."""
    where = first_location(error)
    said = error.errors()[0]["msg"]
    return f"{where}: {said}" if where else said
