"""How sure a teacher was of its own answer, by the log probabilities of the answer's tokens."""

from collections.abc import Sequence
from math import exp


def probability_of(output: str, tokens: Sequence[tuple[str, float]]) -> float | None:
    """Return the probability of the tokens that spell the output, None where none were given.

    Only the answer's own tokens count: the JSON around it, and reasons before it, are other
    choices. An output that is not spelled in one piece (JSON written another way) takes them all.
    """
    if not tokens:
        return None
    at = "".join(token for token, _ in tokens).rfind(output) if output else -1
    first, last = (at, at + len(output)) if at >= 0 else (0, sum(len(t) for t, _ in tokens))
    total, begin = 0.0, 0
    for token, logprob in tokens:
        if begin < last and begin + len(token) > first:
            total += logprob
        begin += len(token)
    return min(1.0, exp(total))
