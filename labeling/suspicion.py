"""Which labels are likely to be wrong: the order that makes a reviewer's time count.

Labels are judged by a linear model that has not seen them: out-of-fold probabilities, and how far
the label's own stays behind the best other one (normalized margin; Northcutt et al. 2021). JSON is
judged field by field (`fields.py`) and by the answers to the most similar inputs, the length of a
free text by the latter alone.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from factory.folds import FOLDS, folds_of
from factory.messages import Json
from labeling import fields
from labeling.answers import BrokenAnswer, check_output, labels_of

NEIGHBOURS = 10
POOL = 5_000  # rows that neighbours are looked for among; more would take the square of the time
CHUNK = 200  # rows whose similarities to the pool are held at a time
CHARACTERS = 10_000  # features of parts of words; more find no more errors, and take longer

Floats = NDArray[np.float64]
OnProgress = Callable[[int, int], None]  # parts judged, of how many


def nobody(_done: int, _total: int) -> None:
    """Tell nobody of progress."""


@dataclass(frozen=True)
class Row:
    """An input's text, its present output, its group, and the teacher's confidence if it voted."""

    text: str
    output: str
    group: str
    confidence: float | None = None


@dataclass(frozen=True)
class Doubt:
    """How much a person's look at a row is worth, and why.

    `score` orders rows from 0 (none) to 1; it is no probability. `probability` is the one that a
    model which has not seen the row gives its label, None where answers are no labels. `hint` says
    what is likelier, `likelier` names the label.
    """

    score: float
    probability: float | None = None
    likelier: str = ""
    hint: str = ""


def doubts(
    rows: Sequence[Row], schema: Json | None, on_progress: OnProgress = nobody
) -> list[Doubt]:
    """Judge each row by the others. An output that breaks its format has the score 1."""
    found: list[Doubt] = [Doubt(1.0)] * len(rows)
    valid: list[int] = []
    for at, row in enumerate(rows):
        try:
            check_output(row.output, schema)
            valid.append(at)
        except BrokenAnswer as broken:
            found[at] = Doubt(1.0, hint=str(broken))
    kept = [rows[at] for at in valid]
    if kept:
        # The matrices are small: BLAS threads that wait for each other took nine times as long.
        with threadpool_limits(1):
            features = features_of([row.text for row in kept])
            judged = _of_labels if labels_of(schema) else _of_fields if schema else _of_texts
            for at, doubt in zip(valid, judged(kept, features, on_progress), strict=True):
                found[at] = doubt
    return [_with_votes(doubt, row) for doubt, row in zip(found, rows, strict=True)]


def suspicions(rows: Sequence[Row], schema: Json | None) -> list[float]:
    """Return the scores of `doubts` alone."""
    return [doubt.score for doubt in doubts(rows, schema)]


def _with_votes(doubt: Doubt, row: Row) -> Doubt:
    if row.confidence is None or 1.0 - row.confidence <= doubt.score:
        return doubt
    hint = doubt.hint or f"the teacher's votes agree to {row.confidence:.0%} only"
    return replace(doubt, score=1.0 - row.confidence, hint=hint)


def features_of(texts: Sequence[str]) -> csr_matrix:
    """Return the TF-IDF of words and of parts of words, one row a text."""
    words = TfidfVectorizer(sublinear_tf=True)
    parts = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, max_features=CHARACTERS
    )
    try:
        return hstack([words.fit_transform(texts), parts.fit_transform(texts)]).tocsr()
    except ValueError:  # texts without a single word
        return csr_matrix((len(texts), 1))


# --- labels ---------------------------------------------------------------------------------------
def _of_labels(
    rows: Sequence[Row], features: csr_matrix, on_progress: OnProgress
) -> Iterator[Doubt]:
    labels = [row.output.strip() for row in rows]
    return iter(label_doubts(labels, [row.group for row in rows], features, on_progress))


def label_doubts(
    labels: Sequence[str],
    groups: Sequence[str],
    features: csr_matrix,
    on_progress: OnProgress = nobody,
) -> list[Doubt]:
    """Judge each row's label by a linear model of the other groups' rows."""
    names, own = np.unique(labels, return_inverse=True)
    if len(names) == 1:
        return [Doubt(0.0, probability=1.0)] * len(labels)
    folds = folds_of(groups, own)
    probabilities = out_of_fold(own, len(names), folds, features, on_progress)
    at = np.arange(len(own))
    given = probabilities[at, own].copy()
    probabilities[at, own] = -1.0
    best = probabilities.argmax(axis=1)
    # The margin goes from -1 (another label is certain) to 1 (this one is).
    scores = (1.0 - (given - probabilities.max(axis=1))) / 2.0
    return [
        Doubt(
            score=float(score),
            probability=float(probability),
            likelier=str(names[other]) if score > 0.5 else "",
            hint=f"{names[other]} is likelier" if score > 0.5 else "",
        )
        for score, probability, other in zip(scores, given, best, strict=True)
    ]


def out_of_fold(
    own: NDArray[np.intp],
    names: int,
    folds: NDArray[np.intp],
    features: csr_matrix,
    on_progress: OnProgress = nobody,
) -> Floats:
    """Return each row's probability of each label, by a linear model of the other folds."""
    probabilities = np.zeros((len(own), names))
    for fold in range(FOLDS):
        on_progress(fold, FOLDS)
        seen, unseen = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        known = np.unique(own[seen])
        if len(unseen) == 0 or len(known) == 0:
            continue
        if len(known) == 1:
            probabilities[unseen, known[0]] = 1.0
            continue
        model = LogisticRegression(C=3.0, tol=1e-3, max_iter=200).fit(features[seen], own[seen])
        probabilities[np.ix_(unseen, model.classes_)] = model.predict_proba(features[unseen])
    return probabilities


