"""Near-duplicates: sketches that meet in an index, and pairs that are verified before they count.

A sketch is a MinHash (rensa) of a text's word 1- and 2-grams, cut into bands. Two texts of
similarity s share a band with probability 1 - (1 - s^ROWS)^BANDS: 0.80 at 0.6, 0.98 at 0.7, 0.9996
at 0.8, and one in 150,000 at 0.05. What meets is only a candidate: `jaccard` decides.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

BANDS, ROWS = 20, 5
SEED = 20_261_122  # part of the index's format, as are BANDS, ROWS and `dedupe.words_of`
MAX_GRAMS = 4096  # of a text; what comes later in a longer one does not tell it from others
BUCKET = 32  # texts that an index keeps of one band: more of the same find the same neighbours

Grams = frozenset[int]


@dataclass(frozen=True)
class Sketch:
    """What a text is found by (`keys`) and compared by (`grams`, hashed to 32 bits)."""

    keys: tuple[int, ...]
    grams: Grams


def grams_of(words: Sequence[str]) -> Grams:
    """Return the hashes of a text's words and pairs of neighbours.

    32 bits: two texts of 100 grams seem to share one by chance once in 400,000 pairs.
    """
    kept = words[:MAX_GRAMS]
    pairs = (f"{one} {two}" for one, two in pairwise(kept))
    return frozenset(zlib.crc32(gram.encode()) for gram in (*kept, *pairs))


def jaccard(one: Grams, other: Grams) -> float:
    """Return the share of grams that two texts have in common, from 0 to 1; 0 for empty texts."""
    both = len(one & other)
    return both / (len(one) + len(other) - both) if both else 0.0


def sketches(words: Sequence[Sequence[str]], *, salt: int = 0) -> list[Sketch]:
    """Sketch texts, given as their words; `salt` keeps the keys of unlike indexes apart.

    A text without words has no keys: it is near to nothing.
    """
    grams = [grams_of(each) for each in words]
    if not grams:
        return []
    matrix = RMinHash.digest_matrix_from_token_hash_sets(grams, num_perm=BANDS * ROWS, seed=SEED)
    bands = np.array(matrix.to_rows(), dtype=np.uint64).reshape(len(grams), BANDS, ROWS)
    keys = _mixed(bands, salt).tolist()
    return [
        Sketch(tuple(found) if each else (), each) for each, found in zip(grams, keys, strict=True)
    ]


def _mixed(bands: NDArray[np.uint64], salt: int) -> NDArray[np.int64]:
    """Hash each band with its place and the salt (the finalizer of splitmix64, row by row)."""
    with np.errstate(over="ignore"):
        mixed = np.arange(BANDS, dtype=np.uint64) + np.uint64(BANDS * (salt + 1))
        mixed = np.broadcast_to(mixed, bands.shape[:2])
        for row in range(ROWS):
            mixed = (mixed ^ bands[:, :, row]) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
            mixed = mixed ^ (mixed >> np.uint64(32))
    return mixed.view(np.int64)
