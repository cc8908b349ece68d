"""What a call costs."""

from decimal import Decimal
from typing import Any

PER_MILLION = Decimal(1_000_000)


def cost_usd(
    prices: dict[str, Any], model: str, prompt_tokens: int, completion_tokens: int
) -> Decimal | None:
    """Return a call's price in US dollars, None where the model has no known price.

    `prices` is {"model": {"input": USD, "output": USD}} per million tokens; a dated model name
    (`gpt-4o-2024-08-06`) takes the price of the longest name that it starts with.
    """
    price = price_of(prices, model)
    if price is None:
        return None
    total = prompt_tokens * Decimal(str(price["input"])) + completion_tokens * Decimal(
        str(price["output"])
    )
    return total / PER_MILLION


def price_of(prices: dict[str, Any], model: str) -> dict[str, Any] | None:
    """Return a model's price per million tokens, None where it has no known price."""
    known = max((name for name in prices if model.startswith(name)), key=len, default=None)
    return None if known is None else prices[known]
