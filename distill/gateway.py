"""The capture path: forwards a call to a model byte for byte and keeps what was said.

A bare ASGI app in front of Django. The database is not in its path: keys and routes come from a
table that is refreshed beside the calls, records go to the local spool. Where capture itself
breaks, the caller still gets the answer and the loss is counted.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from uuid_utils.compat import uuid7

from distill.routing import Choice, Target, choose
from distill.selectors import GatewayKey, gateway_keys
from distill.sse import assemble
from factory.errors import (
    InvalidInput,
    NotAuthenticated,
    NotFound,
    TooLarge,
    Unavailable,
    UnderstudyError,
    UpstreamFailed,
)
from factory.messages import CallRecord, Json, checked_metadata, clean, parse_json
from factory.outgoing import open_session
from factory.services.capture import FOREIGN_FIELDS
from factory.services.keys import hash_key
from factory.spool import SpoolWriter

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

REFRESH_SECONDS = 0.5
PAUSE_SECONDS = 0.02
KEPT_BYTES = 8 * 1024 * 1024  # of a streamed answer; more is forwarded but not kept
DRAINED_BYTES = 256 * 1024 * 1024  # a refused body is read this far, so that the client hears why
CLIENT_CLOSED = 499  # nginx's number for it
KEY_REFUSED = {401, 403}
# Of an upstream's answer: what describes the connection, not the answer, and what we say ourselves.
DROPPED_HEADERS = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"content-length", b"x-request-id", b"set-cookie", b"server", b"date",
}  # fmt: skip


@dataclass
class Gateway:
    """What one process's gateway holds: the keys, the outgoing client, the spool, the losses."""

    session: aiohttp.ClientSession
    spool: SpoolWriter
    keys: dict[str, GatewayKey] = field(default_factory=dict)
    is_loaded: bool = False
    refreshed_at: float = 0.0
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    lost_records: int = 0

    async def keep_keys_fresh(self) -> None:
        """Reload the keys for ever; a database that is away leaves the last good copy in use."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except Exception:  # the loop is a process edge: it must outlive whatever happens in it
                logger.exception("keys are not refreshed, the last good ones stay")

    async def refresh_since(self, moment: float) -> None:
        """Make sure that the keys are not older than `moment`; many waiting share one reading."""
        async with self.reading:
            if self.refreshed_at < moment:
                # Unknown keys come as fast as somebody likes; the database is not asked as fast.
                await asyncio.sleep(PAUSE_SECONDS)
                with suppress(Unavailable):
                    await self.refresh()

    async def refresh(self) -> None:
        """Load the keys and routes; `Unavailable` where the database does not answer."""
        self.refreshed_at = time.monotonic()
        try:
            self.keys = await sync_to_async(load_keys, thread_sensitive=False)()
        except (DatabaseError, InterfaceError) as error:
            raise Unavailable("The database is away; try again.") from error
        self.is_loaded = True

    async def authenticate(self, scope: Scope) -> GatewayKey:
        """Return the live key of a request; a key made a moment ago is one too."""
        arrived = time.monotonic()
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1 or not given[0][:7].lower() == b"bearer ":
            raise NotAuthenticated("Send your API key as `Authorization: Bearer <key>`.")
        name = hash_key(given[0][7:].decode("latin-1").strip())
        if name not in self.keys:
            await self.refresh_since(arrived)
        key = self.keys.get(name)
        if key is None or (key.expires_at is not None and key.expires_at <= datetime.now(UTC)):
            raise NotAuthenticated("This API key is not valid here.")
        return key

    def keep(self, call: "Call") -> None:
        """Write a finished call to the spool. Whatever happens, the caller is not disturbed."""
        if call.opted_out:
            return
        try:
            self.spool.append({"project": call.key.project_id, "call": call.record().as_json()})
        except Exception:  # the edge of capture: whatever the stream held, the caller gets it
            self.lost_records += 1
            logger.exception("request=%s was not kept, lost=%s", call.id, self.lost_records)


def load_keys() -> dict[str, GatewayKey]:
    """Read the keys in a thread of the pool, and leave no connection open there."""
    try:
        return gateway_keys()
    finally:
        connection.close()


_open: list[Gateway] = []  # this process's gateway, between the server's start and its stop


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    """Hold the gateway open while the server runs."""
    session = open_session(
        settings.PRIVATE_UPSTREAM_HOSTS, timeout_seconds=settings.UPSTREAM_TIMEOUT_SECONDS
    )
    async with session:
        gateway = Gateway(session, SpoolWriter(settings.SPOOL_DIR))
        refresher = asyncio.create_task(gateway.keep_keys_fresh())
        _open.append(gateway)
        try:
            yield
        finally:
            _open.remove(gateway)
            refresher.cancel()
            gateway.spool.close()


class AnswerCut(ConnectionError):
    """The upstream broke off after its answer had begun; nothing else can be sent any more."""


@dataclass
class Call:
    """One call on its way: what was asked, by whom, and what has come back so far."""

    key: GatewayKey
    id: str
    request: Json
    metadata: dict[str, str]
    trace_id: str
    started: float = field(default_factory=time.time)
    clock: float = field(default_factory=time.perf_counter)
    status: int = 0
    provider: str = ""
    reason: str = ""
    content_type: str = ""
    body: bytearray = field(default_factory=bytearray)
    ttft_ms: int | None = None
    is_cut: bool = False  # the answer was longer than what is kept of one

    @property
    def opted_out(self) -> bool:
        """Whether the caller asked that this call is not kept (OpenAI's `store: false`)."""
        return self.request.get("store") is False

    def elapsed_ms(self) -> int:
        """Return the milliseconds since the call came in."""
        return round((time.perf_counter() - self.clock) * 1000)

    def add(self, chunk: bytes) -> None:
        """Take note of a piece of the answer."""
        if self.ttft_ms is None:
            self.ttft_ms = self.elapsed_ms()
        self.is_cut = self.is_cut or len(self.body) + len(chunk) > KEPT_BYTES
        if not self.is_cut:
            self.body += chunk

    def response(self) -> Json | None:
        """Return the answer as a completion object, whichever way it was sent."""
        if "text/event-stream" in self.content_type:
            return assemble(bytes(self.body))
        try:
            value = orjson.loads(bytes(self.body))
        except orjson.JSONDecodeError:
            return None
        return value if isinstance(value, dict) else None

    def record(self) -> CallRecord:
        """Return what is kept of the call."""
        return CallRecord(
            request_id=self.id,
            created_at=datetime.fromtimestamp(self.started, UTC),
            request=self.request,
            response=clean(self.response()),
            status_code=self.status,
            latency_ms=self.elapsed_ms(),
            ttft_ms=self.ttft_ms,
            metadata=self.metadata,
            trace_id=self.trace_id,
            provider=self.provider,
            route_reason=self.reason,
        )


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer `/v1/...` for apps, in OpenAI's own shapes."""
    if scope["type"] != "http":
        return
    try:
        if not _open:
            raise Unavailable("The gateway is not open: the server runs without lifespan.")
        gateway = _open[-1]
        if not gateway.is_loaded:
            await gateway.refresh()
        await dispatch(gateway, scope, receive, send)
    except UnderstudyError as error:
        await send_json(send, error.http_status, error.body())


async def dispatch(gateway: Gateway, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a request to its handler; the key is checked before anything else is read."""
    key = await gateway.authenticate(scope)
    route = (scope["method"], scope["path"].rstrip("/"))
    if route == ("POST", "/v1/chat/completions"):
        await complete(gateway, key, scope, receive, send)
    elif route == ("GET", "/v1/models"):
        await list_models(key, send)
    else:
        raise NotFound(f"There is no {scope['method']} {scope['path']} here.")


async def list_models(key: GatewayKey, send: Send) -> None:
    """List the names that an app may send as `model`: the project's workloads that are routed."""
    rows = [
        {"id": name, "object": "model", "created": 0, "owned_by": key.project}
        for name in sorted(key.routes.students)
    ]
    await send_json(send, 200, {"object": "list", "data": rows})


async def complete(
    gateway: Gateway, key: GatewayKey, scope: Scope, receive: Receive, send: Send
) -> None:
    """Forward one chat completion and keep it."""
    raw = await read_body(receive)
    request = parse_json(raw)
    if not isinstance(request, dict):
        raise InvalidInput("The body must be a JSON object.", code="invalid_json")
    if not isinstance(request.get("messages"), list) or not isinstance(request.get("model"), str):
        raise InvalidInput("`model` and `messages` are needed.", param="messages")
    headers = dict(scope["headers"])
    call = Call(
        key=key,
        id=f"req-{uuid7().hex}",
        request={k: v for k, v in request.items() if k not in FOREIGN_FIELDS},
        metadata=checked_metadata(request.get("metadata") or {}),
        trace_id=headers.get(b"x-request-id", b"").decode("latin-1")[:128],
    )
    choice = choose(key.routes, request["model"], random.random())  # noqa: S311 - a share, no secret
    # What came is passed on as it came, unless something must be taken out or renamed.
    unchanged = raw if call.request.keys() == request.keys() else None
    work = asyncio.create_task(forward(gateway, call, choice, unchanged, send))
    watcher = asyncio.create_task(wait_for_disconnect(receive))
    try:
        await asyncio.wait({work, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
    finally:
        watcher.cancel()
        if work.cancel():  # the client is gone, or the server stops: nobody waits for the answer
            await asyncio.wait({work})
            call.status, call.reason = CLIENT_CLOSED, "client_disconnected"
            gateway.keep(call)


async def forward(
    gateway: Gateway,
    call: Call,
    choice: Choice,
    unchanged: bytes | None,
    send: Send,
) -> None:
    """Try the chosen targets in order; the first whose answer can be used is relayed."""
    call.reason = choice.reason
    for position, target in enumerate(choice.targets):
        is_last = position == len(choice.targets) - 1
        call.provider = target.provider
        try:
            async with ask(gateway, call, target, unchanged) as answer:
                # A refused key is the operator's, and what is said of it none of the caller's.
                is_fit = answer.ok or (is_last and answer.status not in KEY_REFUSED)
                if is_fit:
                    await relay(gateway, call, answer, send)
                    return
                logger.warning("request=%s %s answers %s", call.id, target.provider, answer.status)
        except (aiohttp.ClientError, TimeoutError, UpstreamFailed) as error:
            logger.warning(
                "request=%s provider=%s: %s", call.id, target.provider, type(error).__name__
            )
        call.reason = f"{choice.reason}_failed"
    call.status = UpstreamFailed.http_status
    gateway.keep(call)
    why = "did not answer" if choice.targets else "is not set: name a default upstream"
    raise UpstreamFailed(f"The model behind this project {why} (request {call.id}).")


def ask(gateway: Gateway, call: Call, target: Target, unchanged: bytes | None) -> Any:
    """Start the upstream request: only the address, the key and, for an alias, the model differ."""
    body = unchanged
    if body is None or target.model is not None:
        body = orjson.dumps({**call.request, "model": target.model or call.request["model"]})
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "authorization": f"Bearer {target.key}",
    }
    url = f"{target.base_url}/chat/completions"
    return gateway.session.post(url, data=body, headers=headers, allow_redirects=False)


async def relay(gateway: Gateway, call: Call, answer: aiohttp.ClientResponse, send: Send) -> None:
    """Pass the answer on as it comes; its record is on disk before its last byte leaves."""
    call.status, call.content_type = answer.status, answer.content_type
    kept = [(n.lower(), v) for n, v in answer.raw_headers if n.lower() not in DROPPED_HEADERS]
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [*kept, (b"x-request-id", call.id.encode())],
        }
    )
    try:
        async for chunk in answer.content.iter_any():
            call.add(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except (aiohttp.ClientError, TimeoutError):
        call.reason = "upstream_cut"
        call.status = UpstreamFailed.http_status
        gateway.keep(call)
        # The server cuts the connection: a half answer must not look whole.
        raise AnswerCut(call.id) from None
    gateway.keep(call)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_body(receive: Receive) -> bytes:
    """Read a body; `TooLarge` past the limit, after reading on so that the client hears it."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidInput("The client went away before its body was whole.")
        part = message.get("body", b"")
        size += len(part)
        if size <= settings.MAX_BODY_BYTES:
            parts.append(part)
        if not message.get("more_body") or size > DRAINED_BYTES:
            break
    if size > settings.MAX_BODY_BYTES:
        raise TooLarge(f"The body is over {settings.MAX_BODY_BYTES} bytes.")
    return b"".join(parts)


async def send_json(send: Send, status: int, body: object) -> None:
    """Send a whole JSON answer."""
    raw = orjson.dumps(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": raw})
