"""The frame around every step: die with the parent, hold the folder, leave a result or an error."""

import ctypes
import importlib.metadata
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from distill.child import PARENT_VARIABLE
from distill.jobdir import InputError, JobDir, Json
from distill.spec import Spec, SpecError, spec_digest

_PR_SET_PDEATHSIG = 1
_PACKAGES = ("torch", "transformers", "trl", "peft", "tokenizers", "llama_cpp_python")
_SpecT = TypeVar("_SpecT", bound=Spec)

logger = logging.getLogger(__name__)


def run_step(spec_type: type[_SpecT], work: Callable[[JobDir, _SpecT], Json]) -> int:
    """Do `work` on the folder named by the command line; return the exit status.

    Writes `result.json`, or `error.json` with who has to act: `user` for input that cannot be
    used, `system` for the rest.
    """
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    job = JobDir(Path(sys.argv[1]).resolve())
    started = time.monotonic()
    try:
        with job.lock():
            job.clear_error()
            job.scratch.mkdir(parents=True, exist_ok=True)
            spec = _spec_of(job, spec_type)
            result = work(job, spec)
            finished = {"spec_digest": spec_digest(spec), "seconds": time.monotonic() - started}
            job.write_result(finished | {"versions": versions()} | result)
            shutil.rmtree(job.scratch, ignore_errors=True)
    except Exception as error:
        logger.exception("failed")
        job.write_error(*_blame_and_message(error), kind=type(error).__name__)
        return 1
    return 0


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies (Linux), a kill -9 included."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is not None and os.getppid() != int(parent):
        sys.exit("the parent is gone")


def versions() -> dict[str, str]:
    """Return the versions that decide what a step computes."""
    known = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            known[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return known


def _spec_of(job: JobDir, spec_type: type[_SpecT]) -> _SpecT:
    spec = job.spec()
    if not isinstance(spec, spec_type):
        raise SpecError(f"the folder holds a {type(spec).__name__}")
    return spec


def _blame_and_message(error: Exception) -> tuple[str, str]:
    if isinstance(error, InputError | SpecError):
        return "user", str(error)
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which not every step imports
        return "user", f"the GPU ran out of memory: lower batch_size or max_length ({error})"
    return "system", f"{type(error).__name__}: {error}"
