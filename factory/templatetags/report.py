"""How a suitability report draws its charts and writes its money."""

from collections.abc import Sequence
from typing import Any

from django import template

from factory.charts import Axis, Columns, Plot, axis, columns, plot
from factory.intervals import Share
from factory.suitability.inputs import Bin
from factory.suitability.report import Report
from factory.suitability.savings import Forecast
from factory.suitability.traffic import Day

register = template.Library()

WHOLE, HALF = (1080, 300), (500, 220)  # charts across the page, and two side by side
SHOWN_DAYS = 728  # of the balance: what comes after is guesswork
MONTH = 365 / 12
MINUS = "\N{MINUS SIGN}"


@register.filter
def money(value: Any) -> str:
    """Write an amount for a glance: whole dollars from ten on, cents below."""
    if value is None:
        return "unknown"
    amount = float(value)
    sign, size = (MINUS if amount < 0 else ""), abs(amount)
    if 0 < size < 0.01:
        return f"{sign}${size:.4f}"
    return f"{sign}${size:,.0f}" if size >= 10 or size == 0 else f"{sign}${size:,.2f}"


@register.filter
def tick(value: Any, unit: str = "") -> str:
    """Write a number beside an axis, as short as it goes; `unit` stands before it."""
    amount = float(value)
    sign, size = (MINUS if amount < 0 else ""), abs(amount)
    for step, name in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if size >= step:
            return f"{sign}{unit}{size / step:,.4g}{name}"
    return f"{sign}{unit}{size:,.4g}"


@register.filter
def tick_percent(value: Any) -> str:
    """Write a share beside an axis."""
    return f"{100 * float(value):.4g}%"


@register.filter
def yearly(value: Any) -> float | None:
    """Turn an amount a day into one a year."""
    return None if value is None else 365 * float(value)


@register.filter
def per_cent(value: Any) -> str:
    """Write a share in whole percent, without calling nearly all of it all."""
    if value is None:
        return "n/a"
    share = float(value)
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{share:.0%}"


@register.filter
def as_fan(forecast: Forecast) -> Plot:
    """Draw the balance of the first two years."""
    shown = [band for band in forecast.balance if band.day <= SHOWN_DAYS]
    # The band's far end may dwarf everything else: the axis takes in the likely line thrice over.
    most = max(abs(band.middle) for band in shown) * 3
    ends = [max(-most, min(most, edge)) for band in shown for edge in (band.low, band.high)]
    months = Axis(0.0, SHOWN_DAYS / MONTH, (0.0, 6.0, 12.0, 18.0, 24.0))
    return plot(
        [(band.day / MONTH, band.middle) for band in shown],
        months,
        axis([0.0, *ends]),
        [(band.day / MONTH, band.low, band.high) for band in shown],
        size=WHOLE,
    )


@register.filter
def in_months(days: float | None) -> float | None:
    """Turn days into months, for a place on an axis of months."""
    return None if days is None or days > SHOWN_DAYS else days / MONTH


@register.filter
def x_of(drawn: Plot, value: float) -> float:
    """Return where a value of the horizontal axis is drawn."""
    return drawn.x(value)


@register.filter
def y_of(drawn: Plot, value: float) -> float:
    """Return where a value of the vertical axis is drawn."""
    return drawn.y(value)


@register.filter
def as_columns(days: Sequence[Day]) -> Columns:
    """Draw the calls of each day."""
    return columns([(f"{day.day:%b} {day.day.day}", day.calls) for day in days], HALF)


@register.filter
def as_histogram(bins: Sequence[Bin]) -> Columns:
    """Draw how long the prompts are."""
    return columns([(f"{each.low:,}", each.count) for each in bins], HALF)


@register.filter
def as_coverage(report: Report) -> Plot | None:
    """Draw how often a linear model agrees on the calls that it is surest of."""
    linear = report.case.profile.linear
    if linear is None:
        return None
    points = [(point.coverage, point.agreement) for point in linear.curve]
    lowest = min([report.wanted_agreement, *(y for _, y in points)])
    share = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))
    return plot(points, share, axis([lowest, 1.0]), size=HALF)


@register.filter
def whole(value: Any) -> float:
    """Turn a share into percent of a bar's width."""
    return round(100 * float(value), 2)


@register.filter
def is_few(share: Share, needed: int) -> bool:
    """Whether a share rests on too few rows to be leant on."""
    return share.n < needed
