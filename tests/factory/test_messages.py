"""Log lines and chat bodies at the door: strict, and nothing that the database cannot hold."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from factory.errors import InvalidInput
from factory.messages import (
    MAX_DEPTH,
    checked_metadata,
    output_of,
    parse_json,
    record_from_json,
    record_from_log,
    text_of,
    turns_of,
    variable_text,
)


def log_line(**fields: Any) -> dict[str, Any]:
    return {
        "id": "call-1",
        "started_at": 1_790_000_016,
        "latency_ms": 560.4,
        "status_code": 200,
        "metadata": {"app": "helpdesk"},
        "request": {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "top_p": 1},
        "response": {"choices": [{"message": {"content": "billing"}}]},
        **fields,
    }


def test_a_log_line_becomes_a_record() -> None:
    record = record_from_log(log_line())
    assert record.request_id == "call-1"
    assert record.created_at == datetime(2026, 9, 21, 14, 13, 36, tzinfo=UTC)
    assert record.latency_ms == 560
    assert record.metadata == {"app": "helpdesk"}
    assert record.request["top_p"] == 1
    assert output_of(record.response) == "billing"


def test_a_value_that_another_type_says_is_read_the_same() -> None:
    written = log_line(started_at="1790000016", latency_ms="560.4", status_code="200")
    assert record_from_log(written) == record_from_log(log_line())
    assert record_from_log(log_line(latency_ms=None)).latency_ms is None
    assert record_from_log(log_line(started_at=1_790_000_016.0)) == record_from_log(log_line())


def test_a_record_survives_the_spool() -> None:
    record = record_from_log(log_line(response=None))
    assert record_from_json(orjson.loads(orjson.dumps(record.as_json()))) == record


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"id": ""}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"started_at": -1}, "started_at"),
        ({"started_at": None}, "started_at"),
        ({"status_code": None}, "status_code"),
        ({"metadata": None}, "metadata"),
        ({"started_at": 1e30}, "started_at"),
        ({"status_code": 99}, "status_code"),
        ({"latency_ms": 2**40}, "latency_ms"),
        ({"request": {"model": "m", "messages": []}}, "request.messages"),
        ({"request": {"model": "m", "messages": [{"content": "hi"}]}}, "request.messages"),
        ({"request": {"model": "m", "messages": ["hi"]}}, "request.messages.0"),
        ({"request": {"messages": [{"role": "user", "content": "hi"}]}}, "request.model"),
        ({"response": "billing"}, "response"),
        ({"metadata": {f"k{n}": "v" for n in range(17)}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        record_from_log(log_line(**fields))
    assert caught.value.param == param


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not json",
        b'{"a": NaN}',
        b'{"a": 1e400}',
        b'"\\ud800"',
        b'"\xff"',
        b"[" * 100_000,
        b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2),
    ],
)
def test_what_is_not_plain_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_json(raw)
    assert caught.value.given_code == "invalid_json"


def test_nul_characters_are_replaced_in_keys_and_values() -> None:
    assert parse_json(b'{"a\\u0000": ["b\\u0000"]}') == {"a\ufffd": ["b\ufffd"]}


def test_nesting_up_to_the_limit_is_taken() -> None:
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@pytest.mark.parametrize(
    "response",
    [
        None,
        {},
        {"choices": None},
        {"choices": []},
        {"choices": {"0": "x"}},
        {"choices": ["x"]},
        {"choices": [{"message": "x"}]},
        {"choices": [{"message": {"content": None}}]},
        {"choices": [{"message": {"content": 5}}]},
    ],
)
def test_an_answer_without_text_has_no_output(response: dict[str, Any] | None) -> None:
    assert output_of(response) == ""


def test_the_text_of_a_multi_part_content_is_its_text_parts() -> None:
    content = [
        {"type": "text", "text": "a"},
        {"type": "image_url"},
        "x",
        {"text": 3},
        {"text": "b"},
    ]
    assert text_of(content) == "a\nb"


def test_turns_without_a_role_are_left_out() -> None:
    turns = [{"role": "user", "content": "a"}, "b", {"role": []}, {"content": "c"}]
    assert turns_of({"messages": turns}) == turns[:1]
    assert turns_of({"messages": "hi"}) == []


def test_the_variable_part_is_all_but_the_instruction() -> None:
    turns = [("system", "a"), ("developer", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")]
    assert variable_text([{"role": r, "content": c} for r, c in turns]) == "c\nd\ne"


def test_metadata_values_become_text() -> None:
    assert checked_metadata({"a": 1, "b": "x"}) == {"a": "1", "b": "x"}
    with pytest.raises(InvalidInput):
        checked_metadata(["a"])
