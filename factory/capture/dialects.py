"""One shape for what every endpoint said: chat messages in, a chat completion out.

Apps speak chat completions, legacy completions, embeddings or the Responses API; everything that
is done with a call later (grouping, labelling, training) reads chat. What has the chat shape
already comes back unchanged, and so does what cannot be read: an error's body, a broken answer.
"""

from collections.abc import Iterator
from typing import Any

from factory.digest import canonical_json
from factory.messages import Json, object_of, objects_in, string_of

FINISHES = {"max_output_tokens": "length", "content_filter": "content_filter"}
RENAMED_USAGE = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}


def chat_form(endpoint: str, request: Json, response: Json | None) -> tuple[Json, Json | None]:
    """Return a call of `endpoint` as `(request with messages, response with choices)`."""
    if endpoint not in FORMS:
        return request, response
    asked, answered = FORMS[endpoint]
    return (
        request if "messages" in request else asked(request),
        response if response is None else answered(response),
    )


# --- legacy completions ---------------------------------------------------------------------------
def _from_prompt(request: Json) -> Json:
    rest = {name: value for name, value in request.items() if name != "prompt"}
    return {**rest, "messages": _user(request.get("prompt", ""))}


def _from_texts(response: Json) -> Json:
    if not any("text" in choice for choice in objects_in(response.get("choices"))):
        return response
    choices = [
        {
            **{name: value for name, value in choice.items() if name != "text"},
            "message": {"role": "assistant", "content": choice.get("text")},
        }
        for choice in objects_in(response["choices"])
    ]
    return {**response, "object": "chat.completion", "choices": choices}


# --- embeddings -----------------------------------------------------------------------------------
def _from_embedded(request: Json) -> Json:
    rest = {name: value for name, value in request.items() if name != "input"}
    return {**rest, "messages": _user(request.get("input", ""))}


def _from_vectors(response: Json) -> Json:
    """Keep what was billed and how large the vectors were; the vectors teach no student."""
    if not isinstance(response.get("data"), list):
        return response
    vectors = [vector.get("embedding") for vector in objects_in(response["data"])]
    dimensions = len(vectors[0]) if vectors and isinstance(vectors[0], list) else None
    rest = {name: value for name, value in response.items() if name != "data"}
    usage = object_of(response.get("usage"))
    return {
        **rest,
        "object": "chat.completion",
        "choices": [],
        "usage": {**usage, "completion_tokens": 0} if usage else None,
        "embeddings": {"count": len(vectors), "dimensions": dimensions},
    }


# --- the Responses API ----------------------------------------------------------------------------
def _from_input(request: Json) -> Json:
    rest = {k: v for k, v in request.items() if k not in {"input", "instructions", "text"}}
    messages: list[Json] = []
    if isinstance(request.get("instructions"), str):
        messages.append({"role": "system", "content": request["instructions"]})
    given = request.get("input", [])
    if isinstance(given, list):
        for item in objects_in(given):
            _add_item(messages, item)
    else:
        messages += _user(given)
    asked = {**rest, "messages": messages, **_format(object_of(request.get("text")))}
    if isinstance(rest.get("tools"), list):
        asked["tools"] = [_tool(tool) for tool in rest["tools"]]
    if isinstance(rest.get("tool_choice"), dict):
        asked["tool_choice"] = _tool(rest["tool_choice"])
    if "max_output_tokens" in asked:
        asked["max_completion_tokens"] = asked.pop("max_output_tokens")
    if effort := object_of(asked.get("reasoning")).get("effort"):
        asked["reasoning_effort"] = effort
    return asked


def _add_item(messages: list[Json], item: Json) -> None:
    kind = string_of(item.get("type", "message"))
    if kind in {"function_call", "custom_tool_call"}:
        last = messages[-1] if messages else {}
        if last.get("role") != "assistant":
            last = {"role": "assistant", "content": None}
            messages.append(last)
        last.setdefault("tool_calls", []).append(_tool_call(item))
    elif kind in {"function_call_output", "custom_tool_call_output"}:
        answer = {"tool_call_id": item.get("call_id"), "content": _content(item.get("output"))}
        messages.append({"role": "tool", **answer})
    elif kind == "message" and isinstance(item.get("role"), str):
        messages.append({"role": item["role"], "content": _content(item.get("content"))})


