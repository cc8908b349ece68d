"""The entries of a log that were refused: which, and why."""

from collections.abc import Iterable, Iterator
from typing import Any

KEPT_PROBLEMS = 200  # with their reason
KEPT_LINES = 100_000  # by number; of what is refused beyond, the count tells


class Refusals:
    """Collects what was refused, in the order of the log; memory is bounded."""

    def __init__(self) -> None:
        self.problems: list[dict[str, Any]] = []
        self.lines: list[int] = []

    def add(self, refused: Iterable[tuple[int, str]]) -> None:
        """Remember refused entries with the reason."""
        for number, message in refused:
            if len(self.problems) < KEPT_PROBLEMS:
                self.problems.append({"line": number, "message": message})
            if len(self.lines) < KEPT_LINES and self.lines[-1:] != [number]:
                self.lines.append(number)

    def as_json(self) -> dict[str, Any]:
        """Return the first problems, and all numbers in the short form `3,7-9`."""
        return {"problems": self.problems, "refused_lines": ",".join(_ranges(self.lines))}


def _ranges(numbers: Iterable[int]) -> Iterator[str]:
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None:
            yield _range(first, last)
        first = last = number
    if first is not None:
        yield _range(first, last)


def _range(first: int, last: int | None) -> str:
    return str(first) if first == last else f"{first}-{last}"


def numbers_in(ranges: str) -> Iterator[int]:
    """Yield the numbers that the short form stands for."""
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
