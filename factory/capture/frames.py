"""Frames: records in a file, each checked by itself, so that damage costs only what it hit.

A frame is `magic | length | crc32 of the body | crc32 of these three | body`. Bodies are UTF-8, in
which the magic's first byte never occurs: past a damaged stretch, the next magic begins a record.
A file is held by the one process that writes it: the kernel lets go of it when that one dies.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"\xffUSF"
FIELDS = struct.Struct("<4sII")
CRC = struct.Struct("<I")
HEADER_BYTES = FIELDS.size + CRC.size
UNSEEN = ".new"


@dataclass(frozen=True)
class Frame:
    """A record as it lies in its file."""

    body: bytes
    start: int
    end: int  # where the next one begins


def create_held(path: Path) -> int:
    """Create a file to write, held by this process from the moment that others can see it."""
    unseen = path.with_suffix(UNSEEN)
    fd = os.open(unseen, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    unseen.rename(path)
    return fd


def is_abandoned(path: Path) -> bool:
    """Whether the process that wrote a file is gone, or has given the file up."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def framed(body: bytes) -> bytes:
    """Return a UTF-8 body as a frame."""
    fields = FIELDS.pack(MAGIC, len(body), zlib.crc32(body))
    return fields + CRC.pack(zlib.crc32(fields)) + body


def read_frames(
    path: Path, offset: int = 0, *, is_complete: bool, limit: int = -1
) -> Iterator[Frame]:
    """Yield each whole frame from `offset` on, within `limit` bytes; damage is passed over.

    Where the file is not complete, a frame that it ends in is one that is being written: the
    reading ends before it.
    """
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(limit)
    at = 0
    while (at := data.find(MAGIC, at)) >= 0:
        header = data[at : at + HEADER_BYTES]
        if len(header) < HEADER_BYTES and not is_complete:
            return
        if (length := _body_length(header)) is None:
            at += 1
            continue
        begin, end = at + HEADER_BYTES, at + HEADER_BYTES + length
        if end > len(data) and not is_complete:
            return
        body = data[begin:end]
        if zlib.crc32(body) != FIELDS.unpack_from(header)[2]:
            at += 1
            continue
        yield Frame(body, offset + at, offset + end)
        at = end


def damaged_stretches(path: Path, offset: int = 0) -> int:
    """Count the stretches of a complete file, from `offset` on, that belong to no whole frame."""
    found, end = 0, offset
    for frame in read_frames(path, offset, is_complete=True):
        found += frame.start > end
        end = frame.end
    return found + (path.stat().st_size > end)


def _body_length(header: bytes) -> int | None:
    """Return the length that a header tells, None where it is damaged."""
    if len(header) < HEADER_BYTES or CRC.unpack_from(header, FIELDS.size)[0] != zlib.crc32(
        header[: FIELDS.size]
    ):
        return None
    return int(FIELDS.unpack_from(header)[1])
