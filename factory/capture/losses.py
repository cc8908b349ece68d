"""What could not be kept, counted by reason in a file that a full disk cannot stop.

Each process that writes to the spool has one such file. Its block is taken at the start and
overwritten in place. The counts only grow: who reads them twice counts nothing twice.
"""

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from factory.capture.frames import create_held, framed, read_frames

BLOCK_BYTES = 4096
LOSSES = ".loss"


@dataclass
class Loss:
    """How many records went missing for one reason, and when (Unix seconds)."""

    count: int
    first_at: float
    last_at: float


class LossFile:
    """One process's own counts. On a full disk they wait in memory for another try."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.losses: dict[str, Loss] = {}
        self.is_written = False
        self.fd: int | None = None
        self.flush()

    def add(self, reason: str) -> None:
        """Count one record."""
        now = time.time()
        loss = self.losses.setdefault(reason, Loss(0, now, now))
        loss.count, loss.last_at = loss.count + 1, now
        self.is_written = False

    def flush(self) -> None:
        """Write the counts down where they changed."""
        if self.is_written:
            return
        self.is_written = True  # before they are read: one that is added meanwhile is not missed
        losses = {reason: asdict(loss) for reason, loss in list(self.losses.items())}
        try:
            if self.fd is None:
                self.fd = create_held(self.path)
            block = framed(orjson.dumps(losses)).ljust(BLOCK_BYTES)
            if os.pwrite(self.fd, block, 0) < len(block):
                self.is_written = False
        except OSError:
            self.is_written = False

    def close(self) -> None:
        """Leave the counts to whoever reads them; without any, leave nothing."""
        self.flush()
        if self.fd is not None:
            if not self.losses:
                self.path.unlink(missing_ok=True)
            os.close(self.fd)


def loss_files(folder: Path) -> list[Path]:
    """List the counts of the processes that write to a spool, or wrote to it."""
    return sorted(folder.glob(f"*{LOSSES}"))


def read_losses(path: Path) -> dict[str, Loss]:
    """Return one process's counts by reason; none where the file is damaged or being written."""
    frame = next(read_frames(path, is_complete=True), None)
    told = orjson.loads(frame.body) if frame else {}
    return {reason: Loss(**loss) for reason, loss in told.items()}
