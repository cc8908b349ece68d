"""The JSON API of capture and curate, and what all of the API shares: the key, the error shape."""

from datetime import datetime
from typing import Any, cast

from django.core.exceptions import RequestDataTooBig
from django.core.exceptions import ValidationError as InvalidRow
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI, Router, Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.parser import Parser
from ninja.security import HttpBearer
from pydantic import Field

from factory.errors import (
    InvalidInput,
    NotAuthenticated,
    NotFound,
    TooLarge,
    UnderstudyError,
)
from factory.messages import parse_json
from factory.models import ApiKey, CapturedCall, DatasetVersion, ImportJob, Job, Project
from factory.selectors import CallFilter, calls_page, key_for_secret, workload_in_project
from factory.services.curate import curate
from factory.services.freeze import freeze
from factory.services.imports import import_lines

router = Router(tags=["capture and curate"])


class StrictParser(Parser):
    """Reads bodies as every other door does: strict JSON, without what no row can hold."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        """Return the body's JSON; `InvalidInput` where it is none."""
        return cast("dict[str, Any]", parse_json(request.body))


class KeyAuth(HttpBearer):
    """A key with the scope `api`; the key names the project, so no URL has to."""

    def authenticate(self, request: HttpRequest, token: str) -> ApiKey:  # noqa: ARG002 - ninja's
        """Return the live key."""
        return key_for_secret(token, ApiKey.Scope.API)


def project_of(request: HttpRequest) -> Project:
    """Return the project that the request's key opens."""
    return cast("ApiKey", request.auth).project  # type: ignore[attr-defined]


def install_errors(api: NinjaAPI) -> None:
    """Render every error of an API in the one shape."""

    def answer(request: HttpRequest, error: UnderstudyError) -> HttpResponse:
        return api.create_response(request, error.body(), status=error.http_status)

    def invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
        first = error.errors[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return answer(request, InvalidInput(f"{where}: {first['msg']}", param=where or None))

    def http(request: HttpRequest, error: HttpError) -> HttpResponse:
        kinds: dict[int, type[UnderstudyError]] = {404: NotFound, 413: TooLarge}
        code = "invalid_json" if "parse" in str(error) else None
        return answer(request, kinds.get(error.status_code, InvalidInput)(str(error), code=code))

    def without_key(request: HttpRequest, _: AuthenticationError) -> HttpResponse:
        said = "Send your API key as `Authorization: Bearer <key>`."
        return answer(request, NotAuthenticated(said))

    def invalid_row(request: HttpRequest, error: InvalidRow) -> HttpResponse:
        return answer(request, InvalidInput(" ".join(error.messages)))

    def too_big(request: HttpRequest, _: RequestDataTooBig) -> HttpResponse:
        return answer(request, TooLarge("The body is larger than this door takes."))

    # The decorator form: ninja's other form is typed for classes of errors, not for errors.
    api.exception_handler(UnderstudyError)(answer)
    api.exception_handler(ValidationError)(invalid)
    api.exception_handler(HttpError)(http)
    api.exception_handler(AuthenticationError)(without_key)
    api.exception_handler(InvalidRow)(invalid_row)
    api.exception_handler(RequestDataTooBig)(too_big)


class JobOut(Schema):
    """How far a job is."""

    id: int
    status: str
    progress: dict[str, Any]
    error: str
    blame: str
    created_at: datetime
    finished_at: datetime | None


def job_out(job: Job) -> dict[str, Any]:
    """Return the fields that every job shows."""
    return {name: getattr(job, name) for name in JobOut.model_fields}


class CallOut(Schema):
    """A captured call, without its texts."""

    id: str
    request_id: str
    workload: str | None
    request_model: str
    response_model: str
    status_code: int
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_ms: int | None
    cost_usd: float | None
    metadata: dict[str, str]
    created_at: datetime


class CallDetail(CallOut):
    """A captured call with its texts, redacted as it was stored."""

    messages: list[dict[str, Any]]
    response: dict[str, Any] | None


class CallPage(Schema):
    """A page of calls, the newest first; `next` goes into `at`."""

    data: list[CallOut]
    next: str | None


class ImportOut(Schema):
    """What became of the lines that were sent."""

    read: int
    new: int
    known: int
    refused: int
    problems: list[dict[str, Any]]


class WorkloadOut(Schema):
    """A workload."""

    slug: str
    kind: str
    metric: str
    instruction: str
    labels: list[str]


class DatasetVersionOut(Schema):
    """A frozen dataset version."""

    id: int
    number: int
    digest: str
    counts: dict[str, Any]
    file_sha256: str


class FreezeIn(Schema):
    """Which line of versions to add to."""

    name: str = Field("main", min_length=1, max_length=48, pattern=r"^[a-z0-9]+([_-][a-z0-9]+)*$")


def call_out(call: CapturedCall) -> dict[str, Any]:
    """Return a call as `CallOut` shows it."""
    fields = {name: getattr(call, name) for name in CallOut.model_fields}
    return {**fields, "id": str(call.pk), "workload": call.workload and call.workload.slug}


@router.get("/calls", response=CallPage)
def list_calls(request: HttpRequest, at: str = "") -> dict[str, Any]:
    """List calls, the newest first."""
    page = calls_page(project_of(request), only=CallFilter(), at=at)
    return {"data": [call_out(call) for call in page.rows], "next": page.next or None}


@router.get("/calls/{request_id}", response=CallDetail)
def get_call(request: HttpRequest, request_id: str) -> dict[str, Any]:
    """Get one call by its request id."""
    found = CapturedCall.objects.filter(project=project_of(request), request_id=request_id)
    call = found.select_related("workload").first()
    if call is None:
        raise NotFound("There is no such call, or it is not yours to see.")
    return {**call_out(call), "messages": call.messages, "response": call.response}


@router.post("/calls", response=ImportOut)
def post_calls(request: HttpRequest) -> dict[str, Any]:
    """Keep calls that were made elsewhere: one log line, or several as NDJSON.

    A line that was sent before changes nothing, so sending again after a lost answer is safe.
    """
    return import_lines(project_of(request), request.body.splitlines(keepends=True))


@router.get("/imports/{job_id}", response=JobOut)
def get_import(request: HttpRequest, job_id: int) -> dict[str, Any]:
    """Watch a file import."""
    job = ImportJob.objects.filter(project=project_of(request), pk=job_id).first()
    if job is None:
        raise NotFound("There is no such import, or it is not yours to see.")
    return job_out(job)


@router.post("/curate", response=dict[str, int])
def post_curate(request: HttpRequest) -> dict[str, int]:
    """Turn new calls into examples; the answer counts what became of them."""
    return dict(curate(project_of(request)))


@router.get("/workloads", response=list[WorkloadOut])
def list_workloads(request: HttpRequest) -> list[Any]:
    """List the project's workloads."""
    return list(project_of(request).workloads.order_by("slug"))


@router.get("/workloads/{workload}", response=WorkloadOut)
def get_workload(request: HttpRequest, workload: str) -> Any:
    """Get one workload."""
    return workload_in_project(project_of(request), workload)


@router.post("/workloads/{workload}/datasets", response=DatasetVersionOut)
def post_dataset(request: HttpRequest, workload: str, body: FreezeIn) -> DatasetVersion:
    """Freeze the workload's examples as a dataset version."""
    return freeze(workload_in_project(project_of(request), workload), name=body.name)
