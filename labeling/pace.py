"""How many requests may be in flight: additive increase, multiplicative decrease (AIMD).

A 429 takes a quarter of the room away, once per cool-down however many come together; each 25
answers give one place back. What the endpoint says of its own limits is kept to the second.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import random
from time import monotonic

BACK_OFF, ANSWERS_PER_PLACE, COOL_DOWN_SECONDS = 0.75, 25, 2.0
JITTER = 0.1  # of a wait that the endpoint asked for: not everybody comes back at once
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Pace:
    """Room for at most `most` requests at once, less while the endpoint is busy."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.room = float(most)
        self.in_flight = 0
        self.busy = 0  # 429s met
        self.closed_until = 0.0
        self._answers = 0
        self._cut_at = -COOL_DOWN_SECONDS
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one place for one request."""
        while self.in_flight >= int(self.room) or monotonic() < self.closed_until:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._call()

    def answered(self) -> None:
        """Take note of an answer."""
        self._answers += 1
        if self._answers % ANSWERS_PER_PLACE == 0 and self.room < self.most:
            self.room = min(float(self.most), self.room + 1)
            self._call()

    def refused(self, wait_seconds: float | None) -> None:
        """Take note of a 429, with the wait that it asks for."""
        self.busy += 1
        if monotonic() - self._cut_at >= COOL_DOWN_SECONDS:
            self._cut_at = monotonic()
            self.room = max(1.0, self.room * BACK_OFF)
        self.close_for(wait_seconds or 0.0)

    def close_for(self, seconds: float) -> None:
        """Begin no request for so long."""
        until = monotonic() + seconds * (1 + JITTER * random())  # noqa: S311 - spreads, guards nothing
        if seconds > 0 and until > self.closed_until:
            self.closed_until = until
            asyncio.get_running_loop().call_later(until - monotonic() + 0.001, self._call)

    def open(self) -> None:
        """Let all through that wait: they will see that it is over."""
        self.room, self.most, self.closed_until = float(2**31), 2**31, 0.0
        self._call()

    def _call(self) -> None:
        places = int(self.room) - self.in_flight if monotonic() >= self.closed_until else 0
        while places > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                places -= 1


def wait_asked(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `Retry-After` asks for, None where it asks for nothing."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        said = headers.get(name, "")
        try:
            return max(0.0, float(said) * unit)
        except ValueError:
            continue
    try:
        at = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def rest_asked(headers: Mapping[str, str], tokens: int) -> float:
    """Return the seconds after which the next request of so many tokens fits the minute.

    By `x-ratelimit-remaining-*` and `x-ratelimit-reset-*`; 0 where it fits now or they say nothing.
    """
    rest = 0.0
    for kind, needed in (("requests", 1), ("tokens", tokens)):
        left = headers.get(f"x-ratelimit-remaining-{kind}", "")
        if left.isdecimal() and int(left) < needed:
            rest = max(rest, _seconds(headers.get(f"x-ratelimit-reset-{kind}", "")))
    return rest


def _seconds(said: str) -> float:
    """Read "6m0s", "120ms" or plain seconds."""
    if parts := _DURATION.findall(said):
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        return max(0.0, float(said))
    except ValueError:
        return 0.0
