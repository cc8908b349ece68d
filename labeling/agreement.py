"""How far two raters agree."""

from collections import Counter
from collections.abc import Mapping, Sequence


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Return two raters' agreement beyond chance (Cohen 1960): 1 is full, 0 is chance.

    None where it is not defined: no rows, or both raters gave one and the same answer throughout.
    """
    return kappa_of(Counter(pairs))


def kappa_of(counts: Mapping[tuple[str, str], int]) -> float | None:
    """Return Cohen's kappa of counted pairs."""
    first: Counter[str] = Counter()
    second: Counter[str] = Counter()
    for (a, b), n in counts.items():
        first[a] += n
        second[b] += n
    total = first.total()
    chance = sum(first[answer] * second[answer] for answer in first)
    expected = chance / (total * total) if total else 1.0
    if expected == 1.0:
        return None
    agreeing = sum(n for (a, b), n in counts.items() if a == b)
    return (agreeing / total - expected) / (1 - expected)
