"""Costs, savings and the verdict, against cases reckoned on paper."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import exp, log

import pytest

from factory.intervals import wilson
from factory.prices import Price
from factory.suitability.alternatives import Alternative, alternatives_of
from factory.suitability.assumptions import ASSUMPTIONS, assumed
from factory.suitability.baseline import Point
from factory.suitability.consistency import Consistency
from factory.suitability.measures import Profile
from factory.suitability.report import Facts, Report, report_of
from factory.suitability.savings import (
    Coverage,
    Plan,
    coverage_of,
    examples_at_hand,
    forecast_of,
    pays_at,
    plan_of,
)
from factory.suitability.traffic import Count, Traffic, traffic_of
from tests.factory.test_suitability import profile

START = datetime(2026, 10, 1, tzinfo=UTC)
PRICE = Price(Decimal("2.5"), Decimal(10), Decimal("1.25"))
SMALL = Price(Decimal("0.15"), Decimal("0.6"), Decimal("0.075"))
# Nothing is uncertain, nothing takes time, prices stay: what is left can be reckoned on paper.
CERTAIN = {
    "volume_spread": 0.0, "cost_spread": 0.0, "price_fall_per_year": 0.0, "lead_days": 0.0,
}  # fmt: skip


def traffic(
    *, days: int = 30, calls: int = 1000, usd_per_call: float = 0.01, priced: bool = True
) -> Traffic:
    counts = [
        Count(
            day=START.date() + timedelta(days=at), model="gpt-4o", calls=calls,
            priced_calls=calls if priced else 0, prompt_tokens=100 * calls,
            completion_tokens=20 * calls, usd=calls * usd_per_call if priced else 0.0,
        )
        for at in range(days)
    ]  # fmt: skip
    return traffic_of(counts, START, START + timedelta(days=days))


def report(
    measured: Profile | None = None, seen: Traffic | None = None, **changed: float
) -> Report:
    facts = Facts(
        profile=measured or profile(), traffic=seen or traffic(), calls=30_000, model="gpt-4o",
        price=PRICE, smaller=("gpt-4o-mini", SMALL),
    )  # fmt: skip
    return report_of(facts, assumed(changed), date(2026, 11, 1))


# --- traffic --------------------------------------------------------------------------------------
def test_a_mean_day_is_that_of_the_whole_days_the_cut_off_first_and_last_left_out() -> None:
    day = START.date()
    counts = [
        Count(day + timedelta(days=at), "m", calls, calls, 0, 0, calls * 0.5)
        for at, calls in enumerate([3, *[100] * 6, 800, 5])
    ]
    seen = traffic_of(counts, START, START + timedelta(days=9))
    assert seen.daily_calls == pytest.approx((6 * 100 + 800) / 7)
    assert seen.daily_usd == pytest.approx((6 * 100 + 800) / 7 * 0.5)


def test_days_without_a_call_count_as_days() -> None:
    counts = [Count(START.date() + timedelta(days=at), "m", 90, 0, 0, 0, 0) for at in (0, 5, 10)]
    seen = traffic_of(counts, START, START + timedelta(days=10))
    assert len(seen.days) == 11
    assert seen.daily_calls == pytest.approx(90 / 9)


def test_a_short_history_is_reckoned_by_its_hours_but_an_hour_is_not_made_a_day() -> None:
    counts = [Count(START.date(), "m", 480, 0, 0, 0, 0)]
    assert traffic_of(counts, START, START + timedelta(hours=1)).daily_calls == 480
    two_days = [*counts, Count(START.date() + timedelta(days=1), "m", 480, 0, 0, 0, 0)]
    seen = traffic_of(two_days, START, START + timedelta(hours=40))
    assert seen.daily_calls == pytest.approx(960 / (40 / 24))


def test_only_the_last_weeks_count() -> None:
    old = Count(START.date() - timedelta(days=90), "old", 10**6, 0, 0, 0, 0)
    new = [Count(START.date() + timedelta(days=at), "m", 10, 0, 0, 0, 0) for at in range(40)]
    seen = traffic_of([old, *new], START, START + timedelta(days=40))
    assert seen.daily_calls == 10
    assert [use.model for use in seen.models] == ["m"]
    assert len(seen.complete_days) == 28


def test_calls_without_a_price_are_shown_and_cost_nothing_that_is_known() -> None:
    known = Count(START.date(), "known", 300, 300, 3000, 0, 3.0)
    unknown = Count(START.date(), "unknown", 100, 0, 9000, 0, 0.0)
    seen = traffic_of([known, unknown], START, START + timedelta(hours=24))
    assert seen.priced_share == 0.75
    assert seen.priced_token_share == 0.25
    assert seen.daily_usd == pytest.approx(3.0)
    assert traffic(priced=False).daily_usd is None


# --- costs ----------------------------------------------------------------------------------------
def test_the_costs_of_a_student_are_those_on_paper() -> None:
    numbers = assumed(
        {
            "examples_labels": 1000, "examples_per_label": 10, "votes": 2, "review_share": 0.1,
            "seconds_label": 36, "reviewer_usd_per_hour": 50, "setup_hours": 2,
            "engineer_usd_per_hour": 100, "epochs": 3, "training_runs": 2,
            "train_tokens_per_second": 100, "gpu_hours_fixed": 1, "gpu_usd_per_hour": 2,
            "student_usd_per_hour": 0.5, "machine_share": 1, "retrains_per_year": 4,
            "retrain_review_share": 0.5,
        }
    )  # fmt: skip
    plan = plan_of(profile(), traffic(), numbers)
    assert plan.labelling_usd == pytest.approx(1000 * 2 * 0.01)
    assert plan.review_usd == pytest.approx(1000 * 0.1 * 36 / 3600 * 50)
    assert plan.gpu_hours == pytest.approx(1000 * 120 * 3 * 2 / 100 / 3600 + 1)
    assert plan.training_usd == pytest.approx(3 * 2)
    assert plan.setup_usd == 200
    assert plan.fixed_usd == pytest.approx(20 + 50 + 6 + 200)
    assert plan.serving_usd == pytest.approx(24 * 0.5)
    assert plan.upkeep_usd == pytest.approx((6 + 25) * 4 / 365)


def test_a_busy_student_needs_more_than_one_machine() -> None:
    numbers = assumed({"read_tokens_per_second": 100, "write_tokens_per_second": 10, "headroom": 3})
    measured = profile(inputs=replace(profile().inputs, prefix_share=0.5))
    plan = plan_of(measured, traffic(calls=100_000), numbers)
    assert plan.seconds_per_call == pytest.approx(50 / 100 + 20 / 10)
    assert plan.busy_hours == pytest.approx(100_000 * 2.5 / 3600 * 3)
    assert plan.serving_usd == pytest.approx(plan.busy_hours * numbers["student_usd_per_hour"])


def test_labels_need_examples_each() -> None:
    many = profile(answers=replace(profile().answers, label_count=77))
    assert plan_of(many, traffic(), assumed({})).examples == 77 * 60


def test_examples_beyond_the_sample_count_as_far_as_they_are_new() -> None:
    measured = profile(sampled=1000, distinct=600, usable=wilson(900, 1000), novelty=0.5)
    assert examples_at_hand(measured, 1000) == 600
    assert examples_at_hand(measured, 3000) == 600 + 2000 * 0.9 * 0.5


# --- when it pays ---------------------------------------------------------------------------------
def sure(share: float) -> Coverage:
    return Coverage(share, share, share, "")


def plan_costing(fixed: float, daily: float) -> Plan:
    return Plan(
        examples=100, labelling_usd=0.0, review_hours=0, review_usd=0, gpu_hours=0, training_usd=0,
        setup_usd=fixed, seconds_per_call=0.1, busy_hours=0, held_hours=24,
        machine_usd_per_hour=daily / 24, upkeep_usd=0,
    )  # fmt: skip


def test_without_uncertainty_it_is_even_after_the_fixed_costs_by_the_daily_saving() -> None:
    # $10 a day, 80 % taken: 8 saved, 3 spent, 5 kept. $400 are back after 80 days.
    found = forecast_of(traffic(), plan_costing(400, 3), sure(0.8), assumed(CERTAIN))
    assert found is not None
    even = found.break_even_days
    assert even.low == even.high == pytest.approx(80)
    assert even.middle == pytest.approx(80)
    assert found.first_year_usd.middle == pytest.approx(365 * 5 - 400)
    assert found.pays_in_a_year == 1.0
    assert found.balance[0].middle == -400
    assert found.balance[10].middle == pytest.approx(70 * 5 - 400)


def test_the_days_until_the_first_saving_come_before_it() -> None:
    numbers = assumed({**CERTAIN, "lead_days": 14})
    found = forecast_of(traffic(), plan_costing(400, 3), sure(0.8), numbers)
    assert found is not None
    assert found.break_even_days.middle == pytest.approx(94)


def test_a_student_that_costs_more_than_it_saves_is_never_even() -> None:
    found = forecast_of(traffic(), plan_costing(100, 9), sure(0.8), assumed(CERTAIN))
    assert found is not None
    assert (found.break_even_days.low, found.break_even_days.middle) == (None, None)
    assert found.pays_in_a_year == 0.0
    assert found.first_year_usd.middle == pytest.approx(365 * -1 - 100)


def test_a_price_that_falls_earns_less_each_day() -> None:
    numbers = assumed({**CERTAIN, "price_fall_per_year": 0.5})
    # With the fall drawn between 0 and 0.9 around 0.5 the first year lies below the unfalling one
    # and above the one that falls by 0.9.
    found = forecast_of(traffic(), plan_costing(0, 0), sure(1.0), numbers)
    assert found is not None
    rate = -log(1 - 0.9) / 365
    least = 10 * (1 - exp(-rate * 365)) / rate
    year = found.first_year_usd
    assert year.low is not None
    assert year.middle is not None
    assert year.high is not None
    assert least < year.low < year.middle < year.high < 3650


def test_what_is_not_known_widens_the_dates_and_keeps_the_middle() -> None:
    numbers = {**CERTAIN, "volume_spread": 0.25, "cost_spread": 0.3}
    found = forecast_of(
        traffic(), plan_costing(400, 3), Coverage(0.7, 0.8, 0.9, ""), assumed(numbers)
    )
    assert found is not None
    even = found.break_even_days
    assert even.low is not None
    assert even.middle is not None
    assert even.low < even.middle == pytest.approx(80, rel=0.1)
    assert even.high is None or even.high > even.middle


def test_a_short_history_makes_the_dates_less_sure() -> None:
    spread = assumed({**CERTAIN, "volume_spread": 0.25})
    ranges = []
    for days in (30, 3):
        found = forecast_of(traffic(days=days), plan_costing(400, 0), sure(1.0), spread)
        assert found is not None
        even = found.break_even_days
        assert even.low is not None
        assert even.high is not None
        ranges.append(even.high / even.low)
    assert ranges[1] > 2 * ranges[0]


def test_the_volume_that_pays_is_the_one_at_which_the_balance_is_even() -> None:
    measured, seen = profile(), traffic(usd_per_call=0.001)
    numbers = assumed({**CERTAIN, "lead_days": 15})
    times = pays_at(measured, seen, sure(0.8), numbers)
    assert times is not None
    plan = plan_of(measured, seen, numbers, times)
    gross = 1.0 * times * 0.8
    assert (gross - plan.running_usd) * 350 == pytest.approx(plan.fixed_usd)


def test_where_a_call_costs_the_student_more_than_it_saves_no_volume_pays() -> None:
    dear = assumed({"student_usd_per_hour": 1000.0})
    assert pays_at(profile(), traffic(usd_per_call=0.000_01), sure(0.9), dear) is None


def test_coverage_starts_at_what_a_linear_model_takes_and_ends_at_what_anyone_can() -> None:
    measured = profile()
    assert measured.linear is not None
    numbers = assumed({})
    easy = replace(measured.linear, curve=[Point(0.85, 0.99), Point(1.0, 0.8)])
    found = coverage_of(replace(measured, linear=easy), 1, numbers)
    assert (found.low, found.mode, found.high) == (0.85, 0.9, 1.0)
    shaky = Consistency(wilson(0, 0), wilson(49, 100), wilson(0, 1))
    bounded = coverage_of(replace(measured, linear=None, consistency=shaky), 1, numbers)
    assert bounded.high == pytest.approx(0.7)
    assert bounded.mode <= 0.7


# --- what else would do ---------------------------------------------------------------------------
def named(found: list[Alternative], words: str) -> Alternative:
    return next(a for a in found if words in a.name)


def test_other_ways_save_what_they_save_on_paper() -> None:
    measured = profile(
        inputs=replace(profile().inputs, constant_share=0.6, prefix_share=0.5),
        consistency=replace(profile().consistency, repeats=wilson(10, 100)),
    )
    numbers = assumed({"prompt_cut": 0.5, "few_shots": 2, "trial_calls": 100})
    found = alternatives_of(measured, traffic(), PRICE, ("mini", SMALL), numbers)
    assert named(found, "repeated").daily_usd == pytest.approx(1.0)
    assert named(found, "Shorten").daily_usd == pytest.approx(60 * 0.5 * 1000 * 2.5e-6)
    # 100 tokens and two examples of 40 + 20 go in, 20 come out.
    there = (100 + 2 * 60) * 0.15e-6 + 20 * 0.6e-6
    assert named(found, "mini").daily_usd == pytest.approx(10 - 1000 * there)
    assert named(found, "cache").daily_usd == 0.0  # 50 tokens are too few to be kept
    assert [a.daily_usd or 0 for a in found] == sorted(
        (a.daily_usd or 0 for a in found), reverse=True
    )


def test_a_long_common_beginning_saves_the_discount_on_cached_tokens() -> None:
    measured = profile(inputs=replace(profile().inputs, prefix_share=0.8))
    long = replace(traffic(), prompt_tokens=2000.0)
    found = named(alternatives_of(measured, long, PRICE, None, assumed({})), "cache")
    assert found.daily_usd == pytest.approx(1600 * 1000 * 1.25e-6)
    assert found.is_measured


def test_without_prices_nothing_is_claimed() -> None:
    found = alternatives_of(profile(), traffic(priced=False), None, None, assumed({}))
    assert {a.daily_usd for a in found} == {None}


# --- the verdict ----------------------------------------------------------------------------------
def unlearnable_by_words() -> Profile:
    return profile(linear=None)


def test_a_narrow_job_that_pays_is_a_go_and_says_what_would_end_that() -> None:
    found = report(unlearnable_by_words(), traffic(calls=10_000))
    assert found.verdict.decision == "go"
    assert found.verdict.cons == []
    assert "would not pay within a year" in " ".join(found.verdict.changes)
    early, likely, late = found.break_even
    assert early is not None
    assert likely is not None
    assert late is not None
    assert date(2026, 11, 1) < early <= likely <= late


def test_a_job_that_does_not_pay_yet_waits_for_the_volume_that_does() -> None:
    seen = traffic(calls=100, usd_per_call=0.001)
    found = report(unlearnable_by_words(), seen)
    assert found.verdict.decision == "wait"
    changes = " ".join(found.verdict.changes)
    times = pays_at(found.case.profile, seen, found.case.coverage, found.case.assumed)
    assert times is not None
    assert f"{times:,.0f} times the volume" in changes
    assert "nine other students" in changes


def test_too_few_examples_wait_for_as_many_as_are_missing() -> None:
    few = profile(linear=None, distinct=1100, novelty=0.0)
    found = report(few, traffic(calls=10_000))
    assert found.verdict.decision == "wait"
    assert "400 more usable examples" in " ".join(found.verdict.changes)


def test_what_a_linear_model_does_as_well_comes_first() -> None:
    found = report(profile(), traffic(calls=10_000))
    assert found.verdict.decision == "wait"
    assert "linear model" in " ".join(found.verdict.cons)


def test_something_simpler_that_pays_is_named_where_a_student_does_not_pay() -> None:
    found = report(profile(), traffic(calls=300))
    assert found.verdict.decision == "wait"
    assert found.case.forecast is not None
    assert found.case.forecast.pays_in_a_year < 0.8
    assert "“A linear model for the easy calls” would" in found.verdict.headline


def test_a_model_that_contradicts_itself_is_not_to_be_copied() -> None:
    shaky = Consistency(wilson(0, 0), wilson(20, 100), wilson(0, 1))
    found = report(profile(linear=None, consistency=shaky), traffic(calls=10_000))
    assert found.verdict.decision == "do not"
    assert "20%" in " ".join(found.verdict.cons)


def test_every_assumption_lies_within_its_own_bounds_and_has_a_reason() -> None:
    for known in ASSUMPTIONS:
        assert known.low <= known.default <= known.high, known.name
        assert known.reason
