"""Logged traffic from elsewhere: read and redacted as it comes in, written by a resumable job."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.db.models.functions import Now
from more_itertools import constrained_batches, peekable

from factory.formats.intake import MAX_STORED_BYTES, Entry, entries_of, lines_of, plain
from factory.formats.readers import Batch, Preparing, Readers, Recipe
from factory.formats.refusals import Refusals
from factory.models import CapturedCall, ImportJob, Job, PayloadDictionary, Project
from factory.redaction.redact import Policy
from factory.services import jobs
from factory.services.capture import insert_rows, project_prices
from factory.storage import open_store

BATCH, BATCH_BYTES = 1000, 4 * 1024 * 1024
SIDE_BY_SIDE_BYTES = 2 * 1024 * 1024  # from here on child processes repay their start
RENEWED_SECONDS = 600  # an import of hours packs with the dictionary of the day, not a former one
FINAL = (Job.Status.SUCCEEDED, Job.Status.FAILED, Job.Status.CANCELLED)
SWEPT_FOR = timedelta(days=2)

OnBatch = Callable[[Counter[str]], None]


# --- the job -------------------------------------------------------------------------------------
def start_import(
    project: Project, redacted: Path, *, filename: str, size: int, user: Any = None
) -> ImportJob:
    """Store an upload's redacted lines and enqueue the job that writes its calls.

    `size` is how much was uploaded. The lines leave the store when the job is over.
    """
    blob = open_store(settings.STORAGE_URL).put(redacted)
    return jobs.enqueue(
        ImportJob(
            project=project,
            filename=filename[:255],
            file_sha256=blob.sha256,
            file_bytes=size,
            created_by=user,
        )
    )


def import_work(job: ImportJob) -> None:
    """Read the stored lines from the start; calls that an earlier attempt wrote count as known."""
    store = open_store(settings.STORAGE_URL)
    size = store.size(job.file_sha256)

    def tell(counts: Counter[str]) -> None:
        jobs.heartbeat(job, {"done": counts["bytes"], "total": size, "unit": "bytes", **counts})

    lines = lines_of(store.read(job.file_sha256), MAX_STORED_BYTES)
    entries = (Entry(number, line) for number, line in enumerate(lines, start=1))
    told = import_entries(job.project, entries, size=size, on_batch=tell, is_stored=True)
    with jobs.fenced(job):
        jobs.succeed(job, counts=told)
    remove_upload(job)


def remove_upload(job: ImportJob) -> None:
    """Take an ended import's lines out of the store: what could be read is in the database."""
    waiting = ImportJob.objects.exclude(status__in=FINAL).filter(file_sha256=job.file_sha256)
    if not waiting.exists():
        open_store(settings.STORAGE_URL).remove(job.file_sha256)


def sweep_uploads() -> None:
    """Take the lines of imports out that failed, were stopped, or died at their very end."""
    for job in ImportJob.objects.filter(status__in=FINAL, finished_at__gt=Now() - SWEPT_FOR):
        remove_upload(job)


# --- a log ----------------------------------------------------------------------------------------
def import_lines(
    project: Project,
    chunks: Iterable[bytes],
    on_batch: OnBatch = lambda _: None,
    *,
    size: int = 0,
    limit: int | None = None,
) -> dict[str, Any]:
    """Record every readable entry of a log; return counts and what was refused.

    Takes the log's bytes, cut anyhow, gzip or not; past `limit` bytes (`MAX_IMPORT_BYTES`) is
    `TooLarge`. `size`, where it is known, tells whether child processes are worth their start.
    """
    entries = entries_of(plain(chunks, settings.MAX_IMPORT_BYTES if limit is None else limit))
    return import_entries(project, entries, size=size, on_batch=on_batch)


def import_body(project: Project, body: bytes) -> dict[str, Any]:
    """Record the calls of a request's body: one object, however it is laid out, or a log."""
    try:
        is_one = isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        is_one = False
    return import_entries(project, [Entry(1, body)] if is_one else entries_of([body]))


def import_entries(
    project: Project,
    entries: Iterable[Entry],
    *,
    size: int = 0,
    on_batch: OnBatch = lambda _: None,
    is_stored: bool = False,
) -> dict[str, Any]:
    """Record what entries hold, each batch whole or not at all; return counts and refusals.

    An entry that cannot be read is refused by itself: all others still come in.
    """
    counts: Counter[str] = Counter(read=0, new=0, known=0, refused=0, skipped=0, bytes=0)
    refusals = Refusals()
    at = datetime.now(UTC)

    def counted() -> Iterator[Entry]:
        for entry in entries:
            counts["bytes"] += len(entry.raw)
            yield entry

    batches = peekable(
        constrained_batches(
            counted(), BATCH_BYTES, BATCH, get_len=lambda entry: len(entry.raw), strict=False
        )
    )
    while batches:
        recipe = _recipe(project, at, is_stored=is_stored)
        for batch in _prepared(recipe, _for_a_while(batches), size):
            new = insert_rows(project.pk, batch.rows)
            refusals.add(batch.refused)
            counts.update(
                read=batch.read, new=new, known=len(batch.rows) - new,
                refused=len(batch.refused), skipped=batch.skipped,
            )  # fmt: skip
            on_batch(counts)
    return {**counts, **refusals.as_json()}


def _for_a_while(batches: Iterator[tuple[Entry, ...]]) -> Iterator[list[Entry]]:
    end = time.monotonic() + RENEWED_SECONDS
    for batch in batches:
        yield list(batch)
        if time.monotonic() > end:
            return


def _prepared(recipe: Recipe, batches: Iterator[list[Entry]], size: int) -> Iterator[Batch]:
    cores = len(os.sched_getaffinity(0))
    if size < SIDE_BY_SIDE_BYTES or cores == 1:
        yield from map(Preparing(recipe).batch, batches)
        return
    with Readers(recipe, cores) as readers:
        yield from readers.batches(batches)


def _recipe(project: Project, at: datetime, *, is_stored: bool) -> Recipe:
    newest = PayloadDictionary.objects.filter(project=project).order_by("-id").first()
    return Recipe(
        project_id=project.pk,
        source=CapturedCall.Source.IMPORT.value,
        policy=Policy.from_json(project.redaction),
        prices=project_prices(project),
        at=at,
        is_stored=is_stored,
        dictionary_id=newest.pk if newest else None,
        dictionary=bytes(newest.body) if newest else None,
    )
