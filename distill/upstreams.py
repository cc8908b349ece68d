"""How an upstream is spared while it fails: a circuit breaker and a budget for retries."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum

from distill.routing import Target
from factory.errors import Unavailable

FAILURES_TO_OPEN = 5  # in a row
OPEN_SECONDS = 5.0  # until a call may try again
CALLS_PER_RETRY = 10
MAX_SAVED_CALLS = 10 * CALLS_PER_RETRY
MAX_RETRY_AFTER = 1.0  # seconds; who wants a longer pause is asked again by the app, not by us
PAUSE_SECONDS = 0.1  # before a retry where the upstream names none
BUSY, RATE_LIMITED = {502, 503, 504}, 429  # what a moment may heal


class CircuitOpen(Unavailable):
    """The upstream failed again and again and is left alone for a moment."""

    code = "upstream_unavailable"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class State(IntEnum):
    """Of a breaker; the numbers are those of the metric."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass
class Breaker:
    """Opens after failures in a row; then one call per `OPEN_SECONDS` tries whether it is over."""

    failures: int = 0
    tried_at: float = 0.0

    @property
    def state(self) -> State:
        """Return what a call that comes now would find."""
        if self.failures < FAILURES_TO_OPEN:
            return State.CLOSED
        return State.OPEN if self.wait_seconds() > 0 else State.HALF_OPEN

    def wait_seconds(self) -> float:
        """Return how long an open breaker stays shut to everybody."""
        return max(0.0, self.tried_at + OPEN_SECONDS - time.monotonic())

    def admit(self) -> bool:
        """Tell whether a call may go out; while open, the one that may is the probe."""
        state = self.state
        if state is State.HALF_OPEN:
            self.tried_at = time.monotonic()
        return state is not State.OPEN

    def answers(self) -> None:
        """Close for others too: an answer has begun; one more failure opens it again."""
        self.failures = min(self.failures, FAILURES_TO_OPEN - 1)

    def succeeded(self) -> None:
        """Close: an answer came whole."""
        self.failures = 0

    def failed(self) -> None:
        """Count a failure; it keeps an open breaker open."""
        self.failures += 1
        self.tried_at = time.monotonic()


@dataclass
class RetryBudget:
    """A token bucket that calls fill and retries empty: failing calls are never multiplied."""

    calls: int = 0

    def deposit(self) -> None:
        """Note a call."""
        self.calls = min(self.calls + 1, MAX_SAVED_CALLS)

    def withdraw(self) -> bool:
        """Take a retry, where one is left."""
        if self.calls < CALLS_PER_RETRY:
            return False
        self.calls -= CALLS_PER_RETRY
        return True


@dataclass
class Health:
    """What this process knows of one upstream."""

    breaker: Breaker = field(default_factory=Breaker)
    budget: RetryBudget = field(default_factory=RetryBudget)
    retries: int = 0


class Upstreams:
    """The health of every upstream that was called; a new address starts anew."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], Health] = {}

    def health(self, target: Target) -> Health:
        """Return the health of a target's upstream."""
        key = target.upstream, target.base_url
        if key not in self._known:
            self._known[key] = Health()
        return self._known[key]

    def __iter__(self) -> Iterator[tuple[int, Health]]:
        return ((upstream, health) for (upstream, _), health in self._known.items())


def retry_pause(status: int, header: Callable[[bytes], str]) -> float | None:
    """Return the seconds after which an answer is worth another try; None where it is not.

    A rate limit is only waited for where the upstream itself says how short it is.
    """
    if (status not in BUSY and status != RATE_LIMITED) or header(b"x-should-retry") == "false":
        return None
    asked = _asked_pause(header)
    if asked is None:
        return PAUSE_SECONDS if status in BUSY else None
    return asked if 0 <= asked <= MAX_RETRY_AFTER else None


def _asked_pause(header: Callable[[bytes], str]) -> float | None:
    for name, unit in ((b"retry-after-ms", 1000), (b"retry-after", 1)):
        with suppress(ValueError):
            return float(header(name)) / unit
    return MAX_RETRY_AFTER + 1 if header(b"retry-after") else None  # a date: not a moment
