"""Redacted text as people look at it: what was taken out stands out, by its kind."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from factory.redaction.redact import PLACEHOLDER, parts_of


@dataclass(frozen=True)
class Piece:
    """A stretch of text: as it was, or a placeholder and the kind that it stands for."""

    text: str
    kind: str = ""


def pieces(text: str) -> Iterator[Piece]:
    """Cut a redacted text at its placeholders."""
    at = 0
    for match in PLACEHOLDER.finditer(text):
        if match.start() > at:
            yield Piece(text[at : match.start()])
        yield Piece(match[0], parts_of(match[0])[0])
        at = match.end()
    if at < len(text):
        yield Piece(text[at:])


def counted(text: str) -> dict[str, int]:
    """Count the different values that were taken out of a text, by kind."""
    return dict(Counter(parts_of(found)[0] for found in set(PLACEHOLDER.findall(text))))
