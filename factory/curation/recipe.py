"""A workload's recipe: which steps a curator takes, and their thresholds."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from factory.curation.balance import Policy
from factory.errors import InvalidInput
from factory.messages import Json, first_location, first_problem

STEPS = ("answers", "format", "exact", "language", "length", "near", "splits")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Answers(_Part):
    """Which calls teach nothing, beside those that failed, said nothing or were cut off."""

    refusals: bool = True  # "I'm sorry, but I can't help with that."
    format: bool = True  # answers outside the label set or the JSON Schema


class Language(_Part):
    """Which languages the inputs may be in; none named: all."""

    keep: tuple[str, ...] = ()  # ISO 639-1
    sure_from: Annotated[float, Field(ge=0, le=1)] = 0.6  # below it a language is unknown

    @field_validator("keep")
    @classmethod
    def are_codes(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        """Take codes in any case."""
        codes = tuple(sorted({code.strip().lower() for code in keep} - {""}))
        if any(not code.isalpha() or not 2 <= len(code) <= 3 for code in codes):
            raise ValueError("a language is a code of two or three letters, as in en")
        return codes


class Length(_Part):
    """Which inputs are too short or too long."""

    shortest: Annotated[int, Field(ge=0)] = 1  # characters
    longest: Annotated[int, Field(ge=1)] = 100_000
    # From the median of the logarithms, in robust standard deviations; 0: whatever is usual.
    deviations: Annotated[float, Field(ge=0)] = 8.0


class Near(_Part):
    """What near copies are, and how large a cluster of them may become."""

    similarity: Annotated[float, Field(ge=0.3, le=1)] = 0.6  # of word 1- and 2-grams, Jaccard
    reach: Annotated[float, Field(ge=0, le=1)] = 0.4  # at least, to a cluster's first row
    largest: Annotated[int, Field(ge=2)] = 500  # rows of a group
    keep: Annotated[int, Field(ge=0)] = 0  # rows of a cluster that stay but for test; 0: all


class Conversations(_Part):
    """What says that calls belong to one conversation, beside messages that extend one another."""

    metadata: tuple[str, ...] = ("conversation_id", "session_id", "thread_id", "chat_id")
    traces: bool = True


class Recipe(_Part):
    """All steps with their thresholds; what is not given is as it usually is."""

    answers: Answers = Answers()
    language: Language = Language()
    length: Length = Length()
    near: Near = Near()
    conversations: Conversations = Conversations()
    balance: dict[str, Any] = Policy().as_json()
    contamination: bool = True

    @field_validator("balance")
    @classmethod
    def is_policy(cls, given: dict[str, Any]) -> Json:
        """Fill in what is not given."""
        try:
            return Policy.from_json(given).as_json()
        except InvalidInput as error:
            raise ValueError(error.message) from error

    @property
    def policy(self) -> Policy:
        """How the training rows of a version are balanced."""
        return Policy.from_json(self.balance)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read a recipe; `InvalidInput` names the first wrong field."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise InvalidInput(first_problem(error), param=first_location(error)) from error

    def as_json(self) -> Json:
        """Return the recipe as it is stored and edited."""
        return self.model_dump(mode="json")
