"""Runs a step of `distill.gpu` as a child process: watches it, stops it, never leaves it behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from distill.jobdir import JobDir, Json
from distill.spec import spec_digest

PARENT_VARIABLE = "UNDERSTUDY_PARENT_PID"
_PASSED_ON = {
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy",
}  # fmt: skip
_PASSED_ON_PREFIXES = ("HF_", "CUDA_", "NVIDIA_", "NCCL_", "PYTORCH_", "TORCH_")
_LOG_TAIL_BYTES = 4000


class ChildFailedError(RuntimeError):
    """The step failed; `blame` (user or system) says who has to act."""

    def __init__(self, blame: str, message: str, log_tail: str) -> None:
        super().__init__(message)
        self.blame = blame
        self.message = message
        self.log_tail = log_tail


class ChildStoppedError(RuntimeError):
    """The step was stopped on request."""


def run_child(
    step: str,
    folder: Path,
    *,
    on_progress: Callable[[list[Json]], None],
    should_stop: Callable[[], bool],
    threads: int = 1,
    poll_seconds: float = 1.0,
    grace_seconds: float = 10.0,
) -> Json:
    """Run `python -m distill.gpu.<step> FOLDER` and return its result.

    A finished folder answers at once and an unfinished one goes on where it stopped;
    `on_progress` gets the folder's events from the first, also those of an earlier attempt. Raises
    `ChildFailedError`, or `ChildStoppedError` once `should_stop` says yes. The kernel kills the
    child when the calling thread ends, so call this from a thread that lives as long as the job.
    """
    job = JobDir(folder)
    finished = job.result()
    if finished is not None and finished.get("spec_digest") == spec_digest(job.spec()):
        return finished
    job.clear_error()
    process = _start(step, job, threads)
    try:
        _watch(process, job, on_progress, should_stop, poll_seconds)
    finally:
        _stop(process, grace_seconds)
    return _result(process.returncode, job)


def child_environment(parent: Mapping[str, str], threads: int) -> dict[str, str]:
    """Return what the child may know: no database address, no key but the model hub's."""
    kept = {
        name: value
        for name, value in parent.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    return kept | {
        PARENT_VARIABLE: str(os.getpid()),
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def _start(step: str, job: JobDir, threads: int) -> "subprocess.Popen[bytes]":
    with job.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"distill.gpu.{step}", str(job.root.resolve())],
            cwd=Path(__file__).resolve().parent.parent,
            env=child_environment(os.environ, threads),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _watch(
    process: "subprocess.Popen[bytes]",
    job: JobDir,
    on_progress: Callable[[list[Json]], None],
    should_stop: Callable[[], bool],
    poll_seconds: float,
) -> None:
    offset = 0
    running = True
    while running:
        try:
            process.wait(timeout=poll_seconds)
            running = False
        except subprocess.TimeoutExpired:
            pass
        events, offset = job.read_progress(offset)
        if events:
            on_progress(events)
        if running and should_stop():
            raise ChildStoppedError(f"stopped {job.root.name} on request")


def _stop(process: "subprocess.Popen[bytes]", grace_seconds: float) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=grace_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _result(status: int, job: JobDir) -> Json:
    result = job.result()
    if status == 0 and result is not None:
        return result
    error = job.error()
    if error is not None:
        raise ChildFailedError(str(error["blame"]), str(error["message"]), _log_tail(job))
    cause = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    hint = " (often: out of memory)" if status == -signal.SIGKILL else ""
    raise ChildFailedError("system", f"the process {cause}{hint}", _log_tail(job))


def _log_tail(job: JobDir) -> str:
    with job.log.open("rb") as log:
        log.seek(max(0, job.log.stat().st_size - _LOG_TAIL_BYTES))
        return log.read().decode(errors="replace")
