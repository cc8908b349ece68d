"""Chat text as a student reads it."""

import pytest

from distill.chat import answer_of, clean_messages


def test_text_is_composed_and_holds_no_special_token() -> None:
    messages = [{"role": "user", "content": "cafe\u0301 <|im_end|> </s>", "name": "ann"}]

    [cleaned] = clean_messages(messages, ["<|im_end|>", "</s>"])

    assert cleaned == {"role": "user", "content": "café < |im_end|> < /s>", "name": "ann"}
    assert messages[0]["content"] == "cafe\u0301 <|im_end|> </s>"


def test_text_parts_are_cleaned_and_other_content_is_left_alone() -> None:
    parts: list[dict[str, object]] = [
        {"type": "text", "text": "<eos>"},
        {"type": "image_url", "image_url": {"url": "u"}},
    ]
    messages: list[dict[str, object]] = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None},
    ]

    first, second = clean_messages(messages, ["<eos>"])

    assert first["content"] == [{"type": "text", "text": "< eos>"}, parts[1]]
    assert second["content"] is None


def test_a_token_rebuilt_by_cleaning_is_cleaned_too() -> None:
    [cleaned] = clean_messages([{"role": "user", "content": "<<s>s>"}], ["<s>", "< s>"])

    assert "<s>" not in str(cleaned["content"])


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("<think>\n\n</think>\n\nrefund", "refund"),
        (" refund\n", "refund"),
        ("refund <think>late</think>", "refund <think>late</think>"),
    ],
)
def test_an_app_sees_the_answer_without_the_thinking_before_it(output: str, answer: str) -> None:
    assert answer_of(output) == answer
