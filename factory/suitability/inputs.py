"""What a prompt's calls ask: how long, how much of it stays the same, and how wide the words go."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import orjson

from factory.intervals import Share, wilson
from factory.messages import Json, text_of
from factory.suitability.sampled import Sampled, percentile

SHINGLE = 4  # words; natural texts seldom share as many by chance
CONSTANT = 0.9  # of the calls must hold a run of words for it to be part of the template
TEMPLATE_CALLS = 200  # looked at per template for what stays the same
OLDER = 0.8  # of the sample teaches the words that the newer rest is asked about
BINS = 16  # of the histogram of prompt lengths


@dataclass(frozen=True)
class Bin:
    """How many calls had from `low` to `high` prompt tokens."""

    low: int
    high: int
    count: int


@dataclass(frozen=True)
class Inputs:
    """What is asked."""

    tokens_p50: float
    tokens_p95: float
    histogram: list[Bin]
    constant_share: float  # of the words of a prompt
    prefix_share: float  # of a prompt's characters that begin like the call's before it
    words_known: float  # of the newest fifth's words, those that the older calls hold
    user_turns: float  # mean
    media: Share  # with images or other parts that are no text


def inputs_of(calls: Sequence[Sampled], texts: Sequence[str]) -> Inputs:
    """Measure what is asked; `texts` are the variable parts of the usable calls."""
    tokens = [call.prompt_tokens for call in calls if call.prompt_tokens is not None]
    prompts: defaultdict[int, list[str]] = defaultdict(list)
    for call in calls:
        prompts[call.template].append(prompt_text(call))
    weights = [len(group) for group in prompts.values()]
    constant = [constant_share(group) for group in prompts.values()]
    prefix = [prefix_share(group) for group in prompts.values()]
    turns = [sum(m.get("role") == "user" for m in call.messages) for call in calls]
    return Inputs(
        tokens_p50=percentile(tokens, 50) or 0.0,
        tokens_p95=percentile(tokens, 95) or 0.0,
        histogram=histogram(tokens),
        constant_share=float(np.average(constant, weights=weights)) if weights else 0.0,
        prefix_share=float(np.average(prefix, weights=weights)) if weights else 0.0,
        words_known=words_known(texts),
        user_turns=float(np.mean(turns)) if turns else 0.0,
        media=wilson(sum(has_media(call.messages) for call in calls), len(calls)),
    )


def prompt_text(call: Sampled) -> str:
    """Return a whole prompt as text, what is fixed of it first: tools and answer format too."""
    fixed = [call.params.get(name) for name in ("tools", "response_format")]
    parts = [orjson.dumps(part).decode() for part in fixed if part]
    turns = [f"{m.get('role')}: {text_of(m.get('content'))}" for m in call.messages]
    return "\n".join([*parts, *turns])


def constant_share(prompts: Sequence[str]) -> float:
    """Return the share of a prompt's words that lie in runs which nearly all prompts hold."""
    words = [re.findall(r"\w+|[^\w\s]", text) for text in prompts[-TEMPLATE_CALLS:]]
    runs = [list(zip(*(w[i:] for i in range(SHINGLE)), strict=False)) for w in words]
    holders = Counter(run for prompt in runs for run in set(prompt))
    needed = max(2, CONSTANT * len(words))
    shares = []
    for prompt, own in zip(words, runs, strict=True):
        constant = {
            at + offset
            for at, run in enumerate(own)
            if holders[run] >= needed
            for offset in range(SHINGLE)
        }
        shares.append(len(constant) / len(prompt) if prompt else 0.0)
    return float(np.mean(shares)) if shares else 0.0


def prefix_share(prompts: Sequence[str]) -> float:
    """Return how much of a prompt begins like the prompt before it: what a vendor can cache."""
    shares = [
        _common(one, other) / max(len(other), 1)
        for one, other in pairwise(prompts[-TEMPLATE_CALLS:])
    ]
    return float(np.median(shares)) if shares else 0.0


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def words_known(texts: Sequence[str]) -> float:
    """Return the share of the newest inputs' words that the older inputs hold."""
    cut = round(OLDER * len(texts))
    older = {word for text in texts[:cut] for word in _plain_words(text)}
    newer = [word for text in texts[cut:] for word in _plain_words(text)]
    return sum(word in older for word in newer) / len(newer) if newer else 0.0


def _plain_words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.casefold())


def has_media(messages: Iterable[Json]) -> bool:
    """Whether a turn holds a part that is no text."""
    contents = (m.get("content") for m in messages)
    parts = (part for content in contents if isinstance(content, list) for part in content)
    return any(not isinstance(part, dict) or part.get("type") != "text" for part in parts)


def histogram(values: Sequence[int]) -> list[Bin]:
    """Count values in bins of one round width."""
    if not values:
        return []
    rough = max(1.0, (max(values) - min(values) + 1) / BINS)
    magnitude = 10 ** int(np.floor(np.log10(rough)))
    width = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough)
    first = min(values) // width
    counts = Counter(value // width - first for value in values)
    return [
        Bin((first + at) * width, (first + at + 1) * width, counts[at])
        for at in range(max(counts) + 1)
    ]
