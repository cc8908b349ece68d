"""OpenAI's Batch API: a request's line and its answer's, joined by `custom_id`.

The two come as two files; `jq -sc 'group_by(.custom_id)[] | add' input.jsonl output.jsonl` joins
them line by line.
"""

from datetime import datetime

from factory.errors import InvalidInput
from factory.formats.fields import json_object, moment, short_id, text
from factory.messages import CallRecord, Json

ENDPOINTS = ("chat/completions", "completions", "embeddings", "responses")


def matches(line: Json) -> bool:
    """Say whether a line is of a batch."""
    return "custom_id" in line


def read(line: Json, at: datetime) -> list[CallRecord]:
    """Read one request with its answer."""
    request, answer = line.get("body"), line.get("response") or line.get("error")
    if not isinstance(request, dict) or not isinstance(answer, dict):
        half = "answer" if isinstance(request, dict) else "request"
        raise InvalidInput(
            f"custom_id: this line has no {half}; join the batch's input and output files first: "
            "jq -sc 'group_by(.custom_id)[] | add' input.jsonl output.jsonl",
            param="custom_id",
        )
    text(request.get("model"), "body.model")
    response = json_object(answer.get("body"))
    created = response.get("created", response.get("created_at"))
    status = answer.get("status_code")
    named = answer.get("request_id") or f"{line.get('id', '')}{line['custom_id']}"
    url = str(line.get("url", ""))
    return [
        CallRecord(
            request_id=short_id(str(named)),
            created_at=at if created is None else moment(created, "response.body.created"),
            request=request,
            response=response or {"error": answer},
            status_code=status if isinstance(status, int) and 100 <= status <= 599 else 500,
            endpoint=next((e for e in ENDPOINTS if url.endswith(f"/v1/{e}")), ENDPOINTS[0]),
            metadata={"custom_id": str(line["custom_id"])[:512]},
        )
    ]
