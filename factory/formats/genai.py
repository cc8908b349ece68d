"""A span of a model call, by whatever convention it was written, as the call it tells of.

Read are OpenTelemetry's GenAI conventions (messages made of parts, on the span or in one event;
before 1.37 an event for each message, of the span or in the log), OpenLLMetry's older
`gen_ai.prompt.N...` and OpenInference's `llm.input_messages.N...`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from factory.errors import InvalidInput
from factory.messages import (
    MAX_METADATA_KEY,
    MAX_METADATA_PAIRS,
    MAX_METADATA_VALUE,
    CallRecord,
    Json,
    objects_in,
)

DETAILS = "gen_ai.client.inference.operation.details"
CHOICE = "gen_ai.choice"
MESSAGE = re.compile(r"gen_ai\.(system|developer|user|assistant|tool)\.message")
PROMPT, COMPLETION = "gen_ai.content.prompt", "gen_ai.content.completion"
FIRST_TOKENS = {"gen_ai.content.completion.chunk", "First Token Stream Event"}
CALLS = {
    "chat": "chat/completions", "generate_content": "chat/completions", "responses": "responses",
    "text_completion": "completions", "completion": "completions",
}  # fmt: skip
KEPT = ("gen_ai.", "llm.", "input.", "output.", "openinference.", "error.", "http.response.")
PARAMETERS = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_tokens": "max_tokens",
    "seed": "seed", "frequency_penalty": "frequency_penalty", "stream": "stream",
    "presence_penalty": "presence_penalty", "stop_sequences": "stop", "choice.count": "n",
}  # fmt: skip
LABELS = (
    "service.name", "gen_ai.conversation.id", "session.id", "user.id", "gen_ai.prompt.name",
)  # fmt: skip
TRACELOOP = "traceloop.association.properties."
FINISHES = {"tool_call": "tool_calls", "end_turn": "stop", "max_tokens": "length"}
ERRORS = {
    "BadRequestError": 400, "AuthenticationError": 401, "PermissionDeniedError": 403,
    "NotFoundError": 404, "ConflictError": 409, "UnprocessableEntityError": 422,
    "RateLimitError": 429, "APITimeoutError": 504, "APIConnectionError": 502,
}  # fmt: skip
STATUS = re.compile(r"\b(?:Error code|status(?: code)?)\W{1,3}([45]\d\d)\b", re.IGNORECASE)
MAX_SECONDS = 7 * 86_400  # of one call
MAX_STEPS = 12  # of a dotted name; no convention nests deeper


@dataclass(frozen=True)
class Event:
    """Something that was said of a span: in it, or in the log with its ids."""

    ids: str  # "<trace id>:<span id>", both in hex
    name: str
    body: Json
    at: float  # Unix seconds

    def as_json(self) -> Json:
        """Return the event for a row that waits for its span."""
        return {"name": self.name, "body": _kept(self.body), "at": self.at}


@dataclass(frozen=True)
class Span:
    """One span; `error` is its message where it failed."""

    ids: str
    started_at: float
    ended_at: float
    attributes: Json
    events: list[Event] = field(default_factory=list)
    error: str | None = None
    service: str = ""

    @property
    def is_call(self) -> bool:
        """Whether it is a call to a model that answers in words: no agent, tool or embedding."""
        return _endpoint(self.attributes) is not None

    def as_json(self) -> Json:
        """Return what of the span a call is made of."""
        return {
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "attributes": _kept(self.attributes),
            "events": [event.as_json() for event in self.events],
            "error": self.error,
            "metadata": _metadata(self.attributes, self.service),
        }


@dataclass
class Pieces:
    """What has come of one call so far: its span, and events from the log."""

    ids: str
    span: Json | None = None
    events: list[Json] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing more will come that would tell more of the call."""
        if self.span is None:
            return False
        attributes = self.span["attributes"]
        events = [*self.span["events"], *self.events]
        if _messages(attributes, self.span["events"]) or _named(events, DETAILS):
            return True
        reasons = attributes.get("gen_ai.response.finish_reasons")
        expected = len(reasons) if isinstance(reasons, list) and reasons else 1
        return len(_named(events, CHOICE)) >= expected

    def call(self) -> CallRecord | None:
        """Return the call, None where its messages are missing; `InvalidInput` if unreadable."""
        span = self.span or {}
        events = sorted([*span.get("events", []), *self.events], key=lambda e: e["at"])
        attributes = dict(span.get("attributes", {}))
        for details in _named(events, DETAILS):
            attributes = {**details["body"], **attributes}
        messages = _messages(attributes, events)
        if not any(turn.get("content") for turn in messages):  # the app keeps them to itself
            return None
        choices = _choices(attributes, events)
        error = span.get("error", attributes.get("error.type"))
        started_at = span.get("started_at") or events[0]["at"]
        trace_id, _, _ = self.ids.partition(":")
        return CallRecord(
            request_id=self.ids,
            created_at=datetime.fromtimestamp(started_at, UTC),
            request=_request(attributes, messages),
            response=_response(attributes, choices, error, started_at),
            status_code=200 if error is None else _status(attributes, error),
            latency_ms=_milliseconds(span["ended_at"] - started_at) if span else None,
            ttft_ms=_ttft(attributes, events, started_at),
            metadata=span.get("metadata", {}),
            trace_id=trace_id,
            provider=_provider(attributes),
            endpoint=_endpoint(attributes) or "chat/completions",
            is_partial=not choices and error is None,
        )


