"""Which reviewed examples to show a teacher before a row: the nearest ones, and not all alike."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from factory.messages import Json, variable_text
from labeling.prompts import Shot

CANDIDATES = 8  # times the shots wanted: the nearest, among which diversity chooses
AGAIN = 0.5  # what an answer shown already is worth the next time


@dataclass(frozen=True)
class Reviewed:
    """A training example whose answer a person gave; `kind` is what makes two answers alike."""

    id: int
    messages: Sequence[Json]
    target: str
    group: str
    kind: str


class NearestShots:
    """Chooses by the TF-IDF of words; `groups` tells each row's group, by its id.

    A row's own group is never shown to it: what it holds may be the row itself in other words.
    """

    def __init__(self, pool: Sequence[Reviewed], groups: Mapping[int, str], count: int) -> None:
        self.pool = pool
        self.groups = groups
        self.count = count
        self.words = TfidfVectorizer(sublinear_tf=True)
        self.features: csr_matrix | None = None
        texts = [variable_text(list(row.messages)) for row in pool]
        try:
            self.features = self.words.fit_transform(texts).tocsr()
        except ValueError:  # no reviewed example, or none with a word
            self.features = None

    def shots(self, example_id: int, messages: list[Json]) -> list[Shot]:
        """Return the shots of a row, the nearest last: it stands closest to the question."""
        if self.features is None:
            return []
        asked = self.words.transform([variable_text(messages)])
        similar = np.asarray((self.features @ asked.T).todense()).ravel()
        group = self.groups.get(example_id)
        ranked = [
            at
            for at in np.argsort(-similar, kind="stable")
            if self.pool[at].id != example_id and self.pool[at].group != group
        ][: CANDIDATES * self.count]
        chosen = self._diverse(ranked, similar)
        return [Shot(self.pool[at].messages, self.pool[at].target) for at in reversed(chosen)]

    def _diverse(
        self, ranked: list[int], similar: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    ) -> list[int]:
        chosen: list[int] = []
        shown: Counter[str] = Counter()
        left = list(ranked)
        while left and len(chosen) < self.count:
            best = max(
                left, key=lambda at: (similar[at] + 1e-9) * AGAIN ** shown[self.pool[at].kind]
            )
            left.remove(best)
            chosen.append(best)
            shown[self.pool[best].kind] += 1
        return chosen
