"""Which fields of a JSON answer are likely to be wrong, by the words of the input it was read from.

An extraction's values are mostly copied from the input, the rest of them fixed (an intent, a type).
So each word of an input has a place in the answer, or none, and each fixed field is a label: both
are judged by models that have not seen the row. A word that the model would put into a field, and
the answer does not, is a dropped or a cut value.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction import FeatureHasher
from sklearn.naive_bayes import MultinomialNB

from factory.folds import FOLDS

WORD = re.compile(r"\w+|[^\w\s]")
TOKENS = 400  # of an input; what comes later is not judged
ALL_TOKENS = 1_000_000  # of all inputs; rows past it are judged by their fixed fields alone
BUCKETS = 2**17  # of hashed features
SMOOTHING = 0.05
# A word's features say the same thing several times over: without this, naive Bayes is certain of
# everything. Chosen, as the smoothing was, on one half of a set and measured on the other.
TEMPER = 4.0
FIXED = 0.5  # a field is fixed if at most this share of its values is copied from the input
VALUES = 50  # of a fixed field that are told apart; the rarer ones are one
FIELDS = 8  # fixed fields that are judged, the commonest first
COPIED = 0.9  # a field with more of its values copied than this should be copied
ENOUGH = 20  # values, before a field is said to be copied
NOWHERE, ABSENT, RARE = "", "(absent)", "(a rare value)"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """An answer beside its input: `places[i]` is the field that word i went into, or nowhere.

    `fixed` holds the values that stand nowhere in the input, by field; `fields` all fields.
    """

    words: tuple[str, ...]
    places: tuple[str, ...]
    fixed: dict[str, str]
    fields: frozenset[str]


def reading(text: str, output: str) -> Reading:
    """Find the words of the input that each value of a JSON answer was copied from."""
    source = text.casefold()
    found = list(WORD.finditer(source))[:TOKENS]
    places = [NOWHERE] * len(found)
    leaves = [(path, said(leaf)) for path, leaf in leaves_of(json.loads(output))]
    fixed = {
        path: value
        # The longest first: a short value may also be a part of a longer one.
        for path, value in sorted(leaves, key=lambda leaf: -len(leaf[1]))
        if not _placed(value.casefold(), path, source, found, places)
    }
    fields = frozenset(path for path, _ in leaves)
    return Reading(tuple(word.group() for word in found), tuple(places), fixed, fields)


def said(leaf: Any) -> str:
    """Return a scalar as text."""
    return leaf if isinstance(leaf, str) else json.dumps(leaf)


def leaves_of(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, scalar) of a JSON value; the items of a list share one path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves_of(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from leaves_of(item, f"{path}[]")
    else:
        yield path, value


def _placed(
    value: str, path: str, source: str, words: Sequence[re.Match[str]], places: list[str]
) -> bool:
    if not value:
        return False
    is_there = False
    for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", source):
        is_there = True
        inside = [
            at
            for at, word in enumerate(words)
            if word.start() >= match.start() and word.end() <= match.end()
        ]
        if inside and all(places[at] == NOWHERE for at in inside):
            for at in inside:
                places[at] = path
            return True
    return is_there


# --- fixed fields ---------------------------------------------------------------------------------
def fixed_fields(readings: Sequence[Reading]) -> list[str]:
    """Return the fields whose values mostly are not copied, the commonest first."""
    seen = Counter(path for read in readings for path in read.fields)
    fixed = Counter(path for read in readings for path in read.fixed)
    return [
        path
        for path, count in fixed.most_common()
        if count >= (1 - FIXED) * seen[path] and _repeats(path, readings)
    ][:FIELDS]


def _repeats(path: str, readings: Sequence[Reading]) -> bool:
    values = Counter(read.fixed[path] for read in readings if path in read.fixed)
    return sum(n for n in values.values() if n > 1) > FIXED * values.total()


def values_of(path: str, readings: Sequence[Reading]) -> list[str]:
    """Return each row's value of a fixed field, as a label."""
    given = [read.fixed.get(path, ABSENT) for read in readings]
    common = {value for value, _ in Counter(given).most_common(VALUES)}
    return [value if value in common else RARE for value in given]


def strangers(readings: Sequence[Reading]) -> list[tuple[float, str]]:
    """Say for each row how odd its values are that the input does not hold, and which is oddest.

    Odd is a value that was not copied where the field's values are: 0 where there is none.
    """
    seen = Counter(path for read in readings for path in read.fields)
    fixed = Counter(path for read in readings for path in read.fixed)
    copied = {path: 1.0 - fixed[path] / n for path, n in seen.items() if n >= ENOUGH}
    found = []
    for read in readings:
        odd = [(copied[p], p) for p in read.fixed if copied.get(p, 0.0) > COPIED]
        share, path = max(odd, default=(0.0, ""))
        hint = f"{path}: “{read.fixed[path][:40]}” is not in the input" if odd else ""
        found.append((share, hint))
    return found


