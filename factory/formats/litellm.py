"""LiteLLM's StandardLoggingPayload, as its logging callbacks write it."""

from datetime import datetime

from factory.formats.fields import (
    elapsed_ms,
    few_pairs,
    json_object,
    messages_in,
    moment,
    short_id,
    text,
    unpacked,
)
from factory.messages import CallRecord, Json

ENDPOINTS = {
    "completion": "chat/completions",
    "text_completion": "completions",
    "embedding": "embeddings",
    "responses": "responses",
}
NAMED = {
    "user_api_key_alias": "key",
    "user_api_key_team_alias": "team",
    "user_api_key_end_user_id": "end_user",
}


def matches(line: Json) -> bool:
    """Say whether a line is a payload."""
    return "call_type" in line and "startTime" in line


def read(line: Json, _at: datetime) -> list[CallRecord]:
    """Read one payload; a call of a kind that is no text generation or embedding is passed over."""
    kind = str(line["call_type"]).removeprefix("a")
    if kind not in ENDPOINTS:
        return []
    start = moment(line["startTime"], "startTime")
    response = unpacked(line.get("response"))
    error = json_object(line.get("error_information"))
    params = json_object(line.get("model_parameters"))
    first = line.get("completionStartTime") if line.get("stream") else None
    messages = messages_in(line.get("messages"), "messages")
    return [
        CallRecord(
            request_id=short_id(text(line.get("id"), "id")),
            created_at=start,
            request={**params, "model": text(line.get("model"), "model"), "messages": messages},
            response=response if isinstance(response, dict) and response else _error(error),
            status_code=_status(line, error),
            latency_ms=elapsed_ms(start, line.get("endTime"), "endTime"),
            ttft_ms=elapsed_ms(start, first, "completionStartTime"),
            metadata=_metadata(line),
            trace_id=str(line.get("trace_id") or "")[:128],
            provider=str(line.get("custom_llm_provider") or "")[:64],
            endpoint=ENDPOINTS[kind],
        )
    ]


def _status(line: Json, error: Json) -> int:
    if line.get("status") == "success":
        return 200
    code = str(error.get("error_code") or "")
    return int(code) if code.isdecimal() and 400 <= int(code) <= 599 else 500


def _error(error: Json) -> Json | None:
    if not error:
        return None
    said = {"message": error.get("error_message"), "type": error.get("error_class")}
    return {"error": {**said, "code": error.get("error_code")}}


def _metadata(line: Json) -> dict[str, str]:
    given = json_object(line.get("metadata"))
    names = {ours: given.get(theirs) for theirs, ours in NAMED.items()}
    tags = line.get("request_tags")
    joined = {"tags": ",".join(map(str, tags))} if isinstance(tags, list) and tags else {}
    own = (given.get("requester_metadata"), given.get("spend_logs_metadata"))
    return few_pairs(*own, joined, {**names, "group": line.get("model_group")})
