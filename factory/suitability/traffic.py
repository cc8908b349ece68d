"""How many calls a prompt gets a day and what they cost, from counts kept as they came in."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

WINDOW_DAYS = 28  # whole weeks, so that no weekday counts twice
COMPLETE_DAYS = 7  # fewer say too little about how days differ


@dataclass(frozen=True)
class Count:
    """What was counted of one model on one day; `usd` is what the priced calls cost."""

    day: date
    model: str
    calls: int
    priced_calls: int
    prompt_tokens: int
    completion_tokens: int
    usd: float


@dataclass(frozen=True)
class Day:
    """One day of the window."""

    day: date
    calls: int
    usd: float


@dataclass(frozen=True)
class ModelUse:
    """One model's part in the window."""

    model: str
    calls: int
    priced_calls: int
    usd: float


@dataclass(frozen=True)
class Traffic:
    """The answered calls of the last weeks in which there were any."""

    days: list[Day]  # every day from the first to the last, quiet ones too
    models: list[ModelUse]
    calls: int
    priced_calls: int
    tokens: int
    priced_tokens: int
    usd: float  # of the priced calls
    daily_calls: float
    prompt_tokens: float  # mean of a call
    completion_tokens: float
    last_seen: datetime

    @property
    def priced_share(self) -> float:
        """The share of the calls whose price is known."""
        return self.priced_calls / self.calls if self.calls else 0.0

    @property
    def priced_token_share(self) -> float:
        """The share of the tokens whose price is known."""
        return self.priced_tokens / self.tokens if self.tokens else 0.0

    @property
    def usd_per_call(self) -> float | None:
        """The mean price of a call, of those whose price is known."""
        return self.usd / self.priced_calls if self.priced_calls else None

    @property
    def daily_usd(self) -> float | None:
        """What a day costs; calls without a known price are not in it."""
        per_call = self.usd_per_call
        return None if per_call is None else per_call * self.daily_calls * self.priced_share

    @property
    def monthly_usd(self) -> float | None:
        """What a month of 30.4 days costs."""
        return None if self.daily_usd is None else self.daily_usd * 365 / 12

    @property
    def complete_days(self) -> list[Day]:
        """The days between the first and the last, which may have been cut off."""
        return self.days[1:-1]


def traffic_of(counts: Sequence[Count], first_seen: datetime, last_seen: datetime) -> Traffic:
    """Sum up the window that ends with the last call."""
    end = max((count.day for count in counts), default=last_seen.date())
    begin = max(end - timedelta(days=WINDOW_DAYS + 1), min((c.day for c in counts), default=end))
    window = [count for count in counts if count.day >= begin]
    calls, priced = sum(c.calls for c in window), sum(c.priced_calls for c in window)
    tokens = sum(c.prompt_tokens + c.completion_tokens for c in window)
    days = _days(window, begin, end)
    return Traffic(
        days=days,
        models=_models(window),
        calls=calls,
        priced_calls=priced,
        tokens=tokens,
        priced_tokens=round(sum(_priced_tokens(c) for c in window)),
        usd=sum(c.usd for c in window),
        daily_calls=_daily(days, calls, first_seen, last_seen),
        prompt_tokens=sum(c.prompt_tokens for c in window) / calls if calls else 0.0,
        completion_tokens=sum(c.completion_tokens for c in window) / calls if calls else 0.0,
        last_seen=last_seen,
    )


def _priced_tokens(count: Count) -> float:
    tokens = count.prompt_tokens + count.completion_tokens
    return tokens * count.priced_calls / count.calls if count.calls else 0.0


def _days(window: Sequence[Count], begin: date, end: date) -> list[Day]:
    calls: defaultdict[date, int] = defaultdict(int)
    usd: defaultdict[date, float] = defaultdict(float)
    for count in window:
        calls[count.day] += count.calls
        usd[count.day] += count.usd
    every = (begin + timedelta(days=n) for n in range((end - begin).days + 1))
    return [Day(day, calls[day], usd[day]) for day in every]


def _models(window: Sequence[Count]) -> list[ModelUse]:
    names = {count.model for count in window}
    uses = [
        ModelUse(
            model=name,
            calls=sum(c.calls for c in window if c.model == name),
            priced_calls=sum(c.priced_calls for c in window if c.model == name),
            usd=sum(c.usd for c in window if c.model == name),
        )
        for name in names
    ]
    return sorted(uses, key=lambda use: (-use.calls, use.model))


def _daily(days: Sequence[Day], calls: int, first_seen: datetime, last_seen: datetime) -> float:
    """Return the calls of a mean day; of a short history by its hours, but no less than a day's."""
    complete = days[1:-1]
    if len(complete) >= COMPLETE_DAYS:
        return sum(day.calls for day in complete) / len(complete)
    hours = (last_seen - first_seen).total_seconds() / 3600
    return calls / max(1.0, hours / 24)
