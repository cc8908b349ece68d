"""How far raters agree, beyond chance and with how much doubt.

An item is what its raters answered: {rater: answer}. A rater is a person or a model, and need not
answer every item. Intervals are 95 % percentiles of a seeded bootstrap over items.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from factory.intervals import Share, wilson

DRAWS, CHUNK = 1000, 100  # bootstrap samples, and how many of them at a time
FEWEST_DEFINED = 0.5  # of the samples; below, there is no interval
MOST_LABELS = 50  # that are measured one by one, the commonest

NO_PAIR = "no row has two answers"
ONE_ANSWER = "all answers are the same one, as chance alone would have it"

Item = Mapping[str, str]
Answers = tuple[str, ...]
Floats = NDArray[np.float64]
# Figures of weighted items: (samples, items) in, (samples, figures) out, NaN where undefined.
Statistic = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Measure:
    """A figure over `n` items; `why` says why it has none.

    The ends are None where all samples come to the same, as where nobody ever disagreed: that no
    disagreement was met does not say how rare it is.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    why: str = ""


@dataclass(frozen=True)
class LabelAgreement:
    """How far raters agree whether an answer is this one, which somebody gave for `n` items."""

    label: str
    n: int
    alpha: Measure


@dataclass(frozen=True)
class PairAgreement:
    """How far two raters agree over the items that both answered."""

    first: str
    second: str
    same: Share
    kappa: Measure


@dataclass(frozen=True)
class Agreement:
    """All raters together, by label, and two by two.

    `same` is how likely another's answer to the same item is the same. `fleiss` needs as many
    answers to each item: it is over those with `fleiss_answers`, the commonest number.
    `interval_alpha` is for answers that are numbers, None for others. `labels` are the commonest.
    """

    same: Measure
    fleiss: Measure
    fleiss_answers: int
    alpha: Measure
    interval_alpha: Measure | None
    labels: tuple[LabelAgreement, ...]
    pairs: tuple[PairAgreement, ...]


# --- two raters -----------------------------------------------------------------------------------
def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Return two raters' agreement beyond chance (Cohen 1960): 1 is full, 0 is chance.

    None where it is not defined: no rows, or both raters gave one and the same answer throughout.
    """
    return kappa_of(Counter(pairs))


def kappa_of(counts: Mapping[tuple[str, str], int]) -> float | None:
    """Return Cohen's kappa of counted pairs."""
    first: Counter[str] = Counter()
    second: Counter[str] = Counter()
    for (a, b), n in counts.items():
        first[a] += n
        second[b] += n
    total = first.total()
    chance = sum(first[answer] * second[answer] for answer in first)
    expected = chance / (total * total) if total else 1.0
    if expected == 1.0:
        return None
    agreeing = sum(n for (a, b), n in counts.items() if a == b)
    return (agreeing / total - expected) / (1 - expected)


def kappa_measured(counts: Mapping[tuple[str, str], int]) -> Measure:
    """Return Cohen's kappa of counted pairs with its interval."""
    cells = list(counts)
    names = sorted({answer for cell in cells for answer in cell})
    first, second = (_counts([(cell[at],) for cell in cells], names) for at in (0, 1))
    same = np.array([a == b for a, b in cells], dtype=float)

    def kappa(weights: Floats) -> Floats:
        total = weights.sum(axis=1)
        chance = ((weights @ first) * (weights @ second)).sum(axis=1) / total**2
        return np.asarray((weights @ same / total - chance) / (1.0 - chance))[:, None]

    return _measured(kappa, [counts[cell] for cell in cells])[0]


def pair_agreements(items: Iterable[Item]) -> list[PairAgreement]:
    """Return how far each two raters agree who share an item, those with the most shared first."""
    counts: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
    for item in items:
        for first, second in combinations(sorted(item), 2):
            counts.setdefault((first, second), Counter())[item[first], item[second]] += 1
    found = [
        PairAgreement(
            first=first,
            second=second,
            same=wilson(sum(n for (a, b), n in shared.items() if a == b), shared.total()),
            kappa=kappa_measured(shared),
        )
        for (first, second), shared in counts.items()
    ]
    return sorted(found, key=lambda pair: (-pair.same.n, pair.first, pair.second))


# --- any number of raters -------------------------------------------------------------------------
def fleiss_kappa(items: Iterable[Item]) -> Measure:
    """Return the agreement beyond chance of equally many answers to each item (Fleiss 1971).

    `ValueError` where the numbers differ.
    """
    patterns = Counter(tuple(sorted(item.values())) for item in items)
    if len({len(pattern) for pattern in patterns}) > 1:
        raise ValueError("Fleiss' kappa needs as many answers to each item")
    table = _Table(patterns)
    return _measured(lambda weights: _fleiss(*table.totals(weights)), table.items)[0]


def krippendorff_alpha(items: Iterable[Item]) -> Measure:
    """Return the nominal alpha (Krippendorff 2011); items with one answer do not count."""
    table = _Table(Counter(tuple(sorted(item.values())) for item in items))
    return _measured(lambda weights: _alpha(*table.totals(weights)), table.items)[0]


