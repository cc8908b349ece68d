"""Which labels are likely to be wrong: the order that makes a reviewer's time count.

Labels are judged by a linear model that has not seen them: out-of-fold probabilities, and how far
the label's own stays behind the best other one (normalized margin; Northcutt et al. 2021). JSON is
judged by the answers to the most similar inputs, and so is the length of a free text.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from factory.folds import FOLDS, folds_of
from factory.messages import Json
from labeling.answers import BrokenAnswer, check_output, labels_of

NEIGHBOURS = 10
CHUNK = 200  # rows whose similarities to all rows are held at a time
CHARACTERS = 10_000  # features of parts of words; more find no more errors, and take longer

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """An input's text, its present output, its group, and the teacher's confidence if it voted."""

    text: str
    output: str
    group: str
    confidence: float | None = None


def suspicions(rows: Sequence[Row], schema: Json | None) -> list[float]:
    """Return for each row how much a person's look is worth: 0 (none) to 1.

    An output that breaks its format is 1. The numbers order rows; they are no probabilities.
    """
    scores = np.ones(len(rows))
    valid = [at for at, row in enumerate(rows) if _is_valid(row.output, schema)]
    kept = [rows[at] for at in valid]
    if kept:
        # The matrices are small: BLAS threads that wait for each other took nine times as long.
        with threadpool_limits(1):
            features = _features([row.text for row in kept])
            judged = _of_labels if labels_of(schema) else _of_neighbours
            scores[valid] = judged(kept, features)
    doubts = [0.0 if row.confidence is None else 1.0 - row.confidence for row in rows]
    return [float(score) for score in np.maximum(scores, doubts)]


def _is_valid(output: str, schema: Json | None) -> bool:
    try:
        check_output(output, schema)
    except BrokenAnswer:
        return False
    return True


def _features(texts: list[str]) -> csr_matrix:
    words = TfidfVectorizer(sublinear_tf=True)
    parts = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, max_features=CHARACTERS
    )
    try:
        return hstack([words.fit_transform(texts), parts.fit_transform(texts)]).tocsr()
    except ValueError:  # texts without a single word
        return csr_matrix((len(texts), 1))


# --- labels ---------------------------------------------------------------------------------------
def _of_labels(rows: Sequence[Row], features: csr_matrix) -> Floats:
    names, own = np.unique([row.output.strip() for row in rows], return_inverse=True)
    if len(names) == 1:
        return np.zeros(len(rows))
    probabilities = np.zeros((len(rows), len(names)))
    folds = folds_of([row.group for row in rows], own)
    for fold in range(FOLDS):
        seen, unseen = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        known = np.unique(own[seen])
        if len(unseen) == 0 or len(known) == 0:
            continue
        if len(known) == 1:
            probabilities[unseen, known[0]] = 1.0
            continue
        model = LogisticRegression(C=3.0, tol=1e-3, max_iter=200).fit(features[seen], own[seen])
        probabilities[np.ix_(unseen, model.classes_)] = model.predict_proba(features[unseen])
    at = np.arange(len(rows))
    given = probabilities[at, own]
    probabilities[at, own] = -1.0
    # The margin goes from -1 (another label is certain) to 1 (this one is).
    margins: Floats = (1.0 - (given - probabilities.max(axis=1))) / 2.0
    return margins


# --- JSON and text --------------------------------------------------------------------------------
def _of_neighbours(rows: Sequence[Row], features: csr_matrix) -> Floats:
    """Return how few of the nearest rows of other groups answer in the same way, by similarity."""
    facts = [_facts(row) for row in rows]
    scores = np.zeros(len(rows))
    for at, near, weights in _nearest(rows, features):
        shares: defaultdict[str, float] = defaultdict(float)
        for other, weight in zip(near, weights, strict=True):
            for fact in facts[other]:
                shares[fact] += weight
        total = float(sum(weights))
        if total == 0.0:
            continue
        agreements = [
            share / total if fact in facts[at] else 1.0 - share / total
            for fact, share in {**dict.fromkeys(facts[at], 0.0), **shares}.items()
        ]
        # The worst fact counts too: one wrong field among many right ones is still an error.
        scores[at] = 1.0 - (min(agreements, default=1.0) + _mean(agreements)) / 2.0
    return scores


def _facts(row: Row) -> set[str]:
    """Say what is remarkable of an output: its fields, and values that the input does not hold.

    A value copied from the input is its place only: neighbours have others there. Of a text, it is
    the length, in doublings.
    """
    try:
        value = json.loads(row.output)
    except ValueError:
        return {f"length {len(row.output).bit_length()}"}
    source = row.text.casefold()
    facts = set()
    for path, leaf in _leaves(value, ""):
        is_copied = not isinstance(leaf, str) or leaf.casefold() in source
        facts.add(path if is_copied else f"{path}={leaf}")
    return facts


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, f"{path}[]")
    else:
        yield path, value


def _nearest(
    rows: Sequence[Row], features: csr_matrix
) -> Iterator[tuple[int, NDArray[np.intp], Floats]]:
    _, groups = np.unique([row.group for row in rows], return_inverse=True)
    count = min(NEIGHBOURS, len(rows))
    for start in range(0, len(rows), CHUNK):
        similar = (features[start : start + CHUNK] @ features.T).toarray()
        similar[groups[start : start + CHUNK, None] == groups[None, :]] = 0.0
        nearest = np.argpartition(-similar, count - 1, axis=1)[:, :count]
        for offset, near in enumerate(nearest):
            yield start + offset, near, similar[offset, near]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 1.0
