"""Several raters' answers to the same rows: what they come to, and how sure that is.

Majority counts heads. Dawid-Skene (Applied Statistics 28, 1979, pp. 20-28) learns how each rater
errs, by expectation-maximisation and without any right answer: for labels a confusion matrix each,
for open answers, which have no fixed set to confuse, a rate of being right.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METHODS = ("majority", "dawid_skene")
ROUNDS = 100
SETTLED = 1e-5  # change of a posterior below which there is nothing left to learn
SMOOTHING = 0.5  # of a count: raters who were never wrong yet are not infallible

Votes = Sequence[str | None]  # of one row, one a rater; None where the rater did not answer
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Combined:
    """A row's answer, and its share of the votes or its probability."""

    answer: str
    confidence: float


@dataclass(frozen=True)
class Outcome:
    """What a committee came to, None for rows without a vote; `weights` is each rater's worth.

    A weight is the estimated rate of being right.
    """

    rows: list[Combined | None]
    weights: list[float]


def combine(rows: Sequence[Votes], method: str, labels: Sequence[str] = ()) -> Outcome:
    """Combine votes; of equal ones the earliest rater's answer is taken."""
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}")
    if method == "majority" or not any(any(vote is not None for vote in row) for row in rows):
        combined = [_majority(row) for row in rows]
        return Outcome(combined, _agreement_with(rows, combined))
    return _by_label(rows, labels) if labels else _by_rate(rows)


def _majority(row: Votes) -> Combined | None:
    given = [vote for vote in row if vote is not None]
    if not given:
        return None
    answer, count = Counter(given).most_common(1)[0]  # the earliest of equals
    return Combined(answer, count / len(given))


def _agreement_with(rows: Sequence[Votes], combined: Sequence[Combined | None]) -> list[float]:
    raters = len(rows[0]) if rows else 0
    hits, votes = [0] * raters, [0] * raters
    for row, result in zip(rows, combined, strict=True):
        for at, vote in enumerate(row):
            if vote is not None and result is not None:
                votes[at] += 1
                hits[at] += vote == result.answer
    return [hit / count if count else 0.0 for hit, count in zip(hits, votes, strict=True)]


# --- labels ---------------------------------------------------------------------------------------
def _by_label(rows: Sequence[Votes], labels: Sequence[str]) -> Outcome:
    names = sorted({*labels, *(vote for row in rows for vote in row if vote is not None)})
    number = {name: at for at, name in enumerate(names)}
    raters = len(rows[0])
    # votes[rater, row] is the number of the label, -1 for no answer
    votes = np.array([[number[v] if v is not None else -1 for v in row] for row in rows]).T
    truth = _shares(votes, len(names))
    for _ in range(ROUNDS):
        prior, confusion = _learnt(truth, votes, raters, len(names))
        posterior = _posterior(prior, confusion, votes)
        is_settled = np.abs(posterior - truth).max() < SETTLED
        truth = posterior
        if is_settled:
            break
    combined = [
        Combined(names[int(shares.argmax())], float(shares.max())) if (seen >= 0).any() else None
        for shares, seen in zip(truth, votes.T, strict=True)
    ]
    weights = [float(prior @ np.diagonal(confusion[rater])) for rater in range(raters)]
    return Outcome(combined, weights)


def _shares(votes: NDArray[np.intp], names: int) -> Floats:
    counts = np.zeros((votes.shape[1], names))
    for of_rater in votes:
        answered = np.flatnonzero(of_rater >= 0)
        counts[answered, of_rater[answered]] += 1.0
    counts[counts.sum(axis=1) == 0] = 1.0
    shares: Floats = counts / counts.sum(axis=1, keepdims=True)
    return shares


def _learnt(
    truth: Floats, votes: NDArray[np.intp], raters: int, names: int
) -> tuple[Floats, Floats]:
    """Return how common each label is, and confusion[rater, right, given]."""
    answered = (votes >= 0).any(axis=0)
    prior = truth[answered].sum(axis=0) + SMOOTHING
    confusion = np.zeros((raters, names, names))
    for rater in range(raters):
        for given in range(names):
            confusion[rater, :, given] = truth[votes[rater] == given].sum(axis=0)
        # A prior that raters are rather right: without it the labels could change places.
        confusion[rater] += SMOOTHING / names + SMOOTHING * np.eye(names)
    return prior / prior.sum(), confusion / confusion.sum(axis=2, keepdims=True)


def _posterior(prior: Floats, confusion: Floats, votes: NDArray[np.intp]) -> Floats:
    logs = np.tile(np.log(prior), (votes.shape[1], 1))
    for rater, of_rater in enumerate(votes):
        answered = np.flatnonzero(of_rater >= 0)
        logs[answered] += np.log(confusion[rater].T[of_rater[answered]])
    logs -= logs.max(axis=1, keepdims=True)
    posterior: Floats = np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)
    return posterior


# --- open answers ---------------------------------------------------------------------------------
def _by_rate(rows: Sequence[Votes]) -> Outcome:
    raters = len(rows[0])
    rates = [0.7] * raters
    for _ in range(ROUNDS):
        combined = [_weighed(row, rates) for row in rows]
        learnt = _rates(rows, combined, raters)
        is_settled = max(abs(a - b) for a, b in zip(learnt, rates, strict=True)) < SETTLED
        rates = learnt
        if is_settled:
            break
    return Outcome([_best(shares, row) for shares, row in zip(combined, rows, strict=True)], rates)


def _weighed(row: Votes, rates: Sequence[float]) -> dict[str, float]:
    """Return the probability of each answer given; wrong raters are as likely to err anyhow."""
    candidates = list(dict.fromkeys(vote for vote in row if vote is not None))
    wrong_ways = max(1, len(candidates))  # the other answers given, and one that nobody gave
    logs = np.zeros(len(candidates))
    for vote, rate in zip(row, rates, strict=True):
        if vote is not None:
            hit = np.array([vote == candidate for candidate in candidates])
            logs += np.where(hit, np.log(rate), np.log((1 - rate) / wrong_ways))
    shares = np.exp(logs - logs.max()) if candidates else logs
    return dict(zip(candidates, (shares / shares.sum()).tolist(), strict=True))


def _rates(rows: Sequence[Votes], combined: Sequence[dict[str, float]], raters: int) -> list[float]:
    right, votes = [SMOOTHING] * raters, [2 * SMOOTHING] * raters
    for row, shares in zip(rows, combined, strict=True):
        for rater, vote in enumerate(row):
            if vote is not None:
                right[rater] += shares[vote]
                votes[rater] += 1.0
    return [hit / count for hit, count in zip(right, votes, strict=True)]


def _best(shares: dict[str, float], row: Votes) -> Combined | None:
    if not shares:
        return None
    answer = max(shares, key=lambda candidate: (shares[candidate], -row.index(candidate)))
    return Combined(answer, shares[answer])
