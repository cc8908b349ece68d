"""The pages of imports: several files at once, what was refused, and nothing raw on any disk."""

import asyncio
import gzip
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as given_settings
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from factory.asgi import application
from factory.models import CapturedCall, ImportJob, Project
from factory.services import imports, jobs
from factory.services.imports import sweep_uploads
from factory.services.keys import create_key
from factory.storage import FolderStore, open_store
from tests.factory.test_imports import line

pytestmark = pytest.mark.django_db
NEW = "/acme/-/imports/new/"
SECRET = "joe.bloggs@example.com"
BOUNDARY = "a-boundary"


@pytest.fixture
def page(client: Client, project: Project, alice: User) -> Client:
    client.force_login(alice)
    return client


def upload(name: str, data: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data)


def run_all() -> None:
    for job in ImportJob.objects.filter(status="queued"):
        jobs.run(ImportJob, job.pk, imports.import_work)


def secret_line(number: int) -> bytes:
    said = orjson.loads(line(number))
    said["request"]["messages"][-1]["content"] = f"ticket {number}: write to {SECRET}"
    return orjson.dumps(said) + b"\n"


def stored_files() -> list[bytes]:
    store = open_store(given_settings.STORAGE_URL)
    assert isinstance(store, FolderStore)
    return [path.read_bytes() for path in store.root.rglob("*") if path.is_file()]


# --- the page -------------------------------------------------------------------------------------
def test_the_page_explains_every_format(page: Client) -> None:
    shown = page.get(NEW).content.decode()
    for word in ("LiteLLM", "Langfuse", "OpenAI", "custom_id", "started_at", "gzip"):
        assert word in shown


def test_several_files_come_in_as_a_job_each(page: Client, project: Project) -> None:
    files = [upload("a.jsonl", line(1)), upload("b.jsonl.gz", gzip.compress(line(2)))]
    answer = page.post(NEW, {"file": files})
    assert (answer.status_code, answer.headers["location"]) == (302, "/acme/")
    run_all()
    assert project.calls.count() == 2
    assert set(ImportJob.objects.values_list("filename", flat=True)) == {"a.jsonl", "b.jsonl.gz"}


def test_a_script_gets_the_address_of_the_job(page: Client) -> None:
    json = {"accept": "application/json"}
    answer = page.post(NEW, {"file": upload("a.jsonl", line(1))}, headers=json)
    assert answer.json() == {"url": f"/acme/-/imports/{ImportJob.objects.get().pk}/"}
    refused = page.post(NEW, {"file": upload("a.gz", b"\x1f\x8bdamaged")}, headers=json)
    assert (refused.status_code, "gzip" in refused.json()["error"]["message"]) == (400, True)


@pytest.mark.parametrize("data", [b"\x1f\x8bdamaged", b"[" + line(1)])
def test_a_file_that_cannot_be_read_is_told_by_name(page: Client, data: bytes) -> None:
    answer = page.post(NEW, {"file": upload("odd.json", data)})
    assert answer.status_code == 422
    assert "odd.json: " in answer.content.decode()
    assert not ImportJob.objects.exists()


def test_a_form_without_a_file_asks_for_one(page: Client) -> None:
    assert "Choose a file" in page.post(NEW, {}).content.decode()


def test_a_file_over_the_limit_is_refused(page: Client, settings: Settings) -> None:
    settings.MAX_IMPORT_BYTES = 200_000
    answer = page.post(NEW, {"file": upload("big.jsonl", line(1) * 2000)})
    assert (answer.status_code, ImportJob.objects.count()) == (413, 0)


def test_what_was_refused_is_shown_and_can_be_downloaded(page: Client) -> None:
    lines = [line(1), b"broken\n", *[b'{"no": "format"}\n'] * 500, line(2)]
    page.post(NEW, {"file": upload("a.jsonl", b"".join(lines))})
    run_all()
    job = ImportJob.objects.get()
    shown = page.get(f"/acme/-/imports/{job.pk}/").content.decode()
    assert "The body is not JSON" in shown
    assert "None of the known formats" in shown
    assert f"/acme/-/imports/{job.pk}/refused.csv" in shown
    table = page.get(f"/acme/-/imports/{job.pk}/refused.csv").content.decode().splitlines()
    assert table[0] == "line,reason"
    assert [row.split(",")[0] for row in table[1:]] == [str(n) for n in range(2, 503)]
    assert table[1].startswith('2,"The body is not JSON')


def test_only_leads_of_the_project_may_import(
    client: Client, project: Project, bob: User, carol: User
) -> None:
    for person, status in ((bob, 403), (carol, 404)):
        client.force_login(person)
        assert client.post(NEW, {"file": upload("a.jsonl", line(1))}).status_code == status
    assert not ImportJob.objects.exists()


def test_a_form_of_another_site_is_refused(project: Project, alice: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)
    assert strict.post(NEW, {"file": upload("a.jsonl", line(1))}).status_code == 403
    page = strict.get(NEW)
    token = page.context["csrf_token"]
    sent = {"csrfmiddlewaretoken": str(token), "file": upload("a.jsonl", line(1))}
    assert strict.post(NEW, sent).status_code == 302


