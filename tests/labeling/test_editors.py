"""Which editor an answer gets, and which form a JSON Schema gives."""

from typing import Any

import pytest

from labeling.editors import MAX_PARTS, Part, editor_of, form_of
from labeling.templatetags.review import visible

ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "title": "Town", "description": "where it goes"},
        "express": {"type": "boolean"},
        "carrier": {"enum": ["post", "courier", None]},
        "weight_kg": {"type": ["number", "null"]},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
    },
    "required": ["city", "lines"],
    "$defs": {
        "line": {
            "type": "object",
            "properties": {"sku": {"type": "string"}, "count": {"type": "integer"}},
            "required": ["sku"],
        }
    },
}


def outline(part: Part) -> Any:
    """Return a part's kind, or what it holds."""
    if part.kind == "array":
        return [outline(part.item)] if part.item else []
    return {each.name: outline(each) for each in part.parts} or part.kind


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        (None, "text"),
        ({"type": "string"}, "text"),
        ({"type": "string", "enum": ["a", "b"]}, "label"),
        ({"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}, "labels"),
        ({"type": "array", "items": {"type": "string"}}, "json"),
        ({"type": "array", "items": {"enum": [1, 2]}}, "json"),
        (ORDER, "json"),
    ],
)
def test_the_schema_names_the_editor(schema: Any, name: str) -> None:
    assert editor_of(schema) == name


def test_answers_without_a_schema_are_json_where_the_workload_says_so() -> None:
    assert editor_of(None, is_json=True) == "json"
    assert form_of(None).kind == "json"


def test_a_form_has_a_part_for_each_property() -> None:
    form = form_of(ORDER)
    assert outline(form) == {
        "city": "string",
        "express": "boolean",
        "carrier": "choice",
        "weight_kg": "number",
        "lines": [{"sku": "string", "count": "integer"}],
    }
    city, express, carrier, weight, lines = form.parts
    assert (city.title, city.help, city.is_required, city.may_be_null) == (
        "Town", "where it goes", True, False,
    )  # fmt: skip
    assert not express.is_required
    assert carrier.choices == (('"post"', "post"), ('"courier"', "courier"))
    assert carrier.may_be_null
    assert (weight.title, weight.may_be_null, weight.is_required) == ("weight kg", True, False)
    assert lines.item is not None
    assert [each.is_required for each in lines.item.parts] == [True, False]


@pytest.mark.parametrize(
    ("schema", "kind", "may_be_null"),
    [
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer", True),
        ({"oneOf": [{"$ref": "#/$defs/line"}, {"type": "null"}]}, "object", True),
        ({"allOf": [{"type": "string"}], "title": "t"}, "string", False),
        ({"const": 7}, "choice", False),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "json", False),
        ({"type": ["integer", "string"]}, "json", False),
        ({"type": "array", "prefixItems": [{"type": "string"}]}, "json", False),
        ({"type": "object"}, "json", False),
        ({"type": "null"}, "json", False),
        ({"$ref": "https://example.org/schema"}, "json", False),
        ({"$ref": "#/$defs/nowhere"}, "json", False),
        (True, "json", False),
    ],
)
def test_what_no_form_says_better_is_written_as_json(
    schema: Any, kind: str, may_be_null: bool
) -> None:
    root = {**ORDER, "properties": {"here": schema}, "required": ["here"]}
    (part,) = form_of(root).parts
    assert (part.kind, part.may_be_null) == (kind, may_be_null)


def test_a_schema_that_refers_to_itself_has_an_end() -> None:
    node: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"$ref": "#"} for name in "abcdefgh"},
    }
    assert count(form_of(node)) <= 9 * MAX_PARTS
    assert form_of({"$ref": "#"}).kind == "json"


def count(part: Part) -> int:
    return 1 + sum(count(each) for each in part.parts) + (count(part.item) if part.item else 0)


def test_unseen_characters_are_named_and_markup_is_escaped() -> None:
    assert visible("a\u202eb") == 'a<span class="unseen">U+202E</span>b'
    assert visible("\x1b[31m<b>") == '<span class="unseen">U+001B</span>[31m&lt;b&gt;'
    assert visible("line\n\ttab") == "line\n\ttab"
    assert visible(None) == ""
