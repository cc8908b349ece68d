"""Contamination: which held-out rows have a twin among the training rows, in three tiers.

exact: the same words, but for case, punctuation, spacing and numbers. near: verified word 1- and
2-grams in common. neighbours: alike by TF-IDF of characters only; a person or a judge must say
whether they say the same. A held-out row counts once, in the first tier that it is found in.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
from more_itertools import chunked
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

from factory.curation.near_duplicates import Grams, jaccard, sketches
from factory.dedupe import words_of
from factory.messages import Json

NEAR = 0.6  # of the grams in common
ALIKE = 0.75  # cosine from which a neighbour is worth a look
TIERS = ("exact", "near", "neighbours")
SAMPLES = 20  # pairs shown of a tier
BATCH = 2000
# Neighbours are sought among samples: every held-out row against every training row is quadratic.
HELD_OUT_SAMPLE, TRAIN_SAMPLE = 2000, 50_000
SEED = 20_261_122


@dataclass(frozen=True)
class Item:
    """One row: its variable text, and the group that shares a split."""

    id: int
    text: str
    group: str


@dataclass
class _Found:
    """The best pair of each held-out row in one tier: (similarity, the training row's id)."""

    best: dict[int, tuple[float, int]] = field(default_factory=dict)

    def add(self, held_out: int, train: int, similarity: float) -> None:
        if similarity > self.best.get(held_out, (0.0, 0))[0]:
            self.best[held_out] = similarity, train

    def as_json(self, sought: int) -> Json:
        pairs = ((s, held_out, train) for held_out, (s, train) in self.best.items())
        return {
            "count": len(self.best),
            "rate": len(self.best) / sought if sought else 0.0,
            "sought": sought,
            "samples": [
                {"train": train, "held_out": held_out, "similarity": round(s, 3)}
                for s, held_out, train in heapq.nlargest(SAMPLES, pairs)
            ],
        }


class _HeldOut:
    """The held-out rows of one split, indexed by their words and their bands."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.exact, self.near, self.alike = _Found(), _Found(), _Found()
        self.by_words: defaultdict[str, list[int]] = defaultdict(list)
        self.by_key: defaultdict[int, list[int]] = defaultdict(list)
        self.grams: list[Grams] = []
        for batch in chunked(items, BATCH):
            words = [words_of(item.text) for item in batch]
            for said, sketch in zip(words, sketches(words), strict=True):
                at = len(self.grams)
                self.grams.append(sketch.grams)
                self.by_words[" ".join(said)].append(at)
                for key in sketch.keys:
                    self.by_key[key].append(at)

    def meet(self, said: str, keys: Iterable[int], grams: Grams, train: int) -> None:
        """Compare a training row with the held-out rows that it may be near to."""
        same = self.by_words.get(said, [])
        for at in same:
            self.exact.add(self.items[at].id, train, 1.0)
        candidates = {at for key in keys for at in self.by_key.get(key, ())}
        for at in candidates.difference(same):
            similarity = jaccard(grams, self.grams[at])
            if similarity >= NEAR:
                self.near.add(self.items[at].id, train, similarity)


def contamination(train: Iterable[Item], held_out: Mapping[str, Sequence[Item]]) -> Json:
    """Return, for each held-out split, each tier's count, rate and up to 20 pairs of ids.

    {"train_rows": n, "near_from": 0.6, "alike_from": 0.75, "splits": {name: {"rows": n,
    "exact" | "near" | "neighbours": {"count", "rate", "sought", "samples": [{"train", "held_out",
    "similarity"}]}}}}. `sought` is how many held-out rows a tier looked at: neighbours are sought
    for a sample of them, among a sample of the training rows. `train` is read once and not kept.
    """
    indexes = {name: _HeldOut(items) for name, items in held_out.items()}
    rows, sample = 0, _Reservoir(TRAIN_SAMPLE)
    for batch in chunked(train, BATCH):
        words = [words_of(item.text) for item in batch]
        for item, said, sketch in zip(batch, words, sketches(words), strict=True):
            rows += 1
            sample.add(item)
            if said:
                for index in indexes.values():
                    index.meet(" ".join(said), sketch.keys, sketch.grams, item.id)
    return {
        "train_rows": rows,
        "near_from": NEAR,
        "alike_from": ALIKE,
        "splits": {name: _report(index, sample.items) for name, index in indexes.items()},
    }


def _report(index: _HeldOut, train: Sequence[Item]) -> Json:
    for row in index.exact.best:
        index.near.best.pop(row, None)
    known = index.exact.best.keys() | index.near.best.keys()
    asked = _evenly(index.items, HELD_OUT_SAMPLE)
    for held_out, found, similarity in _neighbours(asked, train):
        if held_out not in known:
            index.alike.add(held_out, found, similarity)
    rows = len(index.items)
    return {
        "rows": rows,
        "exact": index.exact.as_json(rows),
        "near": index.near.as_json(rows),
        "neighbours": index.alike.as_json(len(asked)),
    }


def _neighbours(asked: Sequence[Item], train: Sequence[Item]) -> Iterator[tuple[int, int, float]]:
    """Yield (held-out id, training id, cosine) of the nearest training rows of each batch."""
    if not asked or not train:
        return
    hashed = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 4), n_features=2**18, alternate_sign=False, norm=None
    )
    weighted = TfidfTransformer(sublinear_tf=True)
    targets: csr_matrix = weighted.fit_transform(hashed.transform(i.text for i in asked))
    for batch in chunked(train, BATCH):
        rows = weighted.transform(hashed.transform(item.text for item in batch))
        alike = (targets @ rows.T).tocsr()
        nearest = np.asarray(alike.argmax(axis=1)).ravel()
        cosines = alike.max(axis=1).toarray().ravel()
        for at in np.flatnonzero(cosines >= ALIKE).tolist():
            yield asked[at].id, batch[nearest[at]].id, float(cosines[at])


def _evenly(items: Sequence[Item], most: int) -> list[Item]:
    step = max(1.0, len(items) / most)
    return [items[int(n * step)] for n in range(min(most, len(items)))]


class _Reservoir:
    """A fair sample of a stream of unknown length, the same for the same stream."""

    def __init__(self, most: int) -> None:
        self.most, self.seen = most, 0
        self.items: list[Item] = []
        self._random = Random(SEED)  # noqa: S311 - must repeat, guards nothing

    def add(self, item: Item) -> None:
        self.seen += 1
        if len(self.items) < self.most:
            self.items.append(item)
        elif (at := self._random.randrange(self.seen)) < self.most:
            self.items[at] = item
