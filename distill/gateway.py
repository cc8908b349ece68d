"""The capture path: forwards a call to a model byte for byte and keeps what was said.

A bare ASGI app in front of Django. The database is not in its path: keys and routes come from a
table that is refreshed beside the calls, records go to the local spool. Where capture itself
breaks, the app still gets the answer and the loss is counted.
"""

import asyncio
import gc
import hmac
import logging
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from distill.exchange import CLIENT_CLOSED, Call
from distill.forward import Forwarder, Patience
from distill.keyfile import KeyFile
from distill.metrics import CONTENT_TYPE, Counts, exposition
from distill.routing import Choice, Target, choose
from distill.selectors.gateway import GatewayKey, gateway_keys
from distill.upstreams import CircuitOpen
from distill.visit import Receive, Scope, Send, Visit, visit_of
from distill.wire import Client
from factory.capture.endpoints import FOREIGN_FIELDS, passed_headers, passed_query
from factory.capture.spool import SpoolWriter, status
from factory.errors import (
    InvalidInput,
    NotAuthenticated,
    NotFound,
    Unavailable,
    UnderstudyError,
)
from factory.messages import Json
from factory.redaction.redact import redacted
from factory.services.keys import hash_key

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 0.5
PAUSE_SECONDS = 0.02
THREAD_BYTES = 32 * 1024  # a longer call is redacted beside the others, not before them
MAX_MODEL_NAME = 200
# What an endpoint's request cannot do without; the rest is the upstream's to check.
ENDPOINTS: dict[str, dict[str, type]] = {
    "chat/completions": {"model": str, "messages": list},
    "completions": {"model": str},
    "embeddings": {"model": str},
    "responses": {},  # a stored prompt may name the model
}
STORED_RESPONSE = re.compile(r"(GET|DELETE) [\w-]{1,128}|GET [\w-]+/input_items|POST [\w-]+/cancel")


@dataclass
class Gateway:
    """What one process's gateway holds: the keys, the way out, the spool, the counts."""

    client: Client
    spool: SpoolWriter
    patience: Patience
    max_body_bytes: int
    keyfile: KeyFile[dict[str, GatewayKey]]
    keys: dict[str, GatewayKey] = field(default_factory=dict)
    is_loaded: bool = False
    refreshed_at: float = 0.0
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    counts: Counts = field(default_factory=Counts)
    writing: set["asyncio.Task[None]"] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.forwarder = Forwarder(self.client, self.patience, self.keep)
        if (kept := self.keyfile.load()) is not None:  # the database may be away at the start
            self.keys, self.is_loaded = kept, True

    @property
    def lost_records(self) -> Counter[str]:
        """Calls that were answered but not kept, or not whole, by reason."""
        return self.spool.lost

    async def keep_keys_fresh(self) -> None:
        """Reload the keys for ever; a database that is away leaves the last good copy in use."""
        is_away = False
        while True:
            try:
                async with self.reading:  # an older reading must not come after a newer one
                    await self.refresh()
                is_away = False
            except Unavailable:
                if not is_away:
                    logger.warning("the database is away, the last good keys stay")
                is_away = True
            except Exception:  # the loop is a process edge: it must outlive whatever happens in it
                logger.exception("keys are not refreshed, the last good ones stay")
            await asyncio.sleep(REFRESH_SECONDS)

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
            self.keys = await sync_to_async(self.load_keys, thread_sensitive=False)()
        except (DatabaseError, InterfaceError) as error:
            raise Unavailable("The database is away; try again.") from error
        self.is_loaded = True

    def load_keys(self) -> dict[str, GatewayKey]:
        """Read the keys in a thread of the pool, and leave no connection open there."""
        try:
            keys = gateway_keys()
        finally:
            connection.close()
        self.keyfile.write(keys)
        return keys

    async def authenticate(self, given: str) -> GatewayKey:
        """Return the live key of an authorization header; one made a moment ago is one too."""
        arrived = time.monotonic()
        if given[:7].lower() != "bearer ":
            raise NotAuthenticated("Send your API key as `Authorization: Bearer <key>`.")
        name = hash_key(given[7:].strip())
        if name not in self.keys:
            await self.refresh_since(arrived)
        key = self.keys.get(name)
        if key is None or (key.expires_at is not None and key.expires_at <= datetime.now(UTC)):
            raise NotAuthenticated("This API key is not valid here.")
        return key

    async def keep(self, call: Call) -> None:
        """Write a finished call to the spool, once. Whatever happens, the app is not disturbed."""
        if call.opted_out or call.is_recorded:
            return
        call.is_recorded = True
        if call.size + len(call.raw or b"") < THREAD_BYTES:
            self._append(redacted_record(call))
        else:
            task = asyncio.create_task(self._append_long(call))
            self.writing.add(task)
            task.add_done_callback(self.writing.discard)
            await asyncio.shield(task)  # an app that leaves takes nothing of its record along
        await self.spool.settled()

    async def _append_long(self, call: Call) -> None:
        self._append(await asyncio.to_thread(redacted_record, call))

    def _append(self, record: Json | None) -> None:
        if record is None:
            self.spool.lose("redaction")
            return
        try:
            self.spool.append(record)
        except Exception as error:  # noqa: BLE001 - the edge of capture: the app gets its answer
            self.spool.lose("record")
            logger.error("a record cannot be written: %s", type(error).__name__)  # noqa: TRY400 - a traceback might say what the call said


