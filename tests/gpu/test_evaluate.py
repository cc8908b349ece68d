"""Evaluation: every row answered once, whatever happens to the process or its parent."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from distill.child import ChildFailedError, ChildStoppedError, run_child
from distill.jobdir import JobDir, Json
from distill.spec import EvalSpec
from tests.gpu.conftest import ask, chat_rows, predictions, run

PARENT = """
import sys
from pathlib import Path
from distill.child import run_child
run_child("evaluate", Path(sys.argv[1]), on_progress=lambda events: print("going", flush=True),
          should_stop=lambda: False, poll_seconds=0.05)
"""

pytestmark = pytest.mark.slow


def test_rows_answered_before_a_kill_are_not_asked_again(gguf: Path, tmp_path: Path) -> None:
    rows = chat_rows(6, seed=4)
    job = JobDir.create(tmp_path, EvalSpec("gguf", str(gguf)), {"rows": rows})
    kept = {
        "id": rows[0]["id"],
        "expected": "kept",
        "output": "kept",
        "prompt_tokens": 1,
        "completion_tokens": 1,
    }
    torn = '{"id": "' + str(rows[1]["id"])
    (job.files / "predictions.jsonl").write_text(json.dumps(kept) + "\n" + torn)

    result = run("evaluate", job.root)

    answered = predictions(job)
    assert answered[0] == kept
    assert [row["id"] for row in answered] == [row["id"] for row in rows]
    assert result["rows"] == 6


def test_a_constrained_answer_is_always_one_of_the_labels(
    base: Path, exported: JobDir, tmp_path: Path
) -> None:
    labels = ("apples", "pears")
    rows = chat_rows(4, seed=6)
    q8 = str(exported.files / "router-Q8_0.gguf")

    by_grammar = EvalSpec("gguf", q8, constrained=True, labels=labels)
    by_prefix = EvalSpec("hf", str(base), constrained=True, labels=labels)

    for name, subject in (("gguf", by_grammar), ("hf", by_prefix)):
        answers = {row["output"] for row in predictions(ask(tmp_path / name, subject, rows))}
        assert answers <= set(labels)


def test_two_processes_never_work_in_one_folder(gguf: Path, tmp_path: Path) -> None:
    rows = {"rows": chat_rows(2, seed=7)}
    job = JobDir.create(tmp_path, EvalSpec("gguf", str(gguf)), rows)

    with job.lock(), pytest.raises(ChildFailedError, match="in use") as caught:
        run("evaluate", job.root)

    assert caught.value.blame == "system"


def test_the_child_of_a_killed_worker_dies_with_it(gguf: Path, tmp_path: Path) -> None:
    rows: list[Json] = chat_rows(20_000, seed=8)
    job = JobDir.create(tmp_path, EvalSpec("gguf", str(gguf)), {"rows": rows})
    command = [sys.executable, "-c", PARENT, str(job.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"going\n"
        parent.kill()

    with (job.root / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # waits until the child lets go

    assert job.result() is None
    assert 0 < len((job.files / "predictions.jsonl").read_bytes().splitlines()) < len(rows)


def test_a_stopped_evaluation_leaves_no_process_and_can_go_on(gguf: Path, tmp_path: Path) -> None:
    job = JobDir.create(tmp_path, EvalSpec("gguf", str(gguf)), {"rows": chat_rows(20_000, seed=9)})
    seen: list[Json] = []

    with pytest.raises(ChildStoppedError):
        run_child(
            "evaluate",
            job.root,
            on_progress=seen.extend,
            should_stop=lambda: bool(seen),
            poll_seconds=0.05,
        )

    with job.lock():
        assert job.result() is None
        assert job.error() is None
    assert 0 < len(predictions(job)) < 20_000


def test_a_missing_file_is_the_users_to_mend(tmp_path: Path) -> None:
    job = JobDir.create(tmp_path, EvalSpec("gguf", "/no/such.gguf"), {"rows": chat_rows(1, seed=1)})

    with pytest.raises(ChildFailedError, match="does not exist") as caught:
        run("evaluate", job.root)

    assert caught.value.blame == "user"
    assert "InputError" in caught.value.log_tail
