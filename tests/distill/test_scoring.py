"""Figures and their intervals, against published or exhaustively counted values."""

import json
import math
from dataclasses import asdict

import pytest

from distill.scoring import (
    Prediction,
    Prices,
    normalized,
    paired_difference,
    percentile,
    score_rows,
    summarize,
    wilson,
)


def predictions(*pairs: tuple[str, str]) -> list[Prediction]:
    return [
        Prediction(str(number), expected, output) for number, (expected, output) in enumerate(pairs)
    ]


def test_wilsons_interval_is_the_published_one() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), pp. 857-872, table I: 81 of 263, 15 of 148.
    for successes, n, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)]:
        share = wilson(successes, n)
        assert (round(share.low, 4), round(share.high, 4)) == (low, high)


def test_wilsons_interval_of_none_right_still_has_a_width() -> None:
    share = wilson(0, 20)

    assert share.low == 0
    assert round(share.high, 4) == 0.1611  # the same table: 0 of 20


def test_a_paired_difference_uses_only_the_rows_both_answered() -> None:
    first = {"a": True, "b": True, "c": False, "only": True}
    second = {"a": True, "b": False, "c": False, "other": True}

    difference = paired_difference(first, second)

    assert difference.n == 3
    assert difference.value == pytest.approx(1 / 3)
    assert difference.low < difference.value < difference.high


def test_two_subjects_that_agree_everywhere_may_still_differ_a_little() -> None:
    same = {str(row): True for row in range(100)}

    difference = paired_difference(same, same)

    assert difference.value == 0
    assert -0.03 < difference.low < 0 < difference.high < 0.03


@pytest.mark.parametrize(("p_first", "p_second"), [(0.05, 0.05), (0.1, 0.05), (0.2, 0.02)])
def test_the_paired_interval_covers_the_truth_in_95_of_100_samples(
    p_first: float, p_second: float
) -> None:
    n, covered = 40, 0.0
    for b in range(n + 1):
        for c in range(n - b + 1):
            ways = math.comb(n, b) * math.comb(n - b, c)
            chance = ways * p_first**b * p_second**c * (1 - p_first - p_second) ** (n - b - c)
            first = {str(row): row < b for row in range(n)}
            second = {str(row): b <= row < b + c for row in range(n)}
            if chance > 1e-5:
                interval = paired_difference(first, second)
                covered += chance * (interval.low <= p_first - p_second <= interval.high)

    assert 0.93 <= covered <= 1


def test_a_label_counts_whatever_its_case_and_spaces() -> None:
    rows = predictions(("card_payment", " Card_Payment\n"), ("refund", "refunds"), ("a", ""))

    scores = score_rows(rows, "exact_match", labels=["card_payment", "refund", "a"])

    assert [score.is_correct for score in scores] == [True, False, False]
    assert [score.is_valid for score in scores] == [True, False, False]


def test_json_is_compared_by_content_and_by_field() -> None:
    gold = '{"intent": "play", "slots": {"artist": "Nina Simone", "tags": ["a", "b"]}}'
    same = '{"slots": {"tags": ["a", "b"], "artist": "Nina Simone"}, "intent": "play"}'
    part = '{"intent": "play", "slots": {"artist": "Nina"}}'
    rows = predictions((gold, same), (gold, part), (gold, "play!"), (gold, "[]"), (gold, "{}"))

    scores = score_rows(rows, "json_fields", required=["intent"])

    assert [score.is_correct for score in scores] == [True, False, False, False, False]
    assert [score.is_valid for score in scores] == [True, True, False, False, False]
    assert [score.field_f1 for score in scores] == [1.0, pytest.approx(2 / 6), 0.0, 0.0, 0.0]


def test_an_answer_is_valid_json_even_where_the_expected_one_is_broken() -> None:
    [score] = score_rows(predictions(('{"a": ', '{"a": 1}')), "json_fields")

    assert (score.is_valid, score.is_correct) == (True, False)


def test_the_figures_of_a_subject() -> None:
    rows = predictions(("a", "a"), ("a", "b"), ("a", "a"), ("b", "b"), ("b", "x"))
    timed = [
        Prediction(row.id, row.expected, row.output, float(number), 100, 10)
        for number, row in enumerate(rows, start=1)
    ]

    summary = summarize(timed, "exact_match", labels=["a", "b"], prices=Prices(2.0, 10.0))

    assert (summary.accuracy.value, summary.accuracy.n) == (0.6, 5)
    assert (summary.invalid_rate, summary.majority_baseline) == (0.2, 0.6)
    assert summary.confusion == {"a": {"a": 2, "b": 1}, "b": {"b": 1, "": 1}}
    label_a, label_b = summary.labels
    assert (label_a.precision, label_a.recall, label_a.support) == (1.0, 2 / 3, 3)
    assert (label_b.precision, label_b.recall, label_b.support) == (0.5, 0.5, 2)
    assert summary.macro_f1 == pytest.approx((0.8 + 0.5) / 2)
    assert (summary.latency_p50_ms, summary.latency_p99_ms) == (3.0, 5.0)
    assert summary.cost_per_1000_usd == pytest.approx(0.3)
    assert json.loads(json.dumps(asdict(summary)))["accuracy"]["n"] == 5


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown metric 'bleu'"):
        score_rows([], "bleu")


def test_no_rows_have_no_accuracy() -> None:
    with pytest.raises(ValueError, match="no rows"):
        wilson(0, 0)


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([5.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile([5.0, 1.0], 0.99) == 5.0
    assert percentile([], 0.5) is None


def test_normalizing_drops_only_what_nobody_means() -> None:
    assert normalized("  Top\tUP ") == "top up"
    assert normalized("top_up") != normalized("top up")
