"""What a teacher is asked: production's own messages, the guideline, and the answer's format."""

from typing import Any

from factory.messages import Json, text_of
from labeling.answers import WRAPPED, is_wrapped, labels_of

INSTRUCTING = {"system", "developer"}


def teacher_messages(messages: list[Json], *, schema: Json | None, guideline: str) -> list[Json]:
    """Return production's messages with the guideline and the format added to the instruction.

    The additions come last in the instruction, so that they win where the two disagree.
    """
    added = [f"Guideline:\n{guideline.strip()}"] if guideline.strip() else []
    if labels := labels_of(schema):
        added.append(
            f'Answer as JSON, {{"{WRAPPED}": LABEL}}, where LABEL is one of: {", ".join(labels)}'
        )
    elif schema is not None:
        added.append("Answer with JSON only.")
    if not added:
        return messages
    head, rest = messages[:1], messages[1:]
    if not head or head[0].get("role") not in INSTRUCTING:
        head, rest = [{"role": "system"}], messages
    said = text_of(head[0].get("content"))
    return [{**head[0], "content": "\n\n".join(part for part in (said, *added) if part)}, *rest]


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


def response_format(schema: Json | None) -> Json | None:
    """Return the `response_format` of the request, None where the answer is free text.

    Strict wherever the schema keeps strict mode's rules; elsewhere servers would refuse it.
    """
    if schema is None:
        return None
    if is_wrapped(schema):
        schema = {
            "type": "object",
            "properties": {WRAPPED: schema},
            "required": [WRAPPED],
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
