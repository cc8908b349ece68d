"""What the download protocols share: who asks, and how bytes and errors go out over bare ASGI.

A protocol is one plain function from `Request` to `Answer`. It runs in a thread, as it reads the
database; a blob's bytes are then read 1 MiB at a time, off the event loop, for as long as the
client takes them. Nothing here is ever compressed: sizes, ranges and digests are those of the file.
"""

import asyncio
import base64
import binascii
import functools
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any, Protocol

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections

from factory.errors import (
    InvalidInput,
    NotAuthenticated,
    NotFound,
    TooLarge,
    Unavailable,
    UnderstudyError,
)
from factory.models import ApiKey, Workload
from factory.selectors import key_for_secret, workload_in_project
from factory.storage import BlobStore, open_store

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = dict[str, str]

MAX_BODY_BYTES = 1024 * 1024
CHALLENGE = 'Bearer realm="Understudy", Basic realm="Understudy", charset="UTF-8"'


class MethodNotAllowed(InvalidInput):
    """Published files are read, not written, through these addresses."""

    code = "method_not_allowed"
    http_status = 405


@dataclass(frozen=True)
class Request:
    """What a client sent; header names are in lower case, a repeated header is joined by commas."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes = b""


class Served(Protocol):
    """A file of the store, and its name at the client."""

    @property
    def path(self) -> str:
        """Its path in the repository."""

    @property
    def sha256(self) -> str:
        """Its name in the store."""

    @property
    def size(self) -> int:
        """Its bytes."""


@dataclass(frozen=True)
class Answer:
    """What goes back: a short body, or `length` bytes of `chunks`, which are not read for HEAD."""

    status: int
    headers: Headers
    body: bytes = b""
    chunks: Iterator[bytes] | None = None
    length: int = 0


def protocol(
    handle: Callable[[Request], Answer], refuse: Callable[[UnderstudyError], Answer]
) -> App:
    """Make the ASGI app of one download protocol."""

    def answer_to(request: Request) -> Answer:
        close_old_connections()
        try:
            return handle(request)
        except UnderstudyError as error:
            return refuse(error)
        except (DatabaseError, InterfaceError):
            logger.exception("database away, path=%s", request.path)
            return refuse(Unavailable("The database is away; try again."))
        finally:
            close_old_connections()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request = await _read(scope, receive)
        except UnderstudyError as error:
            await _deliver(refuse(error), scope["method"], receive, send)
            return
        answer = await sync_to_async(answer_to, thread_sensitive=False)(request)
        await _deliver(answer, request.method, receive, send)

    return application


def key_of(request: Request) -> ApiKey:
    """Return the caller's download key, sent as a bearer token or as the password of Basic."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    secret = value.strip()
    if scheme.lower() == "basic":
        secret = _basic_password(secret)
    elif scheme.lower() != "bearer":
        secret = ""
    if not secret:
        raise NotAuthenticated("Send an API key that may download.", code="missing_api_key")
    return key_for_secret(secret, ApiKey.Scope.DOWNLOAD)


def workload_of_key(key: ApiKey, project: str, workload: str) -> Workload:
    """Return the workload at an address; absent and another project's look alike."""
    if key.project.slug != project or not re.fullmatch("[a-z0-9_-]+", workload):
        raise NotFound("There is no such workload, or it is not yours to see.")
    return workload_in_project(key.project, workload)


def only(request: Request, *methods: str) -> None:
    """Raise `MethodNotAllowed` for any method but these."""
    if request.method not in methods:
        raise MethodNotAllowed(f"Use {' or '.join(methods)} here.")


def json_answer(value: object, status: int = 200, headers: Headers | None = None) -> Answer:
    """Answer with JSON that no cache keeps."""
    body = json.dumps(value, ensure_ascii=False).encode()
    common = {"content-type": "application/json", "cache-control": "no-store"}
    return Answer(status, {**common, **(headers or {})}, body)


def file_answer(request: Request, file: Served, etag: str, headers: Headers) -> Answer:
    """Answer with a file or the one range of it that was asked for (RFC 9110, 13 and 14)."""
    store = _store(settings.STORAGE_URL)
    _require_whole(store, file)
    quoted = f'"{etag}"'
    headers = {
        "accept-ranges": "bytes",
        "etag": quoted,
        "content-type": "application/octet-stream",
        "content-disposition": f'attachment; filename="{PurePosixPath(file.path).name}"',
        "cache-control": "private, no-transform",
        "x-content-type-options": "nosniff",
        **headers,
    }
    if _names(request.headers.get("if-none-match", ""), etag):
        return Answer(HTTPStatus.NOT_MODIFIED, headers)
    span = None
    if request.method == "GET" and request.headers.get("if-range", quoted) == quoted:
        span = asked_range(request.headers.get("range", ""), file.size)
    if span is None:
        return Answer(200, headers, chunks=store.read(file.sha256, 0, file.size), length=file.size)
    if not span:
        return Answer(416, {**headers, "content-range": f"bytes */{file.size}"})
    headers["content-range"] = f"bytes {span.start}-{span.stop - 1}/{file.size}"
    chunks = store.read(file.sha256, span.start, len(span))
    return Answer(206, headers, chunks=chunks, length=len(span))


def asked_range(header: str, size: int) -> range | None:
    """Return the bytes that a Range header asks for, empty where the file has none of them.

    None is the whole file: no header, another unit, several ranges, or nonsense.
    """
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.replace(" ", "").lower())
    first, last = match.groups() if match else ("", "")
    if first and last:
        return range(int(first), min(int(last) + 1, size)) if int(first) <= int(last) else None
    if first:
        return range(int(first), size)
    return range(max(0, size - int(last)), size) if last else None


@functools.lru_cache
def _store(url: str) -> BlobStore:
    return open_store(url)


def _require_whole(store: BlobStore, file: Served) -> None:
    try:
        is_whole = store.size(file.sha256) == file.size
    except NotFound:
        is_whole = False
    if not is_whole:
        logger.error("blob missing or damaged, file=%s sha256=%s", file.path, file.sha256)
        raise Unavailable("This file is damaged in the store; its operator has to restore it.")


def _names(if_none_match: str, etag: str) -> bool:
    return if_none_match.strip() == "*" or etag in re.findall(r'"([^"]*)"', if_none_match)


def _basic_password(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


async def _read(scope: Scope, receive: Receive) -> Request:
    headers: Headers = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    body, is_more = bytearray(), scope["method"] == "POST"
    while is_more:
        message = await receive()
        body += message.get("body", b"")
        is_more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(f"The body is over {MAX_BODY_BYTES:,} bytes.")
    query = scope["query_string"].decode("latin-1")
    return Request(scope["method"], scope["path"], query, headers, bytes(body))


async def _deliver(answer: Answer, method: str, receive: Receive, send: Send) -> None:
    has_body = answer.status != HTTPStatus.NOT_MODIFIED
    length = answer.length if answer.chunks is not None else len(answer.body)
    headers = {**answer.headers, **({"content-length": str(length)} if has_body else {})}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    if answer.chunks is None or method == "HEAD" or not length:
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})
    else:
        await _stream(answer.chunks, length, receive, send)


async def _stream(chunks: Iterator[bytes], length: int, receive: Receive, send: Send) -> None:
    """Send exactly `length` bytes; what falls short is left open, and the server cuts the line."""
    gone = asyncio.create_task(_client_gone(receive))
    left = length
    try:
        while left and not gone.done():
            chunk = await asyncio.to_thread(next, chunks, b"")
            if not chunk:
                logger.error("blob ended %d bytes early", left)
                return
            left -= len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
    finally:
        gone.cancel()


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
