"""Training rows from elsewhere become examples: read and redacted as they come, then a job's."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.db.models.functions import Now

from factory.errors import InvalidInput
from factory.formats.example_rows import Reading, reading_from_line, readings_of
from factory.formats.intake import MAX_STORED_BYTES, lines_of
from factory.formats.refusals import Refusals
from factory.messages import Json
from factory.models import ExampleImport, Job, Workload
from factory.models.example import Split
from factory.redaction.redact import Policy
from factory.services import jobs
from factory.services.curate import add_examples
from factory.services.imports import SWEPT_FOR
from factory.services.uploads import Upload
from factory.storage import open_store

TOLD_EVERY = 500  # rows
ALIVE = [Job.Status.QUEUED, Job.Status.RUNNING]


def checked_split(split: str) -> str:
    """Return a split, empty for each row's own; `InvalidInput` for any other word."""
    if split and split not in Split.values:
        raise InvalidInput(f"split is one of {', '.join(Split.values)}", param="split")
    return split


def take_examples(
    workload: Workload, chunks: Iterable[bytes], *, filename: str, split: str = "", user: Any = None
) -> ExampleImport:
    """Redact a file of training rows while it comes in, and enqueue the job that adds them."""
    checked_split(split)
    with Upload(workload.project, filename, holds="rows") as upload:
        for chunk in chunks:
            upload.write(chunk)
        upload.finish()
        return start_example_import(workload, upload, split=split, user=user)


def start_example_import(
    workload: Workload, upload: Upload, *, split: str = "", user: Any = None
) -> ExampleImport:
    """Store an upload's redacted rows and enqueue the job that adds them."""
    blob = open_store(settings.STORAGE_URL).put(upload.path)
    return jobs.enqueue(
        ExampleImport(
            workload=workload,
            filename=upload.filename[:255],
            split=checked_split(split),
            file_sha256=blob.sha256,
            file_bytes=upload.size,
            created_by=user,
        )
    )


def example_import_work(job: ExampleImport) -> None:
    """Add the stored rows; those that an earlier attempt added count as known."""
    store = open_store(settings.STORAGE_URL)
    size, done = store.size(job.file_sha256), 0

    def readings() -> Iterator[Reading]:
        nonlocal done
        for number, line in enumerate(lines_of(store.read(job.file_sha256), MAX_STORED_BYTES)):
            if number % TOLD_EVERY == 0:
                jobs.heartbeat(job, {"done": done, "total": size, "unit": "bytes"})
            done += len(line)
            yield reading_from_line(line)

    counts = add_readings(job.workload, readings(), split=job.split)
    with jobs.fenced(job):
        jobs.succeed(job, counts=counts)
    remove_rows(job)


def remove_rows(job: ExampleImport) -> None:
    """Take an ended import's rows out of the store."""
    waiting = ExampleImport.objects.filter(status__in=ALIVE, file_sha256=job.file_sha256)
    if not waiting.exists():
        open_store(settings.STORAGE_URL).remove(job.file_sha256)


def sweep_rows() -> None:
    """Take the rows of imports out that failed, were stopped, or died at their very end."""
    recent = ExampleImport.objects.filter(finished_at__gt=Now() - SWEPT_FOR)
    for job in recent.exclude(status__in=ALIVE):
        remove_rows(job)


def add_rows(workload: Workload, chunks: Iterable[bytes], *, split: str = "") -> Json:
    """Add a file's rows now, redacted by the project's policy; return counts and refusals."""
    policy = Policy.from_json(workload.project.redaction)
    readings = readings_of(chunks, policy, settings.MAX_IMPORT_BYTES)
    return add_readings(workload, readings, split=checked_split(split))


def add_readings(workload: Workload, readings: Iterable[Reading], *, split: str) -> Json:
    """Add what can be read; count what cannot, with the reasons."""
    counts: Counter[str] = Counter(read=0, refused=0, without_tools=0)
    refusals = Refusals()

    def rows() -> Iterator[tuple[list[Json], str]]:
        for reading in readings:
            counts["read"] += 1
            counts["without_tools"] += reading.without_tools
            if reading.refused:
                counts["refused"] += 1
                refusals.add([(reading.number, reading.refused)])
            else:
                yield reading.prompt, reading.target

    added = add_examples(workload, rows(), split=split or None)
    found = {name: added[name] for name in ("new", "known", "left_out")}
    return {**counts, **found, **refusals.as_json()}
