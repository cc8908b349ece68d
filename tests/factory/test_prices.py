"""What a call costs."""

from decimal import Decimal
from typing import Any

import pytest

from factory.errors import InvalidInput
from factory.prices import checked_prices, cost_usd

PRICES = {
    "gpt-4o": {"input": 2.5, "output": 10},
    "gpt-4o-mini": {"input": 0.15, "output": 0.6},
}


def test_a_dated_name_takes_the_longest_known_names_price() -> None:
    assert cost_usd(PRICES, "gpt-4o-2024-08-06", 1000, 100) == Decimal("0.0035")
    assert cost_usd(PRICES, "gpt-4o-mini-2024-07-18", 1000, 100) == Decimal("0.00021")


@pytest.mark.parametrize(
    ("model", "prompt", "completion"),
    [("claude", 1, 1), ("", 1, 1), ("gpt-4o", None, 1), ("gpt-4o", 1, None)],
)
def test_what_is_not_known_has_no_price(
    model: str, prompt: int | None, completion: int | None
) -> None:
    assert cost_usd(PRICES, model, prompt, completion) is None


@pytest.mark.parametrize(
    "given",
    [
        [],
        {"m": 5},
        {"m": {"input": 1}},
        {"m": {"input": 1, "output": "2"}},
        {"m": {"input": 1, "output": -1}},
        {"m": {"input": 1, "output": 1001}},
        {"m": {"input": True, "output": 1}},
        {"m": {"input": 1, "output": float("nan")}},
    ],
)
def test_prices_that_cannot_be_meant_are_refused(given: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked_prices(given)
    assert caught.value.param == "prices"


def test_good_prices_pass() -> None:
    assert checked_prices(PRICES) == PRICES