# --- which spans, and what about them -------------------------------------------------------------
def _endpoint(attributes: Json) -> str | None:
    kind = attributes.get("openinference.span.kind")
    if kind is not None:
        return "chat/completions" if kind == "LLM" else None
    operation = attributes.get("gen_ai.operation.name", attributes.get("llm.request.type"))
    if operation is None and "gen_ai.request.model" in attributes:
        operation = "chat"
    return CALLS.get(operation) if isinstance(operation, str) else None


def _kept(attributes: Json) -> Json:
    said = {"content", "role", "tool_calls", "id", "index", "finish_reason", "message"}
    return {k: v for k, v in attributes.items() if k in said or k.startswith(KEPT)}


def _metadata(attributes: Json, service: str) -> dict[str, str]:
    given = {"service.name": service, **attributes}
    labels = {name: given[name] for name in LABELS if given.get(name)}
    labels |= {
        name.removeprefix(TRACELOOP): value
        for name, value in attributes.items()
        if name.startswith(TRACELOOP)
    }
    pairs = ((k[:MAX_METADATA_KEY], str(v)[:MAX_METADATA_VALUE]) for k, v in labels.items())
    return dict(list(pairs)[:MAX_METADATA_PAIRS])


def _provider(attributes: Json) -> str:
    names = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
    return str(_first(attributes, *names) or "")[:64].lower()


def _status(attributes: Json, error: object) -> int:
    """Return the HTTP status that an error tells of, 500 where it tells of none."""
    kind = str(attributes.get("error.type", "")).rpartition(".")[2]
    told = STATUS.search(str(error))
    for status in (attributes.get("http.response.status_code"), kind, told and told[1]):
        if str(status).isdecimal() and 400 <= int(str(status)) < 600:
            return int(str(status))
    return ERRORS.get(kind, 500)


def _ttft(attributes: Json, events: list[Json], started_at: float) -> int | None:
    names = ("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token")
    seconds = _first(attributes, *names)
    if not isinstance(seconds, int | float):
        told = [event["at"] for event in events if event["name"] in FIRST_TOKENS]
        seconds = min(told) - started_at if told else None
    return None if seconds is None else _milliseconds(seconds)


def _milliseconds(seconds: float) -> int | None:
    """Return a duration, None where it is none that a call could have taken."""
    return round(seconds * 1000) if 0 <= seconds < MAX_SECONDS else None


# --- the request and the answer -------------------------------------------------------------------
def _request(attributes: Json, messages: list[Json]) -> Json:
    given = _object(attributes.get("llm.invocation_parameters"))
    for theirs, ours in PARAMETERS.items():
        if (value := attributes.get(f"gen_ai.request.{theirs}")) is not None:
            given[ours] = value
    model = _first(attributes, "gen_ai.request.model") or given.get("model")
    tools, wanted = _tools(attributes), _response_format(attributes)
    return {
        **given,
        "model": str(model or _first(attributes, "gen_ai.response.model", "llm.model_name") or ""),
        "messages": messages,
        **({"tools": tools} if tools else {}),
        **({"response_format": wanted} if wanted else {}),
    }


def _response(
    attributes: Json, choices: list[Json], error: str | None, started_at: float
) -> Json | None:
    if error is not None:
        kind = attributes.get("error.type", "error")
        return {"error": {"message": error, "type": kind, "param": None, "code": None}}
    if not choices:
        return None
    whole = _object(attributes.get("output.value"))
    return {
        "id": str(_first(attributes, "gen_ai.response.id") or whole.get("id") or ""),
        "object": "chat.completion",
        "created": int(started_at),
        "model": str(_first(attributes, "gen_ai.response.model", "llm.model_name") or ""),
        "choices": choices,
        "usage": _usage(attributes),
    }


