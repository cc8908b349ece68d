"""What a detector is and how it is run: RE2 says where to look, a pattern and a check what it is.

Time is linear in the text: RE2's always is, and a pattern is only run near what RE2 found, in
windows that do not overlap. So a pattern may look closely, but must not repeat without bound what
another part of it could match.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import re2

Span = tuple[int, int]

SHORT = 300  # a text of fewer characters is searched through as fast as RE2 is asked
NEAR, NEXT = 48, 12  # characters before and after a find that its check may look at
# Where a value may start: not inside a word, but after an escaped line break (`\n` in JSON).
START = r"(?:(?<![\w\\])|(?<=\\[nrt])|(?<=\\)(?![nrt]))"
NUMBER_START = r"(?:(?<![\w.+\\-])|(?<=\\[nrt]))"
NUMBER_END = r"(?!\w|[.-]\d)"


class Topics(NamedTuple):
    """Which national ids a text speaks of, and which the call that it is a part of."""

    of_text: frozenset[str]
    of_call: frozenset[str]


class Candidate(NamedTuple):
    """What a pattern found, and what stands around it."""

    value: str
    before: str
    after: str
    topics: Topics


@dataclass(frozen=True)
class Detector:
    """What a kind of value looks like, and the check that a find must pass.

    The telltale (in RE2's syntax) matches within `reach` characters of either end of every find.
    The pattern's group `value`, where it has one, is what is taken out.
    """

    kind: str
    telltale: str
    pattern: re.Pattern[str]
    valid: Callable[[Candidate], bool]
    reach: int = 40
    follows: Callable[[str], bool] | None = None  # what must hold of the text before, asked once
    is_number: bool = False  # whether every find begins as `NUMBER` does

    def finds(self, text: str, start: int, topics: Topics) -> Iterator[Span]:
        """Yield where values stand that begin at `start` or later, in order."""
        group = "value" if "value" in self.pattern.groupindex else 0
        for first, last in self._windows(text):
            at = first
            while match := self.pattern.search(text, at, last):
                begin, end = match.span(group)
                at = match.start() + 1
                if begin >= start and (length := self._longest_valid(text, begin, end, topics)):
                    at = begin + length
                    yield begin, at

    def _windows(self, text: str) -> Iterator[Span]:
        if len(text) < SHORT:
            yield 0, len(text)
            return
        first = last = 0
        for sign in compiled(self.telltale).finditer(encodable(text)):
            begin, end = max(0, sign.start() - self.reach), sign.end() + self.reach
            if begin > last:
                yield first, last
                first = begin
            last = end
        yield first, last

    def _longest_valid(self, text: str, begin: int, end: int, topics: Topics) -> int:
        # What follows a number after a space may have been taken for a part of it (a card's CVV).
        value, before = text[begin:end], text[max(0, begin - NEAR) : begin]
        if self.follows and not self.follows(before):
            return 0
        while value:
            after = text[begin + len(value) : begin + len(value) + NEXT]
            if self.valid(Candidate(value, before, after, topics)):
                break
            value = value.rpartition(" ")[0]
        return len(value)


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """Compile a pattern of RE2 once; `re2.error` says what is wrong with it."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def encodable(text: str) -> str:
    """Return a text that RE2 can read, as long as it was: a lone surrogate becomes a `?`."""
    return text.encode("utf-8", "replace").decode()
