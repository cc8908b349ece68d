"""Which calls belong together, and what kind of answer they ask for."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import orjson

from factory.messages import Json, text_of

MAX_LABELS = 200  # more distinct short answers than this are not a label set
MAX_LABEL_LENGTH = 60
ALIKE = 0.5  # of the words: less is chance, however many words two prompts have in common
MOST = 0.8  # of the answers: production models break their format now and then


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


def infer_kind(outputs: Iterable[str], instruction: str, params: Json) -> Kind:
    """Infer the kind of answer from a sample of answers (a few hundred are plenty).

    The schema that the app itself asks for is an extraction, as JSON objects are; few distinct
    short answers that recur are labels; anything else is text. A label counts where it was seen
    twice or the instruction names it: one stray answer must not become part of the label set.
    """
    answers = [output.strip() for output in outputs if output.strip()]
    if schema := _asked_schema(params):
        return Kind("extraction", schema, "json_fields")
    if answers and sum(_is_object(answer) for answer in answers) >= MOST * len(answers):
        return Kind("extraction", {"type": "object"}, "json_fields")
    counts = Counter(answer for answer in answers if len(answer) <= MAX_LABEL_LENGTH)
    named = {answer for answer in counts if _named_in(answer, instruction)}
    labels = named | {answer for answer, times in counts.items() if times > 1}
    few = labels == named or len(labels) <= len(answers) // 3
    covered = sum(counts[label] for label in labels) >= MOST * len(answers)
    if 2 <= len(labels) <= MAX_LABELS and few and covered:
        return Kind("classification", {"type": "string", "enum": sorted(labels)}, "exact_match")
    return Kind("generation", None, "exact_match")


def slug_for(instruction: str, metadata: dict[str, str]) -> str:
    """Propose a workload's name: what the app calls itself, else the instruction's first words."""
    said = metadata.get("workload") or metadata.get("task") or metadata.get("app") or instruction
    words = re.findall(r"[a-z0-9]+", said.lower())
    return "-".join(words[:4])[:40].strip("-") or "workload"


def likeness(text: str, other: str) -> float:
    """Return the share of the longer text's words that both have in order, 0 below `ALIKE`."""
    one, two = _words(text), _words(other)
    longer = max(len(one), len(two))
    if (Counter(one) & Counter(two)).total() < ALIKE * longer or not longer:
        return 0.0
    blocks = SequenceMatcher(None, one, two).get_matching_blocks()
    share = sum(block.size for block in blocks) / longer
    return share if share >= ALIKE else 0.0


def differences(text: str, other: str) -> list[tuple[str, str]]:
    """Return what a text has otherwise than another: pairs of what went and what came."""
    one, two = re.findall(r"\S+", other), re.findall(r"\S+", text)
    changes = SequenceMatcher(None, one, two).get_opcodes()
    return [
        (" ".join(one[i:i_end]), " ".join(two[j:j_end]))
        for tag, i, i_end, j, j_end in changes
        if tag != "equal"
    ]


def _words(text: str) -> list[str]:
    return re.findall(r"\{slot\}|[^\W_]+", text.lower())


def _asked_schema(params: Json) -> Json | None:
    asked = params.get("response_format")
    named = asked.get("json_schema") if isinstance(asked, dict) else None
    schema = named.get("schema") if isinstance(named, dict) else None
    return schema if isinstance(schema, dict) else None


def _is_object(answer: str) -> bool:
    try:
        return isinstance(orjson.loads(answer), dict)
    except orjson.JSONDecodeError:
        return False


def _named_in(answer: str, instruction: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", instruction) is not None
