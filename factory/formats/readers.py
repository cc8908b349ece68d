"""Child processes that read logs: parsing and redacting keep other cores busy, or no web server.

One kind turns batches of entries into rows, over a socket it inherits. The other takes an upload's
raw bytes on stdin and writes the lines of a stored upload to stdout.
"""

import gc
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO, NamedTuple, Self

import orjson

from factory.capture.call_rows import CallRow, RowMaker
from factory.capture.payloads import Packer
from factory.errors import InvalidInput, TooLarge, UnderstudyError
from factory.formats.example_rows import redacted_rows
from factory.formats.intake import CHUNK, Entry, read_entry, reading_from_line, redacted_lines
from factory.prices import PriceBook
from factory.redaction.redact import Policy, redacted

ROOT = Path(__file__).resolve().parents[2]
# Not `-m`: what goes over the socket must be this module's, not `__main__`'s.
COMMAND = [sys.executable, "-c", "from factory.formats.readers import main; main()"]
GARBAGE_AFTER = 100_000  # objects: parsed JSON holds no cycles, so looking for them is idle
REFUSED = {2: InvalidInput, 3: TooLarge}  # by a child's exit status


@dataclass(frozen=True)
class Recipe:
    """What the entries of one import become rows with."""

    project_id: int
    source: str
    policy: Policy
    prices: PriceBook
    at: datetime  # when calls happened that do not say it
    is_stored: bool = False  # whether entries are lines of a stored upload
    dictionary_id: int | None = None
    dictionary: bytes | None = None

    def maker(self) -> RowMaker:
        """Return what makes the rows."""
        return RowMaker(
            self.project_id, self.source, self.prices, self.dictionary_id, Packer(self.dictionary)
        )


class Batch(NamedTuple):
    """What a batch of entries held."""

    read: int
    skipped: int
    refused: list[tuple[int, str]]
    rows: list[CallRow]


@dataclass
class Preparing:
    """Turns batches of entries into rows, in this process."""

    recipe: Recipe
    maker: RowMaker = field(init=False)

    def __post_init__(self) -> None:
        self.maker = self.recipe.maker()

    def batch(self, entries: Iterable[Entry]) -> Batch:
        """Return what the entries hold: parsed, redacted, packed."""
        read = skipped = 0
        refused: list[tuple[int, str]] = []
        rows: list[CallRow] = []
        for entry in entries:
            stored = self.recipe.is_stored
            found = [reading_from_line(entry.raw)] if stored else read_entry(entry, self.recipe.at)
            for reading in found:
                read += 1
                skipped += not reading.calls and not reading.refused
                if reading.refused:
                    refused.append((reading.number, reading.refused))
                calls = (redacted(call, self.recipe.policy) for call in reading.calls)
                rows.extend(map(self.maker.row, calls))
        return Batch(read, skipped, refused, rows)


class Readers:
    """Child processes that prepare batches side by side; results come in the order given."""

    def __init__(self, recipe: Recipe, count: int) -> None:
        self.children = [_Child(recipe) for _ in range(count)]

    def batches(self, given: Iterable[list[Entry]]) -> Iterator[Batch]:
        """Yield each batch's rows. A child has its next batch before the last one is yielded."""
        idle, busy = deque(self.children), deque[_Child]()
        for entries in given:
            if idle:
                child = idle.popleft()
                child.send(entries)
            else:
                child = busy.popleft()
                done = child.receive()
                child.send(entries)
                yield done
            busy.append(child)
        while busy:
            yield busy.popleft().receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for child in self.children:
            child.end()


class _Child:
    def __init__(self, recipe: Recipe) -> None:
        self.connection, theirs = Pipe()
        with theirs:
            number = theirs.fileno()
            command = [*COMMAND, "rows", str(number)]
            self.process = subprocess.Popen(command, cwd=ROOT, pass_fds=[number])
        self.connection.send(recipe)

    def send(self, entries: list[Entry]) -> None:
        self.connection.send(tuple(zip(*entries, strict=True)))

    def receive(self) -> Batch:
        try:
            read, skipped, refused, rows = self.connection.recv()
        except EOFError as error:
            raise UnderstudyError("a process that reads the log died; its log says why") from error
        return Batch(read, skipped, refused, [CallRow(*row) for row in rows])

    def end(self) -> None:
        self.connection.close()
        self.process.wait()


class UploadReader:
    """A child process that writes a file's redacted lines to another, as the raw bytes come in.

    `holds` says what the file is of: the calls of a log, or training rows.
    """

    def __init__(self, target: IO[bytes], policy: Policy, limit: int, holds: str = "calls") -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "upload"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=target, stderr=subprocess.PIPE,
        )  # fmt: skip
        # Not as arguments: every user of the machine can read those.
        how = {"policy": policy.as_json(), "limit": limit, "holds": holds}
        self.write(orjson.dumps(how, option=orjson.OPT_APPEND_NEWLINE))

    def write(self, data: bytes) -> bool:
        """Hand bytes on; False where the child wants no more, which `finish` explains."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(data)
        except BrokenPipeError:
            return False
        return True

    def finish(self) -> None:
        """Wait until all is written; `InvalidInput` or `TooLarge` says why it was not."""
        _, said = self.process.communicate()
        if self.process.returncode in REFUSED:
            raise REFUSED[self.process.returncode](said.decode())
        if self.process.returncode:
            raise UnderstudyError("the process that reads the upload broke")

    def stop(self) -> None:
        """End it, unless it has ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


# --- in the child ---------------------------------------------------------------------------------
def main() -> None:
    """Serve until the parent closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the parent's to answer
    if sys.argv[1] == "rows":
        _serve_rows(Connection(int(sys.argv[2])))
    else:
        sys.exit(_redact_upload())


def _serve_rows(connection: Connection) -> None:
    gc.set_threshold(GARBAGE_AFTER)
    try:
        preparing = Preparing(connection.recv())
        while True:
            numbers, raws = connection.recv()
            batch = preparing.batch(map(Entry, numbers, raws))
            # As bare tuples: a named one takes four times as long to cross.
            connection.send((*batch[:-1], list(map(tuple, batch.rows))))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is done, or gone


def _redact_upload() -> int:
    given = os.fdopen(0, "rb")
    how = orjson.loads(given.readline())
    chunks = iter(lambda: given.read1(CHUNK), b"")
    try:
        lines = {"calls": redacted_lines, "rows": redacted_rows}[how["holds"]]
        sys.stdout.buffer.writelines(lines(chunks, Policy.from_json(how["policy"]), how["limit"]))
    except (InvalidInput, TooLarge) as error:
        sys.stderr.write(error.message)
        return next(status for status, kind in REFUSED.items() if isinstance(error, kind))
    return 0
