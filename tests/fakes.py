"""The fake provider that tests script: it speaks OpenAI's protocol over real loopback HTTP.

    with ScriptedUpstream().serve() as base_url:
        ...

Unscripted chat calls are answered by the demo's rules, with no mistakes added.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from factory.demo.upstream import DemoUpstream, Receive, Scope, Send, read_body

# What a model is asked by; a script answers these, the rules only chat completions.
ENDPOINTS = ("/chat/completions", "/completions", "/embeddings", "/responses")
TEACHER = "teacher-xl"
PRODUCTION = "frontier-large"


@dataclass(frozen=True)
class Received:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """A scripted answer: JSON, raw bytes, or events sent one by one; `drop` ends it mid-way.

    `pause_s` passes before each event but the first.
    """

    status: int = 200
    body: object = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    events: Sequence[bytes] = ()
    delay_s: float = 0
    pause_s: float = 0
    drop: bool = False


class DroppedConnectionError(Exception):
    """Raised in the server so that it cuts the connection, as a crashed provider does."""


class ScriptedUpstream(DemoUpstream):
    """Keeps what it received, answers chat calls from a script first, and can be held.

    Models: "frontier-large" and "teacher-xl", or those of `error_rates`.
    """

    def __init__(self, error_rates: Mapping[str, float] | None = None, **options: Any) -> None:
        rates = {PRODUCTION: 0.0, TEACHER: 0.0} if error_rates is None else error_rates
        super().__init__(rates, **{"latency_ms": 0, **options})
        self.requests: list[Received] = []
        self._script: deque[Reply] = deque()
        self._arrived = threading.Condition()
        self._open = threading.Event()
        self._open.set()

    @property
    def chats(self) -> list[Received]:
        """The chat calls among the requests."""
        return [r for r in self.requests if r.path.endswith("/chat/completions")]

    def script(self, *replies: Reply) -> None:
        """The next calls get these, in this order; after them the rules answer again."""
        self._script.extend(replies)

    def hold(self) -> None:
        """Let chat calls arrive but answer none of them until `release()`."""
        self._open.clear()

    def release(self) -> None:
        """Answer what was held, and everything after it."""
        self._open.set()

    def wait_for_chats(self, count: int, timeout_s: float = 30) -> None:
        """Return once `count` chat calls have arrived; `TimeoutError` if they do not."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.chats) >= count, timeout_s):
                raise TimeoutError(f"{len(self.chats)} of {count} chat calls after {timeout_s} s")

    @contextmanager
    def serve(self, host: str = "127.0.0.1") -> Iterator[str]:
        with super().serve(host) as base_url:
            try:
                yield base_url
            finally:
                self.release()  # a held call would keep the server from stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        headers = {k.decode().lower(): v.decode("latin-1") for k, v in scope["headers"]}
        query = scope["query_string"].decode()
        received = Received(scope["method"], scope["path"], headers, body, query)
        with self._arrived:
            self.requests.append(received)
            self._arrived.notify_all()
        if received.path.endswith(ENDPOINTS) or "/responses/" in received.path:
            await asyncio.to_thread(self._open.wait)
            if self._script:
                return await _play(self._script.popleft(), send)

        async def replayed() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        return await super().__call__(scope, replayed, send)


def completion(content: str, model: str = TEACHER, **choice: Any) -> dict[str, Any]:
    """A `chat.completion` body with one choice, to script."""
    message = {"role": "assistant", "content": content, "refusal": None}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    }


def events_of(*chunks: object) -> list[bytes]:
    """Server-sent events as OpenAI frames them."""
    return [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]


def openai_error(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
    """An error in OpenAI's shape; header names are given with `_` for `-`."""
    error = {"message": message, "type": "api_error", "param": None, "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": error}, named)


async def _play(reply: Reply, send: Send) -> None:
    await asyncio.sleep(reply.delay_s)
    raw = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    kind = "text/event-stream" if reply.events else "application/json"
    headers = {"content-type": kind, "x-understudy-demo": "fake upstream", **reply.headers}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
    for at, part in enumerate((*reply.events, raw)):
        await asyncio.sleep(reply.pause_s if at else 0)
        await send({"type": "http.response.body", "body": part, "more_body": True})
    if reply.drop:
        raise DroppedConnectionError
    await send({"type": "http.response.body", "body": b""})
