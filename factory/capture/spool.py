"""The local spool: a call is in a file before its last byte leaves, whatever the database does.

A segment is a file of frames that one process writes and holds; a segment that nobody holds is
complete, whoever left it. What was written survives the death of every process; how much a power
cut may take is `Sync`'s choice. Where room runs out the texts go first, then the records; each is
counted, and no caller waits or fails for it.
"""

import asyncio
import errno
import logging
import os
import struct
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import orjson

from factory.capture.frames import (
    UNSEEN,
    Frame,
    create_held,
    damaged_stretches,
    framed,
    is_abandoned,
    read_frames,
)
from factory.capture.losses import LOSSES, LossFile, loss_files, read_losses
from factory.messages import Json

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 16 * 1024 * 1024
SEGMENT_SECONDS = 60.0  # after its first record; what is shipped must not stay on the disk
MAX_BYTES = 10 * 1024**3  # of the whole spool, unless told otherwise
TEXTS_UP_TO = 0.8  # of the room: past it, records are kept without their texts
SYNC_SECONDS = 0.05
MEASURE_SECONDS = 1.0  # between two looks at what the folder holds
LONGEST_WAIT_SECONDS = 5.0  # of a call for a disk that does not answer
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DEAD, SEGMENT = ".dead", ".seg"
# A segment begins with how far it was shipped and that number's crc: rewritten in place, so that a
# full disk cannot keep the shipper from making room.
MARK = struct.Struct("<QI")
PEEK_BYTES = 1024 * 1024
UNSEEN_SECONDS = 60
KEPT_OF_ANSWER = ("id", "object", "created", "model", "usage")
WITHOUT_TEXTS = "_without_texts"  # ends the route reason of a record that has none


class Sync(StrEnum):
    """When what was written is forced to disk: what a power cut may take."""

    OFF = "off"  # when the kernel likes, which may be half a minute
    INTERVAL = "interval"  # every 50 ms
    WAIT = "wait"  # before a call's last byte leaves; calls share one sync


