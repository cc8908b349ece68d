"""OTLP over HTTP: point an exporter at `/api/v1/otel`, with a key, and its model calls come in."""

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from ninja import Router

from factory.api.base import SenderAuth, project_of
from factory.decorators import RETRY_AFTER_SECONDS
from factory.errors import TooLarge, Unavailable, UnderstudyError
from factory.formats import otlp
from factory.formats.otlp import Batch
from factory.services.otlp import take_batch

router = Router(tags=["capture and curate"], auth=SenderAuth())

UNPACKED = 4  # times what a body may hold packed: prompts repeat themselves


@router.post("/otel/v1/traces", response={200: None})
def post_traces(request: HttpRequest) -> HttpResponse:
    """Keep the calls that spans tell of, in any of the GenAI conventions.

    Takes an ExportTraceServiceRequest as protobuf or JSON, gzip or not; spans of other kinds are
    ignored.
    """
    return _taken(request, otlp.read_traces, otlp.traces_answer)


@router.post("/otel/v1/logs", response={200: None})
def post_logs(request: HttpRequest) -> HttpResponse:
    """Keep what events in the log say of calls whose spans come (or came) as traces."""
    return _taken(request, otlp.read_logs, otlp.logs_answer)


def _taken(
    request: HttpRequest,
    read: Callable[[bytes, str], Batch],
    written: Callable[[Batch, str], bytes],
) -> HttpResponse:
    form = otlp.PROTOBUF
    try:
        form = otlp.form_of(request.content_type or "")
        batch = read(_body(request), form)
        take_batch(project_of(request), batch)
        return HttpResponse(written(batch, form), content_type=form)
    except UnderstudyError as error:
        return _failed(error, form)
    except (OperationalError, InterfaceError):
        return _failed(Unavailable("The database does not answer. Nothing was changed."), form)


def _body(request: HttpRequest) -> bytes:
    encoding = request.headers.get("content-encoding", "").strip().lower()
    try:
        return otlp.unpacked(request.body, encoding, settings.MAX_BODY_BYTES * UNPACKED)
    except RequestDataTooBig as error:
        raise TooLarge("The body is larger than MAX_BODY_MB allows.") from error


def _failed(error: UnderstudyError, form: str) -> HttpResponse:
    answer = HttpResponse(
        otlp.error_answer(error.message, form), content_type=form, status=error.http_status
    )
    if error.retryable:
        answer["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer
