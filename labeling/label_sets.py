"""Two label sets over the same inputs: how far they agree, and where they do not.

Labels agree or they do not; JSON agrees as a whole and field by field, whatever the order of its
fields; texts agree word for word, or nearly.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from factory.answers import BrokenAnswer, comparable, labels_of, read_json
from factory.intervals import Share, wilson
from factory.messages import Json
from labeling.agreement import kappa_of
from labeling.fields import leaves_of, said

NEAR = 0.8  # share of common words from which two texts nearly agree
NAMED = 24  # answers that a matrix names; the rarer ones are one
SHADES = 9
ABSENT, OTHERS, DIFFERENT = "(absent)", "(others)", "(different)"
WORDS = re.compile(r"\w+")

Group = tuple[str, str, int]  # the first set's answer, the second's, and how many rows have both


@dataclass(frozen=True)
class Cell:
    """How many rows have this answer in the first set and that one in the second.

    `shade` goes from 0 (none) to `SHADES`, by the cell's share of its row.
    """

    first: str
    second: str
    count: int
    shade: int


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: `rows[i][j]` is for the i-th and the j-th of `names`."""

    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Field:
    """How often a field is the same; rows in which neither set has it are not counted."""

    path: str
    agreement: Share
    kappa: float | None
    values: int  # distinct ones


@dataclass(frozen=True)
class Comparison:
    """Two sets over the rows that both answer.

    `near` is for texts alone: the share that agrees at least nearly. `matrix` is that of the
    answers or, for JSON, of the field named by `field`; None where there is no telling them apart.
    """

    agreement: Share
    kappa: float | None
    near: Share | None
    fields: tuple[Field, ...]
    field: str
    matrix: Matrix | None


def compare(groups: Iterable[Group], schema: Json | None, field: str = "") -> Comparison:
    """Compare two sets, given as counted pairs; each pair is looked at once and let go.

    `field` picks the matrix of a JSON workload; without one it is the most telling field's: of
    those with few enough values, the one that agrees least.
    """
    if schema is None:
        return _texts(groups)
    if labels_of(schema) or schema.get("type") == "string":
        counts: Counter[tuple[str, str]] = Counter()
        for first, second, n in groups:
            counts[comparable(first, schema), comparable(second, schema)] += n
        agreement, kappa = _agreement(counts), kappa_of(counts)
        return Comparison(agreement, kappa, None, (), "", matrix_of(counts, labels_of(schema)))
    return _objects(groups, schema, field)


def _texts(groups: Iterable[Group]) -> Comparison:
    same = near = total = 0
    for first, second, n in groups:
        total += n
        is_same = first.strip() == second.strip()
        same += n * is_same
        near += n * (is_same or similarity(first, second) >= NEAR)
    return Comparison(wilson(same, total), None, wilson(near, total), (), "", None)


def similarity(first: str, second: str) -> float:
    """Return the share of two texts' words that they have in common (Jaccard), 0 to 1."""
    a, b = (set(WORDS.findall(text.casefold())) for text in (first, second))
    return len(a & b) / len(a | b) if a or b else 1.0


def _objects(groups: Iterable[Group], schema: Json, field: str) -> Comparison:
    same = total = 0
    by_field: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for first, second, n in groups:
        total += n
        same += n * is_same(first, second, schema)
        for path, *values in field_pairs(first, second):
            _count(by_field[path], values[0], values[1], n)
    fields = tuple(_field(path, counts) for path, counts in by_field.items())
    fields = tuple(sorted(fields, key=lambda found: (-found.agreement.n, found.path)))
    few = [found for found in fields if 1 < found.values <= NAMED]
    telling = min(few, key=lambda found: found.agreement.value or 0.0, default=None)
    chosen = field if field in by_field else telling.path if telling else ""
    matrix = matrix_of(by_field[chosen], []) if chosen else None
    return Comparison(wilson(same, total), None, None, fields, chosen, matrix)


def _count(counts: Counter[tuple[str, str]], a: str, b: str, n: int) -> None:
    # A field of free values would keep every row's; whether they are the same is all that counts.
    if len(counts) < NAMED * NAMED or (a, b) in counts:
        counts[a, b] += n
    else:
        counts[(OTHERS, OTHERS) if a == b else (OTHERS, DIFFERENT)] += n


def _field(path: str, counts: Counter[tuple[str, str]]) -> Field:
    values = {answer for pair in counts for answer in pair}
    return Field(path, _agreement(counts), kappa_of(counts), len(values))


def _agreement(counts: Counter[tuple[str, str]]) -> Share:
    return wilson(sum(n for (a, b), n in counts.items() if a == b), counts.total())


def is_same(first: str, second: str, schema: Json | None) -> bool:
    """Tell whether two answers are equal."""
    return first == second or comparable(first, schema) == comparable(second, schema)


def field_pairs(first: str, second: str) -> Iterator[tuple[str, str, str]]:
    """Yield (path, value, value) for each field of two JSON answers; a broken one has none."""
    a, b = _fields(first), _fields(second)
    for path in sorted(a.keys() | b.keys()):
        yield path, a.get(path, ABSENT), b.get(path, ABSENT)


def _fields(output: str) -> dict[str, str]:
    try:
        value = read_json(output)
    except BrokenAnswer:
        return {}
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path, leaf in leaves_of(value):
        found[path or "answer"].append(said(leaf))
    return {path: ", ".join(sorted(values)) for path, values in found.items()}


# --- the matrix -----------------------------------------------------------------------------------
def matrix_of(counts: Counter[tuple[str, str]], labels: Sequence[str]) -> Matrix | None:
    """Return the confusion matrix, in the order of the labels, else of frequency."""
    seen: Counter[str] = Counter()
    for (a, b), n in counts.items():
        seen[a] += n
        seen[b] += n
    if not seen:
        return None
    common = [name for name, _ in seen.most_common(NAMED)]
    ordered = [name for name in labels if name in seen and name in common]
    names = ordered + [name for name in common if name not in labels]
    known = set(names)
    merged: Counter[tuple[str, str]] = Counter()
    for (a, b), n in counts.items():
        merged[a if a in known else OTHERS, b if b in known else OTHERS] += n
    if len(seen) > len(names):
        names.append(OTHERS)
    return Matrix(tuple(names), tuple(_row(name, names, merged) for name in names))


def _row(first: str, names: Sequence[str], counts: Counter[tuple[str, str]]) -> tuple[Cell, ...]:
    cells = [Cell(first, second, counts[first, second], 0) for second in names]
    total = sum(cell.count for cell in cells) or 1
    return tuple(
        replace(cell, shade=max(1, round(SHADES * cell.count / total)) if cell.count else 0)
        for cell in cells
    )


def in_cell(first: str, second: str, cell: tuple[str, str], schema: Json | None, path: str) -> bool:
    """Tell whether a pair of answers lies in a cell, of the matrix of a field where one is named.

    The rare answers, which a matrix shows as one, are in no cell of their own.
    """
    if path:
        return any(found == (path, *cell) for found in field_pairs(first, second))
    return (comparable(first, schema), comparable(second, schema)) == cell
