"""Each format that logs come in: what is read of it, and what is refused with which words."""

import gzip
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from factory.errors import InvalidInput, TooLarge
from factory.formats.intake import Reading, entries_of, plain, read_entry
from factory.formats.known import FORMATS, calls_in
from factory.messages import CallRecord, output_of

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ASKED = [{"role": "system", "content": "Route."}, {"role": "user", "content": "Where is it?"}]


def one(line: dict[str, Any]) -> CallRecord:
    (call,) = calls_in(line, NOW)
    return call


def read(data: bytes, size: int = 1000) -> list[Reading]:
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    return [reading for entry in entries_of(chunks) for reading in read_entry(entry, NOW)]


def own(number: int = 1, **fields: Any) -> dict[str, Any]:
    request = {"model": "gpt-4o", "messages": ASKED}
    return {"id": f"call-{number}", "started_at": 1_790_000_000, "request": request, **fields}


# --- OpenAI ---------------------------------------------------------------------------------------
def test_a_training_row_is_a_call_answered_by_its_last_turn() -> None:
    tools = [{"type": "function", "function": {"name": "find"}}]
    answer = {"role": "assistant", "content": "delivery", "weight": 1}
    line = {"messages": [*ASKED, answer], "tools": tools}
    call = one(line)
    assert call.request == {"model": "unknown", "messages": ASKED, "tools": tools}
    assert output_of(call.response) == "delivery"
    assert (call.created_at, call.status_code) == (NOW, 200)
    assert call.response is not None
    assert call.response["choices"][0]["message"] == {"role": "assistant", "content": "delivery"}
    assert one(line).request_id == call.request_id != one({"messages": line["messages"]}).request_id


@pytest.mark.parametrize(
    "messages",
    [ASKED, [], "hi", None, [{"role": "assistant", "content": "x"}], [*ASKED, {"content": "x"}]],
)
def test_a_row_without_question_or_answer_is_refused(messages: Any) -> None:
    with pytest.raises(InvalidInput, match="messages"):
        one({"messages": messages})


def test_a_batch_is_read_when_its_two_files_are_joined() -> None:
    asked = {
        "custom_id": "row-7",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o", "messages": ASKED},
    }
    answer = {
        "id": "chatcmpl-1",
        "created": 1_790_000_000,
        "choices": [{"message": {"content": "x"}}],
    }
    answered = {
        "id": "batch_req_1",
        "custom_id": "row-7",
        "response": {"status_code": 200, "request_id": "req-9", "body": answer},
        "error": None,
    }
    call = one({**asked, **answered})
    assert (call.request_id, call.status_code, call.endpoint) == ("req-9", 200, "chat/completions")
    assert (output_of(call.response), call.metadata) == ("x", {"custom_id": "row-7"})
    assert call.created_at == datetime.fromtimestamp(1_790_000_000, UTC)
    for half in (asked, answered):
        with pytest.raises(InvalidInput, match="jq -sc"):
            one(half)


def test_a_stored_completion_is_read_with_its_messages() -> None:
    stored = {
        "object": "chat.completion",
        "id": "chatcmpl-1",
        "created": 1_790_000_000,
        "model": "gpt-4o-2024-08-06",
        "temperature": 0,
        "tools": None,
        "metadata": {"app": "desk"},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 1},
    }
    listed = {"object": "list", "data": [{**turn, "id": f"m-{n}"} for n, turn in enumerate(ASKED)]}
    call = one({**stored, "messages": listed})
    assert call.request["messages"] == ASKED
    assert (call.request["temperature"], "tools" in call.request) == (0, False)
    assert call.response is not None
    assert call.response["usage"]["prompt_tokens"] == 4
    assert (call.request_id, call.metadata) == ("chatcmpl-1", {"app": "desk"})
    with pytest.raises(InvalidInput, match="/messages"):
        one(stored)


# --- LiteLLM: see test_litellm.py for what the package itself sends -------------------------------
def payload(**fields: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "call_type": "acompletion",
        "status": "success",
        "startTime": 1_790_000_000.5,
        "endTime": 1_790_000_002.0,
        "model": "gpt-4o",
        "messages": ASKED,
        "response": {"choices": [{"message": {"content": "x"}}]},
        **fields,
    }


def test_a_litellm_call_of_the_proxy_keeps_who_asked() -> None:
    given = {"requester_metadata": {"app": "desk"}, "user_api_key_team_alias": "support"}
    call = one(payload(metadata=given, request_tags=["a", "b"], model_group="big"))
    assert call.metadata == {"app": "desk", "tags": "a,b", "team": "support", "group": "big"}
    assert call.latency_ms == 1500


