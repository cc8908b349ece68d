"""Exports: a version's rows in the forms that other trainers read."""

import csv
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import orjson
from django.conf import settings
from more_itertools import chunked

from factory.datasets.row_forms import COLUMNS, EXPORTS, Export, Row, cells
from factory.datasets.selection import copies_of
from factory.errors import InvalidInput
from factory.formats.intake import MAX_STORED_BYTES, lines_of
from factory.messages import Json
from factory.models import CapturedCall, DatasetVersion, Example
from factory.models.example import Split
from factory.storage import CHUNK, open_store
from labeling.models import Review
from labeling.selectors.review import settled_reviews

BATCH = 500


def export_version(version: DatasetVersion, form: str, split: str, target: IO[bytes]) -> int:
    """Write a split's rows (all of them for "") in a form of `EXPORTS`; return how many lines.

    A form without a weight repeats rows as training would. Tools are those of the calls that are
    still kept. A pair's rejected answer is what a reviewer corrected into the row's own.
    """
    if form not in EXPORTS:
        raise InvalidInput(f"form is one of {', '.join(EXPORTS)}", param="form")
    if split and split not in Split.values:
        raise InvalidInput(f"split is one of {', '.join(Split.values)}", param="split")
    export = EXPORTS[form]
    lines = 0
    if export.write is None:
        target.write(_line(COLUMNS))
    for batch in chunked(_stored(version, split), BATCH):
        for row, times in _rows(version, export, batch):
            target.write(_encoded(export, row) * times)
            lines += times
    return lines


@dataclass(frozen=True)
class Download:
    """An export that is ready to be sent; its chunks are read once."""

    filename: str
    kind: str
    size: int
    chunks: Iterator[bytes]


def open_export(version: DatasetVersion, form: str, split: str) -> Download:
    """Write an export to a file without a name, to be sent from there."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it was sent
    export_version(version, form, split, file)
    size = file.tell()
    file.seek(0)
    kind = "text/csv; charset=utf-8" if form == "csv" else "application/jsonl"
    return Download(export_name(version, form, split), kind, size, _chunks(file))


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk


def export_name(version: DatasetVersion, form: str, split: str) -> str:
    """Return what an export's file is called."""
    dataset = version.dataset
    parts = [dataset.workload.slug, dataset.name, f"v{version.number}", split, form]
    return f"{'-'.join(filter(None, parts))}.{EXPORTS[form].ending}"


def _stored(version: DatasetVersion, split: str) -> Iterator[Json]:
    blob = open_store(settings.STORAGE_URL).read(version.file_sha256)
    for line in lines_of(blob, MAX_STORED_BYTES):
        row: Json = orjson.loads(line)
        if split in {"", row["split"]}:
            yield row


def _rows(
    version: DatasetVersion, export: Export, batch: Sequence[Json]
) -> Iterator[tuple[Row, int]]:
    """Yield a batch's rows, each with how often it is written."""
    ids = [row["id"] for row in batch]
    tools = {} if export.write is None else tools_of(ids)
    rejected = rejected_of(version, batch) if export.is_pairs else {}
    for row in batch:
        if export.is_pairs and row["id"] not in rejected:
            continue
        *prompt, answer = row["messages"]
        weight = row.get("weight", 1.0)
        is_once = export.is_pairs or export.write is None or row["split"] != Split.TRAIN
        yield (
            Row(prompt, answer["content"], rejected.get(row["id"]), tools.get(row["id"]), row),
            1 if is_once else copies_of(weight, row["digest"]),
        )


def rejected_of(version: DatasetVersion, batch: Sequence[Json]) -> Mapping[int, str]:
    """Return the answers that reviewers corrected into those which rows have, by example."""
    targets = {row["id"]: row["messages"][-1]["content"] for row in batch}
    edits = settled_reviews(version.dataset.workload).filter(
        item__example__in=list(targets), decision=Review.Decision.EDIT
    )
    found: dict[int, str] = {}
    for example, output, before in edits.order_by("created_at", "id").values_list(
        "item__example", "output", "before"
    ):
        former = before.get("target")
        if output == targets[example] and former not in {None, output}:
            found[example] = former
    return found


def tools_of(ids: Sequence[int]) -> Mapping[int, list[Any]]:
    """Return the tools that examples' calls were offered, where the calls are still kept."""
    made = dict(Example.objects.filter(pk__in=ids, call__isnull=False).values_list("call", "pk"))
    calls = CapturedCall.objects.filter(pk__in=list(made)).select_related("payload")
    return {made[call.pk]: call.tools for call in calls if call.tools}


def _encoded(export: Export, row: Row) -> bytes:
    if export.write is None:
        return _line(cells(row))
    return orjson.dumps(export.write(row), option=orjson.OPT_APPEND_NEWLINE)


def _line(values: Sequence[str]) -> bytes:
    """Return a line of RFC 4180."""
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue().encode()