# --- JSON -----------------------------------------------------------------------------------------
def _of_fields(
    rows: Sequence[Row], features: csr_matrix, on_progress: OnProgress
) -> Iterator[Doubt]:
    """Yield each row's worst doubt: about a fixed field, a word's place, or its neighbours."""
    readings = [_read(row) for row in rows]
    groups = [row.group for row in rows]
    fixed = fields.fixed_fields(readings)
    parts = len(fixed) + 2
    worst: list[tuple[float, str]] = fields.strangers(readings)
    for part, path in enumerate(fixed):
        on_progress(part, parts)
        values = fields.values_of(path, readings)
        of_field = label_doubts(values, groups, features)
        said = [(doubt.score, f"{path}: {doubt.hint}" if doubt.hint else "") for doubt in of_field]
        worst = list(map(max, worst, said))
    on_progress(parts - 2, parts)
    folds = folds_of(groups, np.zeros(len(rows), dtype=np.intp))
    worst = list(map(max, worst, fields.misplaced(readings, folds, fixed)))
    on_progress(parts - 1, parts)
    facts = [fields.facts_of(read) for read in readings]
    around = [(score, "") for score in _of_neighbours(rows, features, facts)]
    return (Doubt(score=score, hint=hint) for score, hint in map(max, worst, around))


def _read(row: Row) -> fields.Reading:
    return fields.reading(row.text, row.output)


# --- texts, and whatever neighbours know ----------------------------------------------------------
def _of_texts(
    rows: Sequence[Row], features: csr_matrix, on_progress: OnProgress
) -> Iterator[Doubt]:
    on_progress(0, 1)
    # Of a text, all that is compared is its length, in doublings.
    facts = [{f"length {len(row.output).bit_length()}"} for row in rows]
    return (Doubt(score=float(score)) for score in _of_neighbours(rows, features, facts))


def _of_neighbours(
    rows: Sequence[Row], features: csr_matrix, facts: Sequence[set[str]]
) -> Iterator[float]:
    """Yield how few of the nearest rows of other groups answer in the same way, by similarity."""
    for at, near, weights in _nearest([row.group for row in rows], features):
        shares: defaultdict[str, float] = defaultdict(float)
        for other, weight in zip(near, weights, strict=True):
            for fact in facts[other]:
                shares[fact] += weight
        total = float(sum(weights))
        if total == 0.0:
            yield 0.0
            continue
        agreements = [
            share / total if fact in facts[at] else 1.0 - share / total
            for fact, share in {**dict.fromkeys(facts[at], 0.0), **shares}.items()
        ]
        # The worst fact counts too: one wrong field among many right ones is still an error.
        yield 1.0 - (min(agreements, default=1.0) + _mean(agreements)) / 2.0


def _nearest(
    groups: Sequence[str], features: csr_matrix
) -> Iterator[tuple[int, NDArray[np.intp], Floats]]:
    _, numbers = np.unique(groups, return_inverse=True)
    pool = np.unique(np.linspace(0, len(groups) - 1, min(POOL, len(groups))).astype(np.intp))
    others = features[pool].T.tocsc()
    count = min(NEIGHBOURS, len(pool))
    for start in range(0, len(groups), CHUNK):
        similar = (features[start : start + CHUNK] @ others).toarray()
        similar[numbers[start : start + CHUNK, None] == numbers[None, pool]] = 0.0
        nearest = np.argpartition(-similar, count - 1, axis=1)[:, :count]
        for offset, near in enumerate(nearest):
            yield start + offset, pool[near], similar[offset, near]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 1.0
