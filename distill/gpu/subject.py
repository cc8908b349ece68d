"""What an evaluation asks of a model, whatever runs it."""

from dataclasses import dataclass
from typing import Protocol

from distill.jobdir import Json


@dataclass(frozen=True)
class Answer:
    """What a subject said, and how many tokens that took."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class Subject(Protocol):
    """A model that answers one chat at a time."""

    device: str

    def answer(self, prompt: list[Json]) -> Answer:
        """Return the greedy answer."""

    def close(self) -> None:
        """Free the model."""
