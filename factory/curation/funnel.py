"""The funnel: what each step of a curation let through, and why it kept the rest."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from factory.curation.recipe import STEPS

NOISE = "noise"  # the fact that is measured anew at the end of each run
SAMPLES = 12  # rows remembered for each reason

# What a step keeps back, in the words of the pages.
REASONS = {
    "error": "failed calls",
    "tool_call": "tool calls",
    "empty": "without an answer",
    "truncated": "cut off",
    "refused": "refused",
    "off_label": "outside the label set",
    "off_schema": "breaks the schema",
    "duplicate": "seen before",
    "other_language": "in another language",
    "too_short": "too short",
    "too_long": "too long",
    "near_duplicate": "near copies beyond what a cluster keeps",
    "between_splits": "near to rows of two splits",
}


@dataclass
class Tally:
    """One step's counts."""

    came_in: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    samples: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    facts: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, reason: str, rows: int = 1) -> None:
        """Count rows that were kept back."""
        if rows:
            self.reasons[reason] += rows

    @property
    def went_out(self) -> int:
        """How many went on."""
        return self.came_in - self.reasons.total()

    def sample(self, reason: str, row: int) -> None:
        """Remember a row as an example of a reason, while there is room."""
        if len(self.samples[reason]) < SAMPLES and row not in self.samples[reason]:
            self.samples[reason].append(row)


def tally_from(
    came_in: int,
    reasons: Mapping[str, int],
    samples: Mapping[str, list[int]],
    facts: Mapping[str, Mapping[str, int]],
) -> Tally:
    """Return a tally as it was saved, to go on with."""
    tally = Tally(came_in, Counter(reasons))
    tally.samples.update(samples)
    tally.facts.update({name: Counter(counts) for name, counts in facts.items() if name != NOISE})
    return tally


class Funnel:
    """The tallies of a run over one workload, in the order of the steps."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}

    def __getitem__(self, step: str) -> Tally:
        return self._tallies.setdefault(step, Tally())

    def __setitem__(self, step: str, tally: Tally) -> None:
        self._tallies[step] = tally

    def __iter__(self) -> Iterator[tuple[str, Tally]]:
        """Yield each step that saw a row, in order."""
        for name in STEPS:
            if name in self._tallies:
                yield name, self._tallies[name]


def noise(answers: Iterator[tuple[Hashable, int, str]]) -> dict[str, object]:
    """Return how often near copies were answered differently, from (cluster, row, answer) sorted.

    {"clusters": of two rows and more, "rows": in them, "conflicting": clusters with two answers or
    more, "minority": rows that differ from their cluster's most frequent answer, "samples": the
    clusters with the most such rows}.
    """
    found: Counter[Hashable] = Counter()
    clusters = rows = 0
    current: Hashable = None
    seen: list[str] = []

    def close() -> None:
        nonlocal clusters, rows
        if len(seen) > 1:
            clusters, rows = clusters + 1, rows + len(seen)
            ((_, most),) = Counter(seen).most_common(1)
            if most < len(seen):
                found[current] = len(seen) - most

    for cluster, _, answer in answers:
        if cluster != current:
            close()
            current, seen = cluster, []
        seen.append(answer)
    close()
    return {
        "clusters": clusters,
        "rows": rows,
        "conflicting": len(found),
        "minority": found.total(),
        "samples": [cluster for cluster, _ in found.most_common(SAMPLES)],
    }
