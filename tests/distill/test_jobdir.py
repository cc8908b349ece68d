"""The folder between the worker and the GPU process."""

import json
from pathlib import Path

import pytest

from distill.jobdir import (
    InputError,
    JobDir,
    JobDirBusyError,
    Json,
    file_sha256,
    write_atomically,
)
from distill.models import TrainingPoint
from distill.services.train import Curve
from distill.spec import TrainSpec
from factory.models import Workload
from tests.distill.published import make_run

SPEC = TrainSpec(base_model="b")
ROW: Json = {
    "id": "1",
    "messages": [{"role": "user", "content": "ü?"}, {"role": "assistant", "content": "a"}],
}


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    return JobDir.create(tmp_path / "job", SPEC, {"train": [ROW, ROW], "validation": []})


def test_what_was_put_in_is_what_the_process_reads(job: JobDir) -> None:
    assert job.spec() == SPEC
    assert job.rows("train") == [ROW, ROW]
    assert job.rows("validation") == []
    assert (job.result(), job.error()) == (None, None)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ('{"messages": "hi"}', "must hold a question and an answer"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "question and an answer"),
        ('{"messages": ["a", "b"]}', "every message must be an object"),
        ('{"messages": [{"role": "user"}, {"role": "user", "content": "a"}]}', "assistant's"),
        ('{"messages": [{"role": "user"}, {"role": "assistant"}]}', "assistant's answer"),
        ("[1]", "must hold a question"),
    ],
)
def test_a_bad_row_is_named_by_its_line(job: JobDir, line: str, complaint: str) -> None:
    with job.table("train").open("a", encoding="utf-8") as table:
        table.write(line + "\n")

    with pytest.raises(InputError, match=f"train.jsonl, line 3: .*{complaint}"):
        job.rows("train")


def test_a_missing_table_is_the_users_to_mend(job: JobDir) -> None:
    with pytest.raises(InputError, match="is missing"):
        job.rows("rows")


def test_progress_is_read_from_where_the_last_reader_stopped(job: JobDir) -> None:
    job.append_progress("train", 1, 9, loss=2.0)
    first, offset = job.read_progress()
    job.append_progress("train", 2, 9, loss=1.0)
    second, end = job.read_progress(offset)

    assert [event["step"] for event in first + second] == [1, 2]
    assert job.read_progress(end) == ([], end)


def test_a_line_half_written_waits_and_a_torn_one_is_passed_over(job: JobDir) -> None:
    job.append_progress("train", 1, 9)
    path = job.root / "progress.jsonl"
    with path.open("a") as log:
        log.write('{"step": 2, "ma')

    events, offset = job.read_progress()
    job.append_progress("train", 3, 9)  # the writer was killed and started again
    later, _ = job.read_progress(offset)

    assert [event["step"] for event in events] == [1]
    assert [event["step"] for event in later] == [3]


@pytest.mark.django_db
def test_steps_repeated_after_a_resume_count_once_and_last(job: JobDir, workload: Workload) -> None:
    for step, loss in [(1, 4.0), (2, 3.0), (3, 2.0), (2, 3.5), (3, 2.5)]:
        job.append_progress("train", step, 9, loss=loss)
    job.append_progress("train", 3, 9, eval_loss=2.2)
    run = make_run(workload)

    Curve(run).add(job.read_progress()[0])

    points = TrainingPoint.objects.filter(run=run).order_by("step")
    assert list(points.values_list("step", "values")) == [
        (1, {"loss": 4.0}),
        (2, {"loss": 3.5}),
        (3, {"loss": 2.5, "eval_loss": 2.2}),
    ]


def test_a_held_folder_is_busy_and_free_again_after(job: JobDir) -> None:
    with job.lock(), pytest.raises(JobDirBusyError), job.lock():
        pass

    with job.lock():
        job.append_progress("load", 0, 1)


def test_an_error_says_who_has_to_act_until_it_is_cleared(job: JobDir) -> None:
    job.write_error("user", "no row fits", "InputError")

    error = job.error()
    assert error is not None
    assert (error["blame"], error["message"]) == ("user", "no row fits")
    job.clear_error()
    assert job.error() is None


def test_an_atomic_write_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_atomically(path, b"old")
    write_atomically(path, json.dumps({"a": 1}).encode())

    assert path.read_bytes() == b'{"a": 1}'
    assert list(tmp_path.iterdir()) == [path]


def test_the_sha256_of_a_file_is_the_known_one(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")

    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
