"""A FAKE teacher that does everything wrong that endpoints have been seen to do, and bills for it.

It bills each answer that it makes, whether it arrives or not, and knows no idempotency: what it
bills is the most that any honest endpoint could.
"""

import asyncio
import json
from collections import Counter
from random import Random
from typing import Any

from factory.demo.upstream import Receive, Scope, Send, read_body
from tests.fakes import DroppedConnectionError, ScriptedUpstream

FAULTS = ("storm", "error", "truncated", "schema", "hang", "dropped", "usage", "huge", "twice")
HUGE_BYTES = 17_000_000


class HostileTeacher(ScriptedUpstream):
    """Answers a share of the calls by a fault of `faults`, the others right."""

    def __init__(
        self, *, faults: tuple[str, ...] = FAULTS, share: float = 0.4, seed: int = 0
    ) -> None:
        super().__init__()
        self.faults = faults
        self.share = share
        self.draw = Random(seed)
        self.met: Counter[str] = Counter()
        self.billed: list[tuple[int, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        if not scope["path"].endswith("/chat/completions"):
            return
        fault = self.draw.choice(self.faults) if self.draw.random() < self.share else "none"
        self.met[fault] += 1
        if fault == "storm":
            await _send(send, b'{"error": {"message": "slow"}}', 429, b"20")
            return
        if fault == "error":
            await _send(send, b"<html>bad gateway</html>", 502, b"20")
            return
        completion = self._complete(json.loads(body))
        usage = completion["usage"]
        self.billed.append((usage["prompt_tokens"], usage["completion_tokens"]))
        await self._answer(fault, completion, send)

    async def _answer(self, fault: str, completion: dict[str, Any], send: Send) -> None:
        message = completion["choices"][0]["message"]
        if fault == "hang":
            await asyncio.sleep(30)
        if fault == "schema":
            message["content"] = self.draw.choice(['{"answer": "nonsense"}', "", "{", '{"x": 1}'])
        if fault == "usage":
            wrong = [10**12, -5, 0, None, "many", True, 10**30]
            completion["usage"] = dict.fromkeys(completion["usage"], self.draw.choice(wrong))
        if fault == "twice":
            completion["choices"] *= 2
        raw = json.dumps(completion).encode()
        if fault == "truncated":
            raw = raw[: len(raw) // 2]
        if fault == "huge":
            raw += b" " * HUGE_BYTES
        await _send(send, raw, drop=fault == "dropped")


async def _send(
    send: Send, raw: bytes, status: int = 200, retry_after_ms: bytes = b"", *, drop: bool = False
) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(raw)).encode()),
        (b"x-understudy-demo", b"fake upstream"),
    ]
    if retry_after_ms:
        headers.append((b"retry-after-ms", retry_after_ms))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if drop:
        await send({"type": "http.response.body", "body": raw[:20], "more_body": True})
        raise DroppedConnectionError
    await send({"type": "http.response.body", "body": raw})
