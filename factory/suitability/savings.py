"""What a student would cost and save, when it has paid for itself, and how sure all that is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.suitability.assumptions import Assumed
from factory.suitability.baseline import coverage_at
from factory.suitability.measures import Profile
from factory.suitability.traffic import COMPLETE_DAYS, Traffic

DRAWS, SEED = 2000, 20_260_101  # the same report from the same numbers
WEEKS = 156  # looked ahead
YEAR = 365
SURE_REPEATS = 20  # fewer repeats say too little about how a model agrees with itself
SHORT_HISTORY = 0.5  # spread of the volume where few whole days were seen
# By kind of answer: which assumption says how many examples, and how long a look at one takes.
EXAMPLES = {
    "classification": "examples_labels",
    "extraction": "examples_json",
    "generation": "examples_text",
}
SECONDS = {
    "classification": "seconds_label",
    "extraction": "seconds_json",
    "generation": "seconds_text",
}

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Range:
    """The 5th, 50th and 95th percentile; None for what never happens in three years."""

    low: float | None
    middle: float | None
    high: float | None


@dataclass(frozen=True)
class Plan:
    """What a student costs before it answers a call, and each day from then on, in US dollars."""

    examples: int
    labelling_usd: float | None  # None where the model's price is not known
    review_hours: float
    review_usd: float
    gpu_hours: float
    training_usd: float
    setup_usd: float
    seconds_per_call: float  # of the student's machine
    busy_hours: float  # of machines a day, enough for the peak
    held_hours: float  # a day that a machine is paid for all the same
    machine_usd_per_hour: float
    upkeep_usd: float  # a day

    @property
    def fixed_usd(self) -> float:
        """What is spent before the first saving."""
        labelling = self.labelling_usd or 0.0
        return labelling + self.review_usd + self.training_usd + self.setup_usd

    @property
    def serving_usd(self) -> float:
        """What the machines cost a day."""
        return max(self.held_hours, self.busy_hours) * self.machine_usd_per_hour

    @property
    def running_usd(self) -> float:
        """What each day costs then."""
        return self.serving_usd + self.upkeep_usd


@dataclass(frozen=True)
class Coverage:
    """The share of the calls that a student takes: the least, the likeliest, the most."""

    low: float
    mode: float
    high: float
    reason: str


@dataclass(frozen=True)
class Band:
    """Where the balance stands on a day: 5th, 50th and 95th percentile, in US dollars."""

    day: int
    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """The balance over three years, from many draws of what is not known."""

    break_even_days: Range
    first_year_usd: Range  # saved less spent, twelve months from the start
    pays_in_a_year: float  # share of the draws
    balance: list[Band]


# --- what it costs --------------------------------------------------------------------------------
def plan_of(profile: Profile, traffic: Traffic, assumed: Assumed, times: float = 1.0) -> Plan:
    """Estimate the costs, at `times` the volume."""
    kind = profile.answers.kind
    examples = examples_needed(profile, assumed)
    per_call = traffic.usd_per_call
    tokens = examples * (traffic.prompt_tokens + traffic.completion_tokens)
    trained = tokens * assumed["epochs"] * assumed["training_runs"]
    gpu_hours = trained / assumed["train_tokens_per_second"] / 3600 + assumed["gpu_hours_fixed"]
    review_hours = examples * assumed["review_share"] * assumed[SECONDS[kind]] / 3600
    seconds = _student_seconds(profile, traffic, assumed)
    busy = traffic.daily_calls * times * seconds / 3600 * assumed["headroom"]
    training_usd = gpu_hours * assumed["gpu_usd_per_hour"]
    labelling = None if per_call is None else examples * assumed["votes"] * per_call
    review_usd = review_hours * assumed["reviewer_usd_per_hour"]
    again = training_usd + review_usd * assumed["retrain_review_share"]
    return Plan(
        examples=examples,
        labelling_usd=labelling,
        review_hours=review_hours,
        review_usd=review_usd,
        gpu_hours=gpu_hours,
        training_usd=training_usd,
        setup_usd=assumed["setup_hours"] * assumed["engineer_usd_per_hour"],
        seconds_per_call=seconds,
        busy_hours=busy,
        held_hours=24 * assumed["machine_share"],
        machine_usd_per_hour=assumed["student_usd_per_hour"],
        upkeep_usd=again * assumed["retrains_per_year"] / YEAR,
    )


def examples_needed(profile: Profile, assumed: Assumed) -> int:
    """Return how many examples a student of this kind needs; labels need some each."""
    kind = profile.answers.kind
    each = assumed["examples_per_label"] * profile.answers.label_count
    return round(max(assumed[EXAMPLES[kind]], each if kind == "classification" else 0))


def _student_seconds(profile: Profile, traffic: Traffic, assumed: Assumed) -> float:
    """Return a call's time on the student's machine, which keeps what all prompts begin with."""
    fresh = traffic.prompt_tokens * (1 - profile.inputs.prefix_share)
    reading = fresh / assumed["read_tokens_per_second"]
    return reading + traffic.completion_tokens / assumed["write_tokens_per_second"]


def coverage_of(profile: Profile, tier: int, assumed: Assumed) -> Coverage:
    """Say which share of the calls a student may take, from the tier and what was measured."""
    usual, reason = assumed[f"coverage_tier_{tier}"], f"the usual for tier {tier}"
    low, high = max(0.0, usual - 0.25), min(1.0, usual + 0.1)
    linear = linear_coverage(profile, assumed)
    if linear > low:
        low = min(linear, usual)
        reason += f", and a linear model takes {linear:.0%} already"
    ceiling = profile.consistency.ceiling
    if ceiling is not None and profile.consistency.near.n >= SURE_REPEATS and ceiling < high:
        high = ceiling
        reason += f", and no student can agree on more than {ceiling:.0%}"
    # What a linear model takes speaks for a student, but a student is another model.
    mode = min(max(usual, linear), (usual + high) / 2, high)
    return Coverage(min(low, mode), mode, high, reason)


def linear_coverage(profile: Profile, assumed: Assumed) -> float:
    """Return the share of calls on which a linear model agrees as often as is wanted."""
    if profile.linear is None:
        return 0.0
    return coverage_at(profile.linear.curve, wanted_agreement(profile, assumed))


def wanted_agreement(profile: Profile, assumed: Assumed) -> float:
    """Return how often a student must agree: as often as the model with itself, where known."""
    near = profile.consistency.near
    if near.value is None or near.n < SURE_REPEATS:
        return assumed["agreement"]
    return min(near.value, assumed["agreement"])


# --- when it pays ---------------------------------------------------------------------------------
def forecast_of(
    traffic: Traffic, plan: Plan, coverage: Coverage, assumed: Assumed
) -> Forecast | None:
    """Draw the balance many times; None where no price is known."""
    if traffic.daily_usd is None or plan.labelling_usd is None:
        return None
    rng = np.random.default_rng(SEED)
    volume = _volume(traffic, assumed, rng)
    taken = _triangular(rng, coverage.low, coverage.mode, coverage.high)
    gross = traffic.daily_usd * volume * taken
    fixed = plan.fixed_usd * _spread(rng, assumed["cost_spread"])
    hours = np.maximum(plan.held_hours, plan.busy_hours * volume)
    serving = hours * plan.machine_usd_per_hour
    running = (serving + plan.upkeep_usd) * _spread(rng, assumed["cost_spread"])
    fall = assumed["price_fall_per_year"]
    falling = -np.log1p(-_triangular(rng, 0.0, fall, min(0.9, 2 * fall))) / YEAR
    days = 7.0 * np.arange(WEEKS + 1)
    earning = np.maximum(0.0, days - assumed["lead_days"])
    balance = _balance(gross, fixed, running, falling, earning)
    even = _first_at_zero(balance, days)
    year = _balance(
        gross, fixed, running, falling, np.array([max(0.0, YEAR - assumed["lead_days"])])
    )
    percentiles = np.quantile(balance, [0.05, 0.5, 0.95], axis=0)
    return Forecast(
        break_even_days=_range(even),
        first_year_usd=_range(year[:, 0]),
        pays_in_a_year=float((even <= YEAR).mean()),
        balance=[
            Band(int(day), *(float(p) for p in percentiles[:, at])) for at, day in enumerate(days)
        ],
    )


def _volume(traffic: Traffic, assumed: Assumed, rng: np.random.Generator) -> Floats:
    """Draw the volume as a multiple of today's: whole days drawn again, and what nobody knows."""
    complete = np.array([day.usd for day in traffic.complete_days])
    if len(complete) < COMPLETE_DAYS or not complete.any():
        return _spread(rng, float(np.hypot(assumed["volume_spread"], SHORT_HISTORY)))
    drawn: Floats = rng.choice(complete, (DRAWS, len(complete))).mean(axis=1) / complete.mean()
    return drawn * _spread(rng, assumed["volume_spread"])


