"""Several answers to one question: what they come to, and how sure that is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from factory.messages import Json
from labeling.answers import comparable


@dataclass(frozen=True)
class Tally:
    """The votes' result; `confidence` is the winner's share of all votes asked for, 0 to 1."""

    output: str
    votes: dict[str, int]
    confidence: float
    is_tie: bool

    def is_accepted(self, accept_confidence: float) -> bool:
        """Tell whether the result can stand by itself; a tie never can."""
        return bool(self.votes) and not self.is_tie and self.confidence >= accept_confidence


def tally(outputs: Sequence[str | None], schema: Json | None) -> Tally:
    """Count votes; None is a vote without a usable answer, and counts against every answer.

    JSON answers are equal whatever the order of their fields. Among equals the first one asked for
    is the output, so that the same votes always give the same result.
    """
    shown: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for output in outputs:
        if output is not None:
            key = comparable(output, schema)
            shown.setdefault(key, output)
            counts[key] += 1
    if not counts:
        return Tally(output="", votes={}, confidence=0.0, is_tie=False)
    (winner, count), *others = counts.most_common()
    return Tally(
        output=shown[winner],
        votes={shown[key]: n for key, n in counts.most_common()},
        confidence=count / len(outputs),
        is_tie=bool(others) and others[0][1] == count,
    )
