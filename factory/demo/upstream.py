"""A FAKE model provider for the demo and the tests: it speaks OpenAI's protocol, it is no model.

It plays the production model `frontier-large` and the teacher `teacher-xl` on the sample support
desk. Answers come from phrase rules, with mistakes at a stated rate (`demo_rules`). It says so in
`GET /`, in the header `x-understudy-demo` and in `system_fingerprint`.

    python -m factory.demo.upstream --port 9000 --error-rate 0.08 --teacher-error-rate 0.03
"""

import argparse
import asyncio
import hashlib
import json
import re
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import uvicorn

from factory.demo.drafts import asks_for_drafts, drafts
from factory.demo.rules import ErrorRates, answer, rates_for

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Body = dict[str, Any]

ERROR_RATES = {"frontier-large": 0.08, "teacher-xl": 0.03}
LATENCY_MS = 30
FINGERPRINT = "fp_understudy_demo_fake"
_MARK = (b"x-understudy-demo", b"fake upstream")
_MAX_CHOICES = 16
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_PIECE = re.compile(r".{1,5}", re.DOTALL)


@dataclass
class Ledger:
    """What a provider would put on the bill."""

    calls: int = 0
    replays: int = 0
    billed_tokens: int = 0


@dataclass
class RefusedError(Exception):
    """An answer in OpenAI's error shape."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    retry_after_s: int | None = None

    def body(self) -> Body:
        """The JSON that goes out."""
        shown = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": shown}


class DemoUpstream:
    """The server as a bare ASGI app; `serve()` runs it on a free loopback port."""

    def __init__(
        self,
        error_rates: Mapping[str, float] | None = None,
        *,
        latency_ms: float = LATENCY_MS,
        rate_limit: int | None = None,
        seed: int = 0,
    ) -> None:
        """`error_rates` maps the served models' names to 0..1; `rate_limit` is calls a second."""
        self.error_rates = dict(ERROR_RATES if error_rates is None else error_rates)
        self.ledger = Ledger()
        self._rates: dict[str, ErrorRates] = {m: rates_for(r) for m, r in self.error_rates.items()}
        self._latency_s = latency_ms / 1000
        self._rate_limit = rate_limit
        self._recent: deque[float] = deque()
        self._stored: dict[tuple[str, str] | None, tuple[bytes, Body]] = {}
        self._random = Random(seed)  # noqa: S311 -- draws votes, guards nothing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        headers = {k.decode().lower(): v.decode("latin-1") for k, v in scope["headers"]}
        try:
            await self._route(scope, headers, receive, send)
        except RefusedError as refused:
            wait = refused.retry_after_s
            extra = [] if wait is None else [(b"retry-after", str(wait).encode())]
            await _send_json(send, refused.status, refused.body(), extra)

    @contextmanager
    def serve(self, host: str = "127.0.0.1") -> Iterator[str]:
        """Run in a thread; gives the base URL that an OpenAI client takes."""
        listening = socket.create_server((host, 0))
        server = self._server()
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{listening.getsockname()[1]}/v1"
        finally:
            server.should_exit = server.force_exit = True
            thread.join()
            listening.close()

    def run(self, host: str, port: int) -> None:
        """Serve until a signal; says where once it can be reached (port 0 picks a free one)."""
        with socket.create_server((host, port)) as listening:
            url = f"http://{host}:{listening.getsockname()[1]}/v1"
            print(f"demo upstream, a fake that errs at {self.error_rates}: {url}", flush=True)
            self._server().run([listening])

    def _server(self) -> uvicorn.Server:
        config = uvicorn.Config(self, log_level="warning", lifespan="off", access_log=False)
        return uvicorn.Server(config)

    async def _route(
        self, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send
    ) -> None:
        match scope["method"], scope["path"].rstrip("/"):
            case "GET", "":
                await _send_json(send, 200, self._about())
            case "GET", "/demo/ledger":
                await _send_json(send, 200, asdict(self.ledger))
            case "GET", "/v1/models":
                _key(headers)
                await _send_json(send, 200, self._models())
            case "POST", "/v1/chat/completions":
                await self._chat(headers, await read_body(receive), send)
            case method, path:
                message = f"Unknown request URL: {method} {path}."
                raise RefusedError(404, message, code="unknown_url")

    def _about(self) -> Body:
        return {
            "service": "Understudy demo upstream",
            "fake": True,
            "note": "No model runs here: phrase rules answer, and err on purpose at these rates.",
            "error_rates": self.error_rates,
        }

    def _models(self) -> Body:
        owned = {"object": "model", "created": 0, "owned_by": "understudy-demo-fake"}
        return {"object": "list", "data": [{"id": name, **owned} for name in self.error_rates]}

    async def _chat(self, headers: Mapping[str, str], raw: bytes, send: Send) -> None:
        key = _key(headers)
        self._count_against_limit()
        asked = _checked(raw, self.error_rates)
        replay_of = headers.get("idempotency-key")
        completion, replayed = self._billed(asked, raw, (key, replay_of) if replay_of else None)
        extra = [(b"x-idempotent-replay", b"true")] if replayed else []
        await asyncio.sleep(self._latency_s * (0.5 + self._random.expovariate(2.0)))
        if asked.get("stream"):
            await _send_stream(send, completion, asked.get("stream_options") or {}, extra)
        else:
            await _send_json(send, 200, completion, extra)

    # Not async on purpose: two calls at once with one idempotency key cannot both be billed.
    def _billed(self, asked: Body, raw: bytes, slot: tuple[str, str] | None) -> tuple[Body, bool]:
        """The completion, and whether it is a replay."""
        digest = hashlib.sha256(raw).digest()
        if slot in self._stored:
            stored_digest, completion = self._stored[slot]
            if stored_digest != digest:
                message = "This Idempotency-Key was used with another request body."
                raise RefusedError(400, message, code="idempotency_key_reused")
            self.ledger.replays += 1
            return completion, True
        completion = self._complete(asked)
        self.ledger.calls += 1
        self.ledger.billed_tokens += completion["usage"]["total_tokens"]
        if slot is not None:
            self._stored[slot] = (digest, completion)
        return completion, False

    def _count_against_limit(self) -> None:
        if self._rate_limit is None:
            return
        now = time.monotonic()
        while self._recent and now - self._recent[0] > 1:
            self._recent.popleft()
        if len(self._recent) >= self._rate_limit:
            message = f"Rate limit reached: {self._rate_limit} requests per second."
            raise RefusedError(429, message, "requests", "rate_limit_exceeded", retry_after_s=1)
        self._recent.append(now)

    def _complete(self, asked: Body) -> Body:
        """The whole `chat.completion` for a checked request."""
        model = asked["model"]
        text = _text(next(m for m in reversed(asked["messages"]) if m.get("role") == "user"))
        said = [
            drafts(text)
            if asks_for_drafts(asked)
            else _shaped(answer(model, text, self._rates[model], draw), text, asked)
            for draw in self._draws(asked)
        ]
        prompt = sum(_tokens(_text(m)) + _TOKENS_PER_MESSAGE for m in asked["messages"])
        completion = sum(_tokens(content) for content in said)
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": FINGERPRINT,
            "choices": [
                {
                    "index": index,
                    "message": {"role": "assistant", "content": content, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
                for index, content in enumerate(said)
            ],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            },
        }

    def _draws(self, asked: Body) -> list[str | None]:
        """One draw per choice; temperature 0 draws nothing, the same `seed` draws the same."""
        choices = asked.get("n") or 1
        if asked.get("temperature", 1) == 0:
            return [None] * choices
        seed = asked.get("seed")
        first = self._random.getrandbits(64) if seed is None else seed
        return [f"{first}/{index}" for index in range(choices)]


