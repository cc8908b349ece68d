"""What the first rows of a job say about the rest: whether it works, and what it will cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from statistics import fmean, stdev

from scipy.special import stdtrit

from factory.messages import Json

ROWS = 16
MAY_FAIL = 1
CONFIDENCE = 0.95


def smoke_report(
    statuses: Mapping[str, int], problems: Sequence[str], prices: Sequence[Decimal], total: int
) -> Json:
    """Return what a smoke run came to; `prices` are those of its rows, in USD.

    The whole job's price comes with its 95 % interval by Student's t: prices of rows are not
    normal, but the sum of hundreds is near enough, and only their spread is taken from so few.
    """
    failed = sum(n for status, n in statuses.items() if status in {"invalid", "failed"})
    reasons = Counter(problems).most_common(3)
    return {
        "rows": sum(statuses.values()),
        "failed": failed,
        "passed": failed <= MAY_FAIL,
        "reasons": [[reason, n] for reason, n in reasons],
        **_price([float(price) for price in prices], total),
    }


def _price(prices: Sequence[float], total: int) -> Json:
    if len(prices) < 2:
        return {}
    middle = fmean(prices)
    quantile = float(stdtrit(len(prices) - 1, (1 + CONFIDENCE) / 2))
    half = quantile * stdev(prices) / len(prices) ** 0.5
    low, high = max(0.0, middle - half), middle + half
    return {"usd": middle * total, "low_usd": low * total, "high_usd": high * total}


def problem_of(report: Json) -> str:
    """Say why a job stops after its smoke run."""
    reasons = "; ".join(f"{reason} ({n})" for reason, n in report["reasons"])
    return (
        f"Smoke run: {report['failed']} of the first {report['rows']} rows have no usable answer. "
        f"{reasons}"
    )
