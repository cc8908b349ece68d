"""What more labels are worth: a linear model's accuracy by the number of rows it learnt from.

The model is cheap and the test split is pinned, so the curve is measured, not guessed; beyond the
last point it goes on by a power law, error(n) = floor + scale * n^-power, and is a forecast.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from factory.answers import BrokenAnswer, check_output, labels_of
from factory.intervals import wilson
from factory.messages import Json
from labeling import fields
from labeling.suspicion import Row, features_of

SHARES = (0.06, 0.12, 0.25, 0.5, 0.75, 1.0)
MOST_TRAIN, MOST_TEST = 20_000, 5_000  # rows; more would only narrow what is narrow already
FEWEST_TRAIN, FEWEST_TEST = 50, 50
DRAWS = 300  # bootstrap samples of the test rows
POWERS = np.linspace(0.1, 1.5, 15)
FORECAST = (1.25, 1.5, 2.0)  # times the labels there are
MORE = 1_000  # labels whose worth is told

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """The accuracy at a number of training rows; measured, or forecast by the law."""

    rows: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Worth:
    """A gain in accuracy (0.01 is a point), with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A learning curve; `more` is what the next 1,000 labels are worth by the law.

    `floor` is the error that no number of such labels removes, as the law has it.
    """

    measured: tuple[Point, ...]
    forecast: tuple[Point, ...]
    test_rows: int
    more: Worth
    floor: float


def answer_class(row: Row, schema: Json | None) -> str | None:
    """Return what a linear model can predict of an answer: the label, or the shape of the JSON.

    The shape is the answer's fields and its values that are not copied from the input. None where
    the answer is broken, or a free text.
    """
    if schema is None:
        return None
    try:
        output = check_output(row.output, schema)
    except BrokenAnswer:
        return None
    if labels_of(schema) or schema.get("type") == "string":
        return output
    return json.dumps(sorted(fields.facts_of(fields.reading(row.text, output))))


def learning_curve(
    train: Sequence[Row],
    test: Sequence[Row],
    schema: Json | None,
    on_progress: Callable[[int, int], None],
) -> Curve | None:
    """Fit a linear model at growing shares of the training rows and test each on all test rows.

    None where there are too few rows of either, or the answers are free texts.
    """
    rows = _in_drawn_order([row for row in train if answer_class(row, schema) is not None])
    tests = [row for row in test if answer_class(row, schema) is not None][:MOST_TEST]
    if len(rows) < FEWEST_TRAIN or len(tests) < FEWEST_TEST:
        return None
    rows = rows[:MOST_TRAIN]
    features = features_of([row.text for row in (*rows, *tests)])
    classes = np.array([answer_class(row, schema) for row in rows])
    wanted = np.array([answer_class(row, schema) for row in tests])
    sizes = sorted({max(2, round(share * len(rows))) for share in SHARES})
    hits = np.zeros((len(sizes), len(tests)))
    for at, size in enumerate(sizes):
        on_progress(at, len(sizes))
        predicted = _fitted(features[:size], classes[:size], features[len(rows) :])
        hits[at] = predicted == wanted
    return _curve(np.array(sizes), hits)


def _in_drawn_order(rows: Sequence[Row]) -> list[Row]:
    """Order rows by the hash of their group: each share is a fair sample, and holds the last."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"curve:{row.group}".encode()).digest())


def _fitted(seen: csr_matrix, classes: NDArray[np.str_], asked: csr_matrix) -> NDArray[np.str_]:
    if len(set(classes)) == 1:
        return np.repeat(classes[:1], asked.shape[0])
    with threadpool_limits(1):
        model = LogisticRegression(C=3.0, tol=1e-3, max_iter=200).fit(seen, classes)
        predicted: NDArray[np.str_] = model.predict(asked)
    return predicted


