"""The geometry of the pages' charts: numbers in, places on a drawing out."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Axis:
    """A range of values with the ones to write beside it."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Return how far along the axis a value lies, from 0 to 1; clipped to it."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def percent(self, value: float) -> float:
        """Return the same in percent, as SVG takes it."""
        return round(100 * self.share(value), 2)


def axis(values: Iterable[float], ticks: int = 4) -> Axis:
    """Return an axis that holds all values, from one round number to another."""
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / ticks
    magnitude = 10 ** math.floor(math.log10(rough))
    step = magnitude * next(m for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marks = tuple(round(n * step, 10) for n in range(first, last + 1))
    return Axis(marks[0], marks[-1], marks)


@dataclass(frozen=True)
class Dot:
    """A point of a curve: where it is drawn, and what it says."""

    x: float
    y: float
    step: int
    value: float


@dataclass(frozen=True)
class Line:
    """One curve."""

    name: str
    dots: tuple[Dot, ...]

    @property
    def points(self) -> str:
        """Return the points as an SVG polyline takes them."""
        return " ".join(f"{dot.x},{dot.y}" for dot in self.dots)


@dataclass(frozen=True)
class Mark:
    """A tick: where it is drawn, and what it says."""

    place: float
    value: float


@dataclass(frozen=True)
class Chart:
    """A drawing `width` by `height`, the curves within its margins."""

    width: int
    height: int
    left: int
    bottom: int
    right: int
    lines: tuple[Line, ...]
    x_marks: tuple[Mark, ...]
    y_marks: tuple[Mark, ...]


WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 28


def curves(series: dict[str, Sequence[tuple[int, float]]], last_step: int = 0) -> Chart:
    """Draw curves over steps; `last_step` keeps room for what is still to come."""
    finite = {
        name: [(step, value) for step, value in points if math.isfinite(value)]
        for name, points in series.items()
    }
    steps = [step for points in finite.values() for step, _ in points]
    across = Axis(0, max([last_step, 1, *steps]), ())
    up = axis([0.0, *(value for points in finite.values() for _, value in points)])
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(step: float) -> float:
        return round(LEFT + across.share(step) * (right - LEFT), 1)

    def y(value: float) -> float:
        return round(floor - up.share(value) * (floor - TOP), 1)

    lines = tuple(
        Line(name, tuple(Dot(x(step), y(value), step, value) for step, value in points))
        for name, points in finite.items()
        if points
    )
    stops = sorted({round(across.high * quarter / 4) for quarter in range(5)})
    return Chart(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        bottom=floor,
        right=right,
        lines=lines,
        x_marks=tuple(Mark(x(stop), stop) for stop in stops),
        y_marks=tuple(Mark(y(tick), tick) for tick in up.ticks),
    )


@dataclass(frozen=True)
class Bar:
    """One bar: what it stands for, how many, and its share of the longest from 0 to 100."""

    name: str
    count: int
    percent: float


def bars(counts: dict[str, int]) -> list[Bar]:
    """Return a bar for each name, in the order given."""
    longest = max(counts.values(), default=0) or 1
    return [Bar(name, count, round(100 * count / longest, 2)) for name, count in counts.items()]


WIDE_LEFT = 60  # where amounts of money are written beside the axis


@dataclass(frozen=True)
class Plot:
    """A line, and the band that it may lie in, on two axes; ready for SVG's `points`."""

    width: int
    height: int
    left: int
    bottom: int
    right: int
    top: int
    line: str
    band: str
    x_marks: tuple[Mark, ...]
    y_marks: tuple[Mark, ...]
    across: Axis
    up: Axis

    def x(self, value: float) -> float:
        """Return where a value of the horizontal axis is drawn."""
        return round(self.left + self.across.share(value) * (self.right - self.left), 1)

    def y(self, value: float) -> float:
        """Return where a value of the vertical axis is drawn."""
        return round(self.bottom - self.up.share(value) * (self.bottom - self.top), 1)


def plot(
    line: Sequence[tuple[float, float]],
    across: Axis,
    up: Axis,
    band: Sequence[tuple[float, float, float]] = (),
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Plot:
    """Draw a line of (x, y), and a band of (x, low, high); both are clipped to the axes."""
    width, height = size
    right, floor = width - RIGHT, height - BOTTOM
    empty = Plot(width, height, WIDE_LEFT, floor, right, TOP, "", "", (), (), across, up)
    edge = [(x, low) for x, low, _ in band] + [(x, high) for x, _, high in reversed(band)]
    return replace(
        empty,
        line=" ".join(f"{empty.x(x)},{empty.y(y)}" for x, y in line),
        band=" ".join(f"{empty.x(x)},{empty.y(y)}" for x, y in edge),
        x_marks=tuple(Mark(empty.x(tick), tick) for tick in across.ticks),
        y_marks=tuple(Mark(empty.y(tick), tick) for tick in up.ticks),
    )


@dataclass(frozen=True)
class Column:
    """One column: its place and size, and what it says."""

    x: float
    y: float
    width: float
    height: float
    name: str
    value: float


@dataclass(frozen=True)
class Columns:
    """Columns side by side, some of them named below."""

    width: int
    height: int
    left: int
    bottom: int
    right: int
    columns: tuple[Column, ...]
    named: tuple[Column, ...]
    y_marks: tuple[Mark, ...]


COLUMN_NAMES = 4  # below the columns; more would run into each other
WIDEST = 72  # a single column is no wall


def columns(
    values: Sequence[tuple[str, float]], size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Columns:
    """Draw named values as columns from zero up."""
    width, height = size
    up = axis([0.0, *(value for _, value in values)])
    left, floor, right = WIDE_LEFT, height - BOTTOM, width - RIGHT
    step = min(WIDEST, (right - left) / max(len(values), 1))
    drawn = tuple(
        Column(
            x=round(left + at * step, 1),
            y=round(floor - up.share(value) * (floor - TOP), 1),
            width=round(max(1.0, step * 0.78), 1),
            height=round(up.share(value) * (floor - TOP), 1),
            name=name,
            value=value,
        )
        for at, (name, value) in enumerate(values)
    )
    every = max(1, math.ceil(len(drawn) / COLUMN_NAMES))
    marks = tuple(Mark(round(floor - up.share(tick) * (floor - TOP), 1), tick) for tick in up.ticks)
    return Columns(width, height, left, floor, right, drawn, drawn[::every], marks)
