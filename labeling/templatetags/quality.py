"""How the page of quality draws a reliability diagram."""

from django import template

from factory.charts import Axis, Plot, plot

register = template.Library()

SIZE = (500, 300)
UNIT = Axis(0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))


@register.simple_tag
def reliability() -> Plot:
    """Draw the axes, and the line that a score which keeps its word follows."""
    return plot([(0.0, 0.0), (1.0, 1.0)], UNIT, UNIT, size=SIZE)
