"""OpenAI's stored completions: a completion as the API lists it, with its messages beside it."""

from datetime import datetime

from factory.errors import InvalidInput
from factory.formats.fields import few_pairs, messages_in, moment, short_id, text
from factory.messages import CallRecord, Json

ANSWER = ("id", "object", "created", "model", "choices", "usage", "system_fingerprint")
ELSEWHERE = {"messages", "input", "metadata", "request_id"}


def matches(line: Json) -> bool:
    """Say whether a line is a completion."""
    return line.get("object") == "chat.completion"


def read(line: Json, _at: datetime) -> list[CallRecord]:
    """Read one completion; what of it is no answer was asked for."""
    asked = line.get("messages") or line.get("input")
    if not asked:
        raise InvalidInput(
            "messages: a stored completion comes without them; add what "
            "/v1/chat/completions/{id}/messages returns",
            param="messages",
        )
    # The API's stored messages carry ids, which no request had.
    messages = [{k: v for k, v in m.items() if k != "id"} for m in messages_in(asked, "messages")]
    params = {k: v for k, v in line.items() if k not in ELSEWHERE.union(ANSWER) and v is not None}
    answer = {name: line[name] for name in ANSWER if name in line}
    return [
        CallRecord(
            request_id=short_id(text(line.get("id"), "id")),
            created_at=moment(line.get("created"), "created"),
            request={**params, "model": text(line.get("model"), "model"), "messages": messages},
            response=answer,
            status_code=200,
            metadata=few_pairs(line.get("metadata")),
        )
    ]
