"""Traces as a door in: what real instrumentations send, and what nobody should send."""

import gzip
import json
import os
import random
import subprocess
import sys
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from factory.errors import InvalidInput, TooLarge
from factory.formats.genai import Event, Pieces, Span
from factory.formats.otlp import JSON, PROTOBUF, read_traces, unpacked
from factory.models import CapturedCall, HeldSpan, Project
from factory.services.keys import create_key
from factory.services.otlp import EVENTS_FOLLOW, SPAN_FOLLOWS, settle_held
from tests.distill.published import serving
from tests.factory import traced_app
from tests.fakes import Reply, ScriptedUpstream, completion, openai_error

OPENAI_V2 = "opentelemetry.instrumentation.openai_v2"
LATEST = {"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"


# --- the real packages ----------------------------------------------------------------------------
def traced(project: Project, instrumentation: str, environment: dict[str, str]) -> None:
    """Run the traced app against a fake provider, its exporters pointed at us."""
    key = create_key(project, name="app", scopes=["capture"])[1]
    upstream = ScriptedUpstream()
    calls = [dict(traced_app.ASKED_TOOL, id="call_1")]
    asks = {"role": "assistant", "content": None, "tool_calls": calls}
    upstream.script(
        Reply(body=completion("billing")),
        Reply(body=completion("", message=asks, finish_reason="tool_calls")),
        openai_error(429, "slow down"),
    )
    with upstream.serve() as base_url, serving() as (address, _):
        given = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"{address}/api/v1/otel",
            "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{key}",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_SERVICE_NAME": "help-desk",
        }
        command = [sys.executable, "-m", "tests.factory.traced_app", instrumentation, base_url]
        environ = {**os.environ, **given, **environment}
        done = subprocess.run(
            command, env=environ, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Failed to export" not in done.stderr, done.stderr


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("instrumentation", "environment"),
    [
        (OPENAI_V2, {CONTENT: "true"}),  # an event in the log for each message
        (OPENAI_V2, {CONTENT: "span_only", **LATEST}),
        (OPENAI_V2, {CONTENT: "event_only", **LATEST}),  # one event in the log for each call
        (OPENAI_V2, {CONTENT: "span_and_event", **LATEST}),
        ("opentelemetry.instrumentation.openai", {}),  # OpenLLMetry
        ("openinference.instrumentation.openai", {}),
    ],
)
def test_the_calls_of_a_traced_app_arrive_whole(
    project: Project, instrumentation: str, environment: dict[str, str]
) -> None:
    traced(project, instrumentation, environment)
    HeldSpan.objects.update(first_at=datetime.now(UTC) - EVENTS_FOLLOW * 2)
    settle_held()  # of a failed call, nobody can say that no answer follows
    assert not HeldSpan.objects.exists()
    plain, tools, failed, streamed = project.calls.order_by("id").select_related("payload")
    assert [dict(turn) for turn in plain.messages] == [
        {"role": "system", "content": "Route the ticket."},
        {"role": "user", "content": "Charged twice, write to [EMAIL_1]"},
    ]
    assert (plain.output, plain.finish_reason, plain.status_code) == ("billing", "stop", 200)
    assert (plain.request_model, plain.response_model) == ("frontier-large", "teacher-xl")
    assert (plain.prompt_tokens, plain.completion_tokens) == (20, 5)
    assert plain.request_params["temperature"] == 0.25
    assert plain.request_params["max_tokens"] == 9
    assert plain.response_id == "chatcmpl-scripted"
    assert (plain.source, plain.provider) == ("otlp", "openai")
    assert plain.redactions == {"EMAIL": 1}
    assert plain.metadata["service.name"] == "help-desk"
    assert plain.request_id.partition(":")[0] == plain.trace_id
    assert plain.latency_ms is not None

    asked, told = tools.messages[1], tools.messages[2]
    assert asked["tool_calls"][0]["function"]["name"] == "find_order"
    assert json.loads(asked["tool_calls"][0]["function"]["arguments"]) == {"number": 7}
    assert told == {"role": "tool", "tool_call_id": "call_0", "content": "not found"}
    assert tools.finish_reason == "tool_calls"
    assert tools.response is not None
    (call,) = tools.response["choices"][0]["message"]["tool_calls"]
    assert (call["id"], call["type"], call["function"]["name"]) == (
        "call_1", "function", "find_order",
    )  # fmt: skip

    assert (failed.status_code, failed.output, failed.is_partial) == (429, "", False)
    assert failed.messages == [{"role": "user", "content": "Refuse me"}]
    assert streamed.messages[0]["content"] == "My parcel did not come"
    assert streamed.output
    assert streamed.completion_tokens is not None
    assert {c.trace_id for c in (plain, tools, failed, streamed)} == {plain.trace_id}


