"""Folds for judging a model on rows that it has not seen: stratified, and without a leak."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FOLDS = 5


def folds_of(groups: Sequence[str], labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Deal whole groups out to `FOLDS` folds, label by label in hash order.

    Both arguments have one entry a row; a group's label is its first row's.
    """
    first = {group: int(label) for group, label in zip(groups[::-1], labels[::-1], strict=True)}
    dealt: Counter[int] = Counter()
    of_group: dict[str, int] = {}
    for group in sorted(first, key=lambda g: hashlib.sha256(g.encode()).digest()):
        label = first[group]
        # Starting each label at another fold keeps many rare labels from piling up in the first.
        of_group[group] = (dealt[label] + label) % FOLDS
        dealt[label] += 1
    return np.array([of_group[group] for group in groups])
