"""Which training rows new inputs are made from, by method; the same rows give the same choice."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
from threadpoolctl import threadpool_limits

from factory.folds import folds_of
from labeling.augment import COUNTERFACTUAL, GAP, HARD, PARAPHRASE, RARE
from labeling.suspicion import features_of, out_of_fold

POOL = 20_000  # rows that seeds are chosen from
RARE_ROWS = 50  # a label with so few is in the pool with all of them
BORDER = 5_000  # rows of the pool that a border is sought among


@dataclass(frozen=True)
class Parent:
    """A row that drafts may come from: its varying text and its present answer."""

    id: int
    group: str
    text: str
    answer: str


@dataclass(frozen=True)
class Failure:
    """A held-out row that a student got wrong: its text is compared here, and shown to nobody."""

    text: str
    wanted: str
    answered: str


@dataclass(frozen=True)
class Planned:
    """One question to be asked: see `models.Seed`."""

    method: str
    parent: int
    expected: str
    against: str = ""
    is_open: bool = False


@dataclass(frozen=True)
class Field:
    """What seeds are chosen from: rows in an order as good as drawn, and how many each label has.

    `labels` is empty where answers are no closed set.
    """

    parents: Sequence[Parent]
    labels: Mapping[str, int]
    failures: Sequence[Failure] = ()


def plan(field: Field, seeds: Mapping[str, int]) -> list[Planned]:
    """Choose the seeds of each method, as many as asked for or as there are, methods in turn.

    In turn, so that a run which is stopped early has something of everything.
    """
    found = [
        list(islice(CHOOSE[method](field), count))
        for method, count in seeds.items()
        if count and field.parents
    ]
    longest = max(map(len, found), default=0)
    return [of_one[at] for at in range(longest) for of_one in found if at < len(of_one)]


def _paraphrases(field: Field) -> Iterator[Planned]:
    """Every row once; then no more, for the same row again brings the same again."""
    for row in field.parents:
        yield Planned(PARAPHRASE, row.id, row.answer)


def _rare(field: Field) -> Iterator[Planned]:
    """The label with the fewest rows each time, what was planned counted in.

    Its own rows are the parents in turn. A label without any takes rows of the others: they show
    the form, and the label's name and the guideline say the rest.
    """
    by_label: defaultdict[str, list[Parent]] = defaultdict(list)
    for row in field.parents:
        by_label[row.answer].append(row)
    counts = dict(field.labels)
    turns = {label: cycle(by_label[label] or field.parents) for label in field.labels}
    while counts:
        label = min(counts, key=lambda one: (counts[one], one))
        counts[label] += 1
        yield Planned(RARE, next(turns[label]).id, label)


def _counterfactuals(field: Field) -> Iterator[Planned]:
    """Every row once, towards the other labels in turn; without labels, towards any change."""
    turns = {
        answer: cycle([label for label in field.labels if label != answer])
        for answer in field.labels
        if len(field.labels) > 1
    }
    for row in field.parents:
        if row.answer in turns:
            yield Planned(COUNTERFACTUAL, row.id, next(turns[row.answer]), row.answer)
        elif not field.labels:
            yield Planned(COUNTERFACTUAL, row.id, "", is_open=True)


def _hard(field: Field) -> Iterator[Planned]:
    """The rows between whose label and the next likely one a linear model decides least surely.

    Its probabilities are out of fold; rows that it would label otherwise come after those where it
    is right by a hair: they may be wrong, and the wrong is nothing to learn from.
    """
    rows = [row for row in field.parents if row.answer in field.labels][:BORDER]
    names, own = np.unique([row.answer for row in rows], return_inverse=True)
    if len(names) < 2:
        return
    folds = folds_of([row.group for row in rows], own)
    with threadpool_limits(1):
        features = features_of([row.text for row in rows])
        probabilities = out_of_fold(own, len(names), folds, features)
    at = np.arange(len(rows))
    given = probabilities[at, own].copy()
    probabilities[at, own] = -1.0
    margins = given - probabilities.max(axis=1)
    rivals = probabilities.argmax(axis=1)
    right = np.flatnonzero(margins >= 0)
    wrong = np.flatnonzero(margins < 0)
    order = [*right[np.argsort(margins[right], kind="stable")]]
    order += [*wrong[np.argsort(-margins[wrong], kind="stable")]]
    for index in order:
        yield Planned(HARD, rows[index].id, rows[index].answer, str(names[rivals[index]]))


def _gaps(field: Field) -> Iterator[Planned]:
    """For each failure in turn, the nearest training row with the answer that was wanted.

    A row may serve again for another wrong answer, not for the same one twice.
    """
    if not field.failures:
        return
    texts = [row.text for row in field.parents] + [one.text for one in field.failures]
    with threadpool_limits(1):
        features = features_of(texts)
    rows, asked = features[: len(field.parents)], features[len(field.parents) :]
    by_answer: defaultdict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(field.parents):
        by_answer[row.answer].append(at)
    ranked: list[list[int]] = []
    for number, failure in enumerate(field.failures):
        candidates = by_answer.get(failure.wanted) or (
            [] if field.labels else list(range(len(field.parents)))
        )
        similar = (rows[candidates] @ asked[number].T).toarray().ravel() if candidates else []
        ranked.append([candidates[at] for at in np.argsort(-np.asarray(similar), kind="stable")])
    used: set[tuple[int, str]] = set()
    for depth in range(max(map(len, ranked), default=0)):
        for failure, order in zip(field.failures, ranked, strict=True):
            if depth < len(order):
                row = field.parents[order[depth]]
                if (row.id, failure.answered) not in used:
                    used.add((row.id, failure.answered))
                    against = failure.answered if field.labels else ""
                    yield Planned(GAP, row.id, row.answer, against)


CHOOSE: dict[str, Callable[[Field], Iterator[Planned]]] = {
    PARAPHRASE: _paraphrases,
    RARE: _rare,
    COUNTERFACTUAL: _counterfactuals,
    HARD: _hard,
    GAP: _gaps,
}
