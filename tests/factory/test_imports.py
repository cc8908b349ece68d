"""Log files: every readable line comes in once, the others are counted and named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.conf import settings as given_settings
from pytest_django import Settings

from factory.errors import InvalidInput, JobCancelled, NotFound, TooLarge
from factory.formats.intake import MAX_ENTRY_BYTES, lines_of
from factory.formats.refusals import KEPT_PROBLEMS
from factory.models import CapturedCall, ImportJob, Project
from factory.services import jobs
from factory.services.imports import BATCH, import_lines, import_work
from factory.services.uploads import take_upload
from factory.storage import FolderStore, chunks_of, open_store
from tests.conftest import ticket_messages

pytestmark = pytest.mark.django_db

DATA = given_settings.BASE_DIR.parent / "shared" / "data"


def line(number: int, **fields: Any) -> bytes:
    call = {
        "id": f"call-{number}",
        "started_at": 1_790_000_000 + number,
        "request": {"model": "gpt-4o", "messages": ticket_messages(f"ticket {number}")},
        "response": {"choices": [{"message": {"content": "billing"}, "finish_reason": "stop"}]},
        **fields,
    }
    return orjson.dumps(call) + b"\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "calls.jsonl"
    path.write_bytes(b"".join(line(n) for n in range(BATCH + 3)))
    return path


def start_import(project: Project, source: Path, *, filename: str) -> ImportJob:
    return take_upload(project, chunks_of(source), filename=filename)


def run(job: ImportJob) -> ImportJob:
    jobs.run(ImportJob, job.pk, import_work)
    job.refresh_from_db()
    return job


def counts(**expected: int) -> dict[str, int]:
    return {"read": 0, "new": 0, "known": 0, "refused": 0, **expected}


def told(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in ("read", "new", "known", "refused")}


def test_a_file_comes_in_as_a_job(project: Project, log: Path) -> None:
    job = run(start_import(project, log, filename="calls.jsonl"))
    assert job.status == "succeeded"
    assert told(job.counts) == counts(read=BATCH + 3, new=BATCH + 3)
    assert job.file_bytes == log.stat().st_size
    assert job.progress["done"] == job.progress["total"] > 0
    assert (job.progress["unit"], job.progress["new"]) == ("bytes", BATCH + 3)
    assert project.calls.count() == BATCH + 3


def test_a_file_that_comes_again_changes_nothing(project: Project, log: Path) -> None:
    run(start_import(project, log, filename="calls.jsonl"))
    job = run(start_import(project, log, filename="again.jsonl"))
    assert told(job.counts) == counts(read=BATCH + 3, known=BATCH + 3)


def test_a_bad_line_is_refused_by_itself(project: Project) -> None:
    bad = [
        b"not json\n",
        b"\n",
        line(1, id=""),
        line(2),
        b"[1, 2]\n",
        line(2),
        b'{"id": "x", "started_at": NaN}\n',
        b'{"a": "\\ud800"}\n',
    ]
    result = import_lines(project, bad)
    assert told(result) == counts(read=7, new=1, known=1, refused=5)
    assert [problem["line"] for problem in result["problems"]] == [1, 3, 5, 7, 8]
    assert result["problems"][1]["message"].startswith("id: ")


def test_only_the_first_problems_are_kept(project: Project) -> None:
    result = import_lines(project, [b"x\n"] * 1000 + [line(1)] + [b"x\n"])
    assert result["refused"] == 1001
    assert len(result["problems"]) == KEPT_PROBLEMS
    assert result["refused_lines"] == "1-1000,1002"


def test_lines_of_windows_come_in(project: Project) -> None:
    lines = [b"\xef\xbb\xbf" + line(1).replace(b"\n", b"\r\n"), line(2).rstrip()]
    assert told(import_lines(project, lines)) == counts(read=2, new=2)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("text", [b"", b"\n", b"a", b"a\nbc\n", b"a\n\n\nbc", b"abcdef\ng\n"])
def test_lines_come_whole_however_the_chunks_fall(text: bytes, size: int) -> None:
    chunks = (text[at : at + size] for at in range(0, len(text), size))
    assert list(lines_of(chunks)) == text.splitlines(keepends=True)


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(InvalidInput):
        list(lines_of(b"x" * 2**20 for _ in range(MAX_ENTRY_BYTES)))


def test_an_import_that_was_killed_goes_on(project: Project, log: Path, settings: Settings) -> None:
    job = start_import(project, log, filename="calls.jsonl")
    killed = jobs.claim(ImportJob, job.pk)
    assert killed is not None
    import_lines(project, log.read_bytes().splitlines(keepends=True)[:BATCH])  # then kill -9
    ImportJob.objects.filter(pk=job.pk).update(lease_until=jobs.in_future(-1))
    jobs.sweep()
    job = run(job)
    assert (job.status, job.attempt) == ("succeeded", 2)
    assert told(job.counts) == counts(read=BATCH + 3, new=3, known=BATCH)
    assert project.calls.count() == BATCH + 3


def test_an_import_stops_when_it_is_cancelled(project: Project, log: Path) -> None:
    job = start_import(project, log, filename="calls.jsonl")
    running = jobs.claim(ImportJob, job.pk)
    assert running is not None
    jobs.cancel(job)
    with pytest.raises(JobCancelled):
        import_work(running)
    assert project.calls.count() == BATCH


def test_a_file_over_the_limit_is_refused(project: Project, log: Path, settings: Settings) -> None:
    settings.MAX_IMPORT_BYTES = log.stat().st_size - 1
    with pytest.raises(TooLarge):
        start_import(project, log, filename="calls.jsonl")


def test_a_stored_file_that_is_gone_ends_the_job_with_a_reason(
    project: Project, log: Path, settings: Settings
) -> None:
    job = start_import(project, log, filename="calls.jsonl")
    store = open_store(settings.STORAGE_URL)
    assert isinstance(store, FolderStore)
    store.path(job.file_sha256).unlink()
    job = run(job)
    assert (job.status, job.error) == ("failed", NotFound("no such blob").message)


def test_the_bell_rings_when_the_import_is_committed(
    project: Project, log: Path, on_commit_runs: Callable[[], Any]
) -> None:
    with on_commit_runs() as callbacks:
        start_import(project, log, filename="calls.jsonl")
        assert callbacks == []
    assert len(callbacks) == 1


@pytest.mark.parametrize(("name", "calls"), [("ticket_routing", 4000), ("voice_extraction", 3000)])
def test_real_logs_come_in_whole(project: Project, name: str, calls: int) -> None:
    path = DATA / name / "calls.jsonl"
    if not path.exists():
        pytest.skip("needs real data in ../shared/data, beside the project")
    job = run(start_import(project, path, filename=path.name))
    assert told(job.counts) == counts(read=calls, new=calls)
    assert not CapturedCall.objects.exclude(redactions={}).exists()  # there is none in these logs
