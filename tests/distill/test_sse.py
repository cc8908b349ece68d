"""However a stream is cut and whatever it holds: it spells its answer, and nothing raises."""

import random
from typing import Any

import orjson
import pytest

from distill.sse import MAX_INDEX, Stream
from tests.fakes import events_of

ENDPOINTS = ["chat/completions", "completions", "responses"]
DONE = b"data: [DONE]\n\n"


def fed(events: list[bytes], endpoint: str = "chat/completions") -> Stream:
    stream = Stream(endpoint)
    for event in events:
        stream.feed(event)
    return stream


def message(stream: Stream) -> dict[str, Any]:
    response = stream.response()
    assert response is not None
    found: dict[str, Any] = response["choices"][0]["message"]
    return found


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": "c1", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


STREAM = b"".join(
    [
        b": keep-alive\n\n",
        *events_of(
            delta(role="assistant", content=""),
            delta(reasoning_content="Hm, "),
            delta(content="Zwei Äpfel"),
            delta(content=" für Zoë"),
            delta("stop"),
            {"id": "c1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}},
        ),
        DONE,
    ]
)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_stream_spells_the_same_however_it_is_cut(size: int, newline: bytes) -> None:
    raw = STREAM.replace(b"\n", newline)
    stream = fed([raw[at : at + size] for at in range(0, len(raw), size)])
    assert stream.response() == {
        "id": "c1",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Zwei Äpfel für Zoë",
                    "reasoning_content": "Hm, ",
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5},
    }
    assert stream.is_ended


def test_the_role_is_no_content_yet() -> None:
    assert not fed(events_of(delta(role="assistant", content=""))).has_content
    assert fed(events_of(delta(content="a"))).has_content
    assert fed(events_of(delta(tool_calls=[{"index": 0, "id": "x"}]))).has_content
    opened = {"type": "response.created", "response": {"id": "r"}}
    assert not fed(events_of(opened), "responses").has_content


def test_an_answer_is_whole_once_every_choice_is_finished() -> None:
    assert not fed(events_of(delta(content="a"))).is_whole
    assert fed(events_of(delta(content="a"), delta("length"))).is_whole
    assert fed([DONE]).is_whole


def test_tool_calls_are_told_apart_with_and_without_numbers() -> None:
    def tool(**fields: Any) -> dict[str, Any]:
        return delta(tool_calls=[fields])

    numbered = fed(
        events_of(
            tool(index=1, id="b", function={"name": "g", "arguments": "{"}),
            tool(index=0, id="a", function={"name": "f", "arguments": "{}"}),
            tool(index=1, function={"arguments": "}"}),
        )
    )
    unnumbered = fed(
        events_of(
            tool(id="a", function={"name": "f", "arguments": "{}"}),
            tool(id="b", function={"name": "g", "arguments": "{"}),
            tool(function={"arguments": "}"}),
        )
    )
    for stream in (numbered, unnumbered):
        calls = message(stream)["tool_calls"]
        assert [(c["id"], c["function"]["name"]) for c in calls] == [("a", "f"), ("b", "g")]
        assert [c["function"]["arguments"] for c in calls] == ["{}", "{}"]


