"""What the long commands show and start: stages, progress bars, and everything that `up` runs."""

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from distill.models import DistillationRun, Evaluation
from factory.models import Job

# In a log there is no terminal whose width would have to be kept to.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def say(stage: str, text: str) -> None:
    """Print one line of a stage."""
    console.print(f"[bold cyan]{stage:<10}[/] {text}", soft_wrap=True)


@contextmanager
def bar(stage: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar; call what is given once per finished item."""
    with stage_progress(stage) as progress:
        task = progress.add_task(stage, total=total, detail="")
        yield lambda: progress.advance(task)


def stage_progress(stage: str) -> Progress:
    """Return a progress display in the demo's layout."""
    return Progress(
        TextColumn(f"[bold cyan]{stage[:34]:<10}[/]"),
        BarColumn(40),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=console,
    )


def watch_job(stage: str, job: Job) -> None:
    """Show a job's progress until it ends; a failed job ends the demo with its own error."""
    with stage_progress(stage) as progress:
        task = progress.add_task(stage, total=None, detail="waiting")
        while True:
            job.refresh_from_db()
            seen = job.progress
            progress.update(
                task,
                total=seen.get("total"),
                completed=seen.get("done", 0),
                detail=str(seen.get("phase", job.status)),
            )
            if job.is_final or job.status == Job.Status.PAUSED:
                break
            time.sleep(0.3)
        progress.update(task, detail=job.status)
    if job.status != Job.Status.SUCCEEDED:
        raise CommandError(f"{stage}: {job.status}: {job.error}")


def until(ready: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """Wait for something to become true and return it."""
    end = time.monotonic() + seconds
    while not (value := ready()):
        if time.monotonic() > end:
            raise CommandError(f"{what} did not get ready in {seconds:.0f} s; see var/log/up.log")
        time.sleep(0.2)
    return value


@contextmanager
def everything(port: int) -> Iterator[None]:
    """Run `manage.py up` until the demo ends."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # however we are stopped, `up` is too
    say("Start", f"manage.py up on port {port}; its log is in {settings.VAR_DIR / 'log'}")
    up = [sys.executable, str(settings.BASE_DIR / "manage.py"), "up", "--port", str(port)]
    with child(up, "up.log") as process:

        def ready() -> bool:
            if process.poll() is not None:
                log = (settings.VAR_DIR / "log" / "up.log").read_text(encoding="utf-8")
                raise CommandError(f"manage.py up ended:\n{log[-2000:]}")
            return is_healthy(f"http://127.0.0.1:{port}/healthz")

        until(ready, seconds=120, what="manage.py up")
        yield


def is_healthy(url: str) -> bool:
    """Tell whether the site answers."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == HTTPStatus.OK)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def child(command: list[str], log_name: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process beside the demo, its output in a log, and stop it with the demo."""
    folder = settings.VAR_DIR / "log"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / log_name).open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=settings.BASE_DIR,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


def manage(*arguments: str) -> None:
    """Run another of our commands."""
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments]
    subprocess.run(command, check=True, cwd=settings.BASE_DIR, stdout=subprocess.DEVNULL)


def report(run: DistillationRun) -> None:
    """Print what was measured, read from the evaluation rows."""
    table = Table(title="\nHeld-out rows, greedy answers", title_justify="left")
    for name in ("subject", "rows", "accuracy", "95 % interval", "p50 ms", "p99 ms", "$ / 1,000"):
        table.add_column(name, justify="left" if name == "subject" else "right")
    rows = Evaluation.objects.filter(run=run, status=Job.Status.SUCCEEDED)
    for evaluation in rows.select_related("artifact").order_by("id"):
        table.add_row(*table_row(evaluation))
    console.print(table)
    console.print(
        f"Own machines are priced at {settings.STUDENT_USD_PER_HOUR:.2f} USD an hour "
        "(STUDENT_USD_PER_HOUR); the teacher at its list price.\n"
    )


def table_row(evaluation: Evaluation) -> list[str]:
    """Return one line of the closing table."""
    metrics = evaluation.metrics
    accuracy = metrics["accuracy"]
    return [
        title(evaluation),
        str(accuracy["n"]),
        f"{accuracy['value']:.1%}",
        f"{accuracy['low']:.1%} – {accuracy['high']:.1%}",
        number(metrics["latency_p50_ms"], "{:.1f}"),
        number(metrics["latency_p99_ms"], "{:.1f}"),
        number(metrics["cost_per_1000_usd"], "{:.4f}"),
    ]


def number(value: float | None, form: str) -> str:
    """Return a figure, or a dash where it is unknown."""
    return "–" if value is None else form.format(value)


def title(evaluation: Evaluation) -> str:
    """Return a subject's name, a file by its file name."""
    if evaluation.artifact is not None:
        return evaluation.artifact.filename
    return str(Evaluation.Subject(evaluation.subject).label)
