"""kill -9 in the middle of labelling and of training: the work ends, once, and is paid once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings as live_settings
from django.db import connection

from distill.gpu.tiny_base import build
from distill.models import Artifact, DistillationRun, Evaluation, TrainingPoint
from distill.services.train import start_run
from factory.demo.sample import vocabulary_text
from factory.models import Job, Project, Workload
from factory.services.freeze import freeze
from factory.services.projects import save_upstream
from labeling.models import Label, TeacherReply
from labeling.services.label import create_teacher, start_label_job
from tests.conftest import LABELS, MakeExample
from tests.fakes import TEACHER, ScriptedUpstream

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

ROOT = Path(__file__).resolve().parent.parent
PRICES = {TEACHER: {"input": 5.0, "output": 20.0}}
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
PATIENCE_SECONDS = 400  # for what takes seconds on a quiet machine: a busy one is no failure


@contextmanager
def worker(*names: str) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Run real worker processes on the test's database and broker; leases last eight seconds."""
    database = connection.settings_dict
    url = f"postgresql://{database['USER']}@/{database['NAME']}?host={quote(database['HOST'])}"
    environment = {**os.environ, "DATABASE_URL": url, "JOB_LEASE_SECONDS": "8"}
    environment["BROKER_URL"] = live_settings.BROKER_URL
    command = [sys.executable, str(ROOT / "manage.py"), "run"]
    processes = [
        subprocess.Popen([*command, name], env=environment, cwd=ROOT, start_new_session=True)
        for name in names
    ]
    try:
        yield processes
    finally:
        for process in processes:
            kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """kill -9 the process and its children."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def until(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not ready():
        assert time.monotonic() < end, f"{what} did not come in {PATIENCE_SECONDS} s"
        time.sleep(0.1)


def is_over(job: Job) -> Callable[[], bool]:
    def over() -> bool:
        job.refresh_from_db()
        return job.is_final

    return over


def test_a_killed_label_worker_leaves_nothing_unlabelled_or_paid_twice(
    project: Project, workload: Workload, make_example: MakeExample
) -> None:
    for number in range(240):
        make_example(f"ticket {number} about an invoice", target=None)
    upstream = ScriptedUpstream(latency_ms=150)
    with upstream.serve() as base_url, worker("teacher", "default", "beat") as (victim, *_):
        row = save_upstream(project, name="up", base_url=base_url, key="k", prices=PRICES)
        teacher = create_teacher(project, name="t", upstream=row, model=TEACHER)
        job = start_label_job(workload, teacher=teacher, votes=1, budget_usd=Decimal(5))
        until(lambda: Label.objects.filter(job=job).count() >= 20, "the first labels")
        kill(victim)
        done_before = Label.objects.filter(job=job).count()
        assert done_before < 240
        with worker("teacher"):
            until(is_over(job), "the end of the label job")
    assert (job.status, job.attempt, job.error) == (Job.Status.SUCCEEDED, 2, "")
    assert Label.objects.filter(job=job).count() == 240
    assert TeacherReply.objects.count() == 240
    assert upstream.ledger.calls == 240  # what the provider bills: repeats by key are not in it
    assert job.spent_usd == sum(reply.cost_usd for reply in TeacherReply.objects.all())
    assert len({chat.headers["idempotency-key"] for chat in upstream.chats}) == 240


@pytest.fixture
def base(tmp_path: Path, settings: Any) -> Path:
    settings.BASES_DIR = tmp_path
    build(tmp_path / "base", vocabulary_text(lines=300))
    return tmp_path / "base"


def test_a_killed_trainer_goes_on_and_every_step_and_file_is_there_once(
    workload: Workload, make_example: MakeExample, base: Path
) -> None:
    for number in range(130):
        split = "validation" if number < 20 else "test" if number < 40 else "train"
        label = LABELS[number % 3]
        # Words, not numbers: inputs that differ in numbers only are near copies, of one split.
        words = " ".join(DIGITS[int(digit)] for digit in str(number))
        text = f"{label} trouble {words}"
        make_example(text, target=label, split=split, provenance="uploaded")
    version = freeze(workload)
    with worker("gpu", "teacher", "default", "beat") as (victim, *_):
        run = start_run(workload, version, base_model=str(base), overrides={"epochs": 12.0})
        until(lambda: TrainingPoint.objects.filter(run=run).count() >= 10, "the first steps")
        kill(victim)
        run.refresh_from_db()
        assert run.status == Job.Status.RUNNING
        with worker("gpu"):
            until(is_over(run), "the end of the run")
            evaluations = list(Evaluation.objects.filter(run=run))
            for evaluation in evaluations:
                until(is_over(evaluation), f"the evaluation of {evaluation.subject}")
    assert (run.status, run.error) == (Job.Status.SUCCEEDED, "")
    assert run.attempt == 2
    points = TrainingPoint.objects.filter(run=run).order_by("step")
    steps = list(points.values_list("step", flat=True))
    assert steps == sorted(set(steps))
    assert steps[-1] == run.metrics["train"]["steps"]
    files = Artifact.objects.filter(run=run, kind="gguf")
    assert set(files.values_list("quantization", flat=True)) == {"Q8_0", "Q4_K_M"}
    assert sorted(e.subject for e in evaluations) == ["adapter", "base", "gguf", "gguf", "teacher"]
    assert DistillationRun.objects.count() == 1
    measured = {e.subject: e for e in evaluations if e.status == Job.Status.SUCCEEDED}
    assert measured["gguf"].metrics["accuracy"]["n"] == 20