@pytest.mark.django_db(transaction=True)
def test_without_their_messages_spans_are_not_kept(project: Project) -> None:
    traced(project, OPENAI_V2, {CONTENT: "false"})
    assert not project.calls.exists()
    HeldSpan.objects.update(first_at=datetime.now(UTC) - EVENTS_FOLLOW * 2)
    settle_held()
    assert not HeldSpan.objects.exists()
    assert not project.calls.exists()


# --- spans by hand --------------------------------------------------------------------------------
@pytest.fixture
def key(project: Project) -> str:
    return create_key(project, name="app", scopes=["capture"])[1]


def any_value(value: Any) -> dict[str, Any]:
    """Write a value as OTLP's JSON does."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": attributes(value)}}
    return {"stringValue": value}


def attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": any_value(value)} for name, value in values.items()]


def span(values: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "spanId": SPAN,
        "name": "chat",
        "startTimeUnixNano": "1790000000000000000",
        "endTimeUnixNano": "1790000001500000000",
        "attributes": attributes(values),
        **fields,
    }


def traces(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def logs(*records: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    written = [
        {
            "traceId": TRACE,
            "spanId": SPAN,
            "timeUnixNano": str(1790000000000000000 + at),
            "eventName": name,
            "body": any_value(body),
        }
        for at, (name, body) in enumerate(records)
    ]
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": written}]}]}


def send(client: Client, key: str, body: Any, door: str = "traces", **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return client.generic(
        "POST",
        f"/api/v1/otel/v1/{door}",
        raw,
        content_type=headers.pop("content_type", JSON),
        headers={"authorization": f"Bearer {key}", **headers},
    )


CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.finish_reasons": ["stop"],
}
USER = ("gen_ai.user.message", {"content": "Write to ann@example.org and bo@example.org"})
SAID = ("gen_ai.choice", {
    "index": 0, "finish_reason": "stop",
    "message": {"role": "assistant", "content": "I wrote to bo@example.org"},
})  # fmt: skip


@pytest.mark.django_db
def test_json_and_gzip_are_read_and_answered_in_kind(
    client: Client, key: str, project: Project
) -> None:
    asked = [{"role": "user", "parts": [{"type": "text", "content": "Hello"}]}]
    said = [{"role": "assistant", "finish_reason": "stop", "parts": [
        {"type": "reasoning", "content": "A greeting."}, {"type": "text", "content": "Hi"},
    ]}]  # fmt: skip
    body = traces(
        span({
            **CHAT,
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
            "gen_ai.input.messages": json.dumps(asked),
            "gen_ai.output.messages": json.dumps(said),
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 3,
            "gen_ai.usage.cache_read.input_tokens": 8,
            "gen_ai.response.time_to_first_chunk": 0.25,
        }),
        span({"db.system": "postgresql"}, spanId="aaaaaaaaaaaaaaaa"),
        span({"gen_ai.operation.name": "execute_tool"}, spanId="bbbbbbbbbbbbbbbb"),
    )  # fmt: skip
    raw = gzip.compress(orjson.dumps(body))
    answer = send(client, key, raw, **{"content-encoding": "gzip"})
    assert (answer.status_code, answer["content-type"], answer.json()) == (200, JSON, {})
    call = project.calls.select_related("payload").get()
    assert call.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]
    assert call.response is not None
    assert call.response["choices"][0]["message"] == {
        "role": "assistant", "content": "Hi", "reasoning_content": "A greeting.",
    }  # fmt: skip
    assert call.response["usage"]["prompt_tokens_details"] == {"cached_tokens": 8}
    assert (call.request_id, call.trace_id) == (f"{TRACE}:{SPAN}", TRACE)
    assert (call.latency_ms, call.ttft_ms) == (1500, 250)
    assert call.created_at == datetime.fromtimestamp(1_790_000_000, UTC)
    again = send(client, key, body)
    assert again.status_code == 200
    assert project.calls.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("order", ["events first", "span first", "span between"])
def test_a_span_and_its_events_are_joined_whichever_comes_first(
    client: Client, key: str, project: Project, order: str
) -> None:
    parts = {
        "events first": [logs(USER), logs(USER, SAID), traces(span(CHAT))],
        "span first": [traces(span(CHAT)), logs(USER), logs(USER, SAID)],
        "span between": [logs(USER), traces(span(CHAT)), logs(USER, SAID)],
    }[order]
    for at, part in enumerate(parts):
        assert not project.calls.exists()
        door = "traces" if "resourceSpans" in part else "logs"
        assert send(client, key, part, door).status_code == 200
        if at < 2:
            held = json.dumps(list(HeldSpan.objects.values("span", "events", "placeholders")))
            assert "example.org" not in held
    call = project.calls.select_related("payload").get()
    assert call.messages == [{"role": "user", "content": "Write to [EMAIL_1] and [EMAIL_2]"}]
    assert call.output == "I wrote to [EMAIL_2]"
    assert call.redactions == {"EMAIL": 2}
    assert not HeldSpan.objects.exists()


@pytest.mark.django_db
def test_messages_whose_span_never_comes_are_kept_after_an_hour(
    client: Client, key: str, project: Project
) -> None:
    send(client, key, logs(USER, SAID), "logs")
    HeldSpan.objects.update(first_at=datetime.now(UTC) - SPAN_FOLLOWS + timedelta(minutes=1))
    settle_held()
    assert not project.calls.exists()
    HeldSpan.objects.update(first_at=datetime.now(UTC) - SPAN_FOLLOWS * 2)
    settle_held()
    call = project.calls.select_related("payload").get()
    assert (call.output, call.latency_ms) == ("I wrote to [EMAIL_2]", None)


@pytest.mark.django_db
def test_older_openllmetry_spans_are_read(client: Client, key: str, project: Project) -> None:
    body = traces(span({
        "llm.request.type": "chat",
        "gen_ai.system": "OpenAI",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": "Route.",
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": '[{"type": "text", "text": "Help"}]',
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.finish_reason": "tool_calls",
        "gen_ai.completion.0.tool_calls.0.id": "c1",
        "gen_ai.completion.0.tool_calls.0.name": "find",
        "gen_ai.completion.0.tool_calls.0.arguments": '{"q": 1}',
        "gen_ai.usage.prompt_tokens": 7,
        "gen_ai.usage.completion_tokens": 2,
        "llm.request.functions.0.name": "find",
        "llm.request.functions.0.parameters": '{"type": "object"}',
        "traceloop.association.properties.tenant": "blue",
    }))  # fmt: skip
    assert send(client, key, body).status_code == 200
    call = project.calls.select_related("payload").get()
    assert [turn["content"] for turn in call.messages] == ["Route.", "Help"]
    assert call.tools == [
        {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
    ]
    assert call.finish_reason == "tool_calls"
    assert (call.prompt_tokens, call.completion_tokens, call.provider) == (7, 2, "openai")
    assert call.metadata == {"tenant": "blue"}


@pytest.mark.django_db
def test_events_inside_the_span_are_read(client: Client, key: str, project: Project) -> None:
    at = {"timeUnixNano": "1790000000100000000"}
    body = traces(span(CHAT, events=[
        {**at, "name": "gen_ai.user.message", "attributes": attributes({
            "gen_ai.event.content": '{"role": "user", "content": "Help"}'})},
        {**at, "name": "gen_ai.choice", "attributes": attributes({
            "gen_ai.event.content": '{"index": 0, "message": {"content": "Yes"}}'})},
    ]))  # fmt: skip
    assert send(client, key, body).status_code == 200
    call = project.calls.select_related("payload").get()
    assert (call.messages[0]["content"], call.output) == ("Help", "Yes")


@pytest.mark.django_db
def test_what_cannot_be_read_is_a_partial_success(
    client: Client, key: str, project: Project
) -> None:
    cut = span({**CHAT, "gen_ai.input.messages": '[{"role": "us'})
    nobodys = span({**CHAT, "gen_ai.input.messages": "[]"}, traceId="00" * 16)
    good = span(
        {**CHAT, "gen_ai.prompt": "Hello", "gen_ai.completion": "Hi"}, spanId="cccccccccccccccc"
    )
    read = json.dumps(traces(cut, nobodys, good))
    answer = send(client, key, read.encode())
    assert answer.status_code == 200
    partial = answer.json()["partialSuccess"]
    assert partial["rejectedSpans"] == "2"
    assert "length limited" in partial["errorMessage"]
    assert project.calls.get().output == "Hi"
    request = ExportTraceServiceRequest()
    request.resource_spans.add()
    empty = send(client, key, request.SerializeToString(), content_type=PROTOBUF)
    assert (empty.status_code, empty.content, empty["content-type"]) == (200, b"", PROTOBUF)
    assert ExportTraceServiceResponse.FromString(empty.content) == ExportTraceServiceResponse()


@pytest.mark.django_db
def test_a_request_that_fails_gets_a_status_that_is_not_retried(
    client: Client, key: str, project: Project
) -> None:
    answer = send(client, key, b"\xff\xff\xff", content_type=PROTOBUF)
    assert (answer.status_code, answer["content-type"]) == (400, PROTOBUF)
    assert Status.FromString(answer.content).message.startswith("The body is not OTLP")
    assert "Retry-After" not in answer
    assert send(client, key, b"{broken").json()["message"]
    assert send(client, key, b"{}", content_type="text/plain").status_code == 400
    assert send(client, key, b"x", **{"content-encoding": "gzip"}).status_code == 400
    assert send(client, key, b"x" * (settings.MAX_BODY_BYTES + 1)).status_code == 413
    bomb = gzip.compress(b" " * (settings.MAX_BODY_BYTES * 4 + 1))
    assert send(client, key, bomb, **{"content-encoding": "gzip"}).status_code == 413
    assert send(client, "us_nothing", {}).status_code == 401
    unfit = create_key(project, name="ci", scopes=["download"])[1]
    assert send(client, unfit, {}).status_code == 401


@pytest.mark.django_db
def test_a_projects_spans_stay_its_own(client: Client, key: str, project: Project) -> None:
    other = Project.objects.create(slug="other", name="Other")
    foreign = create_key(other, name="app", scopes=["api"])[1]
    send(client, key, logs(USER, SAID), "logs")
    send(client, foreign, traces(span(CHAT)))
    assert not CapturedCall.objects.exists()
    send(client, key, traces(span(CHAT)))
    assert CapturedCall.objects.get().project == project


@pytest.mark.django_db(transaction=True)
def test_a_database_that_does_not_answer_is_asked_again_later(
    client: Client, key: str, project: Project
) -> None:
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {HeldSpan._meta.db_table}")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
        answer = send(client, key, traces(span(CHAT)))
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        assert "database" in answer.json()["message"]
    finally:
        holder.close()
        connection.close()
    assert send(client, key, traces(span(CHAT))).status_code == 200
    assert HeldSpan.objects.count() == 1


@pytest.mark.django_db
def test_times_that_cannot_be_are_not_believed(client: Client, key: str, project: Project) -> None:
    said = {**CHAT, "gen_ai.prompt": "Hello", "gen_ai.completion": "Hi"}
    for at, (start, end) in enumerate([(2, 1), (1, 3_000_000_000), (0, 1), (9_000_000_000, 1)]):
        times = {"startTimeUnixNano": f"{start}000000000", "endTimeUnixNano": f"{end}000000000"}
        part = span(said, spanId=f"{at + 1:016x}", **times)
        assert send(client, key, traces(part)).status_code == 200
    assert list(project.calls.order_by("id").values_list("latency_ms", flat=True)) == [None, 0]


# --- what nobody should send ----------------------------------------------------------------------
def test_unpacking_is_bounded() -> None:
    assert unpacked(zlib.compress(b"abc"), "deflate", 3) == b"abc"
    assert unpacked(b"abc", "", 1) == b"abc"
    with pytest.raises(TooLarge):
        unpacked(gzip.compress(b"abcd"), "gzip", 3)
    with pytest.raises(InvalidInput):
        unpacked(gzip.compress(b"abc" * 1000)[:-9], "gzip", 10_000)
    with pytest.raises(InvalidInput):
        unpacked(b"abc", "br", 10)


def test_no_bytes_break_the_reader() -> None:
    dice = random.Random(7)
    good = orjson.dumps(traces(span(CHAT)))
    for _ in range(500):
        raw = bytearray(good if dice.random() < 0.5 else dice.randbytes(80))
        for _ in range(dice.randint(1, 8)):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
        for form in (JSON, PROTOBUF):
            try:
                read_traces(bytes(raw), form)
            except InvalidInput:
                continue


NAMES = [
    "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions",
    "gen_ai.prompt", "gen_ai.prompt.0", "gen_ai.prompt.0.role", "gen_ai.prompt.0.content.0.x",
    "gen_ai.completion.0.tool_calls.0", "gen_ai.completion", "llm.input_messages.0.message",
    "llm.input_messages.0.message.contents.0.message_content.image", "llm.tools.0.tool",
    "llm.output_messages.0.message.tool_calls.0.tool_call", "llm.invocation_parameters",
    "gen_ai.tool.definitions", "gen_ai.request.structured_output_schema", "gen_ai.output.type",
    "gen_ai.response.finish_reasons", "gen_ai.usage.input_tokens", "error.type", "output.value",
    "gen_ai.operation.name", "openinference.span.kind", "gen_ai.response.time_to_first_chunk",
    "gen_ai.request.model", "http.response.status_code", "gen_ai.event.content", "message",
]  # fmt: skip
WORDS: list[Any] = [
    "type", "text", "tool_call", "tool_call_response", "parts", "role", "content", "blob", "uri",
    "message", "chat", "LLM", "429", "[{", "{}", "[1]", '{"function": 3}', "", None, 7, 0.5, True,
    "image", "function", "arguments", "tool_calls", "modality", "response",
]  # fmt: skip


def anything(dice: random.Random, depth: int = 4) -> Any:
    kind = dice.random()
    if depth and kind < 0.3:
        return [anything(dice, depth - 1) for _ in range(dice.randint(0, 3))]
    if depth and kind < 0.6:
        return {
            str(dice.choice(WORDS)): anything(dice, depth - 1) for _ in range(dice.randint(0, 4))
        }
    return dice.choice(WORDS)


def test_no_attributes_break_the_reading_of_a_call() -> None:
    dice = random.Random(11)
    read = 0
    events = ["gen_ai.choice", "gen_ai.user.message", "gen_ai.content.prompt"]
    for _ in range(3000):
        values = {name: anything(dice) for name in dice.sample(NAMES, dice.randint(1, 8))}
        said = Event("a:b", dice.choice(events), values, 1.0)
        told = Span("a:b", 1.0, 2.0, values, [said], dice.choice([None, "failed"]))
        pieces = Pieces("a:b", told.as_json(), [said.as_json()])
        assert told.is_call in {True, False}
        try:
            assert pieces.is_whole in {True, False}
            record = pieces.call()
        except InvalidInput:
            continue
        if record is not None:
            read += 1
            orjson.dumps(record.as_json())
            assert all(isinstance(turn["role"], str) for turn in record.request["messages"])
    assert read > 500
