"""Which editor an answer is corrected with, and which form a JSON Schema gives."""

import json
from dataclasses import dataclass
from typing import Any

from factory.messages import Json, object_of, objects_in, string_of

MOST_CHOICES = 12  # drawn as keys; a longer list is a menu
MAX_DEPTH = 6
MAX_PARTS = 300  # of a form; what comes later is written as JSON
MAX_HOPS = 20  # from reference to reference


def editor_of(schema: Json | None, *, is_json: bool = False) -> str:
    """Name the editor of a workload's answers: label, labels, json or text.

    `is_json` says that answers without a schema are JSON all the same.
    """
    if schema is None:
        return "json" if is_json else "text"
    if schema.get("type") == "string":
        return "label" if schema.get("enum") else "text"
    return "labels" if choices_of(schema) else "json"


def choices_of(schema: Json | None) -> list[str]:
    """Return the labels of a set of which an answer takes any number; empty where it is none."""
    items = object_of((schema or {}).get("items"))
    is_set = (schema or {}).get("type") == "array" and "prefixItems" not in (schema or {})
    names = items.get("enum") if is_set else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return []
    return list(names)


@dataclass(frozen=True)
class Part:
    """One part of a form.

    `kind` is object, array, string, number, integer, boolean, choice or json; the last is written
    as JSON because no form says it better. `choices` are JSON texts with what people read for them.
    """

    kind: str
    name: str = ""  # the key that it has in its object
    title: str = ""
    help: str = ""
    is_required: bool = True
    may_be_null: bool = False
    choices: tuple[tuple[str, str], ...] = ()
    parts: tuple["Part", ...] = ()
    item: "Part | None" = None

    @property
    def is_menu(self) -> bool:
        """Whether there are too many choices to show them all."""
        return len(self.choices) > MOST_CHOICES

    @property
    def is_whole(self) -> bool:
        """Whether it has no parts of its own."""
        return self.kind not in {"object", "array"}


def form_of(schema: Json | None) -> Part:
    """Draw the form of a JSON Schema."""
    return _Drawing(schema or {}).part(schema or {}, name="", is_required=True, depth=0)


class _Drawing:
    """A form in the making."""

    def __init__(self, root: Json) -> None:
        self.root, self.left = root, MAX_PARTS

    def part(self, schema: object, *, name: str, is_required: bool, depth: int) -> Part:
        """Draw one part, and what is in it."""
        found, may_be_null = self.plain(schema)
        self.left -= 1
        kind = _kind(found) if depth < MAX_DEPTH and self.left > 0 else "json"
        parts: tuple[Part, ...] = ()
        item = None
        if kind == "object":
            required = found.get("required") or []
            parts = tuple(
                self.part(each, name=key, is_required=key in required, depth=depth + 1)
                for key, each in found["properties"].items()
            )
        elif kind == "array":
            item = self.part(found["items"], name="", is_required=True, depth=depth + 1)
        choices = _choices(found) if kind in {"choice", "boolean"} else ()
        return Part(
            kind=kind,
            name=name,
            title=string_of(found.get("title")) or name.replace("_", " "),
            help=string_of(found.get("description")),
            is_required=is_required,
            may_be_null=may_be_null or (kind == "choice" and None in found.get("enum", [])),
            choices=choices,
            parts=parts,
            item=item,
        )

    def plain(self, schema: object) -> tuple[Json, bool]:
        """Follow references and unions with null; return what is meant, and whether null may be."""
        found, may_be_null = object_of(schema), False
        for _ in range(MAX_HOPS):
            if "$ref" in found:
                found = {**self.lookup(found["$ref"]), **_without(found, "$ref")}
            elif len(all_of := objects_in(found.get("allOf"))) == 1:
                found = {**all_of[0], **_without(found, "allOf")}
            elif union := next((name for name in ("anyOf", "oneOf") if name in found), ""):
                others = [each for each in objects_in(found[union]) if each.get("type") != "null"]
                if len(others) != 1:
                    return {**_without(found, "type")}, may_be_null
                may_be_null = may_be_null or len(others) < len(found[union])
                found = {**others[0], **_without(found, union)}
            elif isinstance(types := found.get("type"), list):
                others = [each for each in types if each != "null"]
                may_be_null = may_be_null or "null" in types
                found = {**found, "type": others[0] if len(others) == 1 else "any"}
            else:
                return found, may_be_null
        return {}, may_be_null

    def lookup(self, reference: object) -> Json:
        """Return what a reference within the schema names; empty where it names nothing."""
        if not string_of(reference).startswith("#"):
            return {}
        here: Any = self.root
        for step in string_of(reference).removeprefix("#").split("/")[1:]:
            here = object_of(here).get(step.replace("~1", "/").replace("~0", "~"))
        return object_of(here)


def _without(schema: Json, name: str) -> Json:
    return {key: value for key, value in schema.items() if key != name}


def _kind(schema: Json) -> str:
    if "const" in schema or isinstance(schema.get("enum"), list):
        return "choice"
    if "anyOf" in schema or "oneOf" in schema:
        return "json"
    kind = schema.get("type")
    if kind in {None, "object"} and object_of(schema.get("properties")):
        return "object"
    if kind == "array" and isinstance(schema.get("items"), dict) and "prefixItems" not in schema:
        return "array"
    return str(kind) if kind in {"string", "number", "integer", "boolean"} else "json"


def _choices(schema: Json) -> tuple[tuple[str, str], ...]:
    if schema.get("type") == "boolean" and "enum" not in schema and "const" not in schema:
        return (("true", "yes"), ("false", "no"))
    values = [schema["const"]] if "const" in schema else schema["enum"]
    return tuple((_written(value), _read(value)) for value in values if value is not None)


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read(value: object) -> str:
    return value if isinstance(value, str) else _written(value)
