"""Server-sent events of a streamed chat completion, put together to the completion they spell."""

from typing import Any

import orjson

Json = dict[str, Any]

MAX_TOOL_CALLS = 128  # an index from outside must not size a list of ours


def assemble(stream: bytes) -> Json | None:
    """Return the chat completion that a stream of chunks adds up to; None where it holds none.

    A stream cut short gives what had arrived, with whatever finish_reason was seen.
    """
    chunks = [chunk for line in stream.split(b"\n") if (chunk := _chunk(line)) is not None]
    if not chunks:
        return None
    choices: dict[int, Json] = {}
    usage = None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for piece in chunk.get("choices") or []:
            _add(choices.setdefault(int(piece.get("index") or 0), _empty_choice()), piece)
    first = {k: chunks[0].get(k) for k in ("id", "created", "model", "system_fingerprint")}
    return {
        **{k: v for k, v in first.items() if v is not None},
        "object": "chat.completion",
        "choices": [{"index": index, **choices[index]} for index in sorted(choices)],
        "usage": usage,
    }


def _chunk(line: bytes) -> Json | None:
    if not line.startswith(b"data:"):
        return None
    try:
        value = orjson.loads(line[5:])
    except orjson.JSONDecodeError:  # "[DONE]", or a line that was cut
        return None
    return value if isinstance(value, dict) else None


def _empty_choice() -> Json:
    return {"message": {"role": "assistant", "content": None}, "finish_reason": None}


def _add(choice: Json, piece: Json) -> None:
    message, delta = choice["message"], piece.get("delta") or {}
    choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]
    for name in ("content", "refusal"):
        if isinstance(delta.get(name), str):
            message[name] = (message.get(name) or "") + delta[name]
    for call in delta.get("tool_calls") or []:
        _add_tool_call(message.setdefault("tool_calls", []), call)


def _add_tool_call(calls: list[Json], piece: Json) -> None:
    index = int(piece.get("index") or 0)
    if not 0 <= index < MAX_TOOL_CALLS:
        return
    while len(calls) <= index:
        calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    call, function = calls[index], piece.get("function") or {}
    call["id"] = piece.get("id") or call["id"]
    for name in ("name", "arguments"):
        call["function"][name] += function.get(name) or ""
