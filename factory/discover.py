"""Which calls belong together, and what kind of answer they ask for."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from factory.digest import digest_of
from factory.messages import Json, text_of

MAX_LABELS = 200  # more distinct short answers than this are not a label set
MAX_LABEL_LENGTH = 60


def signature(messages: list[Json], params: Json) -> str:
    """Return the digest of a request's fixed part: instruction, tools and answer format.

    Calls of one prompt template share it, whatever their variable part.
    """
    return digest_of(
        {
            "instruction": instruction_of(messages),
            "tools": params.get("tools"),
            "response_format": params.get("response_format"),
        }
    )


def instruction_of(messages: list[Json]) -> str:
    """Return the system's (or developer's) text, empty where there is none."""
    turns = [m for m in messages if m.get("role") in {"system", "developer"}]
    return "\n".join(text_of(m.get("content")) for m in turns)


@dataclass(frozen=True)
class Kind:
    """What was inferred about a workload's answers."""

    kind: str  # classification | extraction | generation
    output_schema: dict[str, Any] | None
    metric: str  # exact_match | json_fields


def infer_kind(outputs: Iterable[str], instruction: str) -> Kind:
    """Infer the kind of answer from a sample of answers (a few hundred are plenty).

    Few distinct short answers that recur are labels, JSON objects are an extraction, anything else
    is text. A label counts where it was seen twice or the instruction names it: one stray answer
    must not become part of the label set.
    """
    answers = [output.strip() for output in outputs if output.strip()]
    if answers and sum(_is_object(answer) for answer in answers) >= 0.8 * len(answers):
        return Kind("extraction", {"type": "object"}, "json_fields")
    counts = Counter(answers)
    labels = sorted(a for a, n in counts.items() if n > 1 or _named_in(a, instruction))
    covered = sum(counts[label] for label in labels)
    short = all(len(label) <= MAX_LABEL_LENGTH for label in labels)
    if 2 <= len(labels) <= min(MAX_LABELS, len(answers) // 3) and short and covered >= 0.8 * len(answers):
        return Kind("classification", {"type": "string", "enum": labels}, "exact_match")
    return Kind("generation", None, "exact_match")


def slug_for(instruction: str, metadata: dict[str, str]) -> str:
    """Propose a name for a workload: what the app calls itself, else the instruction's first words."""
    said = metadata.get("workload") or metadata.get("task") or metadata.get("app") or instruction
    words = re.findall(r"[a-z0-9]+", said.lower())
    return "-".join(words[:4])[:40].strip("-") or "workload"


def _is_object(answer: str) -> bool:
    try:
        return isinstance(orjson.loads(answer), dict)
    except orjson.JSONDecodeError:
        return False


def _named_in(answer: str, instruction: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", instruction) is not None
