"""From a file of training rows to examples: recognised, read, redacted, or refused by itself."""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import orjson
from more_itertools import peekable

from factory.datasets.row_forms import PROMPT_COLUMNS, TARGET_COLUMNS, Row, read_cells, read_row
from factory.errors import InvalidInput
from factory.formats.intake import (
    BYTE_ORDER_MARK,
    MAX_ENTRY_BYTES,
    SPACE,
    entries_of,
    lines_of,
    plain,
)
from factory.messages import Json, clean, parse_json
from factory.redaction.redact import Policy, Redactor, clean_texts


class Reading(NamedTuple):
    """A line of a file: a row (its prompt and its target), or the reason why it was refused."""

    number: int
    prompt: list[Json]
    target: str
    refused: str = ""
    without_tools: bool = False  # it had tools, which an example has no room for

    def as_line(self) -> bytes:
        """Return the reading as a line of a stored upload."""
        return orjson.dumps(list(self), option=orjson.OPT_APPEND_NEWLINE)


def reading_from_line(line: bytes) -> Reading:
    """Read what `Reading.as_line` wrote."""
    return Reading(*orjson.loads(line))


def readings_of(chunks: Iterable[bytes], policy: Policy, limit: int) -> Iterator[Reading]:
    """Read a file's rows, redacted; JSON lines, a JSON array or CSV, gzip or not.

    Past `limit` bytes that come out is `TooLarge`.
    """
    pieces = peekable(piece for piece in plain(chunks, limit) if piece)
    head = pieces.peek(b"").removeprefix(BYTE_ORDER_MARK).lstrip(SPACE)
    read = _json_rows(pieces) if head[:1] in {b"{", b"["} else _table_rows(pieces)
    texts = clean_texts(policy)
    for reading in read:
        if reading.refused:
            yield reading
            continue
        prompt, target = Redactor(policy, texts).value([reading.prompt, reading.target])
        yield Reading(reading.number, prompt, target, without_tools=reading.without_tools)


def _json_rows(chunks: Iterable[bytes]) -> Iterator[Reading]:
    for entry in entries_of(chunks):
        line = entry.raw.removeprefix(BYTE_ORDER_MARK).strip(SPACE)
        if line:
            try:
                yield _reading(entry.number, read_row(parse_json(line)))
            except InvalidInput as error:
                yield Reading(entry.number, [], "", error.message)


def _table_rows(chunks: Iterable[bytes]) -> Iterator[Reading]:
    csv.field_size_limit(MAX_ENTRY_BYTES)
    lines = _Lines(lines_of(chunks))
    rows = csv.reader(lines)
    try:
        columns = [name.strip().casefold() for name in next(rows, [])]
        if not {*columns} & {*PROMPT_COLUMNS} or not {*columns} & {*TARGET_COLUMNS}:
            raise InvalidInput(
                "This is neither JSON nor a table: a table's first line names its columns, "
                f"{PROMPT_COLUMNS[0]} and {TARGET_COLUMNS[0]} among them"
            )
        for row in rows:
            if row:
                yield _cells(lines.number, columns, row)
    except csv.Error as error:
        raise InvalidInput(f"line {lines.number}: {error}") from error


def _cells(number: int, columns: list[str], row: list[str]) -> Reading:
    if len(row) != len(columns):
        said = f"{len(row)} cells in a table of {len(columns)} columns"
        return Reading(number, [], "", said)
    try:
        cells = clean(dict(zip(columns, row, strict=True)))
        return _reading(number, read_cells(cells))
    except InvalidInput as error:
        return Reading(number, [], "", error.message)


class _Lines(Iterator[str]):
    """Lines of bytes as text for the csv reader; knows how many it gave."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        first = next(lines, b"").removeprefix(BYTE_ORDER_MARK)
        self.lines = chain([first], lines)
        self.number = 0

    def __next__(self) -> str:
        line = next(self.lines)
        self.number += 1
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"line {self.number} is not UTF-8") from error


def _reading(number: int, row: Row) -> Reading:
    return Reading(number, row.prompt, row.target, without_tools=bool(row.tools))


def redacted_rows(chunks: Iterable[bytes], policy: Policy, limit: int) -> Iterator[bytes]:
    """Turn a file into the lines of a stored upload: nothing else of it is ever written."""
    return (reading.as_line() for reading in readings_of(chunks, policy, limit))