# --- what is kept ---------------------------------------------------------------------------------
def test_only_redacted_lines_are_stored_and_they_leave_with_the_job(page: Client) -> None:
    before = len(stored_files())
    page.post(NEW, {"file": upload("a.jsonl", secret_line(1) + b"broken " + SECRET.encode())})
    kept = stored_files()
    assert len(kept) == before + 1
    assert not any(SECRET.encode() in content for content in kept)
    assert any(b"[EMAIL_1]" in content for content in kept)
    run_all()
    assert len(stored_files()) == before
    assert "write to [EMAIL_1]" in CapturedCall.objects.get().question


def test_the_lines_of_a_stopped_import_are_swept(page: Client) -> None:
    before = len(stored_files())
    page.post(NEW, {"file": upload("a.jsonl", line(77))})
    job = ImportJob.objects.get()
    sweep_uploads()
    assert len(stored_files()) == before + 1
    page.post(f"/acme/-/imports/{job.pk}/cancel/")
    sweep_uploads()
    assert len(stored_files()) == before


def open_files() -> list[bytes]:
    """Read every regular file that this process and its children hold open, unlinked ones too."""
    contents = []
    tasks = Path("/proc/self/task").glob("*/children")
    children = [pid for task in tasks for pid in task.read_text().split()]
    for pid in ["self", *children]:
        for name in list(Path(f"/proc/{pid}/fd").iterdir()):
            with suppress(OSError):
                status = os.stat(name)  # noqa: PTH116 - what the link stands for, not its path
                writes = (Path(f"/proc/{pid}/fdinfo") / name.name).read_text()
                flags = int(writes.split("flags:")[1].split()[0], 8)
                if stat.S_ISREG(status.st_mode) and flags & (os.O_WRONLY | os.O_RDWR):
                    contents.append(name.read_bytes())
    return contents


def sent_through_asgi(
    path: str, headers: dict[str, str], parts: list[bytes], look: Callable[[], None]
) -> int:
    """Send a body in parts through the application as it is served; look before each is given."""

    async def messages() -> AsyncIterator[dict[str, Any]]:
        for number, part in enumerate(parts, start=1):
            look()
            yield {"type": "http.request", "body": part, "more_body": number < len(parts)}
        await asyncio.Event().wait()  # a client that stays

    async def send() -> int:
        given, sent = messages(), []

        async def receive() -> dict[str, Any]:
            return await anext(given)

        async def take(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [
                (n.encode(), v.encode()) for n, v in {"host": "testserver", **headers}.items()
            ],
        }
        await application(scope, receive, take)
        return int(sent[0]["status"])

    return async_to_sync(send)()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("door", ["page", "form", "body", "calls"])
def test_raw_lines_are_in_no_file_while_they_come_in(
    project: Project, alice: User, settings: Settings, door: str
) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    log = b"".join(secret_line(number) for number in range(8000))
    assert len(log) > 2 * given_settings.FILE_UPLOAD_MAX_MEMORY_SIZE
    key = create_key(project, name="k", scopes=["api"])[1]
    headers = {"host": "testserver", "authorization": f"Bearer {key}"}
    if door in {"page", "form"}:
        headers["content-type"] = f"multipart/form-data; boundary={BOUNDARY}"
        head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"'
        log = f"{head}\r\n\r\n".encode() + log + f"\r\n--{BOUNDARY}--\r\n".encode()
    client = Client()
    client.force_login(alice)
    client.get(NEW)
    token = client.cookies["csrftoken"].value
    if door == "page":
        headers = {
            **headers,
            "cookie": f"sessionid={client.cookies['sessionid'].value}; csrftoken={token}",
            "x-csrftoken": token,
            "accept": "application/json",
        }
    headers["content-length"] = str(len(log))
    looks = []

    def look() -> None:
        opened = open_files()
        looks.append(len(opened))
        assert not any(SECRET.encode() in content for content in opened)

    path = {"page": NEW, "calls": "/api/v1/calls"}.get(door, "/api/v1/imports")
    parts = [log[at : at + 65_536] for at in range(0, len(log), 65_536)]
    status = sent_through_asgi(path, headers, parts, look)
    assert status == (202 if path == "/api/v1/imports" else 200)
    assert len(looks) == len(parts)
    assert not any(SECRET.encode() in content for content in stored_files())
    run_all()
    assert project.calls.count() == 8000


@pytest.mark.django_db(transaction=True)
def test_a_body_without_a_length_is_bounded_all_the_same(
    project: Project, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000_000
    key = create_key(project, name="k", scopes=["api"])[1]
    headers = {"host": "testserver", "authorization": f"Bearer {key}"}
    parts = [line(1) * 200] * 1000
    taken: list[int] = []
    status = sent_through_asgi("/api/v1/calls", headers, parts, lambda: taken.append(1))
    assert status == 413
    assert len(taken) * len(parts[0]) < 1_500_000
