"""Votes, agreement and shares: arithmetic that people decide by."""

import pytest

from factory.intervals import wilson
from labeling.agreement import cohen_kappa
from labeling.voting import tally

LABELS = {"type": "string", "enum": ["a", "b", "c"]}


def test_the_majority_wins_with_its_share_of_all_votes() -> None:
    result = tally(["b", "a", "b"], LABELS)
    assert (result.output, result.votes) == ("b", {"b": 2, "a": 1})
    assert result.confidence == pytest.approx(2 / 3)
    assert result.is_accepted(0.6)
    assert not result.is_accepted(1.0)


def test_a_tie_is_never_accepted() -> None:
    result = tally(["a", "b"], LABELS)
    assert result.is_tie
    assert not result.is_accepted(0.1)


def test_an_unusable_vote_counts_against_the_answer() -> None:
    result = tally(["a", None, None, "a"], LABELS)
    assert result.confidence == 0.5
    assert not result.is_tie


def test_no_usable_vote_is_no_answer() -> None:
    result = tally([None, None], LABELS)
    assert (result.output, result.votes, result.confidence) == ("", {}, 0.0)
    assert not result.is_accepted(0.0)


def test_json_votes_agree_whatever_the_order_of_their_fields() -> None:
    result = tally(['{"x": 1, "y": 2}', '{"y": 2, "x": 1}'], {"type": "object"})
    assert result.confidence == 1.0
    assert result.votes == {'{"x": 1, "y": 2}': 2}


def test_wilson_intervals_are_those_of_the_literature() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for count, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        share = wilson(count, n)
        assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)
    assert (wilson(0, 0).low, wilson(0, 0).high, wilson(0, 0).value) == (0.0, 1.0, None)


def test_kappa_is_one_for_full_zero_for_chance_and_undefined_without_choice() -> None:
    assert cohen_kappa([("a", "a"), ("b", "b")]) == 1.0
    assert cohen_kappa([("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")]) == 0.0
    assert cohen_kappa([("a", "a"), ("a", "a")]) is None
    assert cohen_kappa([]) is None
