"""Texts in which nothing was found, remembered: most of a call is the prompt of every call.

Only what may be written down as it is is ever remembered, and of that so many characters.
"""

from typing import NamedTuple

from factory.redaction.candidates import Detector

MAX_CHARACTERS = 1_000_000  # of a generation, of which there are two
COST = 100  # characters that a text counts for beside its own
Named = tuple[str, str]  # what a text is called, and the text


class Signs(NamedTuple):
    """What one look at a text tells."""

    detectors: tuple[Detector, ...] = ()  # those worth running
    topics: frozenset[str] = frozenset()  # the national ids that it speaks of
    placeholders: tuple[tuple[str, int], ...] = ()  # that stand in it already
    clean_among: frozenset[str] | None = None  # topics of a call in which nothing was found

    def clean_in(self, topics: frozenset[str] | None) -> "Signs":
        """Return the same signs of a text in which nothing is found in a call of these topics."""
        return Signs(self.detectors, self.topics, self.placeholders, topics)


class CleanTexts:
    """What one policy takes nothing out of. What was met longest ago is forgotten."""

    def __init__(self, most: int = MAX_CHARACTERS) -> None:
        self.most = most
        self.young: dict[Named, Signs] = {}
        self.old: dict[Named, Signs] = {}
        self.size = 0  # of the young

    def get(self, named: Named) -> Signs | None:
        """Return what was seen in a text that is remembered."""
        signs = self.young.get(named)
        if signs is None and (signs := self.old.get(named)) is not None:
            self.add(named, signs)
        return signs

    def add(self, named: Named, signs: Signs) -> None:
        """Remember a text, and forget a generation when this one is full."""
        cost = COST + len(named[0]) + len(named[1])
        if self.size + cost > self.most:
            self.young, self.old, self.size = {}, self.young, 0
        if cost <= self.most:
            self.young[named] = signs
            self.size += cost
