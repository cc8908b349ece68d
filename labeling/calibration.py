"""Whether a score keeps its word: of the rows that it calls 90 % sure, are 90 % right?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.intervals import Share, wilson

BANDS = 10
DRAWS = 1000  # of verdicts that a score which keeps its word would have got
FEW = 30  # rows below which a calibration is only a hint

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """The rows whose score is from `low` to below `high`; the last band holds 1.

    `said` is their mean score, None where there are no rows; `right` is what people said of them.
    """

    low: float
    high: float
    said: float | None
    right: Share


@dataclass(frozen=True)
class Calibration:
    """Scores beside verdicts.

    `error` is the expected calibration error (Naeini 2015): how far the bands' scores are from
    what people said, on average over the rows; None without rows. Even a perfect score is off on
    few rows: in 95 of 100 cases by less than `by_chance`.
    """

    bands: tuple[Band, ...]
    error: float | None
    by_chance: float | None

    @property
    def n(self) -> int:
        """The rows."""
        return sum(band.right.n for band in self.bands)

    @property
    def is_hint(self) -> bool:
        """Whether it rests on too few rows."""
        return self.n < FEW

    @property
    def keeps_its_word(self) -> bool:
        """Whether chance alone explains what it is off."""
        return self.error is not None and self.error <= (self.by_chance or 0.0)


def calibration_of(scored: Sequence[tuple[float, bool]], bands: int = BANDS) -> Calibration:
    """Put rows, each with its score from 0 to 1 and whether people found it right, into bands."""
    scores = np.array([min(1.0, max(0.0, score)) for score, _ in scored])
    right = np.array([float(is_right) for _, is_right in scored])
    # 0.3 is 3 tenths, although 0.3 * 10 may come out below.
    places = np.minimum((scores * bands + 1e-9).astype(int), bands - 1)
    rows = np.bincount(places, minlength=bands)
    said = np.bincount(places, weights=scores, minlength=bands)
    found = np.bincount(places, weights=right, minlength=bands)
    return Calibration(
        bands=tuple(
            Band(
                low=at / bands,
                high=(at + 1) / bands,
                said=float(said[at] / rows[at]) if rows[at] else None,
                right=wilson(int(found[at]), int(rows[at])),
            )
            for at in range(bands)
        ),
        error=float(np.abs(said - found).sum() / len(scored)) if scored else None,
        by_chance=_by_chance(scores, places) if scored else None,
    )


def _by_chance(scores: Floats, places: NDArray[np.integer[Any]]) -> float:
    """Return what 95 % of the errors are below if each row is right as likely as its score says."""
    random = np.random.default_rng(0)
    off = np.zeros(DRAWS)
    for at in np.unique(places):
        mine, counts = np.unique(scores[places == at], return_counts=True)
        drawn = random.binomial(counts, mine, size=(DRAWS, len(mine))).sum(axis=1)
        off += np.abs((mine * counts).sum() - drawn)
    return float(np.percentile(off / len(scores), 95))
