"""What a sample of a prompt's calls is like: numbers and label names, so a report holds no text."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from factory.dedupe import group_key
from factory.discovery.discover import Kind
from factory.intervals import Share, wilson
from factory.messages import Json, text_of, variable_text
from factory.suitability.baseline import Linear, Row, linear_baseline
from factory.suitability.consistency import Consistency, Repeated, consistency_of
from factory.suitability.inputs import Inputs, has_media, inputs_of
from factory.suitability.outputs import Answers, answers_of, is_in_format
from factory.suitability.sampled import Sampled, percentile

STEPS = re.compile(
    r"step[- ]by[- ]step|chain[- ]of[- ]thought|think (carefully|hard|through)"
    r"|reason (through|about|step)",
    re.IGNORECASE,
)
SECRETS = {"SECRET"}


@dataclass(frozen=True)
class Work:
    """Signs that an answer takes steps."""

    tools_called: Share
    reasoning_share: float  # of the completion tokens, those that nobody sees
    asks_for_steps: Share


@dataclass(frozen=True)
class Privacy:
    """What redaction found: how many calls held it, and how many values of each kind."""

    level: str  # nothing found | personal data | secrets
    calls: Share
    kinds: dict[str, int]


@dataclass(frozen=True)
class Latency:
    """How long the caller waits now, in milliseconds."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True)
class Profile:
    """All that is measured of a prompt's calls."""

    sampled: int
    answered: Share
    usable: Share  # of all calls: answered whole, in text, in the right format
    distinct: int  # usable inputs that differ by more than case, punctuation and numbers
    novelty: float  # share of the newer half's inputs that the older half does not hold
    answers: Answers
    inputs: Inputs
    work: Work
    consistency: Consistency
    privacy: Privacy
    latency: Latency
    linear: Linear | None


def profile_of(calls: Sequence[Sampled], kind: Kind) -> Profile:
    """Measure a sample, the oldest call first."""
    answered = [call for call in calls if call.is_answered]
    usable = [call for call in answered if is_usable(call, kind)]
    groups = [group_key(call.messages) for call in usable]
    half = len(groups) // 2
    older = set(groups[:half])
    newer = set(groups[half:])
    texts = [variable_text(call.messages) for call in usable]
    labels = kind.kind == "classification"
    rows = [
        Row(text, call.output.strip(), group)
        for text, call, group in zip(texts, usable, groups, strict=True)
    ]
    repeated = [Repeated(c.digest, c.messages, c.output) for c in usable]
    linear = linear_baseline(rows) if labels else None
    return Profile(
        sampled=len(calls),
        answered=wilson(len(answered), len(calls)),
        usable=wilson(len(usable), len(calls)),
        distinct=len(set(groups)),
        novelty=len(newer - older) / (len(groups) - half) if groups else 1.0,
        answers=answers_of(answered, usable, rows, kind, linear),
        inputs=inputs_of(answered, texts),
        work=_work(answered),
        consistency=consistency_of(repeated, kind.kind),
        privacy=_privacy(calls),
        latency=_latency(answered),
        linear=linear,
    )


def is_usable(call: Sampled, kind: Kind) -> bool:
    """Whether a student could learn from a call: a whole answer, in text, in the right format."""
    is_whole = not call.is_partial and call.finish_reason in {"", "stop"}
    is_text = not call.has_called_tools and not has_media(call.messages)
    return is_whole and is_text and is_in_format(call.output, kind)


# --- work, privacy, time --------------------------------------------------------------------------
def _work(calls: Sequence[Sampled]) -> Work:
    said = sum(call.completion_tokens or 0 for call in calls)
    hidden = sum(min(call.reasoning_tokens, call.completion_tokens or 0) for call in calls)
    asked = sum(any(STEPS.search(text_of(m.get("content"))) for m in _fixed(c)) for c in calls)
    return Work(
        tools_called=wilson(sum(call.has_called_tools for call in calls), len(calls)),
        reasoning_share=hidden / said if said else 0.0,
        asks_for_steps=wilson(asked, len(calls)),
    )


def _fixed(call: Sampled) -> list[Json]:
    return [m for m in call.messages if m.get("role") in {"system", "developer"}]


def _privacy(calls: Sequence[Sampled]) -> Privacy:
    kinds: Counter[str] = Counter()
    for call in calls:
        kinds.update(call.redactions)
    level = "secrets" if SECRETS & set(kinds) else "personal data" if kinds else "nothing found"
    touched = wilson(sum(any(call.redactions.values()) for call in calls), len(calls))
    return Privacy(level=level, calls=touched, kinds=dict(kinds.most_common()))


def _latency(calls: Sequence[Sampled]) -> Latency:
    known = [call.latency_ms for call in calls if call.latency_ms is not None]
    return Latency(p50=percentile(known, 50), p95=percentile(known, 95))
