"""Whether a model answers alike what is asked alike: it bounds what any student can reach."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

from factory.digest import canonical_json
from factory.errors import InvalidInput
from factory.intervals import Share, wilson
from factory.messages import Json, parse_json, text_of

SAME_WORDS = 0.8  # of two texts' words (F1): as free texts, they say the same


@dataclass(frozen=True)
class Repeated:
    """An input that may have come before, and its answer; in the order of time."""

    digest: str
    messages: list[Json]
    output: str


@dataclass(frozen=True)
class Consistency:
    """How often a repeated input got the answer that it had got the time before."""

    identical: Share  # inputs alike to the byte
    near: Share  # inputs alike but for case, punctuation and spacing; the identical among them
    repeats: Share  # of all calls, those whose very input had come before

    @property
    def ceiling(self) -> float | None:
        """Return the highest agreement with this model that any student can expect.

        Two answers to one input agree with probability a = Σp²; a student that always gives the
        commonest answer agrees with max p ≤ √a, and none does better. By Jensen's inequality the
        bound holds for the mean over inputs.
        """
        return None if self.near.value is None else sqrt(self.near.value)


def consistency_of(calls: Sequence[Repeated], kind: str) -> Consistency:
    """Compare each repeated input's answer with the one before."""
    exact = [(call.digest, call.output) for call in calls]
    near = [(same_words_key(call.messages), call.output) for call in calls]
    identical = agreement(exact, kind)
    return Consistency(
        identical=identical, near=agreement(near, kind), repeats=wilson(identical.n, len(calls))
    )


def agreement(answers: Iterable[tuple[Hashable, str]], kind: str) -> Share:
    """Return how many repeats of an input got the answer of the time before."""
    as_compared: Callable[[str], Hashable] = COMPARED.get(kind, str)
    before: dict[Hashable, str] = {}
    same = n = 0
    for asked, answer in answers:
        if asked in before:
            n += 1
            earlier = before[asked]
            same += as_compared(earlier) == as_compared(answer) or (
                kind == "generation" and words_f1(earlier, answer) >= SAME_WORDS
            )
        before[asked] = answer
    return wilson(same, n)


def same_words_key(messages: list[Json]) -> str:
    """Return what of an input is left without case, punctuation and spacing; numbers stay."""
    text = "\n".join(f"{m.get('role')} {text_of(m.get('content'))}" for m in messages)
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def words_f1(one: str, other: str) -> float:
    """Return how many words two texts share: the F1 of their multisets."""
    left, right = _words(one), _words(other)
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else 1.0


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.casefold()))


def _canonical(answer: str) -> Hashable:
    try:
        return canonical_json(parse_json(answer.encode()))
    except InvalidInput:
        return answer.strip()


COMPARED: dict[str, Callable[[str], Hashable]] = {
    "classification": str.strip,
    "extraction": _canonical,
}