def redacted_record(call: Call) -> Json | None:
    """Return what the spool keeps of a call; None, and nothing, where redaction fails."""
    try:
        record = redacted(call.record(), call.policy)
    except Exception as error:  # noqa: BLE001 - the edge of capture: an odd answer reaches its app
        logger.error("request=%s cannot be redacted: %s", call.id, type(error).__name__)  # noqa: TRY400 - a traceback might say what the call said
        return None
    return {"project": call.project, "call": record.as_json()}


_open: list[Gateway] = []  # this process's gateway, between the server's start and its stop


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    """Hold the gateway open while the server runs."""
    gc.freeze()  # what Django loaded stays for good: no collection need walk through it
    patience = Patience(
        first_byte=settings.UPSTREAM_TIMEOUT_SECONDS,
        between=settings.UPSTREAM_IDLE_SECONDS,
        with_fallback=settings.FALLBACK_AFTER_SECONDS,
    )
    client = Client(
        settings.PRIVATE_UPSTREAM_HOSTS, connect_seconds=settings.UPSTREAM_CONNECT_SECONDS
    )
    spool = SpoolWriter(
        settings.SPOOL_DIR, sync=settings.CAPTURE_SYNC, max_bytes=settings.SPOOL_MAX_BYTES
    )
    path = settings.VAR_DIR / "gateway-keys"
    keyfile = KeyFile(path, settings.ENCRYPTION_KEY, dict[str, GatewayKey])
    gateway = Gateway(client, spool, patience, settings.MAX_BODY_BYTES, keyfile)
    refresher = asyncio.create_task(gateway.keep_keys_fresh())
    _open.append(gateway)
    try:
        yield
    finally:
        _open.remove(gateway)
        refresher.cancel()
        await asyncio.gather(*gateway.writing)
        gateway.spool.close()
        client.close()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer `/v1/...` for apps in OpenAI's own shapes, and `/metrics` for who watches."""
    if scope["type"] != "http":
        return
    visit = visit_of(scope, receive, send)
    if not _open:
        error = Unavailable("The gateway is not open: the server runs without lifespan.")
        await visit.answer(error.http_status, error.body())
        return
    gateway = _open[-1]
    try:
        if visit.path == "/metrics":
            await show_metrics(gateway, visit)
            return
        if not gateway.is_loaded:
            await gateway.refresh()
        await dispatch(gateway, visit)
    except UnderstudyError as error:
        await visit.answer(error.http_status, error.body(), _advice(error))
    finally:
        gateway.counts.answers[visit.endpoint, visit.status] += 1


def _advice(error: UnderstudyError) -> list[tuple[bytes, bytes]]:
    """Return the headers of an error: when to try again."""
    if not isinstance(error, CircuitOpen):
        return []
    return [(b"retry-after", str(max(1, round(error.retry_after))).encode())]


async def show_metrics(gateway: Gateway, visit: Visit) -> None:
    """Answer with this process's counts; only to who has the token, where one is set."""
    visit.endpoint = "metrics"
    wanted = f"Bearer {settings.METRICS_TOKEN}".encode()
    if settings.METRICS_TOKEN and not hmac.compare_digest(
        wanted, visit.header(b"authorization").encode("latin-1")
    ):
        raise NotAuthenticated("Send METRICS_TOKEN as `Authorization: Bearer <token>`.")
    spool = await asyncio.to_thread(status, settings.SPOOL_DIR)
    upstreams = gateway.forwarder.upstreams
    text = exposition(gateway.counts, gateway.lost_records, upstreams, spool)
    await visit.send_whole(200, text.encode(), [(b"content-type", CONTENT_TYPE.encode())])


async def dispatch(gateway: Gateway, visit: Visit) -> None:
    """Send a request to its handler; the key is checked before anything else is read."""
    key = await gateway.authenticate(visit.header(b"authorization"))
    path = visit.path.removeprefix("/v1/").rstrip("/")
    family, _, rest = path.partition("/")
    if visit.method == "POST" and path in ENDPOINTS:
        visit.endpoint = path
        await complete(gateway, key, visit)
    elif visit.method == "GET" and family == "models":
        visit.endpoint = "models"
        await (show_model(gateway, key, visit, rest) if rest else list_models(gateway, key, visit))
    elif family == "responses" and STORED_RESPONSE.fullmatch(f"{visit.method} {rest}"):
        visit.endpoint = "responses"
        await pass_on(gateway, key, visit, path, _upstreams(key))
    else:
        raise NotFound(f"There is no {visit.method} {visit.path} here.")


