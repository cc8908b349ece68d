"""The doors for logs: bodies of every form, files, and requests that are sent twice."""

import gzip
import threading
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from factory.models import CapturedCall, IdempotentRequest, ImportJob, Project
from factory.services import imports, jobs
from factory.services.idempotency import KeyReused, StillAtWork, answer_once, sweep_requests
from factory.services.keys import create_key
from tests.factory.test_imports import line

pytestmark = pytest.mark.django_db
JSON = "application/json"


@pytest.fixture
def key(project: Project) -> str:
    return create_key(project, name="logs", scopes=["capture"])[1]


def post(key: str, path: str, body: Any, content_type: str = JSON, **headers: str) -> Any:
    headers = {"authorization": f"Bearer {key}", **headers}
    return Client().post(f"/api/v1{path}", body, content_type=content_type, headers=headers)


def counts(answer: Any) -> tuple[int, int, int, int]:
    assert answer.status_code == 200, answer.content
    told = answer.json()
    return told["read"], told["new"], told["known"], told["refused"]


# --- calls ----------------------------------------------------------------------------------------
def test_calls_come_as_one_object_an_array_or_lines(key: str, project: Project) -> None:
    one, two = (orjson.loads(line(n)) for n in (1, 2))
    assert counts(post(key, "/calls", orjson.dumps(one))) == (1, 1, 0, 0)
    pretty = orjson.dumps(one, option=orjson.OPT_INDENT_2)
    assert counts(post(key, "/calls", pretty)) == (1, 0, 1, 0)
    assert counts(post(key, "/calls", orjson.dumps([one, two]))) == (2, 1, 1, 0)
    assert counts(post(key, "/calls", line(2) + b"{}\n" + line(3), "application/x-ndjson")) == (
        3, 1, 1, 1,
    )  # fmt: skip
    assert project.calls.count() == 3
    assert counts(post(key, "/calls", b"[]")) == counts(post(key, "/calls", b"")) == (0, 0, 0, 0)