# --- the law --------------------------------------------------------------------------------------
def _curve(sizes: NDArray[np.intp], hits: Floats) -> Curve:
    tests = hits.shape[1]
    errors = 1.0 - hits.mean(axis=1)
    now, farther = int(sizes[-1]), [round(int(sizes[-1]) * times) for times in FORECAST]
    floor, law = _law(sizes, errors, tests)
    laws = []
    random = np.random.default_rng(0)
    for _ in range(DRAWS):
        drawn = random.integers(0, tests, tests)  # the same rows at each size: they are paired
        laws.append(_law(sizes, 1.0 - hits[:, drawn].mean(axis=1), tests)[1])
    measured = [wilson(int(row.sum()), tests) for row in hits]
    gains = [one(now) - one(now + MORE) for one in laws]
    return Curve(
        measured=tuple(
            Point(int(size), share.value or 0.0, share.low, share.high)
            for size, share in zip(sizes, measured, strict=True)
        ),
        forecast=tuple(_forecast(rows, law, laws) for rows in farther),
        test_rows=tests,
        more=_worth(law(now) - law(now + MORE), gains),
        floor=floor,
    )


def _law(
    sizes: NDArray[np.intp], errors: Floats, tests: int
) -> tuple[float, Callable[[float], float]]:
    """Fit floor and scale, neither negative, for each power, and keep the best power.

    Points are weighed by how sure they are, the larger sizes besides: what comes is after them.
    """
    weights = np.sqrt(sizes / sizes[-1] * tests / (errors * (1 - errors) + 1 / tests))
    best: tuple[float, float, float, float] | None = None
    for power in POWERS:
        terms = np.column_stack([np.ones(len(sizes)), sizes**-power])
        (floor, scale), misfit = nnls(terms * weights[:, None], errors * weights)
        if best is None or misfit < best[0]:
            best = (misfit, floor, scale, power)
    assert best is not None
    _, floor, scale, power = best
    return float(floor), lambda rows: float(floor + scale * rows**-power)


def _forecast(
    rows: int, law: Callable[[float], float], laws: Sequence[Callable[[float], float]]
) -> Point:
    low, high = np.percentile([1.0 - one(rows) for one in laws], [2.5, 97.5])
    return Point(rows, 1.0 - law(rows), float(low), float(high))


def _worth(value: float, drawn: Sequence[float]) -> Worth:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Worth(value, float(low), float(high))


# --- what reviews were worth ----------------------------------------------------------------------
def worth_of_corrections(
    before: Sequence[Row], now: Sequence[Row], test: Sequence[Row], schema: Json | None
) -> Worth | None:
    """Return how much better the linear model is with people's corrections than without them.

    `before` and `now` are the same training rows with the answers that they had and have.
    """
    tests = [row for row in test if answer_class(row, schema) is not None][:MOST_TEST]
    if len(now) < FEWEST_TRAIN or len(tests) < FEWEST_TEST:
        return None
    features = features_of([row.text for row in (*now, *tests)])
    wanted = np.array([answer_class(row, schema) for row in tests])
    right = []
    for rows in (before, now):
        classes = [answer_class(row, schema) for row in rows]
        kept = [at for at, found in enumerate(classes) if found is not None]
        seen = np.array([classes[at] for at in kept])
        right.append(_fitted(features[kept], seen, features[len(now) :]) == wanted)
    gain = right[1].astype(float) - right[0].astype(float)
    random = np.random.default_rng(0)
    drawn = [gain[random.integers(0, len(gain), len(gain))].mean() for _ in range(DRAWS)]
    return _worth(float(gain.mean()), drawn)


# --- when to stop ---------------------------------------------------------------------------------
BATCH = 50  # decisions that are looked at together


@dataclass(frozen=True)
class Yield:
    """How many of a batch of suspicious rows were wrong."""

    decided: int
    wrong: int

    @property
    def share(self) -> float:
        """The share that was wrong."""
        return self.wrong / self.decided


def yields(wrong: Sequence[bool], size: int = BATCH) -> list[Yield]:
    """Cut decisions, in their order, into batches; less than half a batch joins the last."""
    cuts = list(range(0, len(wrong), size)) or [0]
    if len(cuts) > 1 and len(wrong) - cuts[-1] < size / 2:
        cuts.pop()
    parts = [wrong[start:stop] for start, stop in pairwise([*cuts, len(wrong)])]
    return [Yield(len(part), sum(part)) for part in parts if part]


def is_exhausted(batches: Sequence[Yield], base_rate: float | None) -> bool:
    """Tell whether the suspicious rows have run dry.

    So it is where the last whole batch held no more wrong answers than as many rows at random.
    """
    if base_rate is None or not batches or batches[-1].decided < BATCH / 2:
        return False
    return batches[-1].share <= base_rate
