"""How a teacher is asked for an answer and how its reply is read; the format is `factory`'s."""

import json
import re

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from factory.answers import BrokenAnswer, check_output, comparable, labels_of, read_json
from factory.errors import InvalidInput
from factory.messages import Json, string_of

__all__ = [
    "RATIONALE",
    "WRAPPED",
    "BrokenAnswer",
    "check_output",
    "check_schema",
    "comparable",
    "is_wrapped",
    "labels_of",
    "read_reply",
    "unfenced",
]

WRAPPED = "answer"  # structured output must be an object: any other answer is its one field
RATIONALE = "rationale"  # the field before it, where reasons are asked for
FENCE = re.compile(r"\A\s*```\w*\n(.*?)\n?```\s*\Z", re.DOTALL)


def is_wrapped(schema: Json) -> bool:
    """Tell whether a teacher gives the answer as the one field of an object."""
    return schema.get("type") != "object"


def check_schema(schema: Json | None) -> None:
    """Refuse (`InvalidInput`) what is not a JSON Schema."""
    if schema is None:
        return
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise InvalidInput(f"output_schema: {error.message}", param="output_schema") from error


def read_reply(text: str, schema: Json | None, *, rationale: bool = False) -> str:
    """Return the output that a teacher's reply holds; `BrokenAnswer` where it holds none.

    Endpoints that ignore the asked format are met half-way: a code fence is dropped, and an
    unwrapped answer is taken where it is right by itself.
    """
    text = unfenced(text)
    if not rationale and (schema is None or not is_wrapped(schema)):
        return check_output(text, schema)
    try:
        value = read_json(text)
    except BrokenAnswer:
        if schema is None:
            raise
        return check_output(text, schema)
    if isinstance(value, dict) and WRAPPED in value and set(value) <= {RATIONALE, WRAPPED}:
        value = value[WRAPPED]
    elif schema is None:
        raise BrokenAnswer(f'the answer has no field "{WRAPPED}"')
    return check_output(value if isinstance(value, str) else json.dumps(value), schema)


def rationale_of(text: str) -> str:
    """Return the reasons that a reply gives before its answer, empty where it gives none."""
    try:
        value = read_json(unfenced(text))
    except BrokenAnswer:
        return ""
    return string_of(value.get(RATIONALE)) if isinstance(value, dict) else ""


def unfenced(text: str) -> str:
    """Return a reply without the code fence that some models put around it."""
    return FENCE.sub(r"\1", text).strip()
