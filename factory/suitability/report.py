"""The whole report on a prompt, from what was measured, what was counted and what is assumed."""

from dataclasses import dataclass
from datetime import date, timedelta

from factory.prices import Price
from factory.suitability.alternatives import alternatives_of
from factory.suitability.assumptions import Assumed
from factory.suitability.measures import Profile
from factory.suitability.savings import (
    coverage_of,
    examples_at_hand,
    forecast_of,
    linear_coverage,
    plan_of,
    wanted_agreement,
)
from factory.suitability.tiers import Score, scores_of, tier_of
from factory.suitability.traffic import Traffic
from factory.suitability.verdict import DO_NOT, GO, WAIT, Case, Verdict, verdict_of

ORDER = (GO, WAIT, DO_NOT)


@dataclass(frozen=True)
class Facts:
    """What was measured and counted, and the prices of that day; the rest follows from it."""

    profile: Profile
    traffic: Traffic
    calls: int  # answered so far
    model: str  # that it mostly asks
    price: Price | None
    smaller: tuple[str, Price] | None  # the model's smaller sister


@dataclass(frozen=True)
class Report:
    """What the page, the API and the ranking show of one prompt or workload."""

    facts: Facts
    case: Case
    verdict: Verdict
    scores: list[Score]
    start: date  # of the reckoning: the day it was measured
    linear_coverage: float
    wanted_agreement: float

    @property
    def break_even(self) -> tuple[date | None, date | None, date | None]:
        """The day on which it has paid for itself: early, likely, late."""
        if self.case.forecast is None:
            return None, None, None
        days = self.case.forecast.break_even_days
        early, likely, late = (self._on(day) for day in (days.low, days.middle, days.high))
        return early, likely, late

    @property
    def rank(self) -> tuple[int, float, int]:
        """The place among others: by answer, then by the likely saving, then by tier."""
        forecast = self.case.forecast
        saving = (forecast.first_year_usd.middle or 0.0) if forecast else float("-inf")
        return ORDER.index(self.verdict.decision), -saving, self.case.tier.number

    def _on(self, days: float | None) -> date | None:
        return None if days is None else self.start + timedelta(days=round(days))


def report_of(facts: Facts, assumed: Assumed, start: date) -> Report:
    """Judge a prompt by the facts of a day."""
    profile, traffic = facts.profile, facts.traffic
    tier = tier_of(profile)
    plan = plan_of(profile, traffic, assumed)
    coverage = coverage_of(profile, tier.number, assumed)
    case = Case(
        profile=profile,
        traffic=traffic,
        tier=tier,
        plan=plan,
        coverage=coverage,
        forecast=forecast_of(traffic, plan, coverage, assumed),
        alternatives=alternatives_of(profile, traffic, facts.price, facts.smaller, assumed),
        examples_at_hand=examples_at_hand(profile, facts.calls),
        assumed=assumed,
    )
    return Report(
        facts=facts,
        case=case,
        verdict=verdict_of(case),
        scores=scores_of(profile, traffic.daily_calls, traffic.monthly_usd),
        start=start,
        linear_coverage=linear_coverage(profile, assumed),
        wanted_agreement=wanted_agreement(profile, assumed),
    )
