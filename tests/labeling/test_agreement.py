"""Agreement equals what the reference libraries say, and says where it is undefined."""

from collections import Counter
from typing import Any, Literal

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters  # type: ignore[import-untyped]
from statsmodels.stats.inter_rater import fleiss_kappa as reference_fleiss

from labeling.agreement import (
    NO_PAIR,
    ONE_ANSWER,
    agreement_of,
    cohen_kappa,
    fleiss_kappa,
    kappa_measured,
    krippendorff_alpha,
    krippendorff_interval,
)

# Rows are items, columns raters, 0 is missing.
matrices = st.integers(2, 5).flatmap(
    lambda raters: st.lists(
        st.lists(st.integers(0, 4), min_size=raters, max_size=raters), min_size=2, max_size=25
    )
)
whole_matrices = st.integers(2, 5).flatmap(
    lambda raters: st.lists(
        st.lists(st.integers(1, 4), min_size=raters, max_size=raters), min_size=2, max_size=25
    )
)


def items_of(matrix: list[list[int]]) -> list[dict[str, str]]:
    return [{f"r{at}": str(value) for at, value in enumerate(row) if value} for row in matrix]


def used_in_pairs(matrix: list[list[int]]) -> set[int]:
    rows = [[value for value in row if value] for row in matrix]
    return {value for row in rows if len(row) > 1 for value in row}


def reference_alpha(matrix: list[list[int]], level: Literal["nominal", "interval"]) -> float:
    data = np.array([[value or np.nan for value in row] for row in matrix]).T
    return float(krippendorff.alpha(reliability_data=data, level_of_measurement=level))


@given(matrices)
def test_krippendorff_alpha_equals_the_reference_with_missing_answers(
    matrix: list[list[int]],
) -> None:
    nominal, interval = (
        krippendorff_alpha(items_of(matrix)),
        krippendorff_interval(items_of(matrix)),
    )
    if len(used_in_pairs(matrix)) < 2:
        assert nominal.value is None
        assert interval.value is None
        assert nominal.why == (ONE_ANSWER if used_in_pairs(matrix) else NO_PAIR)
    else:
        assert nominal.value == pytest.approx(reference_alpha(matrix, "nominal"), abs=1e-9)
        assert interval.value == pytest.approx(reference_alpha(matrix, "interval"), abs=1e-9)


@given(whole_matrices)
def test_fleiss_kappa_equals_the_reference(matrix: list[list[int]]) -> None:
    found = fleiss_kappa(items_of(matrix))
    if len(used_in_pairs(matrix)) < 2:
        assert found.why == ONE_ANSWER
    else:
        table, _ = aggregate_raters(np.array(matrix))
        assert found.value == pytest.approx(reference_fleiss(table), abs=1e-9)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=40))
def test_cohen_kappa_equals_the_reference(pairs: list[tuple[int, int]]) -> None:
    said = [(str(a), str(b)) for a, b in pairs]
    measured = kappa_measured(Counter(said))
    assert measured.value == pytest.approx(cohen_kappa(said), abs=1e-12)
    if len({value for pair in pairs for value in pair}) < 2:
        assert measured.why == ONE_ANSWER
    else:
        first, second = zip(*pairs, strict=True)
        reference = cohen_kappa_score(first, second)
        assert measured.value == pytest.approx(reference, abs=1e-9)


@settings(max_examples=40)
@given(matrices)
def test_the_whole_report_holds_the_same_figures(matrix: list[list[int]]) -> None:
    items = items_of(matrix)
    found = agreement_of(items)
    assert found.alpha.value == krippendorff_alpha(items).value
    for pair in found.pairs:
        shared = [
            (i[pair.first], i[pair.second]) for i in items if {pair.first, pair.second} <= i.keys()
        ]
        assert pair.same.n == len(shared)
        assert pair.kappa.value == pytest.approx(cohen_kappa(shared), abs=1e-12)
    for label in found.labels:
        against = [[1 + (v == int(label.label)) if v else 0 for v in row] for row in matrix]
        if len(used_in_pairs(against)) < 2:
            assert label.alpha.value is None
        else:
            reference = reference_alpha(against, "nominal")
            assert label.alpha.value == pytest.approx(reference, abs=1e-9)


def test_percent_agreement_counts_each_answer_once() -> None:
    found = agreement_of([{"a": "x", "b": "x"}, {"a": "x", "b": "y"}, {"a": "x"}])
    assert (found.same.value, found.same.n) == (0.5, 2)


def test_fleiss_takes_the_commonest_number_of_answers_and_says_which() -> None:
    three = [{"a": "x", "b": "x", "c": "y"}, {"a": "y", "b": "y", "c": "y"}]
    found = agreement_of([*three, {"a": "x", "b": "x"}])
    assert (found.fleiss_answers, found.fleiss.n) == (3, 2)
    assert found.fleiss.value == fleiss_kappa(three).value
    with pytest.raises(ValueError, match="as many answers"):
        fleiss_kappa([*three, {"a": "x", "b": "x"}])


def test_numbers_have_an_interval_alpha_and_words_none() -> None:
    near = [{"a": str(n % 5), "b": str(n % 5 + n % 2)} for n in range(40)]
    found = agreement_of(near)
    assert found.interval_alpha is not None
    assert found.interval_alpha.value is not None
    assert found.alpha.value is not None
    assert found.interval_alpha.value > found.alpha.value
    assert agreement_of([{"a": "x", "b": "y"}]).interval_alpha is None


def test_without_any_shared_row_everything_is_undefined_and_says_why() -> None:
    for items in ([], [{"a": "x"}, {"b": "x"}]):
        found = agreement_of(items)
        assert (found.same.value, found.alpha.value, found.fleiss.value) == (None, None, None)
        assert found.alpha.why == found.fleiss.why == found.same.why == NO_PAIR
        assert (found.labels, found.pairs) == ((), ())


def test_full_agreement_has_no_interval_for_no_disagreement_was_met() -> None:
    found = agreement_of([{"a": label, "b": label} for label in "xyxyxy"]).alpha
    assert (found.value, found.low, found.high, found.n) == (1.0, None, None, 6)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Two raters who are right by 85 % each: the true alpha is that of very many items."""
    random = np.random.default_rng(7)

    def rated(n: int) -> list[dict[str, str]]:
        truth = random.integers(0, 3, n)
        noise = [np.where(random.random(n) < 0.85, truth, random.integers(0, 3, n)) for _ in "ab"]
        return [{"a": str(a), "b": str(b)} for a, b in zip(*noise, strict=True)]

    truth = krippendorff_alpha(rated(200_000)).value
    assert truth is not None
    held = 0
    for _ in range(200):
        found = krippendorff_alpha(rated(150))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert 180 <= held <= 199


def test_the_same_items_give_the_same_interval() -> None:
    items: list[Any] = [{"a": str(n % 3), "b": str(n % 4)} for n in range(30)]
    assert agreement_of(items) == agreement_of(items)
