"""What a call costs."""

from decimal import Decimal
from typing import Any

from factory.errors import InvalidInput

PER_MILLION = Decimal(1_000_000)
MAX_PRICE = 1000  # US dollars per million tokens; above it, somebody meant cents or thousands


def checked_prices(given: object) -> dict[str, Any]:
    """Return prices as `cost_usd` reads them; `InvalidInput` says which one is wrong."""
    if not isinstance(given, dict):
        raise InvalidInput("prices are an object by model name", param="prices")
    for model, price in given.items():
        sides = [price.get(side) for side in ("input", "output")] if isinstance(price, dict) else []
        if not sides or not all(_is_price(side) for side in sides):
            raise InvalidInput(
                f"the price of {model} is not two numbers, `input` and `output`, "
                f"from 0 to {MAX_PRICE} US dollars per million tokens",
                param="prices",
            )
    return given


def cost_usd(
    prices: dict[str, Any], model: str, prompt_tokens: int | None, completion_tokens: int | None
) -> Decimal | None:
    """Return a call's price in US dollars, None where its price or its tokens are not known.

    `prices` is {"model": {"input": USD, "output": USD}} per million tokens; a dated model name
    (`gpt-4o-2024-08-06`) takes the price of the longest name that it starts with.
    """
    price = price_of(prices, model)
    if price is None or prompt_tokens is None or completion_tokens is None:
        return None
    prompt_usd = prompt_tokens * Decimal(str(price["input"]))
    completion_usd = completion_tokens * Decimal(str(price["output"]))
    return (prompt_usd + completion_usd) / PER_MILLION


def price_of(prices: dict[str, Any], model: str) -> dict[str, Any] | None:
    """Return a model's price per million tokens, None where it has no known price."""
    known = max((name for name in prices if model.startswith(name)), key=len, default=None)
    return None if known is None else prices[known]


def _is_price(side: object) -> bool:
    return isinstance(side, int | float) and not isinstance(side, bool) and 0 <= side <= MAX_PRICE