def _content(content: object) -> Any:
    """Return a message's content with its parts under their names in chat."""
    if not isinstance(content, list):
        return content if isinstance(content, str) or content is None else _json(content)
    parts = [_part(part) for part in objects_in(content)]
    texts = [part["text"] for part in parts if part.get("type") == "text"]
    if len(texts) == len(parts) and all(isinstance(text, str) for text in texts):
        return "".join(texts)
    return parts


def _part(part: Json) -> Json:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": part.get("text", "")}
        case "refusal":
            return {"type": "text", "text": part.get("refusal", "")}
        case "input_image" if part.get("image_url"):
            detail = {"detail": part["detail"]} if part.get("detail") else {}
            return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
        case "input_file":
            return {"type": "file", "file": {k: v for k, v in part.items() if k != "type"}}
    return part


def _format(text: Json) -> Json:
    wanted = object_of(text.get("format"))
    verbosity = {"verbosity": text["verbosity"]} if "verbosity" in text else {}
    if wanted.get("type") == "json_schema":
        schema = {name: value for name, value in wanted.items() if name != "type"}
        return {"response_format": {"type": "json_schema", "json_schema": schema}, **verbosity}
    return {**({"response_format": wanted} if wanted else {}), **verbosity}


def _tool(tool: object) -> object:
    """Return a function tool, or a choice of one, in chat's nested form."""
    if not isinstance(tool, dict) or tool.get("type") != "function" or "function" in tool:
        return tool
    return {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}


def _tool_call(item: Json) -> Json:
    said = {"name": item.get("name", "")}
    if item.get("type") == "custom_tool_call":
        custom = {**said, "input": item.get("input", "")}
        return {"id": item.get("call_id"), "type": "custom", "custom": custom}
    function = {**said, "arguments": item.get("arguments", "")}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _from_output(response: Json) -> Json:
    if not isinstance(response.get("output"), list):
        return response
    message: Json = {"role": "assistant", "content": None}
    for item in objects_in(response["output"]):
        _add_output(message, item)
    kept = ("id", "model", "service_tier", "error", "previous_response_id")
    usage = object_of(response.get("usage"))
    return {
        **{name: response[name] for name in kept if response.get(name) is not None},
        **({"created": response["created_at"]} if "created_at" in response else {}),
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": _finish(response, message)}],
        "usage": {RENAMED_USAGE.get(k, k): v for k, v in usage.items()} or None,
    }


def _add_output(message: Json, item: Json) -> None:
    if string_of(item.get("type")) in {"function_call", "custom_tool_call"}:
        message.setdefault("tool_calls", []).append(_tool_call(item))
    elif item.get("type") == "reasoning":
        thought = "\n".join(_texts(item.get("summary"), "text"))
        if thought:
            message["reasoning_content"] = thought
    elif item.get("type") == "message":
        said = "".join(_texts(item.get("content"), "text"))
        refused = "".join(_texts(item.get("content"), "refusal"))
        message["content"] = (message["content"] or "") + said
        if refused:
            message["refusal"] = refused


def _finish(response: Json, message: Json) -> str | None:
    if response.get("status") == "completed":
        return "tool_calls" if "tool_calls" in message else "stop"
    why = object_of(response.get("incomplete_details")).get("reason")
    return FINISHES.get(why) if isinstance(why, str) else None


# --- what all share -------------------------------------------------------------------------------
def _user(given: object) -> list[Json]:
    """Return one user turn; of several inputs each is a part, of token ids the ids' JSON."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    inputs = given if isinstance(given, list) else [given]
    if all(isinstance(item, int) for item in inputs):
        return [{"role": "user", "content": _json(inputs)}]
    texts = [item if isinstance(item, str) else _json(item) for item in inputs]
    return [{"role": "user", "content": [{"type": "text", "text": text} for text in texts]}]


def _json(value: object) -> str:
    return canonical_json(value).decode()


def _texts(parts: object, name: str) -> Iterator[str]:
    return (part[name] for part in objects_in(parts) if isinstance(part.get(name), str))


FORMS = {
    "completions": (_from_prompt, _from_texts),
    "embeddings": (_from_embedded, _from_vectors),
    "responses": (_from_input, _from_output),
}
