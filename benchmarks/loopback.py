"""Both ends of a gateway under measurement, made to cost little themselves: a fixed-answer model
server and a closed-loop load generator, on asyncio protocols over loopback.

python benchmarks/loopback.py PORT     serves until it is stopped

The server is a FAKE provider: a completion is one of some 1.2 KB answers, a stream the same
50 chunks, one every 2 ms.
"""  # noqa: D205

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from statistics import median
from typing import cast

import uvloop

CHUNKS, CHUNK_SECONDS = 50, 0.002
TEXT = (
    "Thank you for your patience. We have looked at your account and at order {at}, and the second "
    "charge of {at}.90 EUR was indeed a mistake of ours. It has been paid back today; depending on "
    "your bank it takes two or three working days until you see it. We are sorry for the trouble, "
    "and have added a voucher to your account that you can use for your next order. "
) * 2


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    chunk = {
        "id": "chatcmpl-loopback",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "frontier-large",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _whole(text: str) -> bytes:
    message = {"role": "assistant", "content": text, "refusal": None}
    answer = {
        "id": "chatcmpl-loopback",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "frontier-large",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 210, "completion_tokens": 190, "total_tokens": 400},
    }
    body = json.dumps(answer).encode()
    head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return f"HTTP/1.1 200 OK\r\n{head}x-request-id: req-loopback\r\n\r\n".encode() + body


WHOLE = cycle([_whole(TEXT.format(at=4000 + at)) for at in range(997)])
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
) + _framed(_event({"role": "assistant", "content": ""}))
TOKENS = [_framed(_event({"content": f"tok{at} "})) for at in range(CHUNKS - 2)]
STREAM_TAIL = _framed(_event({}, "stop")) + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"
FIRST_TOKEN = b"tok0 "


class ModelServer(asyncio.Protocol):
    """Answers every request on its connection, in order."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self.transport, self.received = cast("asyncio.Transport", transport), b""

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self.received += data
        while (length := _whole_request(self.received)) is not None:
            request, self.received = self.received[:length], self.received[length:]
            if b'"stream":true' in request.replace(b" ", b""):
                self.streaming = asyncio.create_task(self.stream())
            else:
                self.transport.write(next(WHOLE))

    async def stream(self) -> None:
        """Send the chunks at their pace."""
        self.transport.write(STREAM_HEAD)
        for token in TOKENS:
            self.transport.write(token)
            await asyncio.sleep(CHUNK_SECONDS)
        self.transport.write(STREAM_TAIL)


def _whole_request(received: bytes) -> int | None:
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return None
    length = head + 4 + _content_length(received[:head])
    return length if len(received) >= length else None


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def serve(port: int) -> None:
    """Serve the fixed answers."""
    server = await asyncio.get_running_loop().create_server(ModelServer, "127.0.0.1", port)
    await server.serve_forever()


@dataclass
class Load:
    """What a run of the generator saw; times in seconds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def p50_ms(self) -> float:
        """The middle latency."""
        return median(self.latencies) * 1000

    def ttft_ms(self) -> float:
        """The middle time to the first token of a stream."""
        return median(self.first_tokens) * 1000


class Client(asyncio.Protocol):
    """One connection that always has one request under way."""

    transport: asyncio.Transport

    def __init__(self, requests: Iterator[bytes], load: Load) -> None:
        self.requests, self.load = requests, load
        self.is_over = False
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.ask()

    def ask(self) -> None:
        """Send the next request, or leave where the time is over."""
        if self.is_over:
            self.transport.close()
            return
        self.received, self.has_token, self.asked = b"", False, time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        """Take note of the first token and of the end."""
        self.received += data
        now = time.perf_counter()
        if not self.has_token and FIRST_TOKEN in self.received:
            self.has_token = True
            self.load.first_tokens.append(now - self.asked)
        if not _is_whole_answer(self.received):
            return
        if self.received.startswith(b"HTTP/1.1 200 "):
            self.load.latencies.append(now - self.asked)
        else:
            self.load.failed += 1
        self.ask()

    def connection_lost(self, _error: Exception | None) -> None:
        """Count what was under way when the connection went, unless that was the end."""
        self.load.failed += not self.is_over
        self.ended.set_result(None)


def _is_whole_answer(received: bytes) -> bool:
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return False
    if b"chunked" in received[:head].lower():
        return received.endswith(b"0\r\n\r\n")
    return len(received) >= head + 4 + _content_length(received[:head])


def request_bytes(port: int, key: str, body: bytes) -> bytes:
    """Return a chat completion request as it goes over the wire."""
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"user-agent: loopback\r\naccept: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


def drive(port: int, requests: Iterator[bytes], *, connections: int, seconds: float) -> Load:
    """Keep `connections` requests under way for some seconds; what is under way then is waited for.

    The rate counts the time until the last of them has come.
    """
    return uvloop.run(_drive(port, requests, connections, seconds))


async def _drive(port: int, requests: Iterator[bytes], connections: int, seconds: float) -> Load:
    load, loop = Load(), asyncio.get_running_loop()
    started = time.perf_counter()
    pairs = [
        await loop.create_connection(lambda: Client(requests, load), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    for _, client in pairs:
        client.is_over = True
    await asyncio.gather(*(client.ended for _, client in pairs))
    load.seconds = time.perf_counter() - started
    return load


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