def test_a_custom_tools_input_and_a_function_call_of_old_are_put_together() -> None:
    custom = {"index": 0, "id": "a", "type": "custom"}
    stream = fed(
        events_of(
            delta(tool_calls=[{**custom, "custom": {"name": "sql", "input": "select"}}]),
            delta(tool_calls=[{"index": 0, "custom": {"input": " 1"}}]),
        )
    )
    (call,) = message(stream)["tool_calls"]
    assert call == {"id": "a", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    old = fed(
        events_of(delta(function_call={"name": "f"}), delta(function_call={"arguments": "1"}))
    )
    assert message(old)["tool_calls"][0]["function"] == {"name": "f", "arguments": "1"}


def test_log_probabilities_are_joined() -> None:
    def piece(token: str) -> dict[str, Any]:
        logprobs = {"content": [{"token": token, "logprob": -0.1}], "refusal": None}
        return {"choices": [{"index": 0, "delta": {"content": token}, "logprobs": logprobs}]}

    response = fed(events_of(piece("a"), piece("b"))).response()
    assert response is not None
    assert [p["token"] for p in response["choices"][0]["logprobs"]["content"]] == ["a", "b"]


def test_an_error_in_the_middle_is_kept_with_what_came_before_it() -> None:
    stream = fed(events_of(delta(content="half"), {"error": {"message": "overloaded"}}))
    response = stream.response()
    assert response is not None
    assert response["error"] == {"message": "overloaded"}
    assert (message(stream)["content"], stream.is_whole) == ("half", False)


def test_a_response_cut_short_holds_what_was_said_and_called() -> None:
    events = events_of(
        {"type": "response.created", "response": {"id": "r1", "model": "m", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning"}},
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "Hm"},
        {
            "type": "response.output_item.added",
            "output_index": 1,
            "item": {"type": "message", "role": "assistant", "content": []},
        },
        {"type": "response.output_text.delta", "output_index": 1, "delta": "two "},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "apples"},
        {
            "type": "response.output_item.done",
            "output_index": 2,
            "item": {"type": "function_call", "name": "f", "arguments": "{}"},
        },
        {
            "type": "response.output_item.added",
            "output_index": 3,
            "item": {"type": "function_call", "name": "g", "arguments": ""},
        },
        {"type": "response.function_call_arguments.delta", "output_index": 3, "delta": '{"a'},
    )
    stream = fed(events, "responses")
    response = stream.response()
    assert response is not None
    thought, said, called, calling = response["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert said["content"] == [{"type": "output_text", "text": "two apples"}]
    assert (called["arguments"], calling["arguments"]) == ("{}", '{"a')
    assert (response["id"], response["status"], stream.is_whole) == ("r1", "incomplete", False)


def test_an_empty_stream_is_no_answer() -> None:
    for endpoint in ENDPOINTS:
        assert fed([b"", b"\n\n", b": ping\n\n"], endpoint).response() is None


ODD: list[Any] = [None, 1, -1, 2**40, 0.5, "", "x", [], [None], ["x"], {}, {"index": "x"}, True]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_nothing_that_a_stream_holds_raises(endpoint: str) -> None:
    names = [
        "choices", "delta", "index", "content", "tool_calls", "function", "name", "arguments", "id",
        "type", "response", "item", "output_index", "logprobs", "usage", "error", "text", "role",
        "finish_reason", "custom", "function_call", "output", "refusal",
    ]  # fmt: skip
    kinds = ["response.created", "response.output_item.done", "response.output_text.delta", "error"]
    draw = random.Random(4)

    def value(depth: int) -> Any:
        if depth == 0 or draw.random() < 0.3:
            return draw.choice([*ODD, *kinds])
        if draw.random() < 0.4:
            return [value(depth - 1) for _ in range(draw.randint(0, 3))]
        return {name: value(depth - 1) for name in draw.sample(names, draw.randint(0, 6))}

    for _ in range(2000):
        stream = Stream(endpoint)
        for _ in range(3):
            event = value(4)
            if isinstance(event, dict) and draw.random() < 0.7:
                event = {**event, "choices": value(3), "type": draw.choice(kinds)}
            stream.feed(b"data: " + orjson.dumps(event) + b"\n\n")
        response = stream.response()
        assert response is None or orjson.dumps(response)


def test_a_number_from_outside_sizes_nothing() -> None:
    far = [{"index": MAX_INDEX, "delta": {"content": "x"}}, {"index": 10**9, "delta": {}}]
    tools = [{"index": 10**6, "id": "a", "function": {"name": "f"}}]
    response = fed(events_of({"choices": far}, delta(content="a", tool_calls=tools))).response()
    assert response is not None
    assert [choice["message"] for choice in response["choices"]] == [
        {"role": "assistant", "content": "a"}
    ]
