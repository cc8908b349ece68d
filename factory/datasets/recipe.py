"""What a dataset version is made of: the same recipe over the same examples is the same version."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any

from factory.curation.balance import Policy
from factory.digest import digest_of
from factory.errors import InvalidInput

AS_PRODUCTION, INSTRUCTION_ONLY = "production", "instruction"
PROMPTS = {
    AS_PRODUCTION: "as production asked",
    INSTRUCTION_ONLY: "the workload's instruction in place of production's system prompt",
}
CHOICES: dict[str, tuple[str, ...]] = {
    "provenances": ("teacher", "relabeled_by_model", "relabeled_by_human", "uploaded"),
    "statuses": ("captured", "labeled", "reviewed"),
    "origins": ("request_log", "upload", "synthetic"),
}


@dataclass(frozen=True)
class Recipe:
    """Which rows, in which form. Where nothing is chosen of a kind, all of it is.

    Held-out rows are always real and as they came; test rows are those that a person answered.
    """

    provenances: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    min_confidence: float = 0.0  # of the teacher's votes, where a model labelled the row
    since: date | None = None  # days on which examples came in, both included
    until: date | None = None
    synthetic_share: float = 0.3  # of what is trained on, at most
    is_for_training: bool = True  # leaves out rows whose terms forbid it
    balance: Policy = field(default_factory=Policy)
    prompt: str = AS_PRODUCTION
    instruction: str = ""  # what stands for the system prompt where `prompt` says so
    seed: int = 42

    def as_json(self) -> dict[str, Any]:
        """Return the canonical form: every field, choices sorted and each once."""
        return {
            **{name: sorted(set(getattr(self, name))) for name in CHOICES},
            "min_confidence": float(self.min_confidence),
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
            "synthetic_share": float(self.synthetic_share),
            "is_for_training": self.is_for_training,
            "balance": self.balance.as_json(),
            "prompt": self.prompt,
            "instruction": self.instruction,
            "seed": self.seed,
        }

    @property
    def digest(self) -> str:
        """The recipe's name: the sha256 of its canonical JSON."""
        return digest_of(self.as_json())


def recipe_from_json(value: object) -> Recipe:
    """Read a recipe, whatever is missing by its default; `InvalidInput` names what is wrong."""
    if not isinstance(value, Mapping):
        raise InvalidInput("a recipe is a JSON object", param="recipe")
    if unknown := set(value) - {each.name for each in fields(Recipe)}:
        raise InvalidInput(f"a recipe has no {min(unknown)}", param="recipe")
    return Recipe(**{name: READERS[name](name, given) for name, given in value.items()})


def _choices(name: str, value: object) -> tuple[str, ...]:
    allowed = CHOICES[name]
    if not isinstance(value, list | tuple) or not set(value) <= set(allowed):
        raise InvalidInput(f"{name} are of {', '.join(allowed)}", param=name)
    return tuple(sorted(set(value)))


def _share(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidInput(f"{name} is a number from 0 to 1", param=name)
    return float(value)


def _day(name: str, value: object) -> date | None:
    if value is None or isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise InvalidInput(f"{name} is a day, as 2026-05-31", param=name) from error


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} is true or false", param=name)
    return value


def _prompt(name: str, value: object) -> str:
    if not isinstance(value, str) or value not in PROMPTS:
        raise InvalidInput(f"{name} is one of {', '.join(PROMPTS)}", param=name)
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{name} is a text", param=name)
    return value


def _seed(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        raise InvalidInput(f"{name} is a whole number from 0 to {2**32 - 1}", param=name)
    return value


def _balance(_name: str, value: object) -> Policy:
    return value if isinstance(value, Policy) else Policy.from_json(value)


READERS: dict[str, Callable[[str, object], Any]] = {
    **dict.fromkeys(CHOICES, _choices),
    **dict.fromkeys(("min_confidence", "synthetic_share"), _share),
    **dict.fromkeys(("since", "until"), _day),
    "is_for_training": _flag,
    "balance": _balance,
    "prompt": _prompt,
    "instruction": _text,
    "seed": _seed,
}
