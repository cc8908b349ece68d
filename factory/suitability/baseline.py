"""What a linear model reaches on a sample: the bar that any student has to clear.

TF-IDF of words and of parts of words, and logistic regression, judged only on rows that it has not
seen: five folds that never cut through a group of near copies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from factory.folds import FOLDS, folds_of
from factory.intervals import Share, wilson

MIN_ROWS = 50  # fewer say nothing
CHARACTERS = 20_000  # features of parts of words; more find no more, and take longer
CURVE = 20  # points of the coverage curve

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """An input's text, its answer, and the group of near copies that it belongs to."""

    text: str
    label: str
    group: str


@dataclass(frozen=True)
class Point:
    """Of the surest `coverage` of the rows, the share that agrees with the logged answer."""

    coverage: float
    agreement: float


@dataclass(frozen=True)
class Linear:
    """A linear model's agreement with the logged answers, on rows that it has not seen."""

    accuracy: Share
    majority: Share  # always the commonest label
    curve: list[Point]  # the surest rows first


def features_of(texts: list[str]) -> csr_matrix:
    """Return TF-IDF features of words and of parts of words."""
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
    parts = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, max_features=CHARACTERS
    )
    found = []
    for vectorizer in (words, parts):
        try:
            found.append(vectorizer.fit_transform(texts))
        except ValueError:  # not a single word, or none that occurs twice
            continue
    return hstack(found).tocsr() if found else csr_matrix((len(texts), 1))


def linear_baseline(rows: Sequence[Row], features: csr_matrix | None = None) -> Linear | None:
    """Return the baseline of a sample with labels; None where the sample is too small."""
    if len(rows) < MIN_ROWS:
        return None
    # The matrices are small: BLAS threads that wait for each other took nine times as long.
    with threadpool_limits(1):
        known = features_of([row.text for row in rows]) if features is None else features
        names, own = np.unique([row.label for row in rows], return_inverse=True)
        predicted, sureness = _out_of_fold(known, own, folds_of([row.group for row in rows], own))
    hits = predicted == own
    return Linear(
        accuracy=wilson(int(hits.sum()), len(rows)),
        majority=wilson(int(np.bincount(own, minlength=len(names)).max()), len(rows)),
        curve=coverage_curve(hits, sureness),
    )


def coverage_curve(hits: NDArray[np.bool_], sureness: Floats) -> list[Point]:
    """Return the agreement among the surest rows, for growing shares of them."""
    surest_first = hits[np.argsort(-sureness, kind="stable")]
    n = len(surest_first)
    counts = sorted({max(1, round(n * step / CURVE)) for step in range(1, CURVE + 1)})
    return [Point(k / n, float(surest_first[:k].mean())) for k in counts]


def coverage_at(curve: Sequence[Point], agreement: float) -> float:
    """Return the largest share of the rows on which the model agrees that often; 0 for none."""
    return max((p.coverage for p in curve if p.agreement >= agreement), default=0.0)


def _out_of_fold(
    features: csr_matrix, own: NDArray[np.intp], folds: NDArray[np.intp]
) -> tuple[NDArray[np.intp], Floats]:
    """Return for each row the label that a model of the other folds gives it, and how surely."""
    predicted, sureness = np.zeros(len(own), dtype=np.intp), np.zeros(len(own))
    for fold in range(FOLDS):
        seen, unseen = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        known = np.unique(own[seen])
        if len(unseen) == 0 or len(known) == 0:
            continue
        if len(known) == 1:
            predicted[unseen], sureness[unseen] = known[0], 1.0
            continue
        model = LogisticRegression(C=10.0, tol=1e-3, max_iter=200).fit(features[seen], own[seen])
        probabilities = model.predict_proba(features[unseen])
        predicted[unseen] = model.classes_[probabilities.argmax(axis=1)]
        sureness[unseen] = probabilities.max(axis=1)
    return predicted, sureness
