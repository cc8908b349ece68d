"""Exact and near duplicates of an input."""

from typing import Any

import pytest

from factory.dedupe import group_key, input_digest
from tests.conftest import ticket_messages


def image(url: str) -> list[dict[str, Any]]:
    part = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, part]}]


@pytest.mark.parametrize(
    ("one", "other"),
    [("Where is it?", "  Where is it?\n"), ("caf\u00e9", "cafe\u0301")],
)
def test_an_exact_duplicate_differs_in_nothing_that_is_seen(one: str, other: str) -> None:
    assert input_digest(ticket_messages(one)) == input_digest(ticket_messages(other))


def test_text_parts_equal_the_text_they_spell() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    assert input_digest(parts) == input_digest([{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ticket_messages("Where is it?"), ticket_messages("where is it?")),
        (ticket_messages("a"), ticket_messages("a", instruction="Other.")),
        ([{"role": "user", "content": "a"}], [{"role": "assistant", "content": "a"}]),
        (image("data:1"), image("data:2")),
        (
            [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}],
            [{"role": "assistant", "content": None, "tool_calls": [{"id": "2"}]}],
        ),
    ],
)
def test_inputs_that_differ_are_no_exact_duplicates(one: list[Any], other: list[Any]) -> None:
    assert input_digest(one) != input_digest(other)


@pytest.mark.parametrize(
    "near",
    [
        "where is my order 77?",
        "WHERE is my order #4711!!!",
        "Where  is my\norder [PHONE_2]?",
        "\uff37here is my order 12?",  # a full-width W
    ],
)
def test_near_copies_share_a_group(near: str) -> None:
    assert group_key(ticket_messages(near)) == group_key(ticket_messages("Where is my order 4711?"))


def test_other_words_are_another_group() -> None:
    assert group_key(ticket_messages("where is my card?")) != group_key(
        ticket_messages("where is my order?")
    )


def test_the_instruction_is_no_part_of_the_group() -> None:
    assert group_key(ticket_messages("a", "One.")) == group_key(ticket_messages("a", "Two."))
