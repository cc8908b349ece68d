"""What is damaged costs only itself: torn tails, flipped bits, lost blocks."""

from pathlib import Path

import pytest

from factory.capture.frames import HEADER_BYTES, create_held, damaged_stretches, framed, read_frames

BODIES = [f'{{"number": {n}, "text": "{"ü" * 40}"}}'.encode() for n in range(5)]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def bodies(path: Path, *, is_complete: bool) -> list[bytes]:
    return [frame.body for frame in read_frames(path, is_complete=is_complete)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "frames", b"".join(map(framed, BODIES)))


def test_frames_come_back_in_order_with_their_places(file: Path) -> None:
    frames = list(read_frames(file, is_complete=True))
    assert [frame.body for frame in frames] == BODIES
    assert frames[-1].end == file.stat().st_size
    assert [f.start for f in frames[1:]] == [f.end for f in frames[:-1]]
    rest = read_frames(file, frames[1].end, is_complete=True)
    assert [frame.body for frame in rest] == BODIES[2:]
    assert damaged_stretches(file) == 0


def test_every_cut_of_the_last_frame_costs_only_the_last_frame(file: Path) -> None:
    whole = file.read_bytes()
    start = len(whole) - len(framed(BODIES[-1]))
    for end in range(start + 1, len(whole)):
        write(file, whole[:end])
        for is_complete in (True, False):
            assert bodies(file, is_complete=is_complete) == BODIES[:-1]
        assert damaged_stretches(file) == 1


def test_every_flipped_bit_costs_only_its_own_frame(file: Path) -> None:
    whole = file.read_bytes()
    size = len(framed(BODIES[0]))
    for at in range(2 * size, 3 * size):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            write(file, bytes(flipped))
            assert bodies(file, is_complete=True) == BODIES[:2] + BODIES[3:], (at, bit)
            # A damaged length must not make a living file look as if it were still being written.
            assert bodies(file, is_complete=False) == BODIES[:2] + BODIES[3:], (at, bit)
            assert damaged_stretches(file) == 1


def test_zeros_of_a_lost_block_are_passed_over(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    size = len(framed(BODIES[0]))
    whole[size + 3 : 3 * size + HEADER_BYTES + 2] = bytes(2 * size + HEADER_BYTES - 1)
    write(file, bytes(whole))
    assert bodies(file, is_complete=True) == [BODIES[0], BODIES[4]]
    assert damaged_stretches(file) == 1


def test_two_damages_are_two(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    size = len(framed(BODIES[0]))
    for frame in (1, 3):
        whole[frame * size + HEADER_BYTES] ^= 1
    write(file, bytes(whole))
    assert bodies(file, is_complete=True) == BODIES[::2]
    assert damaged_stretches(file) == 2


def test_a_frame_whose_writing_goes_on_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    frame = framed(BODIES[0])
    for end in range(len(frame)):
        assert bodies(write(path, frame[:end]), is_complete=False) == []
    assert bodies(write(path, frame), is_complete=False) == BODIES[:1]


def test_a_torn_frame_before_others_hides_none_of_them(tmp_path: Path) -> None:
    torn = framed(BODIES[0])[:-5]
    path = write(tmp_path / "frames", torn + framed(BODIES[1]) + framed(BODIES[2]))
    assert bodies(path, is_complete=True) == BODIES[1:3]


def test_a_file_is_never_made_over_another(tmp_path: Path) -> None:
    create_held(tmp_path / "one.seg")
    assert [path.name for path in tmp_path.iterdir()] == ["one.seg"]