# --- words ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Words:
    """All words of some rows: row `owner[i]` has word i, whose place is `names[own[i]]`."""

    owner: NDArray[np.intp]
    names: NDArray[np.str_]
    own: NDArray[np.intp]
    probabilities: Floats  # of each name, by a model that has not seen the row


def judged_words(
    readings: Sequence[Reading], folds: NDArray[np.intp], fixed: Sequence[str]
) -> Words | None:
    """Judge each word's place by its neighbourhood and the row's `fixed` fields, out of fold.

    By naive Bayes. None where all words have one and the same place.
    """
    judged = _within(readings)
    owner = np.repeat(np.arange(judged), [len(read.words) for read in readings[:judged]])
    given = [place for read in readings[:judged] for place in read.places]
    if len(set(given)) < 2:
        return None
    names, own = np.unique(given, return_inverse=True)
    features = _word_features(readings[:judged], fixed)
    probabilities = _out_of_fold(features, own, len(names), folds[owner])
    return Words(owner, names, own, probabilities)


def misplaced(
    readings: Sequence[Reading], folds: NDArray[np.intp], fixed: Sequence[str]
) -> list[tuple[float, str]]:
    """Say for each row how likely its worst word is in the wrong place, and what is wrong with it.

    0 is no doubt, 1 certainty (normalized margin, as labels are judged).
    """
    results = [(0.0, "")] * len(readings)
    words = judged_words(readings, folds, fixed)
    if words is None:
        return results
    at = np.arange(len(words.own))
    given = words.probabilities[at, words.own].copy()
    words.probabilities[at, words.own] = -1.0
    best = words.probabilities.argmax(axis=1)
    doubts = (1.0 - (given - words.probabilities.max(axis=1))) / 2.0
    rows, starts = np.unique(words.owner, return_index=True)
    for row, start, stop in zip(rows, starts, [*starts[1:], len(at)], strict=True):
        worst = start + int(np.argmax(doubts[start:stop]))
        word = readings[row].words[worst - start]
        hint = _hint(word, str(words.names[words.own[worst]]), str(words.names[best[worst]]))
        results[row] = (float(doubts[worst]), hint)
    return results


def _within(readings: Sequence[Reading]) -> int:
    total = np.cumsum([len(read.words) for read in readings])
    return int(np.searchsorted(total, ALL_TOKENS, side="right"))


def _word_features(readings: Sequence[Reading], fixed: Sequence[str]) -> csr_matrix:
    hasher = FeatureHasher(BUCKETS, input_type="string", alternate_sign=False)
    return hasher.transform(
        features
        for read in readings
        for features in _around(read.words, [f"{p}={read.fixed.get(p, '')}" for p in fixed])
    )


def _around(words: Sequence[str], fixed: list[str]) -> Iterator[list[str]]:
    w = ["", "", *words, "", ""]
    for at in range(2, len(w) - 2):
        word = w[at]
        yield [
            f"0={word}", f"-1={w[at - 1]}", f"+1={w[at + 1]}", f"-2={w[at - 2]}", f"+2={w[at + 2]}",
            f"start={word[:3]}", f"end={word[-3:]}", f"digits={word.isdigit()}",
            f"-1,0={w[at - 1]},{word}", f"0,+1={word},{w[at + 1]}",
            f"-2,-1={w[at - 2]},{w[at - 1]}", f"+1,+2={w[at + 1]},{w[at + 2]}",
            *fixed, *(f"{value},{word}" for value in fixed),
        ]  # fmt: skip


def _out_of_fold(
    features: csr_matrix, own: NDArray[np.intp], names: int, folds: NDArray[np.intp]
) -> Floats:
    probabilities = np.zeros((len(own), names))
    for fold in range(FOLDS):
        seen, unseen = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if len(seen) == 0 or len(unseen) == 0:
            probabilities[unseen, own[unseen]] = 1.0
            continue
        model = MultinomialNB(alpha=SMOOTHING).fit(features[seen], own[seen])
        prior = model.class_log_prior_
        logs = (model.predict_joint_log_proba(features[unseen]) - prior) / TEMPER + prior
        shares = np.exp(logs - logs.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        probabilities[np.ix_(unseen, model.classes_)] = shares
    return probabilities


def _hint(word: str, given: str, likelier: str) -> str:
    if likelier == NOWHERE:
        return f"“{word}” may not belong to {given}"
    if given == NOWHERE:
        return f"“{word}” looks like a part of {likelier}"
    return f"“{word}” looks like {likelier} rather than {given}"


# --- neighbours' facts ----------------------------------------------------------------------------
def facts_of(read: Reading) -> set[str]:
    """Say what is remarkable of an answer: its fields, and the values that the input lacks."""
    return {f"{path}={read.fixed[path]}" if path in read.fixed else path for path in read.fields}
