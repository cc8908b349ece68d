"""Doors for logs: calls in a body, whole files, and what LiteLLM's callback posts."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import Schema

from factory.api import calls
from factory.api.base import JobOut, SenderAuth, job_out, project_of
from factory.errors import InvalidInput, NotFound
from factory.formats.intake import CHUNK, plain
from factory.models import ImportJob
from factory.services.idempotency import answer_once
from factory.services.imports import import_body
from factory.services.uploads import RedactingHandler, take_upload

router = calls.router  # an address has one router for all its methods

ENCODINGS = {"", "identity", "gzip"}


class Problem(Schema):
    """Why a line, or an element of a JSON array, was refused."""

    line: int
    message: str


class ImportOut(Schema):
    """What became of the lines that were sent; `refused_lines` names all of them, as `3,7-9`."""

    read: int
    new: int
    known: int
    refused: int
    skipped: int
    problems: list[Problem]
    refused_lines: str


class ImportJobOut(JobOut):
    """How far a file is."""

    filename: str
    file_bytes: int
    counts: dict[str, Any]


def import_out(job: ImportJob) -> dict[str, Any]:
    """Return an import as `ImportJobOut` shows it."""
    return {**job_out(job), **{n: getattr(job, n) for n in ("filename", "file_bytes", "counts")}}


@router.post("/calls", response=ImportOut, auth=SenderAuth())
def post_calls(request: HttpRequest, response: HttpResponse) -> dict[str, Any]:
    """Keep calls that were made elsewhere: one JSON object, an array of them, or NDJSON.

    Takes every format that files are imported from, gzip or not. A call that was sent before
    changes nothing. With an `Idempotency-Key` the whole answer is kept for a day, and the same
    request again gets it back.
    """
    project, body = project_of(request), _body(request)
    key = request.headers.get("idempotency-key")
    if key is None:
        return import_body(project, body)
    asked = (request.path, body)
    answer, was_kept = answer_once(project, key, asked, lambda: import_body(project, body))
    if was_kept:
        response["Idempotent-Replayed"] = "true"
    return answer


@router.post("/integrations/litellm", response=ImportOut, auth=SenderAuth())
def post_litellm(request: HttpRequest) -> dict[str, Any]:
    """Keep what LiteLLM's `generic_api` callback posts: a batch of StandardLoggingPayload."""
    return import_body(project_of(request), _body(request))


@router.post("/imports", response={202: ImportJobOut}, auth=SenderAuth())
def post_import(request: HttpRequest, filename: str = "calls.jsonl") -> tuple[int, dict[str, Any]]:
    """Take a file of any size, gzip or not: as the body itself, or as `file` of a form.

    It is redacted while it comes in; a job then writes its calls.
    """
    project = project_of(request)
    if request.content_type != "multipart/form-data":
        _check_encoding(request)
        return 202, import_out(take_upload(project, _chunks(request), filename=filename))
    handler = RedactingHandler(project)
    request.upload_handlers = [handler]
    files = handler.files(request.FILES, "file")
    if not files:
        raise InvalidInput("The form has no `file`.", param="file")
    if files[0].error:
        raise files[0].error
    return 202, import_out(files[0].upload.start())


@router.get("/imports/{job_id}", response=ImportJobOut, auth=SenderAuth())
def get_import(request: HttpRequest, job_id: int) -> dict[str, Any]:
    """Watch a file import."""
    job = ImportJob.objects.filter(project=project_of(request), pk=job_id).first()
    if job is None:
        raise NotFound("There is no such import, or it is not yours to see.")
    return import_out(job)


def _body(request: HttpRequest) -> bytes:
    """Return a body, gunzipped; `TooLarge` before it is past MAX_BODY_MB in memory."""
    _check_encoding(request)
    return b"".join(plain([request.body], settings.MAX_BODY_BYTES))


def _chunks(request: HttpRequest) -> Iterator[bytes]:
    while chunk := request.read(CHUNK):
        yield chunk


def _check_encoding(request: HttpRequest) -> None:
    if request.headers.get("content-encoding", "").strip().lower() not in ENCODINGS:
        raise InvalidInput("Content-Encoding: gzip, or none")
