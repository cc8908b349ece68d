"""Server-sent events of a streamed answer, put together as they come to the answer they spell.

Whatever an upstream sends, nothing here raises: what cannot be read is left out.
"""

from typing import Any

import orjson

from factory.messages import Json, object_of, objects_in, string_of

MAX_INDEX = 128  # of choices and tool calls: a number from outside must not size ours
MAX_LINE = 8 * 1024 * 1024
HEAD = ("id", "created", "model", "system_fingerprint", "service_tier")
TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
ENDS = {"response.completed", "response.incomplete", "response.failed"}


class Stream:
    """One streamed answer of an endpoint: "chat/completions", "completions" or "responses"."""

    def __init__(self, endpoint: str) -> None:
        self.is_ended = False  # the mark came by which clients know the end
        self._rest = b""
        self._answer = _Responses() if endpoint == "responses" else _Choices(endpoint)

    @property
    def has_content(self) -> bool:
        """Whether something of the answer itself has come, not only its frame."""
        return self._answer.has_content

    @property
    def is_whole(self) -> bool:
        """Whether the answer came to its end."""
        return self.is_ended or self._answer.is_finished

    def feed(self, chunk: bytes) -> None:
        """Take note of the next bytes, however they were cut."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest if len(rest) <= MAX_LINE else b""
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip())

    def response(self) -> Json | None:
        """Return the answer as if it had not been streamed, as far as it came; None: nothing."""
        return self._answer.response()

    def _event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.is_ended = True
            return
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            return
        if isinstance(event, dict):
            self._answer.add(event)
            self.is_ended = self.is_ended or string_of(event.get("type")) in ENDS


class _Choices:
    """What the chunks of a chat completion, or of a legacy completion, add up to."""

    def __init__(self, endpoint: str) -> None:
        self.object = "text_completion" if endpoint == "completions" else "chat.completion"
        self.has_content = False
        self.head: Json = {}
        self.tail: Json = {}  # what comes once and late: usage, an error
        self.choices: dict[int, _Choice] = {}

    @property
    def is_finished(self) -> bool:
        return bool(self.choices) and all(c.finish_reason for c in self.choices.values())

    def add(self, chunk: Json) -> None:
        for name in HEAD:
            if self.head.get(name) is None:
                self.head[name] = chunk.get(name)
        for name in ("usage", "error"):
            if chunk.get(name):
                self.tail[name] = chunk[name]
        for piece in objects_in(chunk.get("choices")):
            index = _index(piece)
            if index is not None:
                choice = self.choices.setdefault(index, _Choice())
                self.has_content = choice.add(piece) or self.has_content

    def response(self) -> Json | None:
        if not self.head:
            return None
        is_chat = self.object == "chat.completion"
        return {
            **{name: value for name, value in self.head.items() if value is not None},
            "object": self.object,
            "choices": [
                {"index": index, **(choice.chat() if is_chat else choice.text())}
                for index, choice in sorted(self.choices.items())
            ],
            "usage": None,
            **self.tail,
        }


class _Choice:
    """One of the alternatives of an answer; texts are kept in pieces and joined once."""

    def __init__(self) -> None:
        self.role = "assistant"
        self.finish_reason: str | None = None
        self.texts: dict[str, list[str]] = {}
        self.tools: dict[int, _Tool] = {}
        self.logprobs: dict[str, list[Any]] = {}

    def add(self, piece: Json) -> bool:
        """Add a chunk's part of this choice; tell whether it held something of the answer."""
        delta = object_of(piece.get("delta"))
        self.finish_reason = string_of(piece.get("finish_reason")) or self.finish_reason
        self.role = string_of(delta.get("role")) or self.role
        added = self._add_text("text", piece.get("text"))
        for name in TEXTS:
            added = self._add_text(name, delta.get(name)) or added
        for call in objects_in(delta.get("tool_calls")):
            added = self._add_tool(call) or added
        if isinstance(delta.get("function_call"), dict):  # the form before tools
            added = self._add_tool({"index": 0, "function": delta["function_call"]}) or added
        for name, values in object_of(piece.get("logprobs")).items():
            if isinstance(values, list):
                self.logprobs.setdefault(name, []).extend(values)
        return added

    def _add_text(self, name: str, value: object) -> bool:
        if not isinstance(value, str):
            return False
        self.texts.setdefault(name, []).append(value)
        return value != ""

    def _add_tool(self, piece: Json) -> bool:
        index = _index(piece)
        if "index" not in piece and self.tools:  # some servers number nothing: an id starts a call
            index = len(self.tools) - (0 if piece.get("id") else 1)
        if index is None or index >= MAX_INDEX:
            return False
        self.tools.setdefault(index, _Tool()).add(piece)
        return True

    def chat(self) -> Json:
        message: Json = {"role": self.role, "content": None}
        message |= {name: "".join(parts) for name, parts in self.texts.items()}
        if self.tools:
            message["tool_calls"] = [tool.whole() for _, tool in sorted(self.tools.items())]
        return {"message": message, **self._ending()}

    def text(self) -> Json:
        return {"text": "".join(self.texts.get("text", [])), **self._ending()}

    def _ending(self) -> Json:
        logprobs = {"logprobs": self.logprobs} if self.logprobs else {}
        return {**logprobs, "finish_reason": self.finish_reason}