def test_a_litellm_call_that_failed_is_a_failed_call() -> None:
    error = {"error_code": "429", "error_class": "RateLimitError", "error_message": "slow down"}
    call = one(payload(status="failure", response={}, error_information=error))
    assert call.status_code == 429
    assert call.response == {
        "error": {"message": "slow down", "type": "RateLimitError", "code": "429"}
    }
    assert one(payload(status="failure", response=None)).status_code == 500


def test_what_litellm_did_besides_generating_is_passed_over() -> None:
    assert calls_in(payload(call_type="aimage_generation"), NOW) == []


# --- Langfuse -------------------------------------------------------------------------------------
GENERATION = {
    "id": "obs-1",
    "traceId": "trace-1",
    "type": "GENERATION",
    "name": "route",
    "startTime": "2026-05-01T10:00:00.000Z",
    "endTime": "2026-05-01T10:00:01.250Z",
    "completionStartTime": "2026-05-01T10:00:00.400Z",
    "model": "gpt-4o",
    "modelParameters": {"temperature": 0},
    "input": ASKED,
    "output": {"role": "assistant", "content": "delivery"},
    "usageDetails": {"input": 41, "output": 2, "total": 43},
    "metadata": {"route": "desk", "attempt": 2},
    "level": "DEFAULT",
}


def test_a_langfuse_generation_is_a_call() -> None:
    call = one(GENERATION)
    assert call.request == {"temperature": 0, "model": "gpt-4o", "messages": ASKED}
    assert output_of(call.response) == "delivery"
    assert call.response is not None
    assert call.response["usage"] == {"prompt_tokens": 41, "completion_tokens": 2}
    assert (call.latency_ms, call.ttft_ms, call.trace_id) == (1250, 400, "trace-1")
    assert call.metadata == {"route": "desk", "attempt": "2", "name": "route"}
    assert call.created_at == datetime(2026, 5, 1, 10, tzinfo=UTC)


def test_a_blob_storage_export_of_langfuse_reads_the_same() -> None:
    exported = {
        "id": "obs-1",
        "trace_id": "trace-1",
        "type": "GENERATION",
        "name": "route",
        "start_time": "2026-05-01 10:00:00.000000",
        "end_time": "2026-05-01 10:00:01.250000",
        "completion_start_time": "2026-05-01 10:00:00.400000",
        "provided_model_name": "gpt-4o",
        "model_parameters": '{"temperature": 0}',
        "input": json.dumps({"messages": ASKED}),
        "output": '{"role": "assistant", "content": "delivery"}',
        "usage_details": {"input": 41, "output": 2, "total": 43},
        "metadata": {"route": "desk", "attempt": 2},
    }
    assert one(exported) == one(GENERATION)


def test_a_langfuse_trace_gives_all_its_generations() -> None:
    other = {**GENERATION, "id": "obs-2", "output": "plain text"}
    span = {**GENERATION, "id": "obs-3", "type": "SPAN", "model": None}
    del other["traceId"]
    trace = {
        "id": "trace-1",
        "metadata": {"tenant": "b"},
        "observations": [GENERATION, span, other],
    }
    calls = calls_in(trace, NOW)
    assert [call.request_id for call in calls] == ["obs-1", "obs-2"]
    assert [output_of(call.response) for call in calls] == ["delivery", "plain text"]
    assert {call.trace_id for call in calls} == {"trace-1"}
    assert calls[1].metadata["tenant"] == "b"
    assert calls_in(span, NOW) == []


def test_a_langfuse_error_is_a_failed_call() -> None:
    call = one({**GENERATION, "level": "ERROR", "statusMessage": "no quota", "output": None})
    assert (call.status_code, call.response) == (500, {"error": {"message": "no quota"}})


def test_a_langfuse_trace_without_its_observations_says_what_to_export() -> None:
    with pytest.raises(InvalidInput, match="export the observations"):
        one({"id": "t", "htmlPath": "/project/p/traces/t", "input": "x", "output": "y"})


# --- any of them ----------------------------------------------------------------------------------
def test_an_unknown_line_is_told_which_formats_are_known() -> None:
    with pytest.raises(InvalidInput) as caught:
        calls_in({"prompt": "x", "answer": "y"}, NOW)
    assert all(known.title in caught.value.message for known in FORMATS)