class SpoolWriter:
    """Appends records to this process's own segment; a thread beside it looks after the disk.

    Several processes may write to one folder. `lost` counts what this one could not keep.
    """

    def __init__(
        self, folder: Path, *, sync: str = Sync.INTERVAL, max_bytes: int = MAX_BYTES
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written to")
        self.folder, self.sync, self.max_bytes = folder, Sync(sync), max_bytes
        self.loss_file = LossFile(folder / f"{_new_name()}{LOSSES}")
        self.fd: int | None = None
        self.size = MARK.size
        self._begun = 0.0  # when the segment's first record came
        self._segment = threading.Lock()  # held to write to it, and to change it for another
        # Counted up by who holds the segment; the thread remembers how far it has come.
        self._appended = self._opened = 0
        self._synced_appends = self._synced_opens = 0
        self._full: deque[int] = deque()  # descriptors to sync and to close
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_closed = False
        self._wake = threading.Event()
        self._used, self._room = self._measured()
        self._change_to(self._created())
        self._thread = threading.Thread(target=self._look_after, name="spool", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> Counter[str]:
        """How many records this process could not keep whole, by reason."""
        return Counter({r: loss.count for r, loss in list(self.loss_file.losses.items())})

    def append(self, record: Json) -> None:
        """Keep a record, or what there is room for of it. Of one thread only: the event loop's."""
        share = self._used / self._room if self._room else 1.0
        try:
            if share >= 1:
                self.lose("spool_full")
            elif share >= TEXTS_UP_TO or not self._write(record):
                self.lose("texts" if self._write(without_texts(record)) else "disk")
        except orjson.JSONEncodeError:
            self.lose("no_json")

    def lose(self, reason: str) -> None:
        """Count a record that is not kept, or not whole."""
        self.loss_file.add(reason)
        self._wake.set()

    async def settled(self) -> None:
        """Return when what was appended is on disk, where `Sync.WAIT` asks for it."""
        if self.sync is not Sync.WAIT:
            return
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wake.set()
        await asyncio.wait([done], timeout=LONGEST_WAIT_SECONDS)

    def close(self) -> None:
        """Bring everything to disk and give the segment up to the shipper."""
        self._is_closed = True
        self._wake.set()
        self._thread.join()
        if self.fd is not None:
            os.close(self.fd)
        self.loss_file.close()

    def _write(self, record: Json) -> bool:
        frame = framed(orjson.dumps(record))
        with self._segment:
            if self.fd is None or self.size >= SEGMENT_BYTES:
                self._change_to(self._created())
            is_written = self.fd is not None and self._put(self.fd, frame)
        self._wake.set()
        return is_written

    def _put(self, fd: int, frame: bytes) -> bool:
        try:
            written = os.pwrite(fd, frame, self.size)
            if written < len(frame):  # a torn frame must not stay
                os.ftruncate(fd, self.size)
                return False
        except OSError as error:
            if error.errno not in NO_ROOM:
                logger.error("a record cannot be written: %s", error.strerror)  # noqa: TRY400
            return False
        if self.size == MARK.size:
            self._begun = time.monotonic()
        self.size += written
        self._used += written
        self._appended += 1
        return True

    def _created(self) -> int | None:
        """Create a segment; None where room or descriptors are wanting: the last one must do."""
        try:
            return create_held(self.folder / f"{_new_name()}{SEGMENT}")
        except OSError as error:
            if error.errno not in NO_ROOM:
                logger.error("no new segment: %s", error.strerror)  # noqa: TRY400
            return None

    def _change_to(self, fd: int | None) -> None:
        if fd is None:
            return
        former, self.fd, self.size = self.fd, fd, MARK.size
        self._opened += 1
        if former is not None:
            self._full.append(former)

    def _give_up_old(self) -> None:
        """Begin another segment where this one holds old records: it goes once it is shipped."""
        if self.size > MARK.size and time.monotonic() >= self._begun + SEGMENT_SECONDS:
            fresh = self._created()  # not while a call could have to wait for it
            with self._segment:
                self._change_to(fresh)

    def _look_after(self) -> None:
        measured = time.monotonic()
        while not self._is_closed:
            self._wake.wait(MEASURE_SECONDS)
            self._wake.clear()
            if self.sync is Sync.INTERVAL and not self._is_closed:
                time.sleep(SYNC_SECONDS)
            self._give_up_old()
            self._bring_to_disk()
            self.loss_file.flush()
            if time.monotonic() - measured >= MEASURE_SECONDS:
                measured = time.monotonic()
                with suppress(FileNotFoundError):  # the folder is gone: nothing is to be measured
                    self._used, self._room = self._measured()

    def _bring_to_disk(self) -> None:
        # In this order: what is appended or opened meanwhile is left for the next round.
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        appended, opened, current = self._appended, self._opened, self.fd
        full = [self._full.popleft() for _ in range(len(self._full))]
        if self.sync is not Sync.OFF:
            if opened != self._synced_opens:
                _force(self.folder)
            if appended != self._synced_appends:
                for fd in (*full, current):
                    _force(fd)
        self._synced_appends, self._synced_opens = appended, opened
        for fd in full:
            os.close(fd)
        for done in waiting:
            with suppress(RuntimeError):  # its event loop has ended
                done.get_loop().call_soon_threadsafe(_finish, done)

    def _measured(self) -> tuple[int, int]:
        """Return the bytes that the spool takes, and those that it may."""
        used = sum(_sizes(self.folder))
        disk = os.statvfs(self.folder)
        return used, min(self.max_bytes, used + disk.f_bavail * disk.f_frsize)


def without_texts(record: Json) -> Json:
    """Return a record with what was said left out: who asked which model when, and what it took."""
    call = record["call"]
    answer = call["response"]
    told = {
        "request": {"model": call["request"].get("model"), "messages": []},
        "response": answer and {k: answer[k] for k in KEPT_OF_ANSWER if k in answer},
        "is_partial": True,
        "route_reason": f"{call['route_reason']}{WITHOUT_TEXTS}",
    }
    return {**record, "call": {**call, **told}}


# --- reading --------------------------------------------------------------------------------------
def segments(folder: Path) -> list[Path]:
    """List the segments, the oldest first."""
    return sorted(folder.glob(f"*{SEGMENT}"))


def shipped_offset(path: Path) -> int:
    """Return how far a segment was shipped."""
    with path.open("rb") as file:
        mark = file.read(MARK.size)
    offset = int(MARK.unpack(mark)[0]) if len(mark) == MARK.size else MARK.size
    return offset if mark == _mark(offset) else MARK.size


def mark_shipped(path: Path, offset: int) -> None:
    """Remember how far a segment was shipped; the database already ignores what comes twice."""
    with path.open("r+b") as file:
        file.write(_mark(offset))


def unshipped(path: Path) -> Iterator[Frame]:
    """Yield a segment's records that were not shipped yet."""
    is_complete = is_abandoned(path)  # asked first: what is written after it is read next time
    return read_frames(path, shipped_offset(path), is_complete=is_complete)


def is_done(path: Path) -> bool:
    """Whether no process writes a segment any more and all of it was shipped."""
    return is_abandoned(path) and next(unshipped(path), None) is None


def damages(path: Path) -> int:
    """Count the stretches of an abandoned segment that no record could be read from."""
    return damaged_stretches(path, MARK.size)


def remove_unfinished(folder: Path) -> None:
    """Remove the empty files of processes that died before others could see their files."""
    for path in folder.glob(f"*{UNSEEN}"):
        with suppress(FileNotFoundError):
            is_old = time.time() - path.stat().st_mtime > UNSEEN_SECONDS
            if is_old and is_abandoned(path):
                path.unlink()


# --- what the database refuses --------------------------------------------------------------------
def bury(segment: Path, body: bytes) -> None:
    """Set a record of a segment aside, on disk, out of the others' way."""
    with segment.with_suffix(DEAD).open("ab") as file:
        # Begun as a segment is, so that it can become one again.
        file.write((b"" if file.tell() else _mark(MARK.size)) + framed(body))
        file.flush()
        os.fdatasync(file.fileno())


def dead_count(segment: Path) -> int:
    """Count the records of a segment that were set aside."""
    try:
        frames = read_frames(segment.with_suffix(DEAD), MARK.size, is_complete=True)
        return sum(1 for _ in frames)
    except FileNotFoundError:
        return 0


def prune_dead(folder: Path, is_erased: Callable[[bytes], bool]) -> int:
    """Take the erased out of the records that were set aside; return how many went.

    For the shipper's process alone, which also buries. A file is replaced whole or not at all; what
    of it cannot be read goes too, for nobody can tell whose it is.
    """
    count = 0
    for path in sorted(folder.glob(f"*{DEAD}")):
        with suppress(FileNotFoundError):  # back in line: the shipper looks at it when it ships
            bodies = [f.body for f in read_frames(path, MARK.size, is_complete=True)]
            kept = [body for body in bodies if not is_erased(body)]
            _replace(path, b"".join(map(framed, kept)))
            count += len(bodies) - len(kept)
    return count


def _replace(path: Path, frames: bytes) -> None:
    """Replace the frames of a file, crash-safe, where they are others than before."""
    whole = _mark(MARK.size) + frames
    if path.read_bytes() == whole:
        return
    if not frames:
        path.unlink()
    else:
        unseen = path.with_suffix(UNSEEN)
        with unseen.open("wb") as file:
            file.write(whole)
            file.flush()
            os.fsync(file.fileno())
        unseen.rename(path)
    _force(path.parent)


def holds_before(folder: Path, moment: float) -> bool:
    """Whether a segment may hold records of a moment (in Unix seconds) or earlier, shipped or not.

    A segment's name tells when it was begun: one that was begun later holds nothing older.
    """
    for path in segments(folder):
        with suppress(FileNotFoundError):  # shipped a moment ago
            if _begun_at(path) <= moment and path.stat().st_size > MARK.size:
                return True
    return False


def unbury(folder: Path) -> int:
    """Put the records that were set aside back in line; return how many."""
    found = sorted(folder.glob(f"*{DEAD}"))
    count = sum(dead_count(path) for path in found)
    for path in found:
        path.rename(folder / f"{_new_name()}{SEGMENT}")
    return count


@dataclass(frozen=True)
class SpoolStatus:
    """What a spool holds, and what it could not hold."""

    bytes: int
    segments: int
    dead_segments: int
    oldest_seconds: float  # since the first call came that is not shipped
    losses: dict[str, int]  # by reason, of the processes that run and those not yet reported


def status(folder: Path) -> SpoolStatus:
    """Look at a spool, without reading its segments."""
    losses: Counter[str] = Counter()
    for path in loss_files(folder):
        with suppress(FileNotFoundError):  # its process ended without a loss
            losses.update({reason: loss.count for reason, loss in read_losses(path).items()})
    oldest = _oldest_at(folder)
    return SpoolStatus(
        bytes=sum(_sizes(folder)),
        segments=len(segments(folder)),
        dead_segments=len(list(folder.glob(f"*{DEAD}"))),
        oldest_seconds=0.0 if oldest is None else max(0.0, time.time() - oldest),
        losses=dict(losses),
    )


def _oldest_at(folder: Path) -> float | None:
    """Return when the first call came that is not shipped; None where there is none."""
    for segment in segments(folder):
        with suppress(FileNotFoundError):  # shipped a moment ago
            offset = shipped_offset(segment)
            if segment.stat().st_size > offset:
                frames = read_frames(segment, offset, is_complete=False, limit=PEEK_BYTES)
                for frame in frames:
                    return float(orjson.loads(frame.body)["call"]["created_at"])
                return _begun_at(segment)
    return None


def _begun_at(segment: Path) -> float:
    return int(segment.name.partition("-")[0]) / 1000


def _sizes(folder: Path) -> Iterator[int]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                yield entry.stat().st_size


def _new_name() -> str:
    """Return a name that sorts by time."""
    return f"{time.time_ns() // 1_000_000:013d}-{os.getpid()}-{os.urandom(4).hex()}"


def _force(what: int | Path | None) -> None:
    """Force a file's data, or a folder's names, to disk."""
    try:
        if isinstance(what, int):
            os.fdatasync(what)
        elif what is not None:
            folder = os.open(what, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        logger.error("the spool cannot be brought to disk: %s", error.strerror)  # noqa: TRY400


def _mark(offset: int) -> bytes:
    return MARK.pack(offset, zlib.crc32(offset.to_bytes(8, "little")))


def _finish(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)
