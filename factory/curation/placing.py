"""Placing: which cluster, which group and which split each new row gets.

Rows that are tied (near copies, or of one conversation) never lie in two splits. A cluster holds
near copies; a group holds clusters and conversations that are tied, and shares a split. Nothing
that was placed before ever moves from its split; groups that new rows tie together become one.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from factory.curation.near_duplicates import Grams, jaccard
from factory.curation.splits import Dealer

SAME = 1.0


@dataclass(frozen=True)
class Known:
    """A row that was placed before."""

    id: int
    cluster: str
    group: str
    split: str


@dataclass(frozen=True)
class Tie:
    """What a row is tied to: a known row, or another new one by its place in the batch.

    `similarity` is that of near copies; None for one conversation.
    """

    to: Known | int
    similarity: float | None


@dataclass(frozen=True)
class Row:
    """A new row: the name of its words, its label where it has one, and its ties."""

    name: str
    label: str
    grams: Grams
    ties: tuple[Tie, ...] = ()


@dataclass
class Cluster:
    """A cluster's first row, by which its diameter is bounded."""

    founder: Grams


@dataclass
class Ground:
    """What is known of the clusters and groups that a batch touches; grows as rows are placed."""

    clusters: dict[str, Cluster] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # rows, by group
    merged: dict[str, str] = field(default_factory=dict)  # groups that became part of others

    def now(self, group: str) -> str:
        """Return what a group is part of now."""
        while group in self.merged:
            group = self.merged[group]
        return group


@dataclass
class Placed:
    """Where a row went; no split where it is near to rows of two, or not of the one asked for."""

    split: str
    cluster: str = ""
    group: str = ""
    nearest: Tie | None = None
    has_joined: bool = False  # a cluster that was there
    apart: str = ""  # why it shares no group with what it is tied to: "size" or "reach"


@dataclass(frozen=True)
class Limits:
    """How far clusters and groups may grow."""

    reach: float
    largest: int


def place(
    rows: Sequence[Row],
    ground: Ground,
    dealer: Dealer,
    limits: Limits,
    *,
    asked: str | None = None,
) -> list[Placed]:
    """Place a batch of new rows. `asked` is the split for rows that are tied to nothing placed."""
    splits = _splits(rows, dealer, asked)
    placed: list[Placed] = []
    for row, split in zip(rows, splits, strict=True):
        placed.append(_joined(row, split, placed, ground, limits))
    for each in placed:
        each.group = ground.now(each.group)
    return placed


# --- splits ---------------------------------------------------------------------------------------
def _splits(rows: Sequence[Row], dealer: Dealer, asked: str | None) -> list[str]:
    """Return each row's split; empty for a row between two."""
    neighbours: defaultdict[int, set[int]] = defaultdict(set)
    anchors: defaultdict[int, set[str]] = defaultdict(set)
    for at, row in enumerate(rows):
        for tie in row.ties:
            if isinstance(tie.to, Known):
                anchors[at].add(tie.to.split)
            else:
                neighbours[at].add(tie.to)
                neighbours[tie.to].add(at)
    splits = [""] * len(rows)
    for component in _components(range(len(rows)), neighbours):
        found = {split for at in component for split in anchors[at]}
        if len(found) > 1:
            cut_off = _spread(component, neighbours, anchors, splits)
            inner = {at: neighbours[at] & cut_off for at in cut_off}
            pieces = _components(sorted(cut_off), inner)
        else:
            pieces = iter([component])
        for piece in pieces:
            split = found.pop() if len(found) == 1 else asked or dealer.deal(rows[piece[0]].label)
            for at in piece:
                splits[at] = split
    return splits


def _components(rows: Sequence[int], neighbours: Mapping[int, set[int]]) -> Iterator[list[int]]:
    seen: set[int] = set()
    for start in rows:
        if start in seen:
            continue
        found, waiting = [], deque([start])
        seen.add(start)
        while waiting:
            at = waiting.popleft()
            found.append(at)
            for other in sorted(neighbours.get(at, set()) - seen):
                seen.add(other)
                waiting.append(other)
        yield found


def _spread(
    component: Sequence[int],
    neighbours: Mapping[int, set[int]],
    anchors: Mapping[int, set[str]],
    splits: list[str],
) -> set[int]:
    """Let splits grow from rows that are tied to placed ones; where two meet, a row stays out.

    Returns the rows that were not reached: those tied to the others by rows that stay out only.
    """
    waiting = deque(at for at in component if anchors.get(at))
    settled: set[int] = set()
    while waiting:
        at = waiting.popleft()
        if at in settled:
            continue
        settled.add(at)
        around = anchors.get(at, set()) | {splits[other] for other in neighbours[at]} - {""}
        if len(around) == 1:
            (splits[at],) = around
            waiting.extend(sorted(neighbours[at] - settled))
    return set(component) - settled


# --- clusters and groups --------------------------------------------------------------------------
def _joined(
    row: Row, split: str, placed: Sequence[Placed], ground: Ground, limits: Limits
) -> Placed:
    if not split:
        return Placed(split="", nearest=_nearest(row))
    here = Placed(split, row.name, row.name, nearest=_nearest(row))
    barred: set[Tie] = set()
    for tie in sorted(row.ties, key=lambda tie: -(tie.similarity or 0)):
        where = _where(tie, placed)
        if where is None or tie.similarity is None:
            continue
        if why := _unfit(row, tie, where, ground, limits):
            barred.add(tie)
            here.apart = here.apart or why
        elif not here.has_joined:
            here.has_joined = True
            here.cluster, here.group = where.cluster, ground.now(where.group)
    if not here.has_joined:
        ground.clusters.setdefault(here.cluster, Cluster(row.grams))
    here.group = ground.now(here.group)
    ground.sizes[here.group] = ground.sizes.get(here.group, 0) + 1
    for tie in row.ties:
        where = _where(tie, placed)
        if where is not None and tie not in barred:
            _unite(here, where, ground, limits)
    return here


def _nearest(row: Row) -> Tie | None:
    return max(row.ties, key=lambda tie: tie.similarity or 0, default=None)


def _where(tie: Tie, placed: Sequence[Placed]) -> Known | Placed | None:
    """Return what a tie leads to; None where that is not placed, or not yet."""
    if isinstance(tie.to, Known):
        return tie.to
    found = placed[tie.to] if tie.to < len(placed) else None
    return found if found and found.split else None


def _unfit(row: Row, tie: Tie, where: Known | Placed, ground: Ground, limits: Limits) -> str:
    if tie.similarity == SAME:
        return ""
    if ground.sizes.get(ground.now(where.group), 0) >= limits.largest:
        return "size"
    founder = ground.clusters.get(where.cluster)
    if founder and jaccard(row.grams, founder.founder) < limits.reach:
        return "reach"
    return ""


def _unite(here: Placed, where: Known | Placed, ground: Ground, limits: Limits) -> None:
    """Make one group of two that a row ties together, unless it would be too large."""
    mine, other = ground.now(here.group), ground.now(where.group)
    if mine == other:
        return
    together = ground.sizes.get(mine, 0) + ground.sizes.get(other, 0)
    if together > limits.largest:
        here.apart = here.apart or "size"
        return
    small, large = sorted((mine, other), key=lambda group: (ground.sizes.get(group, 0), group))
    ground.merged[small] = large
    ground.sizes[large] = together
    here.group = large