async def read_body(receive: Receive) -> bytes:
    """The whole request body of an ASGI request."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


def _key(headers: Mapping[str, str]) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise RefusedError(401, "You didn't provide an API key.", code="invalid_api_key")
    return key.strip()


def _checked(raw: bytes, models: Mapping[str, float]) -> Body:
    try:
        asked = json.loads(raw)
    except ValueError:
        message = "We could not parse the JSON body of your request."
        raise RefusedError(400, message, code="invalid_json") from None
    if not isinstance(asked, dict):
        raise RefusedError(400, "The body must be a JSON object.")
    if asked.get("model") not in models:
        message = f"The model `{asked.get('model')}` does not exist."
        raise RefusedError(404, message, code="model_not_found", param="model")
    messages = asked.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise RefusedError(400, "'messages' must be an array of messages.", param="messages")
    if not any(message.get("role") == "user" for message in messages):
        raise RefusedError(400, "'messages' must hold a user message.", param="messages")
    choices = asked.get("n") or 1
    if not isinstance(choices, int) or not 1 <= choices <= _MAX_CHOICES:
        raise RefusedError(400, f"'n' must be from 1 to {_MAX_CHOICES}.", param="n")
    return asked


def _text(message: Mapping[str, Any]) -> str:
    """The text of a message, whose content is a string or a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))


