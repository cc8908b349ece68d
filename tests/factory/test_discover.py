"""What kind of workload a sample of answers is."""

from typing import Any

import pytest

from factory.discovery.discover import infer_kind, slug_for
from tests.conftest import INSTRUCTION

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def kind_of(outputs: list[str], instruction: str = "", params: dict[str, Any] | None = None) -> str:
    return infer_kind(outputs, instruction, params or {}).kind


def test_few_short_answers_that_recur_are_labels() -> None:
    found = infer_kind(["spam", "ham", " ham\n", "spam", "ham", "ham"] * 5, "", {})
    assert found.kind == "classification"
    assert found.output_schema == {"type": "string", "enum": ["ham", "spam"]}
    assert found.metric == "exact_match"


def test_labels_that_the_instruction_names_need_not_recur() -> None:
    found = infer_kind(["billing", "delivery", "login"], INSTRUCTION, {})
    assert found.output_schema == {"type": "string", "enum": ["billing", "delivery", "login"]}


def test_a_stray_answer_is_no_label() -> None:
    found = infer_kind([*["yes", "no"] * 20, "I am not sure about that", "maybe"], "", {})
    assert found.output_schema == {"type": "string", "enum": ["no", "yes"]}


def test_json_objects_are_an_extraction_though_some_are_broken() -> None:
    found = infer_kind(['{"a": 1}'] * 9 + ['{"a": '], "", {})
    assert (found.kind, found.output_schema) == ("extraction", {"type": "object"})
    assert found.metric == "json_fields"


def test_the_schema_that_the_app_asks_for_is_the_workloads() -> None:
    params = {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}
    assert infer_kind(["{}"], "", params).output_schema == SCHEMA


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        ["same"] * 30,
        [f"A text of its own, number {n}." for n in range(30)],
        ["[1]", "[2]"] + [f"text {n}" for n in range(30)],
        [f"label {n % 15}" for n in range(30)],  # seen twice each: too many for so few answers
        ["a long answer that recurs, " * 10, "another long answer that recurs, " * 10] * 10,
    ],
)
def test_anything_else_is_text(outputs: list[str]) -> None:
    assert kind_of(outputs) == "generation"


@pytest.mark.parametrize("asked", ["json", 5, {"json_schema": "x"}, {"json_schema": {"schema": 1}}])
def test_a_strange_answer_format_is_no_schema(asked: Any) -> None:
    assert kind_of(["a text"], "", {"response_format": asked}) == "generation"


@pytest.mark.parametrize(
    ("instruction", "metadata", "slug"),
    [
        ("Route the support tickets of a bank.", {}, "route-the-support-tickets"),
        ("Route.", {"app": "Help Desk!"}, "help-desk"),
        ("Route.", {"app": "x", "workload": "tickets_v2"}, "tickets-v2"),
        ("票を分類する", {}, "workload"),
        ("", {}, "workload"),
        ("x" * 200, {}, "x" * 40),
    ],
)
def test_a_workload_is_named_for_its_app_or_instruction(
    instruction: str, metadata: dict[str, str], slug: str
) -> None:
    assert slug_for(instruction, metadata) == slug
