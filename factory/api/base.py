"""What all of the JSON API shares: the key, strict bodies, the one error shape, jobs."""

from datetime import datetime
from typing import Any, cast

from django.core.exceptions import RequestDataTooBig
from django.core.exceptions import ValidationError as InvalidRow
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI, Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.parser import Parser
from ninja.security import HttpBearer

from factory.errors import InvalidInput, NotAuthenticated, NotFound, TooLarge, UnderstudyError
from factory.messages import parse_json
from factory.models import ApiKey, Job, Project
from factory.selectors import key_for_secret


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


class SenderAuth(HttpBearer):
    """A key with the scope `capture` or `api`, at doors that only take: an app has but one."""

    def authenticate(self, request: HttpRequest, token: str) -> ApiKey:  # noqa: ARG002 - ninja's
        """Return the live key."""
        try:
            return key_for_secret(token, ApiKey.Scope.CAPTURE)
        except NotAuthenticated:
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