def _shaped(queue: str, text: str, asked: Body) -> str:
    """The answer in the asked form: JSON for a schema with one enum field, else the plain label."""
    response_format = asked.get("response_format") or {}
    schema = (response_format.get("json_schema") or {}).get("schema") or {}
    fields = [(n, s["enum"]) for n, s in (schema.get("properties") or {}).items() if s.get("enum")]
    if len(fields) != 1:
        return queue
    name, labels = fields[0]
    return json.dumps({name: queue if queue in labels else _closest(labels, text)})


def _closest(labels: Sequence[str], text: str) -> str:
    """For labels of another desk: the one that shares most words with the text."""
    words = set(re.findall(r"\w+", text.lower()))
    return max(labels, key=lambda label: len(words & set(re.split(r"\W|_", str(label).lower()))))


def _tokens(text: str) -> int:
    """An estimate: English runs at about four characters a token."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


async def _send_json(
    send: Send, status: int, body: Body, extra: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    payload = json.dumps(body).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(payload)).encode()),
        (b"x-request-id", f"req_{uuid.uuid4().hex}".encode()),
        _MARK,
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": payload})


async def _send_stream(
    send: Send, completion: Body, options: Mapping[str, Any], extra: Sequence[tuple[bytes, bytes]]
) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), _MARK, *extra]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for chunk in _chunks(completion, with_usage=bool(options.get("include_usage"))):
        event = b"data: " + json.dumps(chunk).encode() + b"\n\n"
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def _chunks(completion: Body, *, with_usage: bool) -> Iterator[Body]:
    """The completion as `chat.completion.chunk`s: role, content pieces, finish, then the usage."""
    kept = ("id", "created", "model", "system_fingerprint")
    head = {"object": "chat.completion.chunk", **{name: completion[name] for name in kept}}
    if with_usage:
        head["usage"] = None
    for choice in completion["choices"]:
        deltas = [{"role": "assistant", "content": ""}]
        deltas += [{"content": piece} for piece in _PIECE.findall(choice["message"]["content"])]
        for delta in deltas:
            yield {**head, "choices": [_delta(choice["index"], delta, None)]}
        yield {**head, "choices": [_delta(choice["index"], {}, choice["finish_reason"])]}
    if with_usage:
        yield {**head, "choices": [], "usage": completion["usage"]}


def _delta(index: int, delta: Mapping[str, str], finish_reason: str | None) -> Body:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A FAKE OpenAI-compatible provider for the demo.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--error-rate", type=float, default=ERROR_RATES["frontier-large"])
    parser.add_argument("--teacher-error-rate", type=float, default=ERROR_RATES["teacher-xl"])
    parser.add_argument("--latency-ms", type=float, default=LATENCY_MS, help="mean per call")
    parser.add_argument("--rate-limit", type=int, help="calls per second before 429")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    upstream = DemoUpstream(
        {"frontier-large": given.error_rate, "teacher-xl": given.teacher_error_rate},
        latency_ms=given.latency_ms,
        rate_limit=given.rate_limit,
        seed=given.seed,
    )
    upstream.run(given.host, given.port)


if __name__ == "__main__":
    main()
