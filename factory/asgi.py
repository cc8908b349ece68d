"""The one door: bare ASGI apps for the hot paths, Django for everything else."""

import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, cast

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "factory.settings")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

django_application = cast("App", get_asgi_application())
routes: list[tuple[re.Pattern[str], App]] = [
    (re.compile(pattern), import_string(name)) for pattern, name in settings.ASGI_ROUTES
]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Hand the request to the first side app whose pattern matches its path, else to Django."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    for pattern, app in routes:
        if pattern.match(scope["path"]):
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
