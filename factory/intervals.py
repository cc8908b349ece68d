"""How sure a share is."""

from dataclasses import dataclass
from math import sqrt

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """`count` of `n`, with its 95 % interval; without any row it may be anything from 0 to 1."""

    count: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        """The share itself, None where there are no rows."""
        return self.count / self.n if self.n else None


def wilson(count: int, n: int, z: float = Z95) -> Share:
    """Return a share with its Wilson score interval (Wilson 1927), right for small `n` too."""
    if n == 0:
        return Share(count=0, n=0, low=0.0, high=1.0)
    p = count / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # Rounding must not put the ends past what the share can be.
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Share(count, n, low=0.0 if count == 0 else low, high=1.0 if count == n else high)
