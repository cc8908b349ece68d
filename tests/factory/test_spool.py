"""What the spool took is kept: torn frames, dead writers, two writers, a full disk."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from factory import spool

ENDLESS_WRITER = """
import itertools, sys
from pathlib import Path
from factory.spool import SpoolWriter

writer = SpoolWriter(Path(sys.argv[1]))
for number in itertools.count():
    writer.append({"number": number, "text": "x" * 500})
    print(number, flush=True)
"""


def numbers(path: Path) -> list[int]:
    return [frame["number"] for frame, _ in spool.read_frames(path, 0)]


def test_frames_come_back_in_order_with_their_offsets(tmp_path: Path) -> None:
    writer = spool.SpoolWriter(tmp_path)
    for number in range(3):
        writer.append({"number": number})
    (segment,) = spool.segments(tmp_path)
    frames = list(spool.read_frames(segment, 0))
    assert [frame["number"] for frame, _ in frames] == [0, 1, 2]
    assert frames[-1][1] == segment.stat().st_size
    assert [f["number"] for f, _ in spool.read_frames(segment, frames[0][1])] == [1, 2]


@pytest.mark.parametrize("cut", [1, 7, 8, 9])
def test_a_torn_frame_ends_the_reading_and_hides_nothing_before_it(
    tmp_path: Path, cut: int
) -> None:
    writer = spool.SpoolWriter(tmp_path)
    writer.append({"number": 0})
    (segment,) = spool.segments(tmp_path)
    whole = segment.stat().st_size
    writer.append({"number": 1})
    os.truncate(segment, whole + cut)
    assert numbers(segment) == [0]


def test_a_damaged_frame_is_not_believed(tmp_path: Path) -> None:
    writer = spool.SpoolWriter(tmp_path)
    writer.append({"number": 0})
    (segment,) = spool.segments(tmp_path)
    body = bytearray(segment.read_bytes())
    body[-2] ^= 1
    segment.write_bytes(body)
    assert numbers(segment) == []


def test_two_writers_write_two_segments(tmp_path: Path) -> None:
    writers = [spool.SpoolWriter(tmp_path) for _ in range(2)]
    for number in range(100):
        writers[number % 2].append({"number": number})
    found = [numbers(path) for path in spool.segments(tmp_path)]
    assert sorted(found) == [list(range(0, 100, 2)), list(range(1, 100, 2))]


def test_a_full_segment_gives_way_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1000)
    writer = spool.SpoolWriter(tmp_path)
    for number in range(20):
        writer.append({"number": number, "text": "x" * 200})
    found = spool.segments(tmp_path)
    assert len(found) == 4
    assert [number for path in found for number in numbers(path)] == list(range(20))


def test_a_full_disk_is_told_and_leaves_no_torn_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = spool.SpoolWriter(tmp_path)
    writer.append({"number": 0})
    with monkeypatch.context() as full_disk:
        # A small disk of our own needs root; this is what write(2) does on one.
        real = os.write
        full_disk.setattr(os, "write", lambda fd, data: real(fd, data[:5]))
        with pytest.raises(OSError, match="full"):
            writer.append({"number": 1})
    writer.append({"number": 2})
    (segment,) = spool.segments(tmp_path)
    assert numbers(segment) == [0, 2]


def test_a_segment_is_seen_only_when_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Path]] = []
    real = fcntl.flock

    def flock(file: int, operation: int) -> None:
        seen.append(spool.segments(tmp_path))
        real(file, operation)

    with monkeypatch.context() as watched:
        watched.setattr(fcntl, "flock", flock)
        spool.SpoolWriter(tmp_path)
    assert seen == [[]]
    assert len(spool.segments(tmp_path)) == 1


def test_a_held_segment_stays_and_an_abandoned_one_goes_when_it_is_shipped(tmp_path: Path) -> None:
    writer = spool.SpoolWriter(tmp_path)
    (segment,) = spool.segments(tmp_path)
    assert not spool.remove_if_abandoned(segment)
    writer.append({"number": 0})
    writer.close()
    assert not spool.remove_if_abandoned(segment)
    spool.mark_shipped(segment, segment.stat().st_size)
    assert spool.remove_if_abandoned(segment)
    assert list(tmp_path.iterdir()) == []


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


def test_a_record_is_one_line_of_json_to_other_tools(tmp_path: Path) -> None:
    writer = spool.SpoolWriter(tmp_path)
    writer.append({"text": "ü"})
    (segment,) = spool.segments(tmp_path)
    assert json.loads(segment.read_bytes()[spool.HEADER.size :]) == {"text": "ü"}