EXAMPLES = [
    own(),
    {"messages": [*ASKED, {"role": "assistant", "content": "x"}]},
    payload(metadata={}, error_information={}, model_parameters={}, trace_id="t"),
    GENERATION,
    {"id": "t", "observations": [GENERATION]},
    {"custom_id": "c", "body": {"model": "m", "messages": ASKED}, "response": {"body": {}}},
    {"object": "chat.completion", "id": "c", "created": 1, "model": "m", "messages": ASKED},
]
HOSTILE: list[Any] = [
    None,
    True,
    -1,
    1e308,
    "",
    "x" * 300,
    [],
    [[]],
    {},
    {"a": {"b": [1]}},
    [{"role": 3}],
    "²",
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_wrong_values_are_refused_and_nothing_breaks(example: dict[str, Any]) -> None:
    assert calls_in(example, NOW)
    for name in example:
        for value in HOSTILE:
            with suppress(InvalidInput):
                calls = calls_in({**example, name: value}, NOW)
                assert all(0 < len(call.request_id) <= 128 for call in calls)
                assert all(orjson.dumps(call.as_json()) for call in calls)


# --- files ----------------------------------------------------------------------------------------
MIXED = [own(1), GENERATION, payload(), {"no": "format"}, own(2)]


def forms_of(values: list[Any]) -> dict[str, bytes]:
    lines = b"".join(orjson.dumps(value) + b"\n" for value in values)
    return {
        "lines": lines,
        "lines with a mark": b"\xef\xbb\xbf" + lines,
        "windows lines": lines.replace(b"\n", b"\r\n"),
        "no last newline": lines[:-1],
        "array": orjson.dumps(values),
        "pretty array": json.dumps(values, indent=4).encode(),
        "pretty objects": "\n".join(json.dumps(value, indent=2) for value in values).encode(),
        "page of an API": orjson.dumps({"object": "list", "data": values, "has_more": False}),
    }


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("form", list(forms_of([])))
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_file_of_any_form_reads_the_same(form: str, size: int, compress: Any) -> None:
    data = compress(forms_of(MIXED)[form])
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    readings = read(b"".join(plain(chunks, 10**6)), size)
    names = [call.request_id for reading in readings for call in reading.calls]
    assert names == ["call-1", "obs-1", "chatcmpl-1", "call-2"]
    assert [bool(reading.refused) for reading in readings] == [False, False, False, True, False]
    numbers = [1] * 5 if form == "page of an API" else [1, 2, 3, 4, 5]
    assert [reading.number for reading in readings] == numbers


def test_brackets_and_quotes_inside_texts_split_nothing() -> None:
    texts = ['"]}[{\\', '\\\\"', "},\n{", "\u2028 é 😀", '{"a": "}"}']
    values = [own(n, metadata={"said": text}) for n, text in enumerate(texts)]
    for size in (1, 3, 10_000):
        readings = read(orjson.dumps(values), size)
        assert [reading.calls[0].metadata["said"] for reading in readings] == texts


def test_what_is_no_object_in_an_array_is_refused_and_not_lost() -> None:
    readings = read(b'[1, "two", ' + orjson.dumps(own()) + b', null] "rest"')
    assert [bool(reading.refused) for reading in readings] == [True, False, True, True]


@pytest.mark.parametrize("cut", [b"[", b'[{"a": 1}', b'[{"a": "x'])
def test_a_file_that_was_cut_off_says_so(cut: bytes) -> None:
    with pytest.raises(InvalidInput, match="cut off"):
        read(cut)


def test_gzip_in_several_members_is_read_to_its_end() -> None:
    parts = [orjson.dumps(own(n)) + b"\n" for n in range(3)]
    data = b"".join(gzip.compress(part) for part in parts)
    assert b"".join(plain([data], 10**6)) == b"".join(parts)
    assert b"".join(plain(iter([data[:1], data[1:]]), 10**6)) == b"".join(parts)


@pytest.mark.parametrize("data", [b"\x1f\x8bnot gzip", gzip.compress(b"x" * 999)[:-9]])
def test_damaged_gzip_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="gzip"):
        list(plain([data], 10**6))


def test_a_gzip_bomb_is_stopped_at_the_limit() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 50_000
    came: list[int] = []
    with pytest.raises(TooLarge):
        came.extend(map(len, plain([bomb], 1_000_000)))
    assert sum(came) <= 1_000_000
