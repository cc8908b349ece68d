"""What a call costs: the project's own prices first, then a public catalogue, else unknown."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider, TieredPrices

from factory.errors import InvalidInput

PER_MILLION = Decimal(1_000_000)
MAX_PRICE = 1000  # US dollars per million tokens; above it, somebody meant cents or thousands

# The catalogue that comes with the package; it asks nobody. The day is the one it was published.
CATALOGUE, CATALOGUE_VERSION, CATALOGUE_DAY = "genai-prices", "0.2.3", date(2026, 11, 10)
# Models that nobody but their vendor serves: the name tells the price behind any address.
CLOSED = re.compile(r"gpt-(?!oss)|chatgpt-|o\d|text-embedding-|claude-|gemini-|grok-")
# How vendors name the smaller sister of a model, the first that exists counts.
SMALLER = (
    ("opus", "haiku"), ("sonnet", "haiku"), ("pro", "flash"), ("large", "small"), ("", "-mini"),
)  # fmt: skip


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, for calls of more than `above` prompt tokens."""

    input: Decimal
    output: Decimal
    cached_input: Decimal  # of prompt tokens that the vendor still had from an earlier call
    above: int = 0

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> Decimal:
        """Return a call's price in US dollars; cached tokens are among the prompt's."""
        cached = min(cached_tokens, prompt_tokens)
        fresh_usd = (prompt_tokens - cached) * self.input
        spent = fresh_usd + cached * self.cached_input + completion_tokens * self.output
        return spent / PER_MILLION


@dataclass(frozen=True)
class PriceBook:
    """What a project knows of prices: its own by model name, and its upstreams' addresses."""

    own: dict[str, Any] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)  # base URLs by upstream name

    def price(
        self, names: Sequence[str], provider: str, day: date, prompt_tokens: int = 0
    ) -> Price | None:
        """Return what a call cost on a day, None where nobody knows.

        `names` are the model's names, the surest first; `provider` is the upstream that answered.
        """
        for name in names:
            if known := price_of(self.own, name):
                return _own_price(known)
        address = self.addresses.get(provider, "")
        for name in names:
            if tiers := _listed(name, address, day):
                return next(tier for tier in tiers if prompt_tokens > tier.above or not tier.above)
        return None

    def cost(
        self,
        names: Sequence[str],
        provider: str,
        day: date,
        tokens: tuple[int | None, int | None, int],
    ) -> Decimal | None:
        """Return what a call cost; `tokens` are those of prompt and answer, and the cached."""
        prompt, completion, cached = tokens
        if prompt is None or completion is None:
            return None
        price = self.price(names, provider, day, prompt)
        return None if price is None else price.cost(prompt, completion, cached)

    def smaller(self, model: str, provider: str, day: date) -> tuple[str, Price] | None:
        """Return the smaller sister of a model and its price, where the catalogue has one."""
        found = _found(model, self.addresses.get(provider, ""))
        if found is None:
            return None
        vendor, own = found
        names = (own.id.replace(old, new) if old else own.id + new for old, new in SMALLER)
        sisters = (vendor.find_model(name) for name in names if name != own.id)
        sister = next((s for s in sisters if s is not None and s.id != own.id), None)
        return (sister.id, _tiers(sister, day)[-1]) if sister else None


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
    return _own_price(price).cost(prompt_tokens, completion_tokens)


def price_of(prices: dict[str, Any], model: str) -> dict[str, Any] | None:
    """Return a model's price per million tokens, None where it has no known price."""
    known = max((name for name in prices if model.startswith(name)), key=len, default=None)
    return None if known is None else prices[known]


def _is_price(side: object) -> bool:
    return isinstance(side, int | float) and not isinstance(side, bool) and 0 <= side <= MAX_PRICE


def _own_price(known: dict[str, Any]) -> Price:
    given, output = Decimal(str(known["input"])), Decimal(str(known["output"]))
    return Price(given, output, given)


# --- the catalogue --------------------------------------------------------------------------------
@lru_cache(maxsize=4096)
def _listed(model: str, address: str, day: date) -> tuple[Price, ...]:
    """Return a model's prices, that of the longest prompts first; empty where it is not listed."""
    found = _found(model, address)
    return _tiers(found[1], day) if found else ()


def _found(model: str, address: str) -> tuple[Provider, ModelInfo] | None:
    """Return who serves a model at an address: whose address it is, else whose name."""
    vendors = get_snapshot().providers
    vendor = next((v for v in vendors if address and re.match(v.api_pattern, address)), None)
    if vendor is None and (not address or CLOSED.match(model)):
        named = (v for v in vendors if v.model_match and v.model_match.is_match(model.lower()))
        vendor = next(named, None)
    listed = vendor.find_model(model, all_providers=vendors) if vendor and model else None
    return (vendor, listed) if vendor and listed else None


def _tiers(model: ModelInfo, day: date) -> tuple[Price, ...]:
    # Prices by the hour of the day are rare: noon's stands for all.
    listed = model.get_prices(datetime.combine(day, time(12), UTC))
    sides = (listed.input_mtok, listed.output_mtok, listed.cache_read_mtok)
    if sides[0] is None:
        return ()
    starts = {0}.union(*(_starts(side) for side in sides))
    return tuple(_tier(sides, start) for start in sorted(starts, reverse=True))


def _starts(side: Decimal | TieredPrices | None) -> Iterable[int]:
    return [tier.start for tier in side.tiers] if isinstance(side, TieredPrices) else []


def _tier(sides: tuple[Decimal | TieredPrices | None, ...], above: int) -> Price:
    given, output, cached = (_at(side, above) for side in sides)
    assert given is not None
    return Price(given, output or Decimal(0), given if cached is None else cached, above)


def _at(side: Decimal | TieredPrices | None, above: int) -> Decimal | None:
    if not isinstance(side, TieredPrices):
        return side
    reached = [tier for tier in side.tiers if tier.start <= above]
    return reached[-1].price if reached else side.base
