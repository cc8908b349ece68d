"""The geometry of the charts."""

import pytest

from factory.charts import axis, bars, columns, curves, plot


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.31, 0.95], (0.2, 0.4, 0.6, 0.8, 1.0)),
        ([0.0, 2.4], (0.0, 1.0, 2.0, 3.0)),
        ([0.9, 0.93], (0.9, 0.91, 0.92, 0.93)),
        ([5, 5], (4.5, 4.75, 5.0, 5.25, 5.5)),
        ([], (0.0, 0.25, 0.5, 0.75, 1.0)),
    ],
)
def test_an_axis_holds_every_value_between_round_numbers(
    values: list[float], ticks: tuple[float, ...]
) -> None:
    assert axis(values).ticks == pytest.approx(ticks)


def test_places_on_an_axis_are_clipped_to_it() -> None:
    scale = axis([0, 1])
    assert [scale.percent(value) for value in (-1, 0, 0.5, 1, 2)] == [0, 0, 50, 100, 100]


def test_a_curve_leaves_room_for_the_steps_to_come_and_leaves_out_what_is_not_finite() -> None:
    chart = curves({"loss": [(10, 2.0), (20, float("nan")), (30, 1.0)], "none": []}, last_step=60)
    (line,) = chart.lines
    assert [dot.step for dot in line.dots] == [10, 30]
    assert line.dots[1].x == pytest.approx((chart.left + chart.right) / 2, abs=0.1)
    assert line.dots[0].y < line.dots[1].y < chart.bottom
    assert [mark.value for mark in chart.x_marks] == [0, 15, 30, 45, 60]


def test_the_longest_bar_is_full() -> None:
    assert [bar.percent for bar in bars({"a": 4, "b": 1, "c": 0})] == [100, 25, 0]
    assert [bar.percent for bar in bars({"a": 0})] == [0]


def test_a_plot_keeps_its_band_around_its_line_and_within_its_axes() -> None:
    scale = axis([0, 10])
    drawn = plot([(0, 0), (10, 5)], scale, scale, [(0, 0, 1), (10, 4, 99)])
    assert drawn.line == f"{drawn.left}.0,{drawn.bottom}.0 {drawn.right}.0,{drawn.y(5)}"
    corners = [tuple(map(float, point.split(","))) for point in drawn.band.split()]
    assert corners[0] == (drawn.left, drawn.bottom)
    assert corners[2] == (drawn.right, drawn.top)  # clipped
    assert [mark.value for mark in drawn.x_marks] == list(scale.ticks)


def test_columns_stand_on_the_floor_and_few_of_many_are_named() -> None:
    drawn = columns([(str(n), n) for n in range(30)])
    assert {column.y + column.height for column in drawn.columns} == {drawn.bottom}
    assert drawn.columns[0].height == 0
    assert len(drawn.named) <= 4
    assert drawn.columns[-1].x + drawn.columns[-1].width <= drawn.right
    assert columns([]).columns == ()