class _Tool:
    """One tool call of a choice: a function with arguments, or a custom tool with its input."""

    def __init__(self) -> None:
        self.id, self.type = "", "function"
        self.parts: dict[str, list[str]] = {"name": [], "arguments": []}

    def add(self, piece: Json) -> None:
        self.id = string_of(piece.get("id")) or self.id
        self.type = string_of(piece.get("type")) or self.type
        for name, value in object_of(piece.get("function") or piece.get("custom")).items():
            if isinstance(value, str):
                self.parts.setdefault(name, []).append(value)

    def whole(self) -> Json:
        said = {name: "".join(parts) for name, parts in self.parts.items()}
        if self.type == "custom":
            said.pop("arguments")
        return {"id": self.id, "type": self.type, self.type: said}


class _Responses:
    """What the events of the Responses API add up to; its last event holds the whole answer."""

    def __init__(self) -> None:
        self.has_content = self.is_finished = False
        self.base: Json = {}
        self.items: dict[int, Json] = {}
        self.texts: dict[int, list[str]] = {}  # of items that are not done

    def add(self, event: Json) -> None:
        kind = string_of(event.get("type"))
        if isinstance(event.get("response"), dict):
            self.base = event["response"]
            self.is_finished = self.is_finished or kind in ENDS
        elif kind == "error":
            self.base = {**self.base, "error": {k: v for k, v in event.items() if k != "type"}}
        elif kind.endswith(".delta"):
            self._add_delta(event)
        elif kind in {"response.output_item.added", "response.output_item.done"}:
            index = _index(event, "output_index")
            if index is not None:
                self.items[index] = object_of(event.get("item"))
            if kind.endswith("done"):
                self.texts.pop(index or 0, None)

    def _add_delta(self, event: Json) -> None:
        delta, index = event.get("delta"), _index(event, "output_index")
        if isinstance(delta, str) and delta and index is not None:
            self.has_content = True
            self.texts.setdefault(index, []).append(delta)

    def response(self) -> Json | None:
        if self.is_finished or not (self.base or self.items or self.texts):
            return self.base or None
        items = [self._item(index) for index in sorted({*self.items, *self.texts})]
        return {"object": "response", **self.base, "status": "incomplete", "output": items}

    def _item(self, index: int) -> Json:
        item = self.items.get(index) or {"type": "message", "role": "assistant"}
        if index not in self.texts:
            return item
        said = "".join(self.texts[index])
        if item.get("type") == "function_call":
            return {**item, "arguments": said}
        if item.get("type") == "reasoning":
            return {**item, "summary": [{"type": "summary_text", "text": said}]}
        return {**item, "content": [{"type": "output_text", "text": said}]}


def _index(piece: Json, name: str = "index") -> int | None:
    value = piece.get(name) or 0
    return value if isinstance(value, int) and 0 <= value < MAX_INDEX else None
