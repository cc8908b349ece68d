"""Calibration tells a score that keeps its word from one that boasts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.calibration import calibration_of


def test_bands_hold_what_the_score_said_and_what_people_said() -> None:
    found = calibration_of([(0.3, True), (0.34, False), (0.95, True), (1.0, True)])
    third, last = found.bands[3], found.bands[9]
    assert (third.low, third.high) == (0.3, 0.4)
    assert third.said == pytest.approx(0.32)
    assert (third.right.count, third.right.n) == (1, 2)
    assert last.said == pytest.approx(0.975)
    assert last.right.value == 1.0
    assert found.bands[0].said is None
    assert found.error == pytest.approx((2 * 0.18 + 2 * 0.025) / 4)
    assert found.is_hint


def test_without_rows_there_is_no_error() -> None:
    found = calibration_of([])
    assert (found.n, found.error, found.by_chance, found.keeps_its_word) == (0, None, None, False)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_error_is_what_its_definition_says(scored: list[tuple[float, bool]]) -> None:
    found = calibration_of(scored)
    gaps = [
        band.right.n * abs(band.said - (band.right.value or 0.0))
        for band in found.bands
        if band.said is not None
    ]
    assert found.n == len(scored)
    assert found.error == pytest.approx(sum(gaps) / len(scored))


def test_an_honest_score_keeps_its_word_and_a_boasting_one_does_not() -> None:
    random = np.random.default_rng(3)
    kept = 0
    for _ in range(100):
        scores = random.uniform(0.5, 1.0, 300)
        honest = [(float(s), bool(random.random() < s)) for s in scores]
        kept += calibration_of(honest).keeps_its_word
        boasting = [(float(s), bool(random.random() < s - 0.2)) for s in scores]
        assert not calibration_of(boasting).keeps_its_word
    assert 88 <= kept <= 100
