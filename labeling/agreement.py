"""How far two raters agree."""

from collections import Counter
from collections.abc import Sequence


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Return two raters' agreement beyond chance (Cohen 1960): 1 is full, 0 is chance.

    None where it is not defined: no rows, or both raters gave one and the same answer throughout.
    """
    n = len(pairs)
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sum(first[answer] * second[answer] for answer in first) / (n * n) if n else 1.0
    if expected == 1.0:
        return None
    return (sum(a == b for a, b in pairs) / n - expected) / (1 - expected)
