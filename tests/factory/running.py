"""Programs that tests start: what they print, and whether they are really gone."""

import os
import select
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]


class Running:
    """A program whose output is waited for line by line; killed if it hangs or at the end."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, limit_seconds: float = 400
    ) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=ROOT
        )
        self._hang = threading.Timer(limit_seconds, self.process.kill)
        self._hang.start()

    def wait_for(self, text: str) -> str:
        """Return the next line with `text` in it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} never came:\n{''.join(self.lines)}")

    def end(self, signum: signal.Signals) -> int:
        """Send a signal, read the rest and return the exit status."""
        self.process.send_signal(signum)
        assert self.process.stdout is not None
        self.lines += self.process.stdout
        return self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._hang.cancel()
        self.process.kill()
        self.process.communicate()


def ends(pid: int, seconds: float = 90) -> bool:
    """Say whether a process has ended or does so in time; a zombie has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    readable, _, _ = select.select([descriptor], [], [], seconds)
    os.close(descriptor)
    return bool(readable)
