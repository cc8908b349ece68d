"""Logged traffic from a file: stored first, then read in batches by a job that can be killed."""

import io
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from more_itertools import chunked

from factory.errors import InvalidInput
from factory.messages import CallRecord, record_from_line
from factory.models import CapturedCall, ImportJob, Project
from factory.services import jobs
from factory.services.capture import record_calls
from factory.storage import open_store

logger = logging.getLogger(__name__)

BATCH = 500
MAX_LINE_BYTES = 8 * 1024 * 1024
KEPT_PROBLEMS = 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def start_import(project: Project, source: Path, *, filename: str, user: Any = None) -> ImportJob:
    """Store a log file and enqueue the job that reads it."""
    if source.stat().st_size > settings.MAX_IMPORT_BYTES:
        raise InvalidInput(f"{filename} is larger than MAX_IMPORT_MB allows", param="file")
    blob = open_store(settings.STORAGE_URL).put(source)
    return jobs.enqueue(
        ImportJob(
            project=project,
            filename=filename[:255],
            file_sha256=blob.sha256,
            file_bytes=blob.size,
            created_by=user,
        )
    )


def import_work(job: ImportJob) -> None:
    """Read the job's file from the start; rows that an earlier attempt wrote count as known."""
    chunks = open_store(settings.STORAGE_URL).read(job.file_sha256)
    counts = import_lines(
        job.project, lines_of(chunks), on_batch=lambda c: jobs.heartbeat(job, _progress(job, c))
    )
    with jobs.fenced(job):
        jobs.succeed(job, counts=counts)


def _progress(job: ImportJob, counts: Counter[str]) -> dict[str, Any]:
    return {"done": counts["bytes"], "total": job.file_bytes, "unit": "bytes"}


def import_lines(
    project: Project,
    lines: Iterable[bytes],
    on_batch: Callable[[Counter[str]], None] = lambda _counts: None,
) -> dict[str, Any]:
    """Record every readable line; return counts and the first problems, each with its line number.

    A line that cannot be read is refused by itself: the rest of the file still comes in.
    """
    counts: Counter[str] = Counter(read=0, new=0, known=0, refused=0, bytes=0)
    problems: list[dict[str, Any]] = []
    for batch in chunked(enumerate(lines, start=1), BATCH):
        records: list[CallRecord] = []
        for number, raw in batch:
            counts["bytes"] += len(raw)
            line = raw.removeprefix(BYTE_ORDER_MARK).strip()
            if not line:
                continue
            counts["read"] += 1
            try:
                records.append(record_from_line(line))
            except InvalidInput as error:
                counts["refused"] += 1
                if len(problems) < KEPT_PROBLEMS:
                    problems.append({"line": number, "message": error.message})
        new = record_calls(project, records, CapturedCall.Source.IMPORT)
        counts.update(new=new, known=len(records) - new)
        on_batch(counts)
    return {**counts, "problems": problems}


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines from chunks of bytes; `InvalidInput` for a line longer than any call can be."""
    rest = b""
    for chunk in chunks:
        buffer = io.BytesIO(rest + chunk)
        for line in buffer:
            if line.endswith(b"\n"):
                yield line
            else:
                rest = line
                break
        else:
            rest = b""
        if len(rest) > MAX_LINE_BYTES:
            raise InvalidInput(f"a line is longer than {MAX_LINE_BYTES} bytes: is this JSONL?")
    if rest:
        yield rest
