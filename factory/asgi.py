"""The one door: bare ASGI apps for the hot paths, Django for everything else."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, cast

import django
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "factory.settings")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
AT_ONCE_BYTES = 1024 * 1024  # of a body that are waited for before its view starts
SILENCE_SECONDS = 60  # in the middle of a body, after which the client is given up


class Body:
    """A request's body, read by the view's thread as it comes in; holds no more than it asked for.

    Django's own way is to write bodies of some size to disk, before anything is redacted.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()
        self.is_over = asyncio.Event()

    async def __call__(self) -> MutableMapping[str, Any]:
        """Wait for what comes after the body: that the client leaves."""
        await self.is_over.wait()
        return await self._receive()

    async def begin(self, size: int) -> None:
        """Wait until it is here, or this much of it: slow clients hold no thread until then."""
        while len(self._waiting) < size and not self.is_over.is_set():
            await self._more()

    async def _more(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.is_over.set()
            raise RequestAborted
        self._waiting += message.get("body", b"")
        if not message.get("more_body", False):
            self.is_over.set()

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, fewer only at the end. Django says how much it takes."""
        while len(self._waiting) < size and not self.is_over.is_set():
            try:
                asyncio.run_coroutine_threadsafe(self._more(), self._loop).result(SILENCE_SECONDS)
            except RequestAborted as error:
                raise OSError("the client left in the middle of the body") from error
        got = bytes(self._waiting[:size])
        del self._waiting[:size]
        return got

    def readline(self) -> bytes:
        """Return a part: only whoever drains what is left asks for lines."""
        return self.read(AT_ONCE_BYTES)

    def close(self) -> None:
        """Nothing is open."""


class StreamingHandler(ASGIHandler):
    """Django, with bodies that views read while they come in."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        await super().handle(scope, Body(receive), send)

    async def read_body(self, receive: Any) -> Any:
        """Return the body, which for most requests is here whole."""
        await receive.begin(AT_ONCE_BYTES)
        return receive


django.setup(set_prefix=False)
django_application = cast("App", StreamingHandler())
routes: list[tuple[re.Pattern[str], App]] = [
    (re.compile(pattern), import_string(name)) for pattern, name in settings.ASGI_ROUTES
]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Hand the request to the first side app whose pattern matches `METHOD /path`, else Django."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    asked = f"{scope.get('method', 'WEBSOCKET')} {scope['path']}"
    for pattern, app in routes:
        if pattern.match(asked):
            await app(scope, receive, send)
            return
    await django_application(scope, receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    """Answer the server's start and stop, with what the side apps hold open in between."""
    async with AsyncExitStack() as held:
        await receive()
        for name in settings.ASGI_LIFESPANS:
            await held.enter_async_context(import_string(name)())
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
