"""What the formats share: times, names and objects as exporters write them, checked."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import orjson

from factory.digest import digest_of
from factory.errors import InvalidInput
from factory.messages import (
    LATEST,
    MAX_METADATA_KEY,
    MAX_METADATA_PAIRS,
    MAX_METADATA_VALUE,
    MAX_MS,
    Json,
    parse_json,
)


def moment(value: object, name: str) -> datetime:
    """Read a time: unix seconds, or ISO 8601 (UTC where it names no zone)."""
    try:
        if isinstance(value, str):
            read = datetime.fromisoformat(value)
            return read if read.tzinfo else read.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATEST:
            return datetime.fromtimestamp(value, UTC)
    except ValueError:
        pass
    raise InvalidInput(f"{name}: neither unix seconds nor an ISO 8601 time", param=name)


def elapsed_ms(start: datetime, end: object, name: str) -> int | None:
    """Return the milliseconds until a time; None where it is absent or before the start."""
    if end is None or end == "":
        return None
    passed = round((moment(end, name) - start).total_seconds() * 1000)
    return passed if 0 <= passed <= MAX_MS else None


def text(value: object, name: str) -> str:
    """Return a text that must be there."""
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{name}: a text is needed", param=name)
    return value


def json_object(value: object) -> Json:
    """Return an object, empty where it is none."""
    return value if isinstance(value, dict) else {}


def unpacked(value: object) -> Any:
    """Return a value that an exporter may have written as a text of JSON."""
    if not isinstance(value, str) or value.lstrip()[:1] not in {"{", "["}:
        return value
    try:
        return parse_json(value.encode())
    except InvalidInput:
        return value  # a text that only looks like it


def messages_in(value: object, name: str) -> list[Json]:
    """Return a conversation, wherever exporters put it: a list, or an object that holds one."""
    found = unpacked(value)
    if isinstance(found, dict):
        found = found.get("messages", found.get("data", [found] if "role" in found else None))
    if isinstance(found, str) and found:
        return [{"role": "user", "content": found}]
    is_list = isinstance(found, list) and bool(found)
    if not is_list or not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) for m in found
    ):
        raise InvalidInput(f"{name}: messages with a role each are needed", param=name)
    return list(found)


def completion(message: Json, **fields: Any) -> Json:
    """Return a chat completion with one choice."""
    finish = fields.pop("finish_reason", None)
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"object": "chat.completion", "choices": [choice], **fields}


def few_pairs(*sources: object) -> dict[str, str]:
    """Return metadata within OpenAI's limits, the first pairs; what is longer is cut."""
    pairs: dict[str, str] = {}
    for source in sources:
        for key, value in json_object(source).items():
            if value is not None and value != "":
                written = value if isinstance(value, str) else orjson.dumps(value).decode()
                pairs.setdefault(key[:MAX_METADATA_KEY], written[:MAX_METADATA_VALUE])
    return dict(list(pairs.items())[:MAX_METADATA_PAIRS])


def content_id(prefix: str, value: Json) -> str:
    """Name a row that has no id after what it says: the same row again is the same call."""
    return f"{prefix}-{digest_of(value)[:32]}"


def short_id(value: str, limit: int = 128) -> str:
    """Return an id that fits, one that is too long as its digest."""
    return value if len(value) <= limit else hashlib.sha256(value.encode()).hexdigest()
