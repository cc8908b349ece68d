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
    known = max((name for name in prices if model.startswith(name)), key=len, default=None)
    if known is None:
        return None
    price = prices[known]
    total = prompt_tokens * Decimal(str(price["input"])) + completion_tokens * Decimal(
        str(price["output"])
    )
    return total / PER_MILLION
