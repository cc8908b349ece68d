"""What a call costs."""

import timeit
from datetime import date
from decimal import Decimal
from importlib.metadata import version
from typing import Any

import pytest

from factory.errors import InvalidInput
from factory.prices import (
    CATALOGUE,
    CATALOGUE_VERSION,
    Price,
    PriceBook,
    checked_prices,
    cost_usd,
)

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


# --- the catalogue --------------------------------------------------------------------------------
DAY = date(2026, 9, 21)


def listed(model: str, book: PriceBook, provider: str = "", prompt: int = 0) -> Price | None:
    return book.price((model,), provider, DAY, prompt)


def test_the_catalogues_date_is_that_of_the_version_that_is_installed() -> None:
    assert version(CATALOGUE) == CATALOGUE_VERSION


def test_a_model_without_a_price_of_ones_own_has_the_catalogues() -> None:
    price = listed("gpt-4o-2024-08-06", PriceBook())
    assert price is not None
    assert (price.input, price.output, price.cached_input) == (
        Decimal("2.5"),
        Decimal(10),
        Decimal("1.25"),
    )
    assert price.cost(1000, 100) == Decimal("0.0035")


def test_ones_own_price_comes_before_the_catalogues_even_under_the_other_name() -> None:
    book = PriceBook({"house-alias": {"input": 1, "output": 2}})
    price = book.price(("gpt-4o", "house-alias"), "", DAY)
    assert price is not None
    assert (price.input, price.output) == (Decimal(1), Decimal(2))


def test_tokens_that_the_vendor_had_already_cost_less() -> None:
    cost = PriceBook().cost(("gpt-4o",), "", DAY, (1000, 0, 800))
    assert cost == (200 * Decimal("2.5") + 800 * Decimal("1.25")) / 1_000_000


def test_long_prompts_cost_what_their_tier_costs() -> None:
    short, long = (listed("claude-sonnet-4-5", PriceBook(), "", n) for n in (200_000, 200_001))
    assert short is not None
    assert long is not None
    assert (short.input, long.input) == (Decimal(3), Decimal(6))


@pytest.mark.parametrize(
    ("model", "is_known"),
    [
        ("mistral-large-latest", False),
        ("gpt-oss-20b", False),
        ("gpt-4o", True),
        ("house-model", False),
        ("", False),
    ],
)
def test_what_a_server_of_ones_own_may_serve_has_no_vendors_price(
    model: str, *, is_known: bool
) -> None:
    book = PriceBook(addresses={"own": "http://10.0.0.3:8000/v1"})
    assert (listed(model, book, "own") is not None) == is_known


def test_an_address_tells_the_vendor() -> None:
    book = PriceBook(addresses={"mistral": "https://api.mistral.ai/v1"})
    assert listed("mistral-large-latest", book, "mistral") is not None


def test_a_call_without_counted_tokens_has_no_cost() -> None:
    assert PriceBook().cost(("gpt-4o",), "", DAY, (None, 5, 0)) is None


@pytest.mark.parametrize(
    ("model", "smaller"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o-mini"),
        ("claude-opus-4-5", "claude-haiku-4-5"),
        ("gemini-2.5-pro", "gemini-2.5-flash"),
        ("house-model", None),
    ],
)
def test_the_smaller_sister_of_a_model_is_found(model: str, smaller: str | None) -> None:
    found = PriceBook().smaller(model, "", DAY)
    assert (found and found[0]) == smaller


def test_a_price_costs_microseconds_once_it_was_looked_up() -> None:
    book = PriceBook(addresses={"openai": "https://api.openai.com/v1"})
    names = ("gpt-4o-2024-08-06", "gpt-4o")
    book.cost(names, "openai", DAY, (100, 20, 0))
    seconds = min(
        timeit.repeat(lambda: book.cost(names, "openai", DAY, (100, 20, 0)), number=200, repeat=5)
    )
    assert seconds / 200 < 100e-6