def _usage(attributes: Json) -> Json | None:
    usage = "gen_ai.usage."
    prompt = _first(
        attributes, f"{usage}input_tokens", f"{usage}prompt_tokens", "llm.token_count.prompt"
    )
    answer = _first(
        attributes, f"{usage}output_tokens", f"{usage}completion_tokens",
        "llm.token_count.completion",
    )  # fmt: skip
    if not isinstance(prompt, int) or not isinstance(answer, int):
        return None
    cached = _first(
        attributes, f"{usage}cache_read.input_tokens", f"{usage}cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
    )  # fmt: skip
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        **({"prompt_tokens_details": {"cached_tokens": cached}} if cached else {}),
    }


def _tools(attributes: Json) -> list[Json]:
    given = attributes.get("gen_ai.tool.definitions")
    if given is not None:
        return [_tool(tool) for tool in objects_in(_loaded(given, "gen_ai.tool.definitions"))]
    listed = _nested(attributes, "llm.tools")
    schemas = [_object(_object(tool.get("tool")).get("json_schema")) for tool in listed]
    functions = _nested(attributes, "llm.request.functions")
    for function in functions:
        function["parameters"] = _object(function.get("parameters"))
    return [_tool(tool) for tool in [*schemas, *functions] if tool]


def _tool(tool: Json) -> Json:
    """Return a tool in chat's nested form."""
    if "function" in tool or tool.get("type", "function") != "function":
        return tool
    return {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}


def _response_format(attributes: Json) -> Json | None:
    schema = _object(attributes.get("gen_ai.request.structured_output_schema"))
    if schema.get("type") in ("json_object", "json_schema"):
        return schema
    if schema:
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    names = ("gen_ai.output.type", "gen_ai.openai.request.response_format")
    asked = _first(attributes, *names)
    return {"type": "json_object"} if asked in ("json", "json_object", "json_schema") else None


# --- messages, in each of the conventions ---------------------------------------------------------
def _messages(attributes: Json, events: list[Json]) -> list[Json]:
    if "gen_ai.input.messages" in attributes:
        asked = _loaded(attributes["gen_ai.input.messages"], "gen_ai.input.messages")
        given = _loaded(attributes.get("gen_ai.system_instructions", []), "system_instructions")
        instructions = [{"role": "system", "parts": given}] if given else []
        return [turn for item in objects_in([*instructions, *asked]) for turn in _turns(item)]
    for prefix in ("llm.input_messages", "gen_ai.prompt"):
        if items := _nested(attributes, prefix):
            return [turn for item in items for turn in _turns(item)]
    told = [_event_item(event) for event in events if MESSAGE.fullmatch(event["name"])]
    prompts = [e["body"].get("gen_ai.prompt") for e in _named(events, PROMPT)]
    plain = [attributes.get("gen_ai.prompt"), *prompts]
    return [turn for item in [*told, *_loose(plain, "user")] for turn in _turns(item)]


def _choices(attributes: Json, events: list[Json]) -> list[Json]:
    reasons = attributes.get("gen_ai.response.finish_reasons", attributes.get("llm.finish_reason"))
    told = reasons if isinstance(reasons, list) else [reasons]
    choices = []
    for at, item in enumerate(_answers(attributes, events)):
        turn = next(iter(_turns({"role": "assistant", **item})), None)
        if turn is None:
            continue
        reason = item.get("finish_reason") or (told[at] if at < len(told) else None)
        choices.append(
            {
                "index": at,
                "message": {"content": None, **turn, "role": "assistant"},
                "finish_reason": FINISHES.get(reason, reason) if isinstance(reason, str) else None,
            }
        )
    return choices


def _answers(attributes: Json, events: list[Json]) -> Iterable[Json]:
    if "gen_ai.output.messages" in attributes:
        return objects_in(_loaded(attributes["gen_ai.output.messages"], "gen_ai.output.messages"))
    for prefix in ("llm.output_messages", "gen_ai.completion"):
        if items := _nested(attributes, prefix):
            return items
    told = _named(events, CHOICE)
    if told:
        return [_event_item(e) for e in sorted(told, key=lambda e: str(e["body"].get("index")))]
    said = [e["body"].get("gen_ai.completion") for e in _named(events, COMPLETION)]
    return _loose([attributes.get("gen_ai.completion"), *said], "assistant")


def _event_item(event: Json) -> Json:
    """Return a per-message event's message; some write its body as JSON into one attribute."""
    body = {**event["body"], **_object(event["body"].get("gen_ai.event.content"))}
    known = MESSAGE.fullmatch(event["name"])
    return {"role": known[1], **body} if known else body


def _turns(item: Json) -> list[Json]:
    """Return one message of any convention as chat's; results of several tools are as many."""
    nested = item.get("message")
    if isinstance(nested, dict):
        item = {**item, **nested}
    role = str(item.get("role") or "user")
    if isinstance(item.get("parts"), list):
        return _from_parts(role, objects_in(item["parts"]))
    turn: Json = {"role": role, "content": _content(item)}
    if calls := [_tool_call(call) for call in objects_in(item.get("tool_calls"))]:
        turn["tool_calls"] = calls
    if role == "tool" and (answered := item.get("tool_call_id") or item.get("id")):
        turn["tool_call_id"] = answered
    return [turn]


