"""What counts as an answer, and what a teacher is asked."""

from typing import Any

import pytest

from factory.errors import InvalidInput
from labeling.answers import BrokenAnswer, check_output, check_schema, comparable, read_reply
from labeling.prompts import may_be_strict, repair_messages, response_format, teacher_messages

LABELS = {"type": "string", "enum": ["billing", "login"]}
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}


@pytest.mark.parametrize(
    "reply",
    [
        "billing",
        " billing\n",
        '{"answer": "billing"}',
        '```json\n{"answer": "billing"}\n```',
        '"billing"',
    ],
)
def test_a_label_is_read_in_whatever_wrapping_it_comes(reply: str) -> None:
    assert read_reply(reply, LABELS) == "billing"


@pytest.mark.parametrize(
    "reply", ["", "Billing?", '{"answer": "other"}', '{"answer": 3}', "[1]", "null"]
)
def test_what_is_no_label_is_broken_and_the_sentence_names_the_labels(reply: str) -> None:
    with pytest.raises(BrokenAnswer, match=r"billing, login|empty"):
        read_reply(reply, LABELS)


def test_json_is_checked_against_the_schema_and_written_one_way() -> None:
    assert check_output('{"name":"Zoë","age":3}', PERSON) == '{"name": "Zoë", "age": 3}'
    with pytest.raises(BrokenAnswer, match=r"age: 'old' is not of type 'integer'"):
        check_output('{"name": "Zoë", "age": "old"}', PERSON)
    with pytest.raises(BrokenAnswer, match="not JSON"):
        check_output('{"name": "Zo', PERSON)


def test_a_list_answer_comes_wrapped_and_is_kept_bare() -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    assert read_reply('{"answer": [1, 2]}', schema) == "[1, 2]"


def test_equal_json_is_equal_whatever_the_order_of_its_fields() -> None:
    assert comparable('{"a": 1, "b": 2}', PERSON) == comparable('{"b":2,"a":1}', PERSON)


def test_a_schema_never_fetches_what_it_refers_to() -> None:
    with pytest.raises(BrokenAnswer, match="does not hold"):
        check_output("{}", {"$ref": "http://127.0.0.1:9/schema.json"})


def test_what_is_no_schema_is_refused() -> None:
    with pytest.raises(InvalidInput):
        check_schema({"type": "objekt"})


def test_guideline_and_format_are_added_to_the_instruction() -> None:
    asked = teacher_messages(
        [{"role": "system", "content": "Route."}, {"role": "user", "content": "hi"}],
        schema=LABELS,
        guideline="Refunds are billing.",
    )
    assert [m["role"] for m in asked] == ["system", "user"]
    assert asked[0]["content"].startswith("Route.\n\nGuideline:\nRefunds are billing.")
    assert "billing, login" in asked[0]["content"]
    alone = teacher_messages([{"role": "user", "content": "hi"}], schema=LABELS, guideline="")
    assert [m["role"] for m in alone] == ["system", "user"]


def test_free_text_is_asked_as_production_asked_it() -> None:
    messages = [{"role": "user", "content": "hi"}]
    assert teacher_messages(messages, schema=None, guideline="") == messages
    assert response_format(None) is None


def test_strict_mode_is_asked_for_only_where_its_rules_are_kept() -> None:
    strict = {**PERSON, "required": ["name", "age"], "additionalProperties": False}
    assert may_be_strict(strict)
    assert not may_be_strict(PERSON)
    assert not may_be_strict({**strict, "properties": {"name": PERSON, "age": {}}})
    wrapped = response_format(LABELS)
    assert wrapped is not None
    assert wrapped["json_schema"]["strict"]
    assert wrapped["json_schema"]["schema"]["properties"]["answer"] == LABELS


def test_a_repair_shows_the_broken_answer_and_says_what_is_wrong() -> None:
    asked = repair_messages([{"role": "user", "content": "hi"}], "refnud", "it is not a label")
    assert [m["role"] for m in asked] == ["user", "assistant", "user"]
    assert "it is not a label" in asked[-1]["content"]
