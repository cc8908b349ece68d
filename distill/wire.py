"""The gateway's own HTTP/1.1 client, which costs a call a third of what a general one does.

It does what forwarding a call needs and no more: one request at a time on connections that are
kept, bytes as they come, every address checked as `factory.outgoing` does. No redirects, cookies,
proxies or decompression. Timeouts are its caller's, but for the one on connecting.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urlsplit

import httptools

from factory.errors import UpstreamFailed
from factory.outgoing import allowed_addresses

KEPT_SECONDS = 15.0  # a connection that nobody uses; many servers close theirs sooner, and say so
HIGH_WATER, LOW_WATER = 256 * 1024, 64 * 1024  # bytes of an answer that nobody has read yet
MAX_HEAD_BYTES = 512 * 1024
SAFE_IN_TARGET = "/%?=&:@!$'()*+,;~[]-._"
DEFAULT_PORTS = {"http": 80, "https": 443}
INTERIM = range(100, 200)
FRAMING = {b"content-length", b"transfer-encoding"}  # without them the connection's end is the end


class ConnectionBroken(ConnectionError):
    """The connection ended, or what came over it was no HTTP."""


@dataclass(frozen=True)
class Origin:
    """Where connections lead: one pool of them for each."""

    scheme: str
    host: str
    port: int

    @property
    def header(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@lru_cache(maxsize=1024)
def split_url(url: str) -> tuple[Origin, str]:
    """Return where a URL leads and the request target there, escaped."""
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise UpstreamFailed("The upstream's address is no http:// or https:// URL.")
    host = parts.hostname
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    origin = Origin(parts.scheme, host, parts.port or DEFAULT_PORTS[parts.scheme])
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return origin, quote(target, safe=SAFE_IN_TARGET)


class Answer:
    """An answer as it comes: `read` until it gives nothing, and `close` it whatever happens."""

    def __init__(self, connection: "Connection") -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []  # names in lower case
        self.is_begun = self.is_complete = False
        self.error: Exception | None = None
        self._connection = connection
        self._pieces: deque[bytes] = deque()
        self._unread = 0
        self._waiter: asyncio.Future[None] | None = None

    def header(self, name: bytes) -> str:
        """Return a header's first value, empty where it is not there."""
        return next((v.decode("latin-1") for n, v in self.headers if n == name), "")

    async def begun(self) -> None:
        """Return when status and headers are there; `ConnectionBroken` where they never come."""
        while not self.is_begun:
            await self._change()

    @property
    def has_news(self) -> bool:
        """Whether `read` would return at once."""
        return bool(self._pieces) or self.is_complete

    async def read(self) -> bytes:
        """Return what has come since, at least a byte; nothing at the answer's end."""
        while not self._pieces:
            if self.is_complete:
                return b""
            await self._change()
        joined = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._unread > HIGH_WATER:
            self._connection.transport.resume_reading()
        self._unread = 0
        return joined

    def close(self) -> None:
        """Give the connection back, or cut it where the answer was not read to its end."""
        self._connection.release(self)

    async def _change(self) -> None:
        if self.error is not None:
            raise self.error
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def wake(self) -> None:
        """Tell who waits that something has come, or nothing will any more."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def add(self, piece: bytes) -> None:
        """Keep a piece until it is read; past the mark, the connection is not read on."""
        before, self._unread = self._unread, self._unread + len(piece)
        self._pieces.append(piece)
        if before <= HIGH_WATER < self._unread:
            self._connection.transport.pause_reading()


class Connection(asyncio.Protocol):
    """One connection, which is idle or has one answer under way."""

    transport: asyncio.Transport

    def __init__(self, idle: "deque[Connection]") -> None:
        self.idle = idle
        self.idle_since = 0.0
        self.is_closed = self.may_stay = False
        self.answer: Answer | None = None
        self.parser = httptools.HttpResponseParser(self)
        self.head_bytes = 0

    def ask(self, request: bytes) -> Answer:
        """Send a request; its answer comes by and by."""
        self.answer, self.head_bytes, self.may_stay = Answer(self), 0, False
        self.parser = httptools.HttpResponseParser(self)
        self.transport.write(request)
        return self.answer

    def release(self, answer: Answer) -> None:
        """Become idle, where the connection can be used again."""
        if self.answer is not answer:
            return
        self.answer = None
        if answer.is_complete and self.may_stay and not self.is_closed:
            self.idle_since = time.monotonic()
            self.idle.append(self)
        else:
            self.transport.abort()

    # --- what the transport calls ---
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the way out."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Parse what comes; nothing may come where nothing was asked."""
        answer = self.answer
        if answer is None or answer.is_complete:
            self.transport.abort()
            return
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._break(answer, f"no HTTP answer: {error}")
        self.head_bytes += 0 if answer.is_begun else len(data)
        if self.head_bytes > MAX_HEAD_BYTES:
            self._break(answer, "the headers do not end")
        answer.wake()

    def _break(self, answer: Answer, why: str) -> None:
        answer.error = ConnectionBroken(why)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the answer: some are only ended by this."""
        self.is_closed = True
        answer = self.answer
        if answer is None or answer.is_complete:
            return
        has_length = any(name in FRAMING for name, _ in answer.headers)
        if answer.is_begun and exc is None and not has_length:
            answer.is_complete = True
        elif answer.error is None:
            answer.error = ConnectionBroken("the connection ended")
        answer.wake()

    # --- what the parser calls ---
    def on_message_begin(self) -> None:
        """Take note where more comes than one answer: who sends that is not asked again."""
        self.is_closed = self.is_closed or (self.answer is not None and self.answer.is_complete)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if self.answer is not None and not self.answer.is_begun:
            self.answer.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Begin the answer, unless it only says that there will be one."""
        if self.answer is not None and not self.answer.is_begun:
            self.answer.status = self.parser.get_status_code()
            self.answer.is_begun = self.answer.status not in INTERIM

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body."""
        if self.answer is not None and not self.answer.is_complete:
            self.answer.add(piece)

    def on_message_complete(self) -> None:
        """End the answer."""
        if self.answer is not None and self.answer.is_begun:
            self.answer.is_complete = True
            self.may_stay = self.parser.should_keep_alive()  # the parser knows it only now
        elif self.answer is not None:
            self.answer.headers.clear()  # those of an interim answer


class Client:
    """Kept connections by origin. `private_hosts` may be called although they are not public."""

    def __init__(self, private_hosts: Collection[str], *, connect_seconds: float) -> None:
        self.private_hosts = frozenset(private_hosts)
        self.connect_seconds = connect_seconds
        self.tls = ssl.create_default_context()
        self.tls.set_alpn_protocols(["http/1.1"])
        self._idle: dict[Origin, deque[Connection]] = {}

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """Send a request and return its answer once its headers are there.

        `ConnectionError`, `TimeoutError` or another `OSError`: the server cannot be reached, or
        broke off; `UpstreamFailed`: it may not be called.
        """
        origin, target = split_url(url)
        request = _request(method, target, origin, headers, body)
        connection = self._kept(origin) or await self._connect(origin)
        answer = connection.ask(request)
        try:
            await answer.begun()
        except BaseException:
            answer.close()
            raise
        return answer

    def close(self) -> None:
        """Close what is idle."""
        for idle in self._idle.values():
            while idle:
                idle.pop().transport.abort()

    def _kept(self, origin: Origin) -> Connection | None:
        """Return the connection that was used last; close those that nobody used for long."""
        idle = self._idle.setdefault(origin, deque())
        oldest = time.monotonic() - KEPT_SECONDS
        while idle and (idle[0].is_closed or idle[0].idle_since < oldest):
            idle.popleft().transport.abort()
        while idle:
            connection = idle.pop()
            if not (connection.is_closed or connection.transport.is_closing()):
                return connection
        return None

    async def _connect(self, origin: Origin) -> Connection:
        """Connect to exactly the address that was checked; to the next where one is dead."""
        loop, idle = asyncio.get_running_loop(), self._idle[origin]
        is_tls = origin.scheme == "https"
        error: OSError = ConnectionRefusedError(origin.host)
        async with asyncio.timeout(self.connect_seconds):
            for address in await allowed_addresses(origin.host, origin.port, self.private_hosts):
                try:
                    _, connection = await loop.create_connection(
                        lambda: Connection(idle),
                        address,
                        origin.port,
                        ssl=self.tls if is_tls else None,
                        server_hostname=origin.host if is_tls else None,
                    )
                except OSError as refused:
                    error = refused
                else:
                    return connection
        raise error


def _request(
    method: str, target: str, origin: Origin, headers: Mapping[str, str], body: bytes | None
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"host: {origin.header}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise UpstreamFailed("A header of the request holds a line break.")
    return head.encode("latin-1", "replace") + b"\r\n\r\n" + (body or b"")
