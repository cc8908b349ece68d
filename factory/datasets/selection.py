"""Which rows a version takes, how often training sees each, and why the others stay out.

Pure: the same recipe over the same candidates selects the same rows, whatever else happened.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from factory.curation.balance import balanced
from factory.datasets.recipe import Recipe

# In this order a group that is in several splits is held out: what tests is never trained on.
HELD_OUT_FIRST = ("test", "validation", "train")
SYNTHETIC = "synthetic"
# A number can be trusted only where a person stands behind the answer it is measured against.
TRUSTED = ("relabeled_by_human", "uploaded")


class Candidate(NamedTuple):
    """What decides about a row that has an answer."""

    id: int
    digest: str  # of its input
    group: str
    split: str
    label: str  # the answer, empty where answers are no labels
    provenance: str
    status: str
    origin: str
    came: date
    may_train: bool = True
    confidence: float | None = None


@dataclass(frozen=True)
class Selection:
    """The rows that are taken, each with its weight, and how many were left out, by reason."""

    weights: dict[int, float]
    left_out: Counter[str]


def select(candidates: Sequence[Candidate], recipe: Recipe) -> Selection:
    """Apply a recipe. Reasons are counted in the order in which rows meet them."""
    left_out: Counter[str] = Counter()
    kept: list[Candidate] = []
    for row in candidates:
        if reason := unfit(row, recipe):
            left_out[reason] += 1
        else:
            kept.append(row)
    for reason, cut in CUTS:
        before = len(kept)
        kept = cut(kept, recipe)
        left_out[reason] += before - len(kept)
    weights = _weights(kept, recipe)
    left_out["left out by the balance"] += len(kept) - len(weights)
    return Selection(weights, +left_out)


def unfit(row: Candidate, recipe: Recipe) -> str:
    """Say why a row does not belong into a version, empty where it may."""
    reasons: Iterable[tuple[bool, str]] = (
        (bool(recipe.provenances) and row.provenance not in recipe.provenances,
         "not the provenance asked for"),
        (bool(recipe.statuses) and row.status not in recipe.statuses, "not the status asked for"),
        (bool(recipe.origins) and row.origin not in recipe.origins, "not the origin asked for"),
        (recipe.since is not None and row.came < recipe.since, "before the days asked for"),
        (recipe.until is not None and row.came > recipe.until, "after the days asked for"),
        (recipe.min_confidence > 0 and row.provenance == "relabeled_by_model"
         and (row.confidence or 0.0) < recipe.min_confidence, "the teacher was less sure"),
        (recipe.is_for_training and not row.may_train, "terms that forbid training"),
        (row.split == "test" and row.provenance not in TRUSTED,
         "test rows that no person answered"),
        (row.split != "train" and row.origin == SYNTHETIC, "synthetic rows of a held-out split"),
    )  # fmt: skip
    return next((reason for is_so, reason in reasons if is_so), "")


def _apart(kept: list[Candidate], _recipe: Recipe) -> list[Candidate]:
    """Keep each group in one split: near copies of what is tested on are not trained on."""
    rank = {split: at for at, split in enumerate(HELD_OUT_FIRST)}
    home: dict[str, str] = {}
    for row in kept:
        home[row.group] = min(home.get(row.group, row.split), row.split, key=rank.__getitem__)
    return [row for row in kept if home[row.group] == row.split]


def _cap_synthetic(kept: list[Candidate], recipe: Recipe) -> list[Candidate]:
    """Keep so many synthetic rows that they are at most their share of what is trained on."""
    training = [row for row in kept if row.split == "train"]
    made = [row for row in training if row.origin == SYNTHETIC]
    real, share = len(training) - len(made), recipe.synthetic_share
    room = len(made) if share == 1 else int(share / (1 - share) * real + 1e-9)
    drawn = sorted(made, key=lambda row: _draw(row, recipe.seed))[:room]
    stay = {row.id for row in drawn}
    return [
        row for row in kept if row.split != "train" or row.origin != SYNTHETIC or row.id in stay
    ]


def _draw(row: Candidate, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{row.digest}".encode()).digest()


CUTS: tuple[tuple[str, Callable[[list[Candidate], Recipe], list[Candidate]]], ...] = (
    ("near copies of rows in a held-out split", _apart),
    ("synthetic rows above their share", _cap_synthetic),
)


def _weights(kept: Sequence[Candidate], recipe: Recipe) -> dict[int, float]:
    """Balance what is trained on; what is measured on stays as it came."""
    training = [row for row in kept if row.split == "train"]
    weights = balanced([row.label for row in training], recipe.balance, recipe.seed)
    by_id = {row.id: weight for row, weight in zip(training, weights, strict=True)}
    found = ((row.id, by_id.get(row.id, 1.0)) for row in kept)
    return {row: weight for row, weight in found if weight > 0}


def copies_of(weight: float, digest: str) -> int:
    """Return how often training sees a row: its weight, a fraction being drawn by its digest."""
    whole = int(weight)
    point = int.from_bytes(hashlib.sha256(f"copies:{digest}".encode()).digest()[:6]) / 2**48
    return whole + (point < weight - whole)