def krippendorff_interval(items: Iterable[Item]) -> Measure:
    """Return the alpha of answers that are numbers: how far apart they are counts, squared."""
    patterns = Counter(tuple(sorted(item.values())) for item in items)
    kept = [pattern for pattern in patterns if len(pattern) > 1]
    values = [np.array([float(answer) for answer in pattern]) for pattern in kept]
    # By pattern: how many, their sum, the sum of squares, and how far apart they are.
    parts = np.array(
        [(len(v), v.sum(), v @ v, 2 * len(v) * v.var() * len(v) / (len(v) - 1)) for v in values]
    ).reshape(-1, 4)

    def alpha(weights: Floats) -> Floats:
        n, total, squares, apart = (weights @ parts).T
        return np.asarray(1 - (n - 1) * apart / (2 * (n * squares - total**2)))[:, None]

    return _measured(alpha, [patterns[pattern] for pattern in kept])[0]


def agreement_of(items: Sequence[Item]) -> Agreement:
    """Measure the agreement of all raters over all items."""
    patterns = Counter(tuple(sorted(item.values())) for item in items)
    table = _Table(patterns)
    shown = sorted(range(len(table.names)), key=lambda at: -table.having[at])[:MOST_LABELS]

    def figures(weights: Floats) -> Floats:
        used, apart = table.totals(weights)
        same = 1 - apart.sum(axis=1, keepdims=True) / used.sum(axis=1, keepdims=True)
        return np.hstack([same, _alpha(used, apart), _label_alphas(used, apart, shown)])

    same, alpha, *alphas = _measured(figures, table.items) if table.names else [_undefined()] * 2
    by_number: Counter[int] = Counter()
    for pattern, n in patterns.items():
        by_number[len(pattern)] += n * (len(pattern) > 1)
    answers = max(by_number, key=lambda number: (by_number[number], number), default=0)
    labels = [
        LabelAgreement(table.names[at], table.having[at], one)
        for at, one in zip(shown, alphas, strict=True)
    ]
    return Agreement(
        same=same,
        fleiss=fleiss_kappa([item for item in items if len(item) == answers > 1]),
        fleiss_answers=answers,
        alpha=alpha,
        interval_alpha=krippendorff_interval(items) if _are_numbers(table.names) else None,
        labels=tuple(labels),
        pairs=tuple(pair_agreements(items)),
    )


class _Table:
    """Patterns of two answers or more; how often each occurs, and what it adds to each label."""

    def __init__(self, patterns: Mapping[Answers, int]) -> None:
        kept = [pattern for pattern in patterns if len(pattern) > 1]
        self.items = [patterns[pattern] for pattern in kept]
        self.names = sorted({answer for pattern in kept for answer in pattern})
        self.used = _counts(kept, self.names)
        sizes = np.repeat([len(pattern) for pattern in kept], np.diff(self.used.indptr))
        others = self.used.data * (sizes - self.used.data) / (sizes - 1)
        # Of an item's answers that are the label, how many differ from another one drawn there.
        self.apart = csr_array((others, self.used.indices, self.used.indptr), self.used.shape)
        self.having = [int(n) for n in np.array(self.items) @ (self.used > 0)]

    def totals(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return by sample and label how many answers are it, and how many of them differ."""
        return np.asarray(weights @ self.used), np.asarray(weights @ self.apart)


def _counts(rows: Sequence[Answers], names: Sequence[str]) -> csr_array:
    at = {name: place for place, name in enumerate(names)}
    tallies = [Counter(row) for row in rows]
    return csr_array(
        (
            np.array([float(n) for tally in tallies for n in tally.values()]),
            (
                [row for row, tally in enumerate(tallies) for _ in tally],
                [at[name] for tally in tallies for name in tally],
            ),
        ),
        shape=(len(rows), len(names)),
    )


def _alpha(used: Floats, apart: Floats) -> Floats:
    n = used.sum(axis=1, keepdims=True)
    chance = (used * (n - used)).sum(axis=1, keepdims=True)
    return np.asarray(1 - (n - 1) * apart.sum(axis=1, keepdims=True) / chance)


def _label_alphas(used: Floats, apart: Floats, shown: Sequence[int]) -> Floats:
    """Return the alphas of some labels, each against all others as one."""
    n = used.sum(axis=1, keepdims=True)
    mine = used[:, shown]
    return np.asarray(1 - (n - 1) * apart[:, shown] / (mine * (n - mine)))


def _fleiss(used: Floats, apart: Floats) -> Floats:
    n = used.sum(axis=1, keepdims=True)
    chance = (used * (n - used)).sum(axis=1, keepdims=True)
    return np.asarray(1 - n * apart.sum(axis=1, keepdims=True) / chance)


def _are_numbers(names: Sequence[str]) -> bool:
    try:
        return len(names) > 1 and bool(np.isfinite([float(name) for name in names]).all())
    except ValueError:
        return False


# --- figures with intervals -----------------------------------------------------------------------
def _undefined() -> Measure:
    return Measure(None, None, None, 0, NO_PAIR)


def _measured(statistic: Statistic, items: Sequence[int]) -> list[Measure]:
    """Return a statistic's figures; `items` says how often each kind of item occurs."""
    n = sum(items)
    if n == 0:
        return [_undefined()]
    random = np.random.default_rng(0)
    shares = np.array(items) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        values = statistic(np.array([items], dtype=float))[0]
        drawn = np.vstack(
            [
                statistic(random.multinomial(n, shares, CHUNK).astype(float))
                for _ in range(DRAWS // CHUNK)
            ]
        )
    return [
        _measure(float(value), column, n) for value, column in zip(values, drawn.T, strict=True)
    ]


def _measure(value: float, drawn: Floats, n: int) -> Measure:
    if not np.isfinite(value):
        return Measure(None, None, None, n, ONE_ANSWER)
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < FEWEST_DEFINED * len(drawn) or np.ptp(defined) < 1e-12:
        return Measure(value, None, None, n)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Measure(value, float(low), float(high), n)
