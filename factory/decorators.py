"""Doors' manners: who is calling, by which method, and one shape for every error."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_http_methods

from factory.errors import InvalidInput, MethodNotAllowed, TooLarge, Unavailable, UnderstudyError

logger = logging.getLogger(__name__)

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]
GetResponse = Callable[[HttpRequest], HttpResponseBase]

JSON_DOORS = ("/api/", "/v1/")
RETRY_AFTER_SECONDS = 5


def signed_in(*methods: str) -> Callable[[View[P]], View[P]]:
    """Open a page to signed-in people, by these methods; what they may see is a gate's to say."""

    def wrap(view: View[P]) -> View[P]:
        return login_required(require_http_methods(methods)(view))

    return wrap


def user_of(request: HttpRequest) -> User:
    """Return who is signed in, behind a door that `signed_in` guards."""
    user = request.user
    assert isinstance(user, User)
    return user


class RenderErrors:
    """Middleware: turns errors of ours, and a database that is away, into an answer."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on, unless it holds what no row of ours can hold."""
        if "\0" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            return error_response(request, InvalidInput("NUL is not allowed in an address."))
        response = self.get_response(request)
        if response.status_code == MethodNotAllowed.http_status and wants_json(request):
            return error_response(request, MethodNotAllowed("This address takes other methods."))
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer what a view raised; None leaves it to Django's own handlers."""
        if isinstance(error, OperationalError | InterfaceError):
            logger.warning("database away: %s", error)
            error = Unavailable("The database does not answer. Nothing was changed.")
        return error_response(request, error) if isinstance(error, UnderstudyError) else None


render_errors = RenderErrors


def error_response(request: HttpRequest, error: UnderstudyError) -> HttpResponse:
    """Render an error for this caller: the one JSON shape for programs, a page for people."""
    response: HttpResponse
    if wants_json(request):
        response = JsonResponse(error.body(), status=error.http_status)
    elif isinstance(error, Unavailable):
        # Without the request: the page's header would ask the database who is signed in.
        page = render_to_string("error.html", {"error": error})
        response = HttpResponse(page, status=error.http_status)
    else:
        response = render(request, "error.html", {"error": error}, status=error.http_status)
    if error.retryable:
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def wants_json(request: HttpRequest) -> bool:
    """Tell a program from a person: by the door it came in, else by what it accepts."""
    if request.path.startswith(JSON_DOORS):
        return True
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def download(
    chunks: Iterator[bytes], *, size: int, filename: str, kind: str
) -> StreamingHttpResponse:
    """Send bytes as a file to keep; `filename` is of our own making."""
    return StreamingHttpResponse(
        _stream(chunks),
        content_type=kind,
        headers={
            "Content-Disposition": f'attachment; filename="{filename}"',
            "Content-Length": str(size),
        },
    )


async def _stream(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Read blocking chunks in a thread: under ASGI Django would gather a plain iterator whole."""
    while chunk := await asyncio.to_thread(next, chunks, b""):
        yield chunk


def unreadable(error: Exception) -> UnderstudyError:
    """Say what Django found wrong with a request before any view saw it."""
    if isinstance(error, RequestDataTooBig):
        return TooLarge("The request is larger than this page takes.")
    return InvalidInput("The request cannot be read.")
