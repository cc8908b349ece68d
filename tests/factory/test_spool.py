"""What the spool took is kept: dead writers, two writers, a full disk, a full spool."""

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.conf import settings

from factory.capture import spool
from factory.capture.frames import is_abandoned
from factory.capture.losses import loss_files, read_losses
from factory.messages import record_from_json
from tests.conftest import call_record

MakeWriter = Callable[..., spool.SpoolWriter]

ENDLESS_WRITER = """
import itertools, sys
from pathlib import Path
from factory.capture.spool import SpoolWriter

writer = SpoolWriter(Path(sys.argv[1]))
for number in itertools.count():
    writer.append({"number": number, "text": "x" * 500})
    print(number, flush=True)
"""

# Fills a disk of 256 KiB, frees it, and goes on; prints what was lost.
FULL_DISK_WRITER = """
import json, os, sys, time
from pathlib import Path
from factory.capture.spool import SpoolWriter

folder = Path(sys.argv[1])
filler = folder / "filler"
writer = SpoolWriter(folder / "spool")

def append(first, last):
    for number in range(first, last):
        call = {"request": {"model": "m", "messages": [{"role": "user", "content": "x" * 500}]},
                "response": None, "route_reason": "passthrough", "number": number}
        writer.append({"project": 1, "call": call})

append(0, 20)
with filler.open("wb") as file:
    try:
        while True:
            os.write(file.fileno(), bytes(4096))
    except OSError:
        pass
append(20, 60)
filler.unlink()
deadline = time.monotonic() + 10
while True:  # until the spool has noticed
    before = sum(writer.lost.values())
    append(60, 61)
    if sum(writer.lost.values()) == before:
        break
    assert time.monotonic() < deadline
    time.sleep(0.05)
append(61, 80)
writer.close()
print(json.dumps(dict(writer.lost)))
"""


@pytest.fixture
def make_writer(tmp_path: Path) -> Iterator[MakeWriter]:
    with ExitStack() as opened:

        def make(**options: Any) -> spool.SpoolWriter:
            writer = spool.SpoolWriter(tmp_path, **options)
            opened.callback(writer.close)
            return writer

        yield make


def numbers(path: Path) -> list[int]:
    return [orjson.loads(frame.body)["number"] for frame in spool.unshipped(path)]


def call(number: int, size: int = 500) -> dict[str, Any]:
    return {"project": 1, "call": call_record("x" * size, request_id=str(number)).as_json()}


