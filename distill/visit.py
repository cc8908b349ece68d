"""One HTTP request at the gateway's door: its headers, its ids, its body, and where answers go."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson
from uuid_utils.compat import uuid7

from factory.errors import InvalidInput, TooLarge

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

DRAINED_BYTES = 256 * 1024 * 1024  # a refused body is read this far, so that the client hears why
MAX_GIVEN_ID = 128


@dataclass
class Visit:
    """A request on its way through the gateway."""

    method: str
    path: str
    query: bytes
    headers: Headers
    receive: Receive
    send: Send
    id: str  # ours
    trace_id: str  # the app's own x-request-id, where it sent one
    endpoint: str = "other"
    status: int = 0
    is_over: bool = False  # whether the answer is out, as far as it could be

    @property
    def ids(self) -> Headers:
        """Return the headers by which the app finds the call again."""
        given = (self.trace_id or self.id).encode("latin-1")
        return [(b"x-understudy-request-id", self.id.encode()), (b"x-request-id", given)]

    def header(self, name: bytes) -> str:
        """Return a header, empty where it was not sent exactly once."""
        found = [value for key, value in self.headers if key == name]
        return found[0].decode("latin-1") if len(found) == 1 else ""

    async def body(self, limit: int) -> bytes:
        """Read the body; `TooLarge` past the limit, after reading on so that the app hears it."""
        parts: list[bytes] = []
        size, more = 0, True
        while more and size <= DRAINED_BYTES:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise InvalidInput("The client went away before its body was whole.")
            part = message.get("body", b"")
            size, more = size + len(part), message.get("more_body", False)
            if size <= limit:
                parts.append(part)
        if size > limit:
            raise TooLarge(f"The body is over {limit} bytes.")
        return b"".join(parts)

    async def gone(self) -> None:
        """Return when the client has left."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, body: object, extra: Headers | None = None) -> None:
        """Send a whole JSON answer."""
        raw = orjson.dumps(body)
        await self.send_whole(status, raw, [(b"content-type", b"application/json"), *(extra or [])])

    async def send_whole(self, status: int, raw: bytes, headers: Headers) -> None:
        """Send a whole answer of any type."""
        self.status = status
        length = (b"content-length", str(len(raw)).encode())
        start = {"status": status, "headers": [*headers, *self.ids, length]}
        await self.send({"type": "http.response.start", **start})
        await self.send({"type": "http.response.body", "body": raw})


def visit_of(scope: Scope, receive: Receive, send: Send) -> Visit:
    """Return the visit of an ASGI request, with an id of its own."""
    visit = Visit(
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"],
        headers=scope["headers"],
        receive=receive,
        send=send,
        id=f"req-{uuid7().hex}",
        trace_id="",
    )
    given = visit.header(b"x-request-id")[:MAX_GIVEN_ID]
    visit.trace_id = given if given.isascii() and given.isprintable() else ""
    return visit
