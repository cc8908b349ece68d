"""What training and evaluation share: a job folder, a watched child, rows of a frozen version."""

import json
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

from django.conf import settings

from distill.child import ChildFailedError, ChildStoppedError, run_child
from distill.spec import SpecError
from factory.datasets.selection import copies_of
from factory.errors import InvalidInput, JobCancelled, UnderstudyError
from factory.formats.intake import lines_of
from factory.models import DatasetVersion, Job
from factory.models.example import Split
from factory.services import jobs
from factory.storage import open_store

Json = dict[str, Any]


class ChildBroke(UnderstudyError):
    """The GPU process failed for a reason that is not the user's; its log has the details."""

    code = "worker_failed"
    http_status = 500


def job_folder(job: Job) -> Path:
    """Return where a job's files lie on this worker; a later attempt goes on there."""
    return Path(settings.JOBS_DIR) / f"{type(job).__name__.lower()}-{job.pk}"


def version_rows(version: DatasetVersion, split: str) -> Iterator[Json]:
    """Yield a frozen version's rows of one split, from its file: `{"id", "messages", ...}`."""
    return (_shown(row) for row in _stored_rows(version, split))


def trained_rows(version: DatasetVersion) -> Iterator[Json]:
    """Yield the rows of the training split, each as often as its weight asks for."""
    for row in _stored_rows(version, Split.TRAIN):
        yield from repeat(_shown(row), copies_of(row.get("weight", 1.0), row["digest"]))


def _stored_rows(version: DatasetVersion, split: str) -> Iterator[Json]:
    for line in lines_of(open_store(settings.STORAGE_URL).read(version.file_sha256)):
        row: Json = json.loads(line)
        if row["split"] == split:
            yield row


def _shown(row: Json) -> Json:
    return {"id": str(row["id"]), "messages": row["messages"]}


def watch(job: Job, step: str, folder: Path, on_events: Callable[[list[Json]], Json]) -> Json:
    """Run one GPU step under the job's lease and return its result.

    `on_events` is given new progress events and returns what people see as the job's progress. The
    step ends with the lease: a worker that lost it, or was told to stop, takes its child along.
    """
    every = settings.JOB_LEASE_SECONDS / 4
    state: Json = {"progress": dict(job.progress), "beaten": 0.0}

    def on_progress(events: list[Json]) -> None:
        state["progress"] = on_events(events)
        state["beaten"] = 0.0

    def should_stop() -> bool:
        if time.monotonic() - state["beaten"] >= every or not state["beaten"]:
            jobs.heartbeat(job, state["progress"])
            state["beaten"] = time.monotonic()
        return False

    try:
        return run_child(
            step,
            folder,
            threads=settings.TRAINER_THREADS,
            on_progress=on_progress,
            should_stop=should_stop,
        )
    except ChildStoppedError as stopped:
        raise JobCancelled(str(stopped)) from stopped
    except ChildFailedError as failed:
        if failed.blame == Job.Blame.USER:
            raise InvalidInput(failed.message) from failed
        raise ChildBroke(f"{failed.message}: {failed.log_tail[-600:]}") from failed
    except SpecError as error:
        raise InvalidInput(str(error)) from error