def calls_of(folder: Path) -> list[Any]:
    frames = [frame for path in spool.segments(folder) for frame in spool.unshipped(path)]
    return [record_from_json(orjson.loads(frame.body)["call"]) for frame in frames]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def until(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


# --- segments -------------------------------------------------------------------------------------
def test_what_is_appended_can_be_read_at_once(tmp_path: Path, make_writer: MakeWriter) -> None:
    writer = make_writer()
    for number in range(3):
        writer.append({"number": number})
    (segment,) = spool.segments(tmp_path)
    assert numbers(segment) == [0, 1, 2]
    frames = list(spool.unshipped(segment))
    spool.mark_shipped(segment, frames[1].end)
    assert numbers(segment) == [2]
    writer.append({"number": 3})
    assert numbers(segment) == [2, 3]


def test_a_damaged_mark_ships_again_rather_than_skips(
    tmp_path: Path, make_writer: MakeWriter
) -> None:
    writer = make_writer()
    for number in range(3):
        writer.append({"number": number})
    (segment,) = spool.segments(tmp_path)
    spool.mark_shipped(segment, list(spool.unshipped(segment))[1].end)
    with segment.open("r+b") as file:
        file.write(b"\xff")
    assert numbers(segment) == [0, 1, 2]


def test_two_writers_write_two_segments(tmp_path: Path, make_writer: MakeWriter) -> None:
    writers = [make_writer() for _ in range(2)]
    for number in range(100):
        writers[number % 2].append({"number": number})
    found = [numbers(path) for path in spool.segments(tmp_path)]
    assert sorted(found) == [list(range(0, 100, 2)), list(range(1, 100, 2))]


@pytest.mark.parametrize("sync", list(spool.Sync))
def test_a_full_segment_gives_way_to_the_next(
    tmp_path: Path, make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch, sync: spool.Sync
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1000)
    writer = make_writer(sync=sync)
    before = open_files()
    for number in range(20):
        writer.append({"number": number, "text": "x" * 200})
    found = spool.segments(tmp_path)
    assert len(found) == 4
    assert sorted(number for path in found for number in numbers(path)) == list(range(20))
    until(lambda: open_files() == before, "full segments stay open")


def test_an_old_segment_gives_way_while_nothing_comes_and_can_go(
    tmp_path: Path, make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_SECONDS", 0.0)
    monkeypatch.setattr(spool, "MEASURE_SECONDS", 0.05)
    writer = make_writer()
    (first,) = spool.segments(tmp_path)
    writer.append({"number": 0})
    until(lambda: len(spool.segments(tmp_path)) == 2, "the segment was kept for ever")
    until(lambda: is_abandoned(first), "the segment is still held")
    assert numbers(first) == [0]
    spool.mark_shipped(first, first.stat().st_size)
    assert spool.is_done(first)
    assert not spool.is_done(spool.segments(tmp_path)[1])  # an empty one stays


def test_no_record_is_lost_or_torn_while_segments_change(
    tmp_path: Path, make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_SECONDS", 0.0)
    monkeypatch.setattr(spool, "SYNC_SECONDS", 0.0)
    writer = make_writer()
    for number in range(20_000):
        writer.append({"number": number})
    found = spool.segments(tmp_path)
    assert len(found) > 2
    assert sorted(n for path in found for n in numbers(path)) == list(range(20_000))
    assert not any(spool.damages(path) for path in found)


def test_a_segment_is_seen_only_when_it_is_held(
    tmp_path: Path, make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Path]] = []
    real = fcntl.flock

    def flock(file: int, operation: int) -> None:
        seen.append(spool.segments(tmp_path))
        real(file, operation)

    with monkeypatch.context() as watched:
        watched.setattr(fcntl, "flock", flock)
        make_writer()
    assert seen == [[], []]  # of the counts and of the segment
    assert len(spool.segments(tmp_path)) == 1


def test_a_held_segment_stays_and_an_abandoned_one_is_done_when_it_is_shipped(
    tmp_path: Path,
) -> None:
    writer = spool.SpoolWriter(tmp_path)
    (segment,) = spool.segments(tmp_path)
    assert not spool.is_done(segment)
    writer.append({"number": 0})
    writer.close()
    assert not spool.is_done(segment)
    spool.mark_shipped(segment, segment.stat().st_size)
    assert spool.is_done(segment)
    assert spool.damages(segment) == 0
    assert list(tmp_path.iterdir()) == [segment]


def test_what_a_dead_process_had_not_named_yet_goes_and_what_is_named_now_stays(
    tmp_path: Path, make_writer: MakeWriter
) -> None:
    make_writer()
    kept = sorted(tmp_path.iterdir())
    fresh, old = tmp_path / "1.new", tmp_path / "2.new"
    for path in (fresh, old):
        path.touch()
    os.utime(old, (0, 0))
    spool.remove_unfinished(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, fresh])


def test_kill_9_loses_nothing_that_append_returned_for(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", ENDLESS_WRITER, str(tmp_path)],
        cwd=settings.BASE_DIR,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(500)]
    writer.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    (segment,) = spool.segments(tmp_path)
    kept = numbers(segment)
    assert kept == list(range(len(kept)))
    assert len(kept) >= len(acknowledged) >= 500


def test_a_folder_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    with pytest.raises(FileExistsError):
        spool.SpoolWriter(tmp_path / "spool")


# --- to disk --------------------------------------------------------------------------------------
def synced_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how long a file was each time that it was forced to disk."""
    sizes: list[int] = []
    real = os.fdatasync

    def fdatasync(fd: int) -> None:
        sizes.append(os.fstat(fd).st_size)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return sizes


def test_a_call_waits_for_the_disk_where_that_is_asked_for(
    tmp_path: Path, make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = synced_sizes(monkeypatch)
    writer = make_writer(sync=spool.Sync.WAIT)
    waits = []

    async def one(number: int) -> None:
        writer.append(call(number))
        size = writer.size
        await writer.settled()
        waits.append(max(sizes, default=0) >= size)

    async def many() -> None:
        await asyncio.gather(*(one(number) for number in range(200)))

    asyncio.run(many())
    assert waits == [True] * 200
    assert len(sizes) < 100  # calls share a sync


def test_otherwise_no_call_waits_and_the_disk_has_it_soon_after(
    tmp_path: Path, make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = synced_sizes(monkeypatch)
    writer = make_writer(sync=spool.Sync.INTERVAL)
    for number in range(100):
        writer.append(call(number))
        asyncio.run(writer.settled())
    until(lambda: writer.size in sizes, "it was never forced to disk")


def test_nothing_is_forced_to_disk_where_that_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = synced_sizes(monkeypatch)
    writer = spool.SpoolWriter(tmp_path, sync=spool.Sync.OFF)
    writer.append(call(1))
    writer.close()
    assert sizes == []


def test_a_disk_that_fails_to_sync_fails_no_call(
    tmp_path: Path,
    make_writer: MakeWriter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    writer = make_writer(sync=spool.Sync.WAIT)
    writer.append(call(1))
    asyncio.run(writer.settled())
    assert "cannot be brought to disk" in caplog.text


# --- no room --------------------------------------------------------------------------------------
def test_texts_go_first_then_records_and_both_are_counted(
    tmp_path: Path, make_writer: MakeWriter
) -> None:
    writer = make_writer(max_bytes=200_000)
    for number in range(1000):
        writer.append(call(number))
    kept = calls_of(tmp_path)
    whole = [c for c in kept if c.request["messages"]]
    bare = [c for c in kept if not c.request["messages"]]
    assert 0.75 * 200_000 < sum(len(orjson.dumps(c.as_json())) for c in whole) < 0.85 * 200_000
    assert writer.lost == {"texts": len(bare), "spool_full": 1000 - len(kept)}
    assert len(bare) > 50
    assert {(c.route_reason, c.is_partial) for c in bare} == {("_without_texts", True)}
    assert bare[0].response is not None
    assert bare[0].response["usage"] == {"prompt_tokens": 40, "completion_tokens": 2}
    assert "xxx" not in str(bare)
    assert spool.status(tmp_path).bytes < 210_000


def test_the_room_is_one_for_all_processes_of_a_folder(
    tmp_path: Path, make_writer: MakeWriter
) -> None:
    one, other = make_writer(max_bytes=200_000), make_writer(max_bytes=200_000)
    for number in range(1000):
        one.append(call(number))

    def is_refused() -> bool:
        other.append(call(0))
        return "spool_full" in other.lost

    until(is_refused, "the other never noticed that the room is taken")


def test_room_that_comes_back_is_used(tmp_path: Path, make_writer: MakeWriter) -> None:
    filler = tmp_path / "filler"
    filler.write_bytes(bytes(300_000))
    writer = make_writer(max_bytes=200_000)
    writer.append(call(0))
    assert writer.lost == {"spool_full": 1}
    filler.unlink()

    def is_kept() -> bool:
        writer.append(call(1))
        return bool(calls_of(tmp_path))

    until(is_kept, "the room was never seen")


def small_disk(folder: Path) -> list[str]:
    """Return the prefix of a command for which `folder` is a disk of 256 KiB, its own alone."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = 'mount -t tmpfs -o size=256k tmpfs "$0" && exec "$@"'
    prefix = [*unshare, "sh", "-c", mount, str(folder)]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    return prefix


def test_a_full_disk_costs_records_and_no_caller_and_each_is_counted(tmp_path: Path) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    script = [sys.executable, "-c", FULL_DISK_WRITER, str(disk)]
    look = f'"$@" && cp {disk}/spool/* {kept}/'
    done = subprocess.run(
        [*small_disk(disk), "sh", "-c", look, "sh", *script],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lost = orjson.loads(done.stdout)
    assert lost.get("disk", 0) + lost.get("spool_full", 0) > 10
    (counts,) = loss_files(kept)
    assert {reason: loss.count for reason, loss in read_losses(counts).items()} == lost
    found = [
        orjson.loads(frame.body)["call"]["number"]
        for path in spool.segments(kept)
        for frame in spool.unshipped(path)
    ]
    assert [n for n in found if n < 20] == list(range(20))
    assert [n for n in found if n > 60] == list(range(61, 80))
    assert sum(spool.damages(path) for path in spool.segments(kept)) == 0


def test_a_write_that_ends_half_way_leaves_no_torn_frame(
    tmp_path: Path, make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer()
    writer.append(call(0))
    with monkeypatch.context() as full_disk:
        real = os.pwrite
        full_disk.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:50], at))
        writer.append(call(1))
        assert writer.lost == {"disk": 1}
    writer.append(call(2))
    assert [c.request_id for c in calls_of(tmp_path)] == ["0", "2"]
    (segment,) = spool.segments(tmp_path)
    assert spool.damages(segment) == 0


