"""Keep a list of programs running under one log stream until a signal asks for the end."""

import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
CHUNK_BYTES = 65_536
GRACE_SECONDS = 20.0
MAX_BACKOFF_SECONDS = 30.0
STABLE_SECONDS = 30.0  # a process that lived longer is restarted as after its first failure


@dataclass(frozen=True)
class Process:
    """A program to keep running; `env` is added to the supervisor's environment."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


def tied_to_parent(argv: Sequence[str], signum: signal.Signals) -> list[str]:
    """Return `argv` so that it gets `signum` when the thread that starts it ends, even by kill -9.

    Where there is no util-linux, `argv` as it is.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", signum.name, *argv] if setpriv else list(argv)


class _Child:
    """One process through all its lives."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.unfinished_line = b""
        self.failures = 0
        self.due_at = 0.0  # when to start it, while it is down
        self.start()

    def start(self) -> None:
        """Start it as the leader of a group of its own, out of reach of the terminal's Ctrl-C."""
        self.started_at = time.monotonic()
        self.is_up = True
        self.popen = subprocess.Popen(
            tied_to_parent(self.process.argv, signal.SIGTERM),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(self.process.env),
            cwd=self.process.cwd,
            start_new_session=True,
        )
        os.set_blocking(self.output.fileno(), False)

    @property
    def output(self) -> IO[bytes]:
        assert self.popen.stdout is not None
        return self.popen.stdout

    def kill_group(self) -> None:
        """Kill what is left of its group: itself, or the children it died without."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)

    def lines(self) -> tuple[list[bytes], bool]:
        """Return the lines written since the last call, and whether more may follow."""
        chunk = os.read(self.output.fileno(), CHUNK_BYTES)
        *lines, self.unfinished_line = (self.unfinished_line + chunk).split(b"\n")
        if self.unfinished_line and (not chunk or len(self.unfinished_line) > CHUNK_BYTES):
            lines.append(self.unfinished_line)
            self.unfinished_line = b""
        return lines, bool(chunk)


class Supervisor:
    """Runs `processes` from `run()` until SIGINT, SIGTERM or SIGHUP.

    One that ends by itself is started again, later each time. The lines they write appear in
    `stream` behind their names. `each_second` is called about that often, and what it returns is
    said in the supervisor's own name: the place to wait for readiness or look after a server.
    Whoever kills the supervisor itself ends its children too.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        *,
        each_second: Callable[[], str | None] = lambda: None,
        name: str = "up",
        stream: IO[str] | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self.processes = processes
        self.each_second = each_second
        self.name = name
        self.stream = stream or sys.stdout
        self.grace_seconds = grace_seconds
        self._children: list[_Child] = []
        self._selector = selectors.DefaultSelector()
        self._signals = 0

    def run(self) -> None:
        """Start all in order and return when all have ended: the first signal asks, a second kills.

        To be called from the main thread, where Python handles signals.
        """
        with self._handling_signals(), self._selector:
            try:
                for process in self.processes:
                    self._children.append(child := _Child(process))
                    self._selector.register(child.output, selectors.EVENT_READ, child)
                self._keep_running()
            finally:
                self._stop()

    def say(self, text: str, name: str | None = None) -> None:
        """Write one line behind a process's name, our own by default."""
        names = [self.name, *(process.name for process in self.processes)]
        name = name or self.name
        label = f"{name:<{max(map(len, names))}} |"
        if self.stream.isatty() and "NO_COLOR" not in os.environ:
            label = f"\x1b[{COLOURS[names.index(name) % len(COLOURS)]}m{label}\x1b[0m"
        try:
            self.stream.write(f"{label} {text}\n")
            self.stream.flush()
        except OSError:  # the reader of our pipe or the terminal is gone
            self._signals = max(self._signals, 1)

    def _keep_running(self) -> None:
        next_second = time.monotonic()
        while not self._signals:
            self._relay(0.2)
            for child in self._children:
                self._revive(child)
            if time.monotonic() >= next_second:
                next_second = time.monotonic() + 1
                if text := self.each_second():
                    self.say(text)

    def _relay(self, seconds: float) -> bool:
        """Pass on what the children wrote, waiting at most so long for it; say if there was any."""
        written = self._selector.select(seconds)
        for key, _ in written:
            child: _Child = key.data
            lines, more = child.lines()
            for line in filter(bytes.strip, lines):
                self.say(line.decode(errors="replace").rstrip("\r"), child.process.name)
            if not more:
                self._selector.unregister(key.fileobj)
        return bool(written)

    def _revive(self, child: _Child) -> None:
        """Notice that a child died; start it again once its pause is over."""
        now = time.monotonic()
        if child.is_up and child.popen.poll() is not None:
            child.is_up = False
            child.kill_group()
            child.failures = 0 if now - child.started_at > STABLE_SECONDS else child.failures + 1
            pause = min(2.0 ** max(child.failures - 1, 0), MAX_BACKOFF_SECONDS)
            child.due_at = now + pause
            self.say(f"{_how_it_ended(child)}; starting it again in {pause:g} s")
        elif not child.is_up and now >= child.due_at:
            with suppress(KeyError):  # its pipe may still be open in a grandchild's hands
                self._selector.unregister(child.output)
            child.output.close()
            child.start()
            self._selector.register(child.output, selectors.EVENT_READ, child)

    def _stop(self) -> None:
        """Ask all to end, the last one started first; kill what is left when the grace is over."""
        for child in reversed(self._children):
            if child.popen.poll() is None:
                child.popen.terminate()
        deadline = time.monotonic() + self.grace_seconds
        while self._alive() and time.monotonic() < deadline and self._signals <= 1:
            self._relay(0.1)
        for child in self._alive():
            self.say(f"{child.process.name} did not end in time: killing it")
        for child in self._children:
            child.kill_group()
            child.popen.wait()
        while self._relay(0):
            pass

    def _alive(self) -> list[_Child]:
        return [child for child in self._children if child.popen.poll() is None]

    @contextmanager
    def _handling_signals(self) -> Iterator[None]:
        signums = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
            signums.append(signal.SIGHUP)
        former = {signum: signal.signal(signum, self._count_signal) for signum in signums}
        try:
            yield
        finally:
            for signum, handler in former.items():
                signal.signal(signum, handler)

    def _count_signal(self, _signum: int, _frame: FrameType | None) -> None:
        self._signals += 1


def _how_it_ended(child: _Child) -> str:
    status = child.popen.returncode
    if status < 0:
        return f"{child.process.name} was ended by {signal.Signals(-status).name}"
    return f"{child.process.name} ended with status {status}"
