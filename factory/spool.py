"""The local spool: a call is in a file before its last byte leaves, whatever the database does.

A segment is a file of frames, `length | crc32 | JSON`, written by one process. Its writer holds a
lock on it; a segment without a holder is complete, whoever left it. Readers stop at a torn frame.
What was written survives the death of every process; a power cut may take the last seconds.
"""

import contextlib
import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import orjson

from factory.messages import Json

logger = logging.getLogger(__name__)

HEADER = struct.Struct("<II")
SEGMENT_BYTES = 16 * 1024 * 1024


class SpoolWriter:
    """Appends records to this process's own segment."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.count = 0
        self._open()

    def append(self, record: Json) -> None:
        """Write one record by a single `write`; it survives the death of this process."""
        if self.size >= SEGMENT_BYTES:
            full = self.fd
            self._open()  # first: a closed descriptor's number may soon be somebody's socket
            os.close(full)
        body = orjson.dumps(record)
        frame = HEADER.pack(len(body), zlib.crc32(body)) + body
        written = os.write(self.fd, frame)
        if written != len(frame):  # the disk is full: a torn frame must not hide the next ones
            os.ftruncate(self.fd, self.size)
            raise OSError("the spool's disk is full")
        self.size += written

    def close(self) -> None:
        """Give the segment up to the shipper."""
        os.close(self.fd)

    def _open(self) -> None:
        self.count += 1
        path = self.folder / f"{os.getpid()}-{self.count}-{os.urandom(4).hex()}.new"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        path.rename(path.with_suffix(".seg"))  # not before it is held: it would look abandoned
        self.fd, self.size = fd, 0


def read_frames(path: Path, offset: int) -> Iterator[tuple[Json, int]]:
    """Yield each whole record from `offset` on, with the offset after it."""
    with path.open("rb") as file:
        file.seek(offset)
        while len(header := file.read(HEADER.size)) == HEADER.size:
            length, crc = HEADER.unpack(header)
            body = file.read(length)
            if len(body) < length or zlib.crc32(body) != crc:
                return
            offset += HEADER.size + length
            yield orjson.loads(body), offset


def segments(folder: Path) -> list[Path]:
    """List the segments, the oldest first."""
    found = [(path.stat().st_mtime_ns, path) for path in folder.glob("*.seg")]
    return [path for _, path in sorted(found)]


def shipped_offset(path: Path) -> int:
    """Return how far a segment was shipped."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(path.with_suffix(".offset").read_text(encoding="ascii"))
    return 0


def mark_shipped(path: Path, offset: int) -> None:
    """Remember how far a segment was shipped; the database already ignores what comes twice."""
    made = path.with_suffix(".offset-new")
    made.write_text(str(offset), encoding="ascii")
    made.replace(path.with_suffix(".offset"))


def remove_if_abandoned(path: Path) -> bool:
    """Remove a fully shipped segment that no process writes any more."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shipped = shipped_offset(path)
        if next(read_frames(path, shipped), None) is not None:
            return False
        if torn := path.stat().st_size - shipped:
            logger.warning("segment=%s: %s bytes of an unfinished call left out", path.name, torn)
        path.with_suffix(".offset").unlink(missing_ok=True)
        path.unlink()
        return True