def test_a_record_that_is_no_json_is_counted_and_raises_nothing(
    tmp_path: Path, make_writer: MakeWriter
) -> None:
    writer = make_writer()
    for odd in ("\ud800", 2**70, object()):
        writer.append({**call(0), "odd": odd})
    writer.append(call(1))
    assert writer.lost == {"no_json": 3}
    assert [c.request_id for c in calls_of(tmp_path)] == ["1"]


# --- what is counted ------------------------------------------------------------------------------
def test_losses_outlive_their_process(tmp_path: Path) -> None:
    script = (
        "import os, sys, time; from pathlib import Path\n"
        "from factory.capture.spool import SpoolWriter\n"
        "writer = SpoolWriter(Path(sys.argv[1]))\n"
        "writer.lose('redaction'); writer.lose('redaction')\n"
        "while not writer.loss_file.is_written: time.sleep(0.01)\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=settings.BASE_DIR, check=False
    )
    (path,) = loss_files(tmp_path)
    (reason, loss), *_ = read_losses(path).items()
    assert (reason, loss.count) == ("redaction", 2)
    assert abs(loss.last_at - time.time()) < 60
    assert spool.status(tmp_path).losses == {"redaction": 2}


def test_a_process_without_losses_leaves_no_counts(tmp_path: Path) -> None:
    writer = spool.SpoolWriter(tmp_path)
    assert len(loss_files(tmp_path)) == 1
    writer.close()
    assert loss_files(tmp_path) == []


