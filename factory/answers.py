"""What an answer must look like: a label of the set, JSON of the schema, or some text."""

import json
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from factory.digest import canonical_json
from factory.errors import InvalidInput
from factory.messages import Json, clean


class BrokenAnswer(ValueError):
    """The text is no answer of the format; the sentence says why, to a teacher or to a person."""


def labels_of(schema: Json | None) -> list[str]:
    """Return a schema's label set, empty where its answers are not labels."""
    is_set = schema is not None and schema.get("type") == "string"
    return list(schema.get("enum", [])) if schema and is_set else []


def check_output(text: str, schema: Json | None) -> str:
    """Return an output as it is kept; `BrokenAnswer` names what is allowed.

    Labels and texts lose outer spaces, JSON is written one way, so that equal answers look equal.
    """
    text = text.strip()
    if not text:
        raise BrokenAnswer("the answer is empty")
    if schema is None:
        return text
    if labels := labels_of(schema):
        if text not in labels:
            raise BrokenAnswer(f"{text[:80]!r} is not one of: {', '.join(labels)}")
        return text
    if schema.get("type") == "string":
        _check(text, schema)
        return text
    return _written(_check(read_json(text), schema))


def comparable(output: str, schema: Json | None) -> str:
    """Return a text that is equal for equal answers: canonical JSON where the answer is JSON."""
    if schema is None or schema.get("type") == "string":
        return output.strip()
    try:
        return canonical_json(read_json(output)).decode()
    except (BrokenAnswer, ValueError):
        return output.strip()


def read_json(text: str) -> Any:
    """Return an answer's JSON; `BrokenAnswer` where it is none."""
    try:
        return clean(orjson.loads(text))
    except (orjson.JSONDecodeError, InvalidInput) as error:
        raise BrokenAnswer(f"the answer is not JSON: {error}") from error


def _check(value: Any, schema: Json) -> Any:
    # A registry of its own: the default one fetches remote $refs from wherever they point to.
    validator = Draft202012Validator(schema, registry=Registry())
    try:
        problem: ValidationError | None = best_match(validator.iter_errors(value))
    except Unresolvable as error:
        raise BrokenAnswer(f"the schema refers to what it does not hold: {error}") from error
    if problem is not None:
        where = problem.json_path.removeprefix("$").removeprefix(".")
        said = problem.message[:300]
        raise BrokenAnswer(f"{where}: {said}" if where else said)
    return value


def _written(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise BrokenAnswer("the answer holds a number that JSON cannot say") from error
