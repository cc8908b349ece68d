"""Every endpoint through the unmodified `openai` client: what it gets, and what is kept."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from distill import gateway
from tests.distill.gateways import kept
from tests.fakes import (
    PRODUCTION,
    TEACHER,
    Reply,
    ScriptedUpstream,
    completion,
    events_of,
    openai_error,
)

pytestmark = pytest.mark.django_db(transaction=True)

IMAGE = "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUg" * 100_000  # 2 MB
SAYS: Any = [{"role": "user", "content": "I was charged twice"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture
def client(site: str, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{site}/v1", api_key=key, max_retries=0) as made:
        yield made


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    head = {"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1_790_000_000}
    return {**head, "model": PRODUCTION, "choices": [choice]}


def response_object(text: str, **fields: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed",
        "model": PRODUCTION,
        "output": [{**message, "content": content}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 11,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 14,
        },
        **fields,
    }


# --- chat completions -----------------------------------------------------------------------------
def test_tools_go_through_and_are_kept(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    call = {"id": "call_1", "type": "function"}
    called = {**call, "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    body = completion("", finish_reason="tool_calls")
    body["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [called]}
    upstream.script(Reply(body=body))
    answer = client.chat.completions.create(
        model=PRODUCTION,
        messages=SAYS,
        tools=[WEATHER],
    )
    assert answer.choices[0].message.tool_calls is not None
    assert answer.choices[0].message.tool_calls[0].id == "call_1"
    (kept_call,) = kept()
    assert kept_call.tools == [WEATHER]
    assert kept_call.response is not None
    assert kept_call.response["choices"][0]["message"]["tool_calls"] == [called]
    assert kept_call.finish_reason == "tool_calls"


def test_streamed_tool_calls_are_put_together(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    def piece(**fields: Any) -> dict[str, Any]:
        return chunk({"tool_calls": [{"index": 0, **fields}]})

    head = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    upstream.script(
        Reply(
            events=events_of(
                chunk({"role": "assistant", "content": None}),
                piece(**head),
                piece(function={"arguments": '{"city":'}),
                piece(function={"arguments": '"Oslo"}'}),
                chunk({}, "tool_calls"),
            ),
            body=b"data: [DONE]\n\n",
        )
    )
    stream = client.chat.completions.create(
        model=PRODUCTION,
        messages=SAYS,
        tools=[WEATHER],
        stream=True,
    )
    assert list(stream)[-1].choices[0].finish_reason == "tool_calls"
    (call,) = kept()
    assert call.response is not None
    (tool,) = call.response["choices"][0]["message"]["tool_calls"]
    assert (tool["id"], tool["function"]["arguments"]) == ("call_1", '{"city":"Oslo"}')
    assert call.ttft_ms is not None


def test_structured_output_is_parsed_by_the_client(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    class Route(BaseModel):
        queue: str

    upstream.script(Reply(body=completion('{"queue": "billing"}', PRODUCTION)))
    answer = client.chat.completions.parse(
        model=PRODUCTION,
        messages=SAYS,
        response_format=Route,
    )
    assert answer.choices[0].message.parsed == Route(queue="billing")
    (call,) = kept()
    assert call.request_params["response_format"]["json_schema"]["name"] == "Route"


def test_an_image_of_two_megabytes_and_several_choices_go_through(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    body = completion("a cat", PRODUCTION)
    body["choices"].append({**body["choices"][0], "index": 1})
    upstream.script(Reply(body=body))
    part = {"type": "image_url", "image_url": {"url": IMAGE}}
    content = [{"type": "text", "text": "What is this?"}, part]
    messages: Any = [{"role": "user", "content": content}]
    answer = client.chat.completions.create(model=PRODUCTION, messages=messages, n=2)
    assert [choice.message.content for choice in answer.choices] == ["a cat", "a cat"]
    assert upstream.chats[0].json["messages"] == messages
    (call,) = kept()
    assert call.request_params["n"] == 2
    assert call.messages[0]["content"][0]["text"] == "What is this?"
    assert call.response is not None
    assert len(call.response["choices"]) == 2


def test_streams_of_several_choices_are_told_apart(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    pieces = [chunk({"content": text}, index=at) for text in ("x", "y") for at in (0, 1)]
    ends = [chunk({}, "stop", index=at) for at in (0, 1)]
    upstream.script(Reply(events=events_of(*pieces, *ends), body=b"data: [DONE]\n\n"))
    stream = client.chat.completions.create(
        model=PRODUCTION,
        messages=SAYS,
        n=2,
        stream=True,
    )
    assert len(list(stream)) == 6
    (call,) = kept()
    assert call.response is not None
    assert [c["message"]["content"] for c in call.response["choices"]] == ["xy", "xy"]
    assert not call.is_partial


# --- the other endpoints --------------------------------------------------------------------------
def test_a_legacy_completion_is_kept_as_a_chat(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    upstream.script(
        Reply(
            body={
                "id": "cmpl-1",
                "object": "text_completion",
                "created": 1_790_000_000,
                "model": PRODUCTION,
                "choices": [
                    {"index": 0, "text": " billing", "logprobs": None, "finish_reason": "stop"}
                ],
                "usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5},
            }
        )
    )
    answer = client.completions.create(model=PRODUCTION, prompt="Route: charged twice ->")
    assert answer.choices[0].text == " billing"
    assert upstream.requests[-1].path == "/v1/completions"
    (call,) = kept()
    assert (call.endpoint, call.output, call.prompt_tokens) == ("completions", " billing", 4)
    assert call.messages == [{"role": "user", "content": "Route: charged twice ->"}]


def test_a_streamed_legacy_completion_is_put_together(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": PRODUCTION}
    events = events_of(
        *({**head, "choices": [{"index": 0, "text": t, "finish_reason": None}]} for t in "ab"),
        {**head, "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]},
    )
    upstream.script(Reply(events=events, body=b"data: [DONE]\n\n"))
    stream = client.completions.create(model=PRODUCTION, prompt="Say ab", stream=True)
    assert "".join(c.choices[0].text for c in stream) == "ab"
    (call,) = kept()
    assert (call.output, call.finish_reason, call.is_partial) == ("ab", "stop", False)
    assert call.ttft_ms is not None


def test_embeddings_come_through_and_their_vectors_are_not_kept(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    vectors = [
        {"object": "embedding", "index": at, "embedding": [0.25, -0.5, float(at)]} for at in (0, 1)
    ]
    usage = {"prompt_tokens": 6, "total_tokens": 6}
    body = {"object": "list", "data": vectors, "model": "embed-3", "usage": usage}
    upstream.script(Reply(body=body))
    answer = client.embeddings.create(
        model="embed-3", input=["one", "two"], encoding_format="float"
    )
    assert [row.embedding for row in answer.data] == [[0.25, -0.5, 0.0], [0.25, -0.5, 1.0]]
    (call,) = kept()
    assert (call.endpoint, call.prompt_tokens, call.completion_tokens) == ("embeddings", 6, 0)
    assert [part["text"] for part in call.messages[0]["content"]] == ["one", "two"]
    assert call.response is not None
    assert call.response["embeddings"] == {"count": 2, "dimensions": 3}
    assert "data" not in call.response


def test_a_response_is_kept_as_a_chat(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(Reply(body=response_object("billing")))
    answer = client.responses.create(
        model=PRODUCTION,
        instructions="Route the ticket.",
        input="I was charged twice, call +44 20 7946 0958",
        metadata={"app": "desk"},
    )
    assert answer.output_text == "billing"
    (call,) = kept()
    assert call.messages == [
        {"role": "system", "content": "Route the ticket."},
        {"role": "user", "content": "I was charged twice, call [PHONE_1]"},
    ]
    assert (call.endpoint, call.output, call.finish_reason) == ("responses", "billing", "stop")
    assert (call.prompt_tokens, call.completion_tokens) == (11, 3)
    assert call.metadata == {"app": "desk"}
    assert call.response_id == "resp_1"


def test_a_streamed_response_is_kept_whole(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    part = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    started = response_object("", status="in_progress", output=[])
    texts = [{"type": "response.output_text.delta", **part, "delta": t} for t in ("bill", "ing")]
    kinds: list[dict[str, Any]] = [
        {"type": "response.created", "response": started},
        *texts,
        {"type": "response.completed", "response": response_object("billing")},
    ]
    upstream.script(Reply(events=events_of(*kinds)))
    stream = client.responses.create(model=PRODUCTION, input="I was charged twice", stream=True)
    assert [event.type for event in stream][-1] == "response.completed"
    (call,) = kept()
    assert (call.output, call.is_partial) == ("billing", False)
    assert call.ttft_ms is not None


def test_a_stored_response_is_fetched_cancelled_and_deleted(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    upstream.script(
        Reply(body=response_object("billing")),
        Reply(body=response_object("", status="cancelled", output=[])),
        Reply(body={"id": "resp_1", "object": "response.deleted", "deleted": True}),
    )
    assert client.responses.retrieve("resp_1", include=["file_search_call.results"])
    client.responses.cancel("resp_1")
    client.responses.delete("resp_1")
    asked = [(r.method, r.path, r.query) for r in upstream.requests]
    assert asked == [
        ("GET", "/v1/responses/resp_1", "include%5B%5D=file_search_call.results"),
        ("POST", "/v1/responses/resp_1/cancel", ""),
        ("DELETE", "/v1/responses/resp_1", ""),
    ]
    assert kept() == []


def test_models_are_listed_and_shown(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    assert [model.id for model in client.models.list()] == [PRODUCTION, TEACHER]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")
    assert upstream.requests[-1].path == "/v1/models/nope"
    with pytest.raises(openai.NotFoundError):
        client.get("/models/..%2fsecret", cast_to=object)
    assert upstream.requests[-1].path == "/v1/models/nope"


# --- errors ---------------------------------------------------------------------------------------
def test_a_rate_limit_reaches_the_client_with_its_headers(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    headers = {"retry_after": "7", "x_ratelimit_remaining_requests": "0", "x_request_id": "req_up"}
    upstream.script(openai_error(429, "slow down", "rate_limit_exceeded", **headers))
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=PRODUCTION, messages=SAYS)
    assert caught.value.code == "rate_limit_exceeded"
    said = caught.value.response.headers
    assert (said["retry-after"], said["x-ratelimit-remaining-requests"]) == ("7", "0")
    assert said["x-upstream-request-id"] == "req_up"
    assert said["x-understudy-request-id"] == said["x-request-id"] != "req_up"
    assert len(upstream.chats) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (500, openai.InternalServerError),
    ],
)
def test_each_error_arrives_as_the_upstream_sent_it(
    client: openai.OpenAI, upstream: ScriptedUpstream, status: int, error: type[openai.APIError]
) -> None:
    upstream.script(openai_error(status, "no", "some_code"))
    with pytest.raises(error) as caught:
        client.chat.completions.create(model=PRODUCTION, messages=SAYS)
    assert caught.value.body == {
        "message": "no",
        "type": "api_error",
        "param": None,
        "code": "some_code",
    }
    assert [call.status_code for call in kept()] == [status]


# --- what an app may say of a call ----------------------------------------------------------------
def test_the_apps_own_request_id_comes_back_and_is_kept(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model=PRODUCTION,
        messages=SAYS,
        extra_headers={"x-request-id": "ticket-4711"},
    )
    assert answer.headers["x-request-id"] == "ticket-4711"
    (call,) = kept()
    assert call.trace_id == "ticket-4711"
    assert call.request_id == answer.headers["x-understudy-request-id"]


def test_the_opt_out_header_keeps_nothing_and_goes_no_further(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    client.chat.completions.create(
        model=PRODUCTION,
        messages=SAYS,
        extra_headers={"x-understudy-store": "false"},
    )
    assert "x-understudy-store" not in upstream.chats[0].headers
    assert kept() == []


def test_headers_with_keys_or_cookies_never_reach_the_upstream(
    client: openai.OpenAI, upstream: ScriptedUpstream, key: str
) -> None:
    secret = dict.fromkeys(
        ("api-key", "x-api-key", "cookie", "openai-organization", "openai-project", "x-other"),
        "mine",
    )
    passed = {"openai-beta": "assistants=v2", "traceparent": "00-1-2-01"}
    client.chat.completions.create(
        model=PRODUCTION,
        messages=SAYS,
        extra_headers={**secret, **passed, "idempotency-key": "k1"},
        extra_query={"api_key": "stolen", "api-version": "1"},
    )
    (sent,) = upstream.chats
    assert not secret.keys() & sent.headers.keys()
    assert passed.items() <= sent.headers.items()
    assert sent.headers["idempotency-key"] == "k1"
    assert sent.headers["authorization"] == "Bearer upstream-key"
    assert (sent.query, key in json.dumps(dict(sent.headers))) == ("", False)


def test_metadata_past_the_limits_goes_on_and_what_fits_is_kept(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    metadata: Any = {"app": "desk", "k" * 65: "x", "long": "v" * 513, "n": 5, "deep": {"a": [1]}}
    client.chat.completions.create(
        model=PRODUCTION,
        messages=SAYS,
        metadata=metadata,
    )
    assert upstream.chats[0].json["metadata"] == metadata
    assert kept()[0].metadata == {"app": "desk", "n": "5", "deep": '{"a":[1]}'}


def test_a_call_that_cannot_be_redacted_is_dropped_counted_and_answered(
    client: openai.OpenAI,
) -> None:
    deep: Any = "charged twice"
    for _ in range(100):  # deeper than what is kept may be, not than what may be asked
        deep = [deep]
    messages: Any = [*SAYS, {"role": "user", "content": "x", "extra": deep}]
    assert client.chat.completions.create(model=PRODUCTION, messages=messages)
    assert kept() == []
    assert gateway._open[-1].lost_records == {"redaction": 1}