def test_the_status_says_how_much_waits_and_how_long(
    tmp_path: Path, make_writer: MakeWriter
) -> None:
    writer = make_writer()
    assert spool.status(tmp_path).oldest_seconds == 0
    record = call(0)
    record["call"]["created_at"] = time.time() - 100
    writer.append(record)
    writer.append(call(1))
    now = spool.status(tmp_path)
    assert 100 <= now.oldest_seconds < 110
    assert (now.segments, now.dead_segments, now.losses) == (1, 0, {})
    (segment,) = spool.segments(tmp_path)
    assert now.bytes >= segment.stat().st_size
    spool.mark_shipped(segment, segment.stat().st_size)
    assert spool.status(tmp_path).oldest_seconds == 0
    spool.bury(segment, b"{}")
    assert spool.status(tmp_path).dead_segments == 1


# --- what was set aside ---------------------------------------------------------------------------
def test_the_erased_go_out_of_what_was_set_aside_and_the_others_can_be_tried_again(
    tmp_path: Path,
) -> None:
    both, one = tmp_path / "0000000000001-1-a.seg", tmp_path / "0000000000002-1-b.seg"
    for segment, body in ((both, b"mine"), (both, b"theirs"), (one, b"mine")):
        spool.bury(segment, body)
    assert spool.prune_dead(tmp_path, lambda body: body == b"mine") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["0000000000001-1-a.dead"]
    assert b"mine" not in both.with_suffix(".dead").read_bytes()
    assert spool.prune_dead(tmp_path, lambda body: body == b"mine") == 0
    assert spool.unbury(tmp_path) == 1
    (segment,) = spool.segments(tmp_path)
    assert [frame.body for frame in spool.unshipped(segment)] == [b"theirs"]


def test_of_a_damaged_file_only_what_can_be_read_stays(tmp_path: Path) -> None:
    segment = tmp_path / "0000000000001-1-a.seg"
    for body in (b"damaged", b"whole"):
        spool.bury(segment, body)
    dead = segment.with_suffix(".dead")
    dead.write_bytes(dead.read_bytes().replace(b"damaged", b"demaged"))
    assert spool.prune_dead(tmp_path, lambda _: False) == 0
    assert b"demaged" not in dead.read_bytes()
    assert spool.dead_count(segment) == 1


def test_a_kill_while_a_file_is_replaced_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = tmp_path / "0000000000001-1-a.seg"
    for body in (b"mine", b"theirs"):
        spool.bury(segment, body)

    class KilledError(BaseException):
        """Ends the work as a kill does: nothing after it runs."""

    def killed(_: int) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KilledError):
            spool.prune_dead(tmp_path, lambda body: body == b"mine")
    assert spool.dead_count(segment) == 2
    assert spool.prune_dead(tmp_path, lambda body: body == b"mine") == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".dead"]


def test_a_segment_of_before_is_seen_until_it_is_gone(
    tmp_path: Path, make_writer: MakeWriter
) -> None:
    writer = make_writer()
    (segment,) = spool.segments(tmp_path)
    assert not spool.holds_before(tmp_path, time.time() + 1)  # it is empty
    writer.append({"number": 0})
    assert spool.holds_before(tmp_path, time.time() + 1)
    assert not spool.holds_before(tmp_path, time.time() - 60)
    spool.mark_shipped(segment, segment.stat().st_size)
    assert spool.holds_before(tmp_path, time.time() + 1)
