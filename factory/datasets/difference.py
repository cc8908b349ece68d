"""What changed between two versions, row by row, from two streams that are read side by side."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

SPLITS = ("train", "validation", "test")
SHOWN = 50  # rows of each kind that are named


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a version, as far as versions differ by it."""

    example: int
    split: str
    target: str
    weight: float


@dataclass(frozen=True)
class Change:
    """A row that is in both versions, with another answer, split or weight."""

    example: int
    before: Line
    after: Line


@dataclass
class Difference:
    """How many rows came, went and changed, the first of each, and what that did to the counts."""

    added: int = 0
    removed: int = 0
    same: int = 0
    retargeted: int = 0
    moved: int = 0  # to another split
    reweighted: int = 0
    shown_added: list[Line] = field(default_factory=list)
    shown_removed: list[Line] = field(default_factory=list)
    shown_retargeted: list[Change] = field(default_factory=list)
    splits: dict[str, tuple[int, int]] = field(default_factory=dict)  # before, after
    labels: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether both versions hold the same rows."""
        return not (self.added or self.removed or self.retargeted or self.moved or self.reweighted)

    def as_json(self) -> dict[str, Any]:
        """Return the difference for a program."""
        return {
            name: getattr(self, name)
            for name in ("added", "removed", "same", "retargeted", "moved", "reweighted", "splits")
        } | {
            "labels": self.labels,
            "shown": {
                "added": [asdict(line) for line in self.shown_added],
                "removed": [asdict(line) for line in self.shown_removed],
                "retargeted": [
                    {"example": c.example, "before": c.before.target, "after": c.after.target}
                    for c in self.shown_retargeted
                ],
            },
        }


def difference(before: Iterable[Line], after: Iterable[Line], *, with_labels: bool) -> Difference:
    """Compare two versions; both streams come in the order of their examples."""
    found = Difference()
    splits: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    labels: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for old, new in _paired(iter(before), iter(after)):
        for side, line in enumerate((old, new)):
            if line is not None:
                splits[side][line.split] += 1
                if with_labels:
                    labels[side][line.target] += 1
        _note(found, old, new)
    found.splits = _both(splits, SPLITS)
    found.labels = _both(labels, sorted(labels[0] | labels[1]))
    return found


def _paired(
    before: Iterator[Line], after: Iterator[Line]
) -> Iterator[tuple[Line | None, Line | None]]:
    old, new = next(before, None), next(after, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.example < new.example):
            yield old, None
            old = next(before, None)
        elif old is None or new.example < old.example:
            yield None, new
            new = next(after, None)
        else:
            yield old, new
            old, new = next(before, None), next(after, None)


def _note(found: Difference, old: Line | None, new: Line | None) -> None:
    if old is None and new is not None:
        found.added += 1
        found.shown_added += [new] if len(found.shown_added) < SHOWN else []
    elif new is None and old is not None:
        found.removed += 1
        found.shown_removed += [old] if len(found.shown_removed) < SHOWN else []
    elif old is not None and new is not None:
        found.same += old == new
        found.moved += old.split != new.split
        found.reweighted += old.weight != new.weight
        if old.target != new.target:
            found.retargeted += 1
            if len(found.shown_retargeted) < SHOWN:
                found.shown_retargeted.append(Change(old.example, old, new))


def _both(
    counts: tuple[Counter[str], Counter[str]], names: Iterable[str]
) -> dict[str, tuple[int, int]]:
    return {name: (counts[0][name], counts[1][name]) for name in names}