def _spread(rng: np.random.Generator, sigma: float) -> Floats:
    """Draw factors with a median of 1, two thirds of them within e^±sigma."""
    return rng.lognormal(0.0, sigma, DRAWS)


def _triangular(rng: np.random.Generator, low: float, mode: float, high: float) -> Floats:
    drawn: Floats = rng.triangular(low, mode, high, DRAWS) if low < high else np.full(DRAWS, mode)
    return drawn


def _balance(
    gross: Floats, fixed: Floats, running: Floats, falling: Floats, earning: Floats
) -> Floats:
    """Return each draw's balance after so many days of earning, the prices falling all the time."""
    rate = falling[:, None] * earning
    # (1 - e^-x) / x, which is 1 where prices do not fall.
    worth = np.where(rate > 1e-12, -np.expm1(-rate) / np.maximum(rate, 1e-12), 1.0)
    balance: Floats = (gross[:, None] * worth - running[:, None]) * earning - fixed[:, None]
    return balance


def _first_at_zero(balance: Floats, days: Floats) -> Floats:
    """Return the day on which each draw is even, between two points by a straight line."""
    reached = balance >= 0
    at = reached.argmax(axis=1)
    even = np.full(len(balance), np.inf)
    hit = reached.any(axis=1)
    rows, after = np.flatnonzero(hit), at[hit]
    before = np.maximum(after - 1, 0)
    low, high = balance[rows, before], balance[rows, after]
    share = np.where(after == before, 0.0, -low / np.where(high == low, 1.0, high - low))
    even[hit] = days[before] + share * (days[after] - days[before])
    return even


