"""How the pages of insight and of label sets draw their charts and write their intervals."""

from collections.abc import Sequence

from django import template

from factory.charts import Axis, Columns, Plot, axis, bars, columns, plot
from factory.intervals import Share
from labeling.curves import Curve, Point, Worth, Yield

register = template.Library()

HALF = (500, 220)
WHOLE = (1080, 300)
MINUS = "\N{MINUS SIGN}"
BARS = 10


@register.filter
def interval(share: Share) -> str:
    """Write a share's 95 % interval."""
    return f"{share.low:.1%} to {share.high:.1%}"


@register.filter
def points(value: float) -> str:
    """Write a gain in percentage points, with its sign."""
    amount = 100 * value
    sign = MINUS if amount < -0.05 else "+" if amount > 0.05 else ""
    return f"{sign}{abs(amount):.1f}"


@register.filter
def worth(gain: Worth) -> str:
    """Write a gain with its interval."""
    ends = f"{points(gain.low)} to {points(gain.high)}"
    return f"{points(gain.value)} points ({ends})"


@register.filter
def as_learning(curve: Curve) -> Plot:
    """Draw the measured points and the forecast as one line, with its band."""
    every = _points(curve)
    across = axis([0.0, *(float(point.rows) for point in every)], 5)
    up = axis([edge for point in every for edge in (point.low, point.high)])
    up = Axis(max(0.0, up.low), min(1.0, up.high), tuple(t for t in up.ticks if 0 <= t <= 1))
    line = [(float(point.rows), point.value) for point in every]
    band = [(float(point.rows), point.low, point.high) for point in every]
    return plot(line, across, up, band, size=WHOLE)


def _points(curve: Curve) -> list[Point]:
    return sorted((*curve.measured, *curve.forecast), key=lambda point: point.rows)


@register.filter
def as_yields(batches: Sequence[Yield]) -> Columns:
    """Draw the share of wrong rows in each batch of decisions."""
    last = [0, *(sum(batch.decided for batch in batches[: at + 1]) for at in range(len(batches)))]
    named = zip(last, batches, strict=False)
    return columns([(f"from {start + 1}", batch.share) for start, batch in named], HALF)


@register.filter
def column_y(drawn: Columns, value: float) -> float:
    """Return where a value lies beside columns; they stand on zero."""
    top = drawn.y_marks[-1]
    per_unit = (drawn.bottom - top.place) / top.value if top.value else 0.0
    return round(drawn.bottom - min(value, top.value) * per_unit, 1)


@register.filter
def as_scores(histogram: Sequence[int]) -> object:
    """Draw how many rows have which suspicion."""
    names = {f"{at / BARS:.1f} to {(at + 1) / BARS:.1f}": n for at, n in enumerate(histogram)}
    return bars(names)


@register.filter
def times(value: float, factor: float) -> float:
    """Multiply."""
    return value * factor


@register.filter
def width_from(drawn: Plot, value: float) -> float:
    """Return how wide the drawing is to the right of a value."""
    return round(drawn.right - drawn.x(value), 1)


@register.filter
def height(drawn: Plot) -> float:
    """Return how high the drawing is between its axes."""
    return drawn.bottom - drawn.top