def test_gzip_is_read_and_other_codings_are_refused(key: str) -> None:
    packed = gzip.compress(line(1) + line(2))
    assert counts(post(key, "/calls", packed, **{"content-encoding": "gzip"})) == (2, 2, 0, 0)
    refused = post(key, "/calls", b"x", **{"content-encoding": "br"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_input")


def test_a_gzip_bomb_gets_413(key: str, project: Project) -> None:
    bomb = gzip.compress(line(1) + bytes(100_000_000))
    answer = post(key, "/calls", bomb, **{"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert not project.calls.exists()


def test_an_array_that_was_cut_off_keeps_nothing(key: str, project: Project) -> None:
    answer = post(key, "/calls", b"[" + line(1) + b",")
    assert (answer.status_code, project.calls.count()) == (400, 0)


def test_what_comes_by_this_door_is_redacted(key: str, project: Project) -> None:
    said = orjson.loads(line(1))
    said["request"]["messages"][-1]["content"] = "mail joe@example.com"
    post(key, "/calls", orjson.dumps(said))
    assert CapturedCall.objects.get().messages[-1]["content"] == "mail [EMAIL_1]"


def test_strangers_keys_open_only_their_own_project(key: str) -> None:
    other = Project.objects.create(slug="other", name="Other")
    stranger = create_key(other, name="x", scopes=["api"])[1]
    post(key, "/calls", line(1))
    assert counts(post(stranger, "/calls", line(1))) == (1, 1, 0, 0)
    assert post("us_nothing", "/calls", line(1)).status_code == 401
    job = post(key, "/imports", line(2)).json()["id"]
    headers = {"authorization": f"Bearer {stranger}"}
    assert Client().get(f"/api/v1/imports/{job}", headers=headers).status_code == 404


# --- the same request twice -----------------------------------------------------------------------
def test_a_request_sent_again_gets_the_stored_answer(key: str, project: Project) -> None:
    first = post(key, "/calls", line(1), **{"idempotency-key": "k-1"})
    again = post(key, "/calls", line(1), **{"idempotency-key": "k-1"})
    assert first.json() == again.json()
    assert again.json()["new"] == 1  # not "known": nothing was done again
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = post(key, "/calls", line(1), **{"idempotency-key": "k-2"})
    assert other.json()["known"] == 1


def test_a_key_with_another_body_is_refused(key: str, project: Project) -> None:
    post(key, "/calls", line(1), **{"idempotency-key": "k"})
    answer = post(key, "/calls", line(2), **{"idempotency-key": "k"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (409, "idempotency_key_reused")
    assert project.calls.count() == 1


def test_keys_of_two_projects_do_not_meet(key: str) -> None:
    other = Project.objects.create(slug="other", name="Other")
    stranger = create_key(other, name="x", scopes=["api"])[1]
    for sender, number in ((key, 1), (stranger, 2)):
        answer = post(sender, "/calls", line(number), **{"idempotency-key": "k"})
        assert counts(answer) == (1, 1, 0, 0)


def test_what_failed_may_be_tried_again(key: str, project: Project) -> None:
    cut = post(key, "/calls", b"[" + line(1), **{"idempotency-key": "k"})
    assert cut.status_code == 400
    whole = post(key, "/calls", b"[" + line(1) + b"]", **{"idempotency-key": "k"})
    assert counts(whole) == (1, 1, 0, 0)


@pytest.mark.parametrize("name", ["", "x" * 256, "a\tb"])
def test_a_key_that_is_none_is_refused(key: str, name: str) -> None:
    answer = post(key, "/calls", line(1), **{"idempotency-key": name})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_while_the_first_is_at_work_the_second_is_told_to_wait(project: Project) -> None:
    def first() -> dict[str, Any]:
        with pytest.raises(StillAtWork) as told:
            answer_once(project, "k", ("/calls", b"x"), lambda: {"n": 2})
        assert (told.value.http_status, told.value.retryable) == (409, True)
        with pytest.raises(KeyReused):
            answer_once(project, "k", ("/calls", b"y"), lambda: {"n": 2})
        return {"n": 1}

    assert answer_once(project, "k", ("/calls", b"x"), first) == ({"n": 1}, False)
    assert answer_once(project, "k", ("/calls", b"x"), first) == ({"n": 1}, True)


def test_a_request_whose_process_died_can_be_sent_again(project: Project) -> None:
    answer_once(project, "k", ("/", b""), lambda: {"n": 1})
    at_work = timezone.now() + timedelta(seconds=9)
    IdempotentRequest.objects.update(answer=None, lease_until=at_work)  # as kill -9 leaves it
    with pytest.raises(StillAtWork):
        answer_once(project, "k", ("/", b""), dict)
    IdempotentRequest.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert answer_once(project, "k", ("/", b""), lambda: {"n": 2}) == ({"n": 2}, False)


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_works_and_the_others_wait(project: Project) -> None:
    began, go_on = threading.Event(), threading.Event()
    told: list[Any] = []

    def slow() -> dict[str, Any]:
        began.set()
        assert go_on.wait(20)
        return {"n": 1}

    worker = threading.Thread(
        target=lambda: told.append(answer_once(project, "k", ("/", b""), slow))
    )
    worker.start()
    assert began.wait(20)
    for _ in range(3):
        with pytest.raises(StillAtWork):
            answer_once(project, "k", ("/", b""), dict)
    go_on.set()
    worker.join()
    assert told == [({"n": 1}, False)]


def test_answers_are_kept_for_a_day_and_then_swept(project: Project) -> None:
    answer_once(project, "new", ("/", b""), dict)
    answer_once(project, "old", ("/", b""), dict)
    rows = IdempotentRequest.objects
    rows.filter(key="old").update(created_at=timezone.now() - timedelta(hours=24, minutes=1))
    rows.filter(key="new").update(created_at=timezone.now() - timedelta(hours=23, minutes=59))
    sweep_requests()
    assert list(rows.values_list("key", flat=True)) == ["new"]


# --- files ----------------------------------------------------------------------------------------
def run(number: int) -> ImportJob:
    jobs.run(ImportJob, number, imports.import_work)
    return ImportJob.objects.get(pk=number)


def test_a_file_comes_as_the_body_and_a_job_writes_it(key: str, project: Project) -> None:
    data = gzip.compress(line(1) + b"broken\n" + line(2))
    answer = post(key, "/imports?filename=old.jsonl.gz", data, "application/gzip")
    assert answer.status_code == 202
    told = answer.json()
    assert (told["status"], told["filename"], told["file_bytes"]) == (
        "queued", "old.jsonl.gz", len(data),
    )  # fmt: skip
    run(told["id"])
    headers = {"authorization": f"Bearer {key}"}
    shown = Client().get(f"/api/v1/imports/{told['id']}", headers=headers).json()
    assert shown["status"] == "succeeded"
    assert (shown["counts"]["new"], shown["counts"]["refused_lines"]) == (2, "2")
    assert project.calls.count() == 2


def test_a_file_comes_as_a_form_too(key: str, project: Project) -> None:
    headers = {"authorization": f"Bearer {key}"}
    file = SimpleUploadedFile("a.jsonl", line(1))
    answer = Client().post("/api/v1/imports", {"file": file}, headers=headers)
    assert (answer.status_code, answer.json()["filename"]) == (202, "a.jsonl")
    run(answer.json()["id"])
    assert project.calls.count() == 1
    without = Client().post("/api/v1/imports", {"other": "x"}, headers=headers)
    assert (without.status_code, without.json()["error"]["param"]) == (400, "file")


@pytest.mark.parametrize("data", [b"", b"\x1f\x8bdamaged", b"[" + line(1)])
def test_a_file_that_cannot_be_read_makes_no_job(key: str, data: bytes) -> None:
    assert post(key, "/imports", data).status_code == 400
    assert not ImportJob.objects.exists()


def test_a_file_over_the_limit_makes_no_job(key: str, settings: Settings) -> None:
    settings.MAX_IMPORT_BYTES = 100_000
    for data in (line(1) * 1000, gzip.compress(line(1) * 1000)):
        answer = post(key, "/imports", data)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert not ImportJob.objects.exists()