def _range(values: Floats) -> Range:
    found = np.quantile(values, [0.05, 0.5, 0.95], method="inverted_cdf")
    return Range(*(float(value) if np.isfinite(value) else None for value in found))


def examples_at_hand(profile: Profile, calls: int) -> int:
    """Estimate how many usable inputs of their own a prompt's calls hold, sampled or not."""
    unseen = max(0, calls - profile.sampled)
    return round(profile.distinct + unseen * (profile.usable.value or 0.0) * profile.novelty)


def pays_at(
    profile: Profile, traffic: Traffic, coverage: Coverage, assumed: Assumed, *, days: float = YEAR
) -> float | None:
    """Return how many times the volume lets a student pay in so many days; None: no volume does.

    Reckoned with the likeliest of each number, so that it can be checked by hand.
    """
    if traffic.daily_usd is None:
        return None
    earning = days - assumed["lead_days"]
    fall = -np.log1p(-assumed["price_fall_per_year"]) / YEAR * earning
    worth = -np.expm1(-fall) / fall if fall > 0 else 1.0

    def balance(times: float) -> float:
        plan = plan_of(profile, traffic, assumed, times)
        gross = (traffic.daily_usd or 0.0) * times * coverage.mode * worth
        return float((gross - plan.running_usd) * earning - plan.fixed_usd)

    low, high = 0.0, 1e6
    if earning <= 0 or balance(high) < 0:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if balance(middle) >= 0 else (middle, high)
    return high
