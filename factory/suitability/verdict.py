"""Go, wait, or do not: with the reasons, and with what would change the answer."""

from collections.abc import Iterator
from dataclasses import dataclass

from factory.suitability.alternatives import Alternative
from factory.suitability.assumptions import Assumed
from factory.suitability.measures import Profile
from factory.suitability.savings import (
    SURE_REPEATS,
    YEAR,
    Coverage,
    Forecast,
    Plan,
    pays_at,
)
from factory.suitability.tiers import Tier
from factory.suitability.traffic import Traffic

GO, WAIT, DO_NOT = "go", "wait", "do not"
SURE = 0.8  # of the draws pay within a year
NEARLY = 0.8  # of a student's saving: what costs nothing and saves as much comes first
CONTRADICTS = 0.6  # the most that a model may agree with itself to count as guessing
HARD = "It would pay, if a student can learn it at all."
SIMPLER = "Something simpler may save as much. Try that first."
SHARED = 0.1  # of a machine, where ten students run on it


@dataclass(frozen=True)
class Case:
    """All that the answer rests on."""

    profile: Profile
    traffic: Traffic
    tier: Tier
    plan: Plan
    coverage: Coverage
    forecast: Forecast | None
    alternatives: list[Alternative]
    examples_at_hand: int
    assumed: Assumed

    @property
    def simpler(self) -> Alternative | None:
        """The best alternative that is known to do."""
        return next((a for a in self.alternatives if a.is_measured and a.daily_usd), None)

    @property
    def simpler_usd(self) -> float:
        """What it saves in its first year, less the work on it."""
        if self.simpler is None:
            return 0.0
        work = self.assumed["simpler_hours"] * self.assumed["engineer_usd_per_hour"]
        return YEAR * (self.simpler.daily_usd or 0.0) - work

    @property
    def trial(self) -> Alternative | None:
        """The best alternative that is not known to do, but worth a trial."""
        return next((a for a in self.alternatives if not a.is_measured and a.daily_usd), None)

    @property
    def missing_examples(self) -> int:
        """How many examples are missing."""
        return max(0, self.plan.examples - self.examples_at_hand)


@dataclass(frozen=True)
class Verdict:
    """The answer: what speaks for it, what against, and what would change it."""

    decision: str
    headline: str
    pros: list[str]
    cons: list[str]
    changes: list[str]


def verdict_of(case: Case) -> Verdict:
    """Decide. What a student cannot learn is refused, whatever it would save."""
    never, later = list(_never(case)), list(_later(case))
    decision = DO_NOT if never else WAIT if later else GO
    return Verdict(
        decision=decision,
        headline=_headline(case, decision),
        pros=list(_pros(case)),
        cons=[*never, *later],
        changes=list(_changes(case, decision)),
    )


def _never(case: Case) -> Iterator[str]:
    near, media = case.profile.consistency.near, case.profile.inputs.media
    if case.tier.number == 4:
        yield "The job is open-ended: a student would have to know all that the large model knows."
    if near.n >= SURE_REPEATS and near.high < CONTRADICTS:
        yield (
            f"The model agrees with itself on only {near.value:.0%} of the repeated inputs: there "
            "is nothing steady to learn."
        )
    if (media.value or 0.0) > 0.5:
        yield f"{media.value:.0%} of the inputs hold images or sound, which a student cannot read."


def _later(case: Case) -> Iterator[str]:
    if case.tier.number == 3:
        yield "The job takes several steps of thought, on which small students stay behind."
    if case.missing_examples:
        yield (
            f"{case.examples_at_hand:,} usable examples are at hand, and about "
            f"{case.plan.examples:,} are needed."
        )
    if case.forecast is None:
        yield "No price is known for the model in use, so nothing can be said about money."
        return
    if case.forecast.pays_in_a_year < SURE:
        yield (
            f"It pays for itself within a year in {case.forecast.pays_in_a_year:.0%} of the draws: "
            f"${case.plan.fixed_usd:,.0f} to begin with and ${case.plan.running_usd:,.2f} a day, "
            f"against ${case.traffic.daily_usd or 0.0:,.2f} that the calls cost a day."
        )
    elif case.simpler and case.simpler_usd >= NEARLY * (case.forecast.first_year_usd.middle or 0):
        yield (
            f"“{case.simpler.name}” would save ${case.simpler_usd:,.0f} in its first year, for "
            "less work: that comes first."
        )


