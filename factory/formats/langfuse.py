"""Langfuse's exports: observations of the type GENERATION, alone or inside their trace.

The API and the pages write camelCase, the blob storage export snake_case; times may lack a zone,
and inputs and outputs may be texts of JSON.
"""

from datetime import datetime
from typing import Any

from factory.digest import canonical_json
from factory.errors import InvalidInput
from factory.formats.fields import (
    completion,
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

PROMPT_COUNTS = ("input", "promptTokens", "prompt_tokens", "input_tokens", "prompt")
ANSWER_COUNTS = ("output", "completionTokens", "completion_tokens", "output_tokens", "completion")


def matches(line: Json) -> bool:
    """Say whether a line is an observation or a trace."""
    is_observation = "type" in line and ("traceId" in line or "trace_id" in line)
    return is_observation or "observations" in line or "htmlPath" in line


def read(line: Json, _at: datetime) -> list[CallRecord]:
    """Read an observation, or all of a trace's; spans and events are passed over."""
    if "type" in line:
        return [_generation(line)] if line["type"] == "GENERATION" else []
    observations = unpacked(line.get("observations"))
    if not isinstance(observations, list) or not all(isinstance(o, dict) for o in observations):
        raise InvalidInput(
            "observations: this trace comes without them; export the observations instead",
            param="observations",
        )
    return [_generation(o, line) for o in observations if o.get("type") == "GENERATION"]


def _generation(observation: Json, trace: Json | None = None) -> CallRecord:
    def given(*names: str) -> Any:
        return next((v for name in names if (v := observation.get(name)) not in (None, "")), None)

    start = moment(given("startTime", "start_time"), "startTime")
    model = text(given("model", "providedModelName", "provided_model_name"), "model")
    asked = unpacked(observation.get("input"))
    named = {k: v for k, v in json_object(asked).items() if k in {"tools", "response_format"}}
    failed = observation.get("level") == "ERROR"
    status = given("statusMessage", "status_message")
    return CallRecord(
        request_id=short_id(text(given("id"), "id")),
        created_at=start,
        request={
            **json_object(unpacked(given("modelParameters", "model_parameters"))),
            **named,
            "model": model,
            "messages": messages_in(asked, "input"),
        },
        response={"error": {"message": status}} if failed else _answer(observation, given, model),
        status_code=500 if failed else 200,
        latency_ms=elapsed_ms(start, given("endTime", "end_time"), "endTime"),
        ttft_ms=elapsed_ms(
            start, given("completionStartTime", "completion_start_time"), "completionStartTime"
        ),
        metadata=few_pairs(
            unpacked(observation.get("metadata")),
            {"name": observation.get("name"), "environment": observation.get("environment")},
            unpacked((trace or {}).get("metadata")),
        ),
        trace_id=str(given("traceId", "trace_id") or (trace or {}).get("id") or "")[:128],
        provider="langfuse",
    )


def _answer(observation: Json, given: Any, model: str) -> Json | None:
    output = unpacked(observation.get("output"))
    if output is None or output == "":
        return None
    if isinstance(output, dict) and "choices" in output:
        return output
    if isinstance(output, list) and output and isinstance(output[-1], dict):
        output = output[-1]
    message = output if isinstance(output, dict) and "content" in output else None
    if message is None:
        said = output if isinstance(output, str) else observation.get("output")
        message = {"content": said if isinstance(said, str) else canonical_json(said).decode()}
    usage = _usage(given)
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    return completion(
        {"role": "assistant", **message},
        finish_reason=finish,
        model=model,
        **({"usage": usage} if usage else {}),
    )


def _usage(given: Any) -> Json:
    counts = json_object(unpacked(given("usageDetails", "usage_details")))
    counts = counts or json_object(unpacked(given("usage")))
    prompt = next((counts[name] for name in PROMPT_COUNTS if name in counts), None)
    answer = next((counts[name] for name in ANSWER_COUNTS if name in counts), None)
    found = {"prompt_tokens": prompt, "completion_tokens": answer}
    return {name: int(str(value)) for name, value in found.items() if str(value).isdecimal()}
