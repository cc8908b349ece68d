"""What a teacher is asked: production's messages, guideline, shots, and the answer's format."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from factory.messages import Json, text_of
from labeling.answers import RATIONALE, WRAPPED, is_wrapped, labels_of

INSTRUCTING = {"system", "developer"}


@dataclass(frozen=True)
class Shot:
    """An example with its right answer, shown before the question; `target` as the app sees it."""

    messages: Sequence[Json]
    target: str


class Chooser(Protocol):
    """Finds the shots of a row among reviewed examples."""

    def shots(self, example_id: int, messages: list[Json]) -> Sequence[Shot]:
        """Return what to show before this row's question; never the row or its near-duplicates."""


def teacher_messages(
    messages: list[Json],
    *,
    schema: Json | None,
    guideline: str,
    shots: Sequence[Shot] = (),
    rationale: bool = False,
) -> list[Json]:
    """Return production's messages with the guideline and the format added to the instruction.

    The additions come last in the instruction, so that they win where the two disagree. The shots
    are turns between the instruction and the rest, each without its own instruction.
    """
    added = [f"Guideline:\n{guideline.strip()}"] if guideline.strip() else []
    added += [said] if (said := _format_said(schema, rationale=rationale)) else []
    head, rest = messages[:1], messages[1:]
    if not head or head[0].get("role") not in INSTRUCTING:
        head, rest = [{"role": "system"}] if added else [], messages
    if added:
        said = text_of(head[0].get("content"))
        head = [{**head[0], "content": "\n\n".join(part for part in (said, *added) if part)}]
    shown = [turn for shot in shots for turn in _turns(shot, schema, rationale=rationale)]
    return [*head, *shown, *rest]


def _format_said(schema: Json | None, *, rationale: bool) -> str:
    labels = labels_of(schema)
    if rationale:
        one_of = f" (one of: {', '.join(labels)})" if labels else ""
        return (
            f'Answer as JSON with two fields: first "{RATIONALE}", the reasons in one or two '
            f'sentences, then "{WRAPPED}", the answer itself{one_of}.'
        )
    if labels:
        return f'Answer as JSON, {{"{WRAPPED}": LABEL}}, where LABEL is one of: {", ".join(labels)}'
    return "" if schema is None else "Answer with JSON only."


def _turns(shot: Shot, schema: Json | None, *, rationale: bool) -> list[Json]:
    said: Any = shot.target
    if schema is not None and not labels_of(schema):
        said = json.loads(shot.target)
    if rationale or (schema is not None and is_wrapped(schema)):
        # Reviewed examples come without reasons; the format still asks the teacher for its own.
        said = json.dumps({WRAPPED: said}, ensure_ascii=False)
    else:
        said = shot.target
    turns = [turn for turn in shot.messages if turn.get("role") not in INSTRUCTING]
    return [*turns, {"role": "assistant", "content": said}]


def repair_messages(messages: list[Json], broken: str, problem: str) -> list[Json]:
    """Return the question asked again, with the broken answer and what is wrong with it."""
    return [
        *messages,
        {"role": "assistant", "content": broken},
        {
            "role": "user",
            "content": f"That answer cannot be used: {problem}. Give the answer again, "
            "in the required format and with nothing else.",
        },
    ]


def response_format(schema: Json | None, *, rationale: bool = False) -> Json | None:
    """Return the `response_format` of the request, None where the answer is free text.

    Strict wherever the schema keeps strict mode's rules; elsewhere servers would refuse it. The
    rationale comes before the answer: reasons given after it would explain, not decide.
    """
    if schema is None and not rationale:
        return None
    if schema is None or rationale or is_wrapped(schema):
        fields = {RATIONALE: {"type": "string"}} if rationale else {}
        fields[WRAPPED] = {"type": "string"} if schema is None else schema
        schema = {
            "type": "object",
            "properties": fields,
            "required": list(fields),
            "additionalProperties": False,
        }
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": may_be_strict(schema)},
    }


def may_be_strict(schema: Any) -> bool:
    """Tell whether every object names all its fields as required and allows no others."""
    if isinstance(schema, list):
        return all(map(may_be_strict, schema))
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties", {})
    if schema.get("type") == "object" and (
        schema.get("additionalProperties") is not False
        or set(schema.get("required", [])) != set(properties)
    ):
        return False
    return all(map(may_be_strict, schema.values()))
