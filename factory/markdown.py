"""Markdown of our own making: text that people or models wrote can be read, and change nothing."""

import json
import re
from collections.abc import Sequence

DASH = "-"  # where nothing was measured


def escaped(text: str) -> str:
    """Return text that markdown shows as it is, on one line: no markup, no HTML, no new cell."""
    anywhere = re.sub(r"([\\`*_{}\[\]<>|&~$])", r"\\\1", one_line(text))
    return re.sub(r"^([-+=#])", r"\\\1", anywhere)


def code(text: str) -> str:
    """Return text as a code span."""
    # In a code span nothing is markup but the backtick; in a table the bar still ends the cell.
    shown = one_line(text).replace("`", "'").replace("|", "¦")
    return f"`{shown}`" if shown else DASH


def one_line(text: str) -> str:
    """Return text without line breaks and what cannot be seen."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def yaml_text(text: str) -> str:
    """Return text as a YAML string: JSON strings are that."""
    return json.dumps(one_line(text), ensure_ascii=False)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the cells are markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def figure(value: float | None, form: str) -> str:
    """Write a figure in a format, a dash where there is none."""
    return DASH if value is None else form.format(value)
