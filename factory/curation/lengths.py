"""How long inputs usually are, and which are outliers."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from factory.curation.recipe import Length
from factory.messages import Json

ENOUGH = 100  # texts, below which nothing is usual yet
NORMAL = 1.4826  # makes a median deviation comparable to a standard deviation
# Of the logarithm: texts of one length only would make outliers of all others.
LEAST_SPREAD = 0.4


@dataclass(frozen=True)
class Usual:
    """The middle and the spread of the logarithms of lengths, of the texts seen first."""

    middle: float
    spread: float

    def as_json(self) -> Json:
        """Return what `usual_from_json` reads."""
        return asdict(self)


def usual_from_json(value: Json) -> Usual | None:
    """Read what `as_json` wrote; None for nothing."""
    return Usual(**value) if value else None


def usual_of(texts: Sequence[str]) -> Usual | None:
    """Measure texts; None for too few to say."""
    logs = [math.log(len(text)) for text in texts if text]
    if len(logs) < ENOUGH:
        return None
    middle = median(logs)
    spread = NORMAL * median(abs(log - middle) for log in logs)
    return Usual(middle, max(spread, LEAST_SPREAD))


def outlier(text: str, step: Length, usual: Usual | None) -> str:
    """Say whether a text is "too_short" or "too_long"; empty where it is neither."""
    if len(text) < step.shortest:
        return "too_short"
    if len(text) > step.longest:
        return "too_long"
    if usual is None or not step.deviations:
        return ""
    away = (math.log(len(text) or 1) - usual.middle) / usual.spread
    if abs(away) <= step.deviations:
        return ""
    return "too_long" if away > 0 else "too_short"
