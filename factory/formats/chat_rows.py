"""OpenAI's chat JSONL, the form of training files: the last assistant turn is the answer."""

from datetime import datetime

from factory.errors import InvalidInput
from factory.formats.fields import completion, content_id, few_pairs, messages_in
from factory.messages import CallRecord, Json

UNKNOWN_MODEL = "unknown"


def matches(line: Json) -> bool:
    """Say whether a line is a conversation."""
    return "messages" in line


def read(line: Json, at: datetime) -> list[CallRecord]:
    """Read one row; it happened when the file was written, for all we know."""
    *asked, answer = messages_in(line["messages"], "messages")
    if answer["role"] != "assistant" or not asked:
        raise InvalidInput("messages: the last one is not an assistant's answer", param="messages")
    answer = {name: value for name, value in answer.items() if name != "weight"}
    rest = {name: value for name, value in line.items() if name not in {"messages", "metadata"}}
    model = rest.get("model")
    finish = "tool_calls" if answer.get("tool_calls") else "stop"
    return [
        CallRecord(
            request_id=content_id("row", line),
            created_at=at,
            request={
                **rest,
                "model": model if isinstance(model, str) and model else UNKNOWN_MODEL,
                "messages": asked,
            },
            response=completion(answer, finish_reason=finish),
            status_code=200,
            metadata=few_pairs(line.get("metadata")),
        )
    ]
