"""One error shape over every JSON door, and never a 500 for what a caller sent."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from factory.errors import UnderstudyError
from factory.models import Project, Workload
from factory.services.keys import create_key, revoke_key
from tests.conftest import call_record

pytestmark = pytest.mark.django_db

SHAPE = {"message", "type", "param", "code", "retryable"}


@pytest.fixture
def key(project: Project) -> str:
    return create_key(project, name="ci", scopes=["api"])[1]


def send(client: Client, key: str, method: str, path: str, body: bytes = b"") -> Any:
    return client.generic(
        method,
        f"/api/v1{path}",
        body,
        content_type="application/json",
        headers={"authorization": f"Bearer {key}"},
    )


def error_of(answer: Any) -> dict[str, Any]:
    body = answer.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == SHAPE
    assert body["error"]["message"]
    return dict(body["error"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/workloads/tickets/datasets", b"{broken", 400, "invalid_json"),
        ("POST", "/workloads/tickets/datasets", b'{"name": "NOT A SLUG"}', 400, "invalid_input"),
        ("POST", "/workloads/tickets/datasets", b"[]", 400, "invalid_input"),
        ("POST", "/workloads/tickets/datasets", b"{}", 400, "invalid_input"),  # nothing to freeze
        ("GET", "/workloads/nope", b"", 404, "not_found"),
        ("GET", "/workloads/..%2f..%2fetc", b"", 404, "not_found"),
        ("GET", "/calls/nope", b"", 404, "not_found"),
        ("GET", "/calls/a%00b", b"", 400, "invalid_input"),
        ("GET", "/calls?at=next~%00", b"", 400, "invalid_input"),
        ("GET", "/calls?at=damaged", b"", 400, "invalid_input"),
        ("GET", "/runs/999999999", b"", 404, "not_found"),
        ("GET", "/runs/abc", b"", 400, "invalid_input"),
        ("GET", "/imports/99999999999999999999", b"", 404, "not_found"),
        ("POST", "/workloads/tickets/runs", b'{"dataset_version": 1}', 404, "not_found"),
        ("POST", "/workloads/tickets/label-jobs", b'{"teacher": "t"}', 400, "invalid_input"),
        (
            "POST",
            "/workloads/tickets/label-jobs",
            b'{"teacher": "a\\u0000b", "votes": 1, "budget_usd": 1}',
            404,
            "not_found",
        ),
        ("POST", "/workloads/tickets/aliases/production", b'{"to": 1}', 404, "not_found"),
        ("GET", "/nowhere", b"", 404, "not_found"),
        ("DELETE", "/calls", b"", 405, "method_not_allowed"),
        ("POST", "/calls", b"x" * 50_000_000, 413, "request_too_large"),
    ],
)
def test_bad_input_gets_the_one_shape(
    client: Client,
    key: str,
    workload: Workload,
    method: str,
    path: str,
    body: bytes,
    status: int,
    code: str,
) -> None:
    answer = send(client, key, method, path, body)
    assert answer.status_code == status
    assert error_of(answer)["code"] == code


def test_no_key_an_unknown_a_revoked_and_an_unfit_one_look_alike(
    client: Client, project: Project
) -> None:
    revoked, raw = create_key(project, name="old", scopes=["api"])
    revoke_key(revoked)
    unfit = create_key(project, name="capture", scopes=["capture"])[1]
    for key in (raw, unfit, "us_nothing", "x' OR 1=1--", "\x00"):
        answer = send(client, key, "GET", "/workloads")
        assert answer.status_code == 401
        assert error_of(answer)["code"] == "invalid_api_key"
    bare = client.get("/api/v1/workloads")
    assert bare.status_code == 401
    assert error_of(bare)["code"] == "invalid_api_key"


def test_another_projects_things_are_absent(
    client: Client, workload: Workload, carol: object
) -> None:
    stranger = Project.objects.create(slug="other", name="Other")
    key = create_key(stranger, name="ci", scopes=["api"])[1]
    answer = send(client, key, "GET", "/workloads/tickets")
    assert answer.status_code == 404
    assert send(client, key, "GET", "/workloads").json() == []


def test_lines_that_cannot_be_read_are_reported_and_the_others_kept(
    client: Client, key: str, project: Project
) -> None:
    good = call_record("where is my parcel")
    line = json.dumps(
        {
            "id": "call-1",
            "started_at": good.created_at.timestamp(),
            "request": good.request,
            "response": good.response,
        }
    ).encode()
    lines = [line, b"{broken", b'{"id": "x"}', line]
    answer = send(client, key, "POST", "/calls", b"\n".join(lines))
    assert answer.status_code == 200
    counts = answer.json()
    assert {k: counts[k] for k in ("read", "new", "known", "refused")} == {
        "read": 4,
        "new": 1,
        "known": 1,
        "refused": 2,
    }
    assert [problem["line"] for problem in counts["problems"]] == [2, 3]
    assert project.calls.count() == 1


def test_the_openapi_document_is_served(client: Client) -> None:
    document = client.get("/api/v1/openapi.json").json()
    assert document["info"]["title"] == "Understudy"
    assert "/api/v1/workloads/{workload}/runs" in document["paths"]


def test_pages_answer_strangers_paths_with_a_page_not_a_trace(client: Client) -> None:
    answer = client.get(reverse("home") + "no/such/page/")
    assert answer.status_code in {302, 404}
    assert b"Traceback" not in answer.content


def test_every_error_says_who_must_act_and_whether_to_retry() -> None:
    found = _subclasses(UnderstudyError)
    assert len(found) > 8
    for error in found:
        assert error.code != UnderstudyError.code or error is UnderstudyError, error
        assert 400 <= error.http_status < 600


def _subclasses(root: type[UnderstudyError]) -> list[type[UnderstudyError]]:
    return [root, *(sub for direct in root.__subclasses__() for sub in _subclasses(direct))]
