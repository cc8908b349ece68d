"""What else would save: distillation is not always the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from factory.prices import Price
from factory.suitability.assumptions import Assumed
from factory.suitability.measures import Profile
from factory.suitability.savings import linear_coverage, wanted_agreement
from factory.suitability.traffic import Traffic

CACHEABLE = 1024  # tokens of a prompt's beginning, from which vendors keep it


@dataclass(frozen=True)
class Alternative:
    """Another way to spend less: what it saves a day, None where it cannot be said.

    It is measured where the calls themselves show that nothing is lost; else it is worth a trial.
    """

    name: str
    daily_usd: float | None
    said: str
    is_measured: bool


def alternatives_of(
    profile: Profile,
    traffic: Traffic,
    price: Price | None,
    smaller: tuple[str, Price] | None,
    assumed: Assumed,
) -> list[Alternative]:
    """Say what else would save, the most first."""
    daily = traffic.daily_usd
    found = [
        _repeats(profile, daily),
        _prefix(profile, traffic, price),
        _shorter(profile, traffic, price, assumed),
        _smaller(profile, traffic, daily, smaller, assumed),
        *_linear(profile, daily, assumed),
    ]
    return sorted(found, key=lambda a: -(a.daily_usd or 0.0))


def _repeats(profile: Profile, daily: float | None) -> Alternative:
    share = profile.consistency.repeats.value or 0.0
    return Alternative(
        "Keep answers to repeated inputs",
        None if daily is None else daily * share,
        f"{share:.1%} of the calls ask what was asked before, word for word.",
        is_measured=True,
    )


def _prefix(profile: Profile, traffic: Traffic, price: Price | None) -> Alternative:
    tokens = profile.inputs.prefix_share * traffic.prompt_tokens
    name = "Let the vendor cache the prompt"
    if price is None:
        return Alternative(name, None, "The price of cached tokens is not known.", is_measured=True)
    if tokens < CACHEABLE:
        said = f"Prompts begin alike for {tokens:,.0f} tokens; vendors keep {CACHEABLE:,} or more."
        return Alternative(name, 0.0, said, is_measured=True)
    saved = _usd(tokens * traffic.daily_calls, price.input - price.cached_input)
    said = (
        f"Prompts begin alike for {tokens:,.0f} tokens, which cost ${price.cached_input} instead "
        f"of ${price.input} a million where the vendor still has them."
    )
    return Alternative(name, saved, said, is_measured=True)


def _shorter(
    profile: Profile, traffic: Traffic, price: Price | None, assumed: Assumed
) -> Alternative:
    tokens = profile.inputs.constant_share * traffic.prompt_tokens
    cut = assumed["prompt_cut"]
    saved = None if price is None else _usd(tokens * cut * traffic.daily_calls, price.input)
    return Alternative(
        "Shorten the prompt",
        saved,
        f"{tokens:,.0f} of {traffic.prompt_tokens:,.0f} tokens are the same in every call; "
        f"{cut:.0%} of them would go.",
        is_measured=False,
    )


def _smaller(
    profile: Profile,
    traffic: Traffic,
    daily: float | None,
    smaller: tuple[str, Price] | None,
    assumed: Assumed,
) -> Alternative:
    name = "A smaller model with examples in the prompt"
    if daily is None or smaller is None or not traffic.models:
        said = "The catalogue names no smaller model of the same family."
        return Alternative(name, None, said, is_measured=False)
    model, price = smaller
    fresh = traffic.prompt_tokens * (1 - profile.inputs.constant_share)
    shots = assumed["few_shots"] * (fresh + traffic.completion_tokens)
    there = _usd(traffic.prompt_tokens + shots, price.input) + _usd(
        traffic.completion_tokens, price.output
    )
    saved = daily - there * traffic.daily_calls * traffic.priced_share
    trial = there * assumed["trial_calls"]
    return Alternative(
        f"{model} with {assumed['few_shots']:.0f} examples in the prompt",
        max(0.0, saved),
        f"Whether it is good enough is not known yet: {assumed['trial_calls']:.0f} calls to find "
        f"out cost ${trial:.2f}.",
        is_measured=False,
    )


def _linear(profile: Profile, daily: float | None, assumed: Assumed) -> Sequence[Alternative]:
    if profile.linear is None:
        return []
    share, wanted = linear_coverage(profile, assumed), wanted_agreement(profile, assumed)
    return [
        Alternative(
            "A linear model for the easy calls",
            None if daily is None else daily * share,
            f"It agrees on {wanted:.0%} of the {share:.0%} of the calls that it is surest of, and "
            "costs next to nothing to run; the rest goes on as now.",
            is_measured=True,
        )
    ]


def _usd(tokens: float, per_million: Decimal) -> float:
    return tokens * float(per_million) / 1_000_000