def _pros(case: Case) -> Iterator[str]:
    profile, forecast = case.profile, case.forecast
    near = profile.consistency.near
    if case.tier.number <= 2:
        yield f"Tier {case.tier.number}, {case.tier.name}: students learn such jobs."
    if forecast and forecast.pays_in_a_year >= SURE:
        yield f"It pays for itself within a year in {forecast.pays_in_a_year:.0%} of the draws."
    if not case.missing_examples:
        yield f"About {case.examples_at_hand:,} usable examples are at hand already."
    if near.n >= SURE_REPEATS and near.low > SURE:
        yield f"The model agrees with itself on {near.value:.0%} of the repeated inputs."
    if profile.linear and (profile.linear.accuracy.value or 0.0) > SURE:
        yield (
            f"A linear model, trained in a second, agrees on {profile.linear.accuracy.value:.0%} "
            "already."
        )
    if (profile.latency.p50 or 0) > 2 * 1000 * case.plan.seconds_per_call:
        yield (
            f"Callers would wait {case.plan.seconds_per_call:.1f} s instead of "
            f"{(profile.latency.p50 or 0) / 1000:.1f} s."
        )


def _headline(case: Case, decision: str) -> str:
    forecast = case.forecast
    if decision == DO_NOT:
        return "A student would not learn this. Spend the effort elsewhere."
    if forecast is None:
        return "Say what the model costs, and ask again."
    if decision == GO:
        saved = forecast.first_year_usd.middle or 0.0
        return f"A student would save about ${saved:,.0f} in its first year."
    if forecast.pays_in_a_year < SURE:
        said = "A student could learn this, but would not pay for itself yet"
        simpler = case.simpler if case.simpler_usd > 0 else None
        return f"{said}. “{simpler.name}” would." if simpler else f"{said}."
    if case.missing_examples:
        return "A student would pay, once there are examples enough to train it."
    is_hard = case.tier.number == 3
    return HARD if is_hard else SIMPLER


def _changes(case: Case, decision: str) -> Iterator[str]:
    if case.tier.number == 4:
        yield (
            "A narrower job: what recurs in this traffic, asked with a prompt and a format of its "
            "own, is measured by itself."
        )
    if decision == DO_NOT:
        return
    if case.tier.number == 3:
        yield (
            f"A trial: a student of {min(1000, case.plan.examples):,} examples that agrees on "
            f"{case.assumed['agreement']:.0%} of held-out calls would prove the tier wrong."
        )
    if case.missing_examples:
        yield _more_examples(case)
    if case.forecast is None:
        yield "The price of the model in use, entered with its upstream."
        return
    yield from _money(case)
    if case.simpler and case.forecast.pays_in_a_year >= SURE and decision == WAIT:
        yield f"“{case.simpler.name}”, tried and found not good enough."
    if case.trial:
        yield (
            f"“{case.trial.name}”, if a trial finds it good enough: it would save "
            f"${YEAR * (case.trial.daily_usd or 0.0):,.0f} a year without a student."
        )


def _more_examples(case: Case) -> str:
    profile = case.profile
    daily = case.traffic.daily_calls * (profile.usable.value or 0.0) * profile.novelty
    wait = f", {case.missing_examples / daily:,.0f} days at today's volume" if daily > 0 else ""
    return f"{case.missing_examples:,} more usable examples{wait}."


def _money(case: Case) -> Iterator[str]:
    assumed, daily_calls = case.assumed, case.traffic.daily_calls
    times = pays_at(case.profile, case.traffic, case.coverage, assumed)
    shared_assumed = {**assumed, "machine_share": SHARED}
    shared = pays_at(case.profile, case.traffic, case.coverage, shared_assumed)
    if times is None:
        yield "No volume: a call costs the student's machine more than it saves."
    elif times > 1:
        yield (
            f"{_times(times)} the volume, {daily_calls * times:,.0f} calls a day: then it would "
            "pay for itself within a year."
        )
    else:
        yield (
            f"Less than {times:.0%} of today's volume, or a price of the model that falls by more "
            f"than {1 - times:.0%}: then it would not pay within a year."
        )
    if times is not None and times > 1 and shared is not None and shared < NEARLY * times:
        said = "as it is" if shared <= 1 else f"at {_times(shared)} the volume"
        yield f"A machine that it shares with nine other students: then it pays {said}."


def _times(value: float) -> str:
    return f"{value:,.1f} times" if value < 10 else f"{value:,.0f} times"