async def complete(gateway: Gateway, key: GatewayKey, visit: Visit) -> None:
    """Forward one call of a model and keep it."""
    raw = await visit.body(gateway.max_body_bytes)
    request = checked_request(raw, visit.endpoint)
    foreign = request.keys() & FOREIGN_FIELDS
    call = _call(key, visit, visit.endpoint)
    # What came is passed on as it came, unless something must be taken out or renamed.
    call.raw = None if foreign else raw
    call.request = {k: v for k, v in request.items() if k not in foreign} if foreign else request
    call.opted_out = (
        request.get("store") is False or visit.header(b"x-understudy-store").lower() == "false"
    )
    draw = random.random()  # noqa: S311 - a share, no secret
    await run(gateway, visit, call, choose(key.routes, call.model, draw))


def checked_request(raw: bytes, endpoint: str) -> Json:
    """Parse a request; `InvalidInput` where no upstream could be chosen for it or answer it."""
    try:
        request = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"The body is not JSON: {error}", code="invalid_json") from error
    if not isinstance(request, dict):
        raise InvalidInput("The body must be a JSON object.", code="invalid_json")
    for name, kind in ENDPOINTS[endpoint].items():
        if not isinstance(request.get(name), kind):
            raise InvalidInput(f"`{name}` is needed.", param=name)
    model = request.get("model", "")
    if not isinstance(model, str) or len(model) > MAX_MODEL_NAME or "://" in model:
        raise InvalidInput("`model` is a model's name.", param="model")
    return request


def _call(key: GatewayKey, visit: Visit, path: str) -> Call:
    return Call(
        id=visit.id,
        project=key.project_id,
        policy=key.policy,
        send=visit.send,
        ids=visit.ids,
        headers=passed_headers(visit.headers),
        path=path,
        method=visit.method,
        trace_id=visit.trace_id,
    )


async def run(gateway: Gateway, visit: Visit, call: Call, choice: Choice) -> None:
    """See a call through, for as long as its app waits for it."""
    work, watcher = asyncio.current_task(), asyncio.create_task(visit.gone())
    watcher.add_done_callback(lambda _: work is None or visit.is_over or work.cancel())
    gateway.counts.in_flight += 1
    try:
        await gateway.forwarder.forward(call, choice)
    except asyncio.CancelledError:  # the app is gone, or the server stops: nobody waits any more
        call.give_up(CLIENT_CLOSED, "client_disconnected")
        await gateway.keep(call)
        if work is None or not watcher.done():
            raise
        work.uncancel()
    finally:
        visit.is_over, visit.status = True, call.status
        watcher.cancel()
        gateway.counts.in_flight -= 1


def _upstreams(key: GatewayKey) -> tuple[Target, ...]:
    """Return all of a project's upstreams, the default first."""
    default = key.routes.default
    others = [target for target in key.routes.named.values() if target != default]
    return (*([default] if default else []), *others)


async def pass_on(
    gateway: Gateway, key: GatewayKey, visit: Visit, path: str, targets: tuple[Target, ...]
) -> None:
    """Forward a question about what an upstream holds; the first that knows it answers."""
    call = _call(key, visit, path)
    call.query, call.opted_out = passed_query(visit.query), True
    await run(gateway, visit, call, Choice(targets, "passthrough"))


async def list_models(gateway: Gateway, key: GatewayKey, visit: Visit) -> None:
    """List what an app may send as `model`: routed workloads, and what the upstreams have.

    An upstream that does not answer is left out; the names of all but the default get its prefix.
    """
    targets = _upstreams(key)
    found = await asyncio.gather(*(gateway.forwarder.fetch(t, "models") for t in targets))
    rows = [_workload_row(key, name) for name in sorted(key.routes.students)]
    for target, listed in zip(targets, found, strict=True):
        prefix = "" if target == key.routes.default else f"{target.provider}/"
        data = (listed or {}).get("data")
        rows += [
            {**row, "id": f"{prefix}{row['id']}"}
            for row in (data if isinstance(data, list) else [])
            if isinstance(row, dict) and "id" in row
        ]
    await visit.answer(200, {"object": "list", "data": rows})


async def show_model(gateway: Gateway, key: GatewayKey, visit: Visit, name: str) -> None:
    """Show one model of `list_models`."""
    if name in key.routes.students:
        await visit.answer(200, _workload_row(key, name))
        return
    choice = choose(key.routes, name, 0.0)
    asked = next((target.model for target in choice.targets if target.model), name)
    if {".", ".."} & set(asked.split("/")):
        raise NotFound(f"There is no model {name} here.")
    await pass_on(gateway, key, visit, f"models/{quote(asked, safe='/:@')}", choice.targets)


def _workload_row(key: GatewayKey, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": key.project}