def _content(item: Json) -> Any:
    if "contents" in item:
        parts = (_object(part.get("message_content")) for part in objects_in(item["contents"]))
        return _joined([_part(part) for part in parts])
    content = item.get("content")
    if isinstance(content, str) and content.startswith("[{"):  # OpenLLMetry writes parts as JSON
        given = _tried(content)
        if isinstance(given, list) and all(isinstance(p, dict) and "type" in p for p in given):
            return _joined(given)
    return content


def _from_parts(role: str, parts: list[Json]) -> list[Json]:
    results = [part for part in parts if part.get("type") == "tool_call_response"]
    turns: list[Json] = [
        {"role": "tool", "tool_call_id": part.get("id"), "content": _text(part)} for part in results
    ]
    calls = [_tool_call(part) for part in parts if part.get("type") == "tool_call"]
    thoughts = [str(p.get("content", "")) for p in parts if p.get("type") == "reasoning"]
    apart = ("tool_call_response", "tool_call", "reasoning")
    said = [_part(part) for part in parts if part.get("type") not in apart]
    if said or calls or not results:
        turn: Json = {"role": role, "content": _joined(said)}
        if calls:
            turn["tool_calls"] = calls
        if thoughts:
            turn["reasoning_content"] = "\n".join(thoughts)
        turns.append(turn)
    return turns


def _part(part: Json) -> Json:
    """Return a part of a message under its name in chat; what chat does not know, as it is."""
    modality = part.get("modality", part.get("type"))
    uri = part.get("uri") or _object(_object(part.get("image")).get("image")).get("url")
    if part.get("type") == "text":
        return {"type": "text", "text": str(part.get("content", part.get("text", "")))}
    if part.get("type") == "blob":
        uri = f"data:{part.get('mime_type') or ''};base64,{part.get('content', '')}"
    if uri and modality == "image":
        return {"type": "image_url", "image_url": {"url": uri}}
    return part


def _joined(parts: list[Json]) -> Any:
    """Return the content of a message: its text where it is one text, else its parts."""
    if not parts:
        return None
    return parts[0]["text"] if [p.get("type") for p in parts] == ["text"] else parts


def _text(part: Json) -> str:
    said = part.get("response", part.get("result"))
    return said if isinstance(said, str) else orjson.dumps(said).decode()


def _tool_call(call: Json) -> Json:
    call = _object(call.get("tool_call", call))
    function = _object(call.get("function", call))
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = "{}" if arguments is None else orjson.dumps(arguments).decode()
    named = {"name": str(function.get("name", "")), "arguments": arguments}
    return {"id": call.get("id"), "type": "function", "function": named}


# --- reading --------------------------------------------------------------------------------------
def _first(attributes: Json, *names: str) -> Any:
    return next((attributes[name] for name in names if attributes.get(name) is not None), None)


def _named(events: Iterable[Json], name: str) -> list[Json]:
    return [event for event in events if event["name"] == name]


def _loaded(value: object, name: str) -> list[Any]:
    """Return a list that an attribute holds, as it is or as JSON."""
    loaded = _tried(value) if isinstance(value, str) else value
    if not isinstance(loaded, list):
        raise InvalidInput(f"{name} is no JSON list (is its length limited where it is sent?).")
    return loaded


def _object(value: object) -> Json:
    """Return an object that an attribute holds, as it is or as JSON; empty where it is none."""
    loaded = _tried(value) if isinstance(value, str) else value
    return dict(loaded) if isinstance(loaded, dict) else {}


def _tried(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _loose(values: Iterable[object], role: str) -> Iterator[Json]:
    """Yield the messages of texts that are either JSON lists of messages or what was said."""
    for text in values:
        listed = _tried(text) if isinstance(text, str) else text
        if isinstance(listed, list):
            yield from objects_in(listed)
        elif isinstance(text, str):
            yield {"role": role, "content": text}


def _nested(attributes: Json, prefix: str) -> list[Json]:
    """Return the list that dotted names spell: {"p.0.role": "user"} as [{"role": "user"}]."""
    root: Json = {}
    for name, value in attributes.items():
        if name.startswith(f"{prefix}."):
            *path, last = name.removeprefix(f"{prefix}.").split(".", MAX_STEPS)
            node = root
            for step in path:
                inner = node.setdefault(step, {})
                node = inner if isinstance(inner, dict) else {}
            node[last] = value
    return objects_in(_listed(root))


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(key.isdecimal() and key.isascii() for key in node):
        return [_listed(node[key]) for key in sorted(node, key=int)]
    return {key: _listed(value) for key, value in node.items()}
