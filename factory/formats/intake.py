"""From a log's bytes to its calls: gunzipped, split into entries, each read or refused by itself.

An entry is a line of JSON Lines, or an element of a JSON array. Memory is bounded by the longest.
"""

import io
import re
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import NamedTuple

import orjson

from factory.errors import InvalidInput, TooLarge
from factory.formats.known import calls_in, lines_in
from factory.messages import CallRecord, parse_json, record_from_json
from factory.redaction.redact import Policy, redacted

CHUNK = 64 * 1024
MAX_ENTRY_BYTES = 8 * 1024 * 1024
MAX_STORED_BYTES = 4 * MAX_ENTRY_BYTES  # of an entry's reading: names and placeholders add to it
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
GZIP = 31  # zlib's word for a gzip header around a window of 32 KiB
SPACE = b" \t\r\n"
SEPARATORS = SPACE + b"," + BYTE_ORDER_MARK
OPENING, CLOSING = (b"[", b"{"), (b"]", b"}")
SPREAD = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:\[|\{[ \t\r]*\n)"
)  # JSON that is not one value a line
# A whole string, one that is not over yet, or a bracket.
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?P<end>"|\\?\Z)|[\[\]{}]', re.DOTALL)


class Entry(NamedTuple):
    """A part of a log that is read by itself, and its number: of the line, or of the element."""

    number: int
    raw: bytes


class Reading(NamedTuple):
    """What an entry held: calls, or the reason why it was refused; neither where it held none."""

    number: int
    calls: list[CallRecord]
    refused: str = ""

    def as_line(self) -> bytes:
        """Return the reading as a line of a stored upload."""
        calls = [call.as_json() for call in self.calls]
        return orjson.dumps([self.number, calls, self.refused], option=orjson.OPT_APPEND_NEWLINE)


def reading_from_line(line: bytes) -> Reading:
    """Read what `Reading.as_line` wrote."""
    number, calls, refused = orjson.loads(line)
    return Reading(number, [record_from_json(call) for call in calls], refused)


def read_entry(entry: Entry, at: datetime) -> list[Reading]:
    """Read an entry; `at` is when calls happened that do not say it."""
    line = entry.raw.removeprefix(BYTE_ORDER_MARK).strip(SPACE)
    if not line:
        return []
    try:
        found = lines_in(parse_json(line))
    except InvalidInput as error:
        return [Reading(entry.number, [], error.message)]
    return [_read(entry.number, value, at) for value in found]


def _read(number: int, value: object, at: datetime) -> Reading:
    try:
        return Reading(number, calls_in(value, at))
    except InvalidInput as error:
        return Reading(number, [], error.message)


def redacted_lines(chunks: Iterable[bytes], policy: Policy, limit: int) -> Iterator[bytes]:
    """Turn a log into the lines of a stored upload: nothing else of it is ever written."""
    at = datetime.now(UTC)
    for entry in entries_of(plain(chunks, limit)):
        for reading in read_entry(entry, at):
            calls = [redacted(call, policy) for call in reading.calls]
            yield Reading(reading.number, calls, reading.refused).as_line()


# --- bytes into entries ---------------------------------------------------------------------------
def plain(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Yield bytes, gunzipped where they are gzip; `TooLarge` past `limit` bytes that come out."""
    head, chunks = _with_head(chunks, len(GZIP_MAGIC))
    total = 0
    for piece in gunzipped(chunks) if head.startswith(GZIP_MAGIC) else chunks:
        total += len(piece)
        if total > limit:
            raise TooLarge(f"This is more than {limit:,} bytes, counted after decompression.")
        yield piece


def gunzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the content of gzip members, never more than `CHUNK` bytes at a time."""
    inflater = zlib.decompressobj(wbits=GZIP)
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                if inflater.eof:
                    inflater = zlib.decompressobj(wbits=GZIP)
                yield inflater.decompress(rest, CHUNK)
                rest = inflater.unconsumed_tail or inflater.unused_data
            while not inflater.eof and (more := inflater.decompress(b"", CHUNK)):
                yield more
    except zlib.error as error:
        raise InvalidInput(f"This is not gzip, or it is damaged: {error}") from error
    if not inflater.eof:
        raise InvalidInput("The gzip data ends too early; was it cut off?")


def entries_of(chunks: Iterable[bytes]) -> Iterator[Entry]:
    """Split a log: into lines, or into the values of a JSON array or of pretty-printed JSON."""
    head, chunks = _with_head(chunks, CHUNK)
    pieces = values_of(chunks) if SPREAD.match(head) else lines_of(chunks)
    yield from (Entry(number, raw) for number, raw in enumerate(pieces, start=1))


def _with_head(chunks: Iterable[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """Return what bytes begin with, and all of them."""
    rest, head = iter(chunks), b""
    while len(head) < size and (chunk := next(rest, None)) is not None:
        head += chunk
    return head, chain([head], rest)


def lines_of(chunks: Iterable[bytes], longest: int = MAX_ENTRY_BYTES) -> Iterator[bytes]:
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
        if len(rest) > longest:
            raise InvalidInput(f"a line is longer than {longest} bytes: is this JSONL?")
    if rest:
        yield rest


def values_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the values of JSON text: the elements of an array, or objects one after the other.

    What stands between them where only commas may is yielded too: somebody has to refuse it.
    """
    buffer, at, split = b"", 0, _Split()
    for chunk in chunks:
        buffer += chunk
        while token := TOKEN.search(buffer, at):
            if token["end"] is not None and token["end"] != b'"':
                break  # a string that the next chunk goes on with
            at = token.end()
            for begin, end in split.step(token[0], token.start(), at):
                if value := buffer[begin:end].strip(SEPARATORS):
                    yield value
        at = token.start() if token else len(buffer)
        buffer, at, split.start = buffer[split.start :], at - split.start, 0
        if len(buffer) > MAX_ENTRY_BYTES:
            raise InvalidInput(f"a value is longer than {MAX_ENTRY_BYTES} bytes: is this a log?")
    if split.depth:
        raise InvalidInput("The JSON ends in the middle of a value; was it cut off?")
    if rest := buffer.strip(SEPARATORS):
        yield rest


class _Split:
    """Where values begin and end, by the brackets of a JSON text."""

    def __init__(self) -> None:
        self.depth = self.floor = 0  # values lie at the floor: 1 inside an array
        self.start = 0

    def step(self, sign: bytes, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the spans that a token ends: a value, or what stands before one."""
        if sign in OPENING:
            if self.depth == self.floor:
                yield self.start, begin
                self.start = begin
                if sign == b"[" and not self.depth:
                    self.start, self.floor = end, 1
            self.depth += 1
        elif sign in CLOSING:
            self.depth -= 1
            if self.depth <= self.floor:
                yield self.start, end if self.depth == self.floor else begin
                self.start = end
            if self.depth <= 0:
                self.depth = self.floor = 0
