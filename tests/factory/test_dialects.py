"""Whatever endpoint a call went to, it is kept as chat messages and a chat completion."""

import random
from typing import Any

import pytest

from factory.capture.dialects import chat_form


def asked(endpoint: str, request: dict[str, Any]) -> dict[str, Any]:
    return chat_form(endpoint, request, None)[0]


def answered(endpoint: str, response: dict[str, Any]) -> dict[str, Any]:
    answer = chat_form(endpoint, {}, response)[1]
    assert answer is not None
    return answer


def test_a_chat_completion_is_left_as_it_is() -> None:
    request, response = {"model": "m", "messages": [], "n": 2}, {"choices": [], "x": 1}
    assert chat_form("chat/completions", request, response) == (request, response)


@pytest.mark.parametrize(
    ("prompt", "content"),
    [
        ("Hello", "Hello"),
        (["one", "two"], [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]),
        ([1, 2, 3], "[1,2,3]"),
        ([[1, 2], [3]], [{"type": "text", "text": "[1,2]"}, {"type": "text", "text": "[3]"}]),
    ],
)
def test_a_prompt_is_a_user_turn(prompt: object, content: object) -> None:
    request = asked("completions", {"model": "m", "prompt": prompt, "max_tokens": 5})
    assert request == {
        "model": "m",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": content}],
    }


def test_doing_it_twice_changes_nothing() -> None:
    for endpoint, request, response in (
        ("completions", {"prompt": "a"}, {"choices": [{"index": 0, "text": "b"}]}),
        ("embeddings", {"input": "a"}, {"data": [{"embedding": [1.0]}], "usage": {"a": 1}}),
        ("responses", {"input": "a"}, {"output": [], "status": "completed"}),
    ):
        once = chat_form(endpoint, request, response)
        assert chat_form(endpoint, *once) == once


def test_errors_and_broken_answers_come_back_unchanged() -> None:
    error = {"error": {"message": "no"}}
    for endpoint in ("completions", "embeddings", "responses"):
        assert answered(endpoint, error) == error
        assert answered(endpoint, {"choices": "x", "output": "x", "data": "x"})


def test_a_base64_embedding_has_no_known_dimension() -> None:
    answer = answered("embeddings", {"data": [{"embedding": "AACAPw=="}], "model": "e"})
    assert answer["embeddings"] == {"count": 1, "dimensions": None}


CONVERSATION = [
    {"role": "developer", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "What is it?"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
            {"type": "input_file", "file_id": "file-1"},
        ],
    },
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
    {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "a", "output": "one"},
    {
        "type": "function_call_output",
        "call_id": "b",
        "output": [{"type": "input_text", "text": "two"}],
    },
    {"type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "select 1"},
    {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "A cat", "annotations": []}],
    },
    {"type": "item_reference", "id": "msg_1"},
    "odd",
]


def test_a_conversation_of_the_responses_api_is_a_chat() -> None:
    def call(name: str, function: str) -> dict[str, Any]:
        said = {"name": function, "arguments": "{}"}
        return {"id": name, "type": "function", "function": said}

    custom = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    request = asked("responses", {"instructions": "Look.", "input": CONVERSATION})
    assert request["messages"] == [
        {"role": "system", "content": "Look."},
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,AA", "detail": "low"},
                },
                {"type": "file", "file": {"file_id": "file-1"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [call("a", "f"), call("b", "g")]},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "tool", "tool_call_id": "b", "content": "two"},
        {"role": "assistant", "content": None, "tool_calls": [custom]},
        {"role": "assistant", "content": "A cat"},
    ]


def test_parameters_of_the_responses_api_have_chats_names() -> None:
    schema = {"name": "route", "schema": {"type": "object"}, "strict": True}
    request = asked(
        "responses",
        {
            "model": "m",
            "input": "x",
            "text": {"format": {"type": "json_schema", **schema}, "verbosity": "low"},
            "tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "web_search"}],
            "tool_choice": {"type": "function", "name": "f"},
            "max_output_tokens": 9,
            "reasoning": {"effort": "low"},
        },
    )
    assert request["response_format"] == {"type": "json_schema", "json_schema": schema}
    assert request["verbosity"] == "low"
    function = {"type": "function", "function": {"name": "f", "parameters": {}}}
    assert request["tools"] == [function, {"type": "web_search"}]
    assert request["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert (request["max_completion_tokens"], request["reasoning_effort"]) == (9, "low")
    assert not {"input", "text", "max_output_tokens"} & request.keys()


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({"status": "completed"}, "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "failed", "error": {"code": "server_error"}}, None),
    ],
)
def test_how_a_response_ended_is_its_finish_reason(fields: Any, finish: str | None) -> None:
    answer = answered("responses", {"output": [], **fields})
    assert answer["choices"][0]["finish_reason"] == finish
    assert answer.get("error") == fields.get("error")


def test_what_a_response_holds_is_one_message() -> None:
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {"type": "web_search_call", "id": "ws_1"},
        {"type": "message", "content": [{"type": "output_text", "text": "two "}]},
        {
            "type": "message",
            "content": [
                {"type": "output_text", "text": "apples"},
                {"type": "refusal", "refusal": "no pears"},
            ],
        },
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
    ]
    response = {"id": "r", "created_at": 5, "status": "completed", "output": output}
    answer = answered("responses", {**response, "usage": {"input_tokens": 3, "output_tokens": 2}})
    (choice,) = answer["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "two apples",
        "reasoning_content": "Hm",
        "refusal": "no pears",
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ],
    }
    assert choice["finish_reason"] == "tool_calls"
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 2}
    assert (answer["id"], answer["created"]) == ("r", 5)


ODD: list[Any] = [None, 1, 0.5, "", "x", [], [None], ["x"], {}, {"type": []}, True]
KINDS = ["message", "function_call", "reasoning", "output_text", "input_image", "json_schema"]
NAMES = [
    "type", "role", "content", "output", "input", "text", "summary", "refusal", "arguments", "name",
    "call_id", "image_url", "usage", "status", "incomplete_details", "reason", "choices", "data",
    "embedding", "prompt", "tools", "tool_choice", "reasoning", "format", "instructions",
]  # fmt: skip


@pytest.mark.parametrize("endpoint", ["completions", "embeddings", "responses"])
def test_nothing_that_a_call_holds_raises(endpoint: str) -> None:
    draw = random.Random(5)

    def value(depth: int) -> Any:
        if depth == 0 or draw.random() < 0.3:
            return draw.choice([*ODD, *KINDS])
        if draw.random() < 0.4:
            return [value(depth - 1) for _ in range(draw.randint(0, 3))]
        return {name: value(depth - 1) for name in draw.sample(NAMES, draw.randint(0, 8))}

    def body() -> dict[str, Any]:
        return {name: value(4) for name in NAMES if draw.random() < 0.6}

    for _ in range(2000):
        request, response = chat_form(endpoint, body(), body())
        assert isinstance(request["messages"], list)
        assert isinstance(response, dict)
