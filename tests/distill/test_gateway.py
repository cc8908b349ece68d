"""The capture path, through a real server: what apps get, and what is kept of it."""

import json
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from distill import gateway
from factory.models import Project
from factory.services.keys import create_key, revoke_key
from factory.services.projects import save_upstream
from tests.distill.gateways import kept, kept_soon
from tests.distill.published import serving
from tests.fakes import PRODUCTION, TEACHER, Reply, ScriptedUpstream, completion, openai_error

pytestmark = pytest.mark.django_db(transaction=True)

TICKET = "I was charged twice, call me at +44 20 7946 0958"


def ask(address: str, key: str, **fields: Any) -> httpx2.Response:
    body = {"model": PRODUCTION, "messages": [{"role": "user", "content": TICKET}], **fields}
    return post(address, key, json.dumps(body).encode())


def post(address: str, key: str, body: bytes) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return httpx2.post(f"{address}/v1/chat/completions", content=body, headers=headers, timeout=30)


def test_a_call_is_passed_on_byte_for_byte_and_kept_redacted(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    body = b'{"model":"frontier-large",  "messages":[{"role":"user","content":"' + (
        TICKET.encode() + b'"}],"metadata":{"app":"desk"}}'
    )
    answer = post(site, key, body)
    assert answer.status_code == 200
    (sent,) = upstream.chats
    assert sent.body == body
    assert sent.headers["authorization"] == "Bearer upstream-key"
    (call,) = kept()
    assert answer.headers["x-request-id"] == call.request_id
    assert call.messages == [
        {"role": "user", "content": "I was charged twice, call me at [PHONE_1]"}
    ]
    assert call.output == answer.json()["choices"][0]["message"]["content"]
    assert (call.status_code, call.metadata, call.source) == (200, {"app": "desk"}, "gateway")
    assert (call.endpoint, call.is_partial, call.ttft_ms) == ("chat/completions", False, None)
    assert call.redactions == {"PHONE": 1}
    assert call.latency_ms is not None


def test_the_openai_client_streams_through_and_the_whole_answer_is_kept(
    site: str, key: str
) -> None:
    client = openai.OpenAI(base_url=f"{site}/v1", api_key=key)
    chunks = client.chat.completions.create(
        model=PRODUCTION,
        messages=[{"role": "user", "content": TICKET}],
        stream=True,
        stream_options={"include_usage": True},
    )
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    (call,) = kept()
    assert call.output == said != ""
    assert call.finish_reason == "stop"
    assert call.completion_tokens is not None
    assert call.ttft_ms is not None


def test_the_first_piece_of_a_stream_arrives_before_the_last_is_made(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    events = [b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'] * 3
    upstream.script(Reply(events=events, body=b"data: [DONE]\n\n"))
    body = {"model": PRODUCTION, "messages": [{"role": "user", "content": "x"}], "stream": True}
    headers = {"authorization": f"Bearer {key}"}
    url = f"{site}/v1/chat/completions"
    with httpx2.stream("POST", url, json=body, headers=headers) as answer:
        pieces = list(answer.iter_bytes())
    assert b"".join(pieces) == b"".join(events) + b"data: [DONE]\n\n"
    assert kept()[0].output == "aaa"


def test_an_upstream_error_reaches_the_app_as_it_was_and_is_kept(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(openai_error(429, "slow down", retry_after="7"))
    answer = ask(site, key)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["error"]["message"] == "slow down"
    (call,) = kept()
    assert (call.status_code, call.output) == (429, "")


def test_a_dead_upstream_is_a_502_in_our_shape(project: Project, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serving() as (address, _):
        url = f"http://127.0.0.1:{port}/v1"
        save_upstream(project, name="gone", base_url=url, key="k", is_default=True)
        answer = ask(address, key)
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_failed"
    assert answer.json()["error"]["retryable"] is True
    assert [call.status_code for call in kept()] == [502]


def test_an_answer_cut_short_is_not_made_to_look_whole(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"content":"half"}}]}\n\n'
    upstream.script(Reply(events=[event], drop=True))
    with pytest.raises(httpx2.TransportError):
        ask(site, key, stream=True)
    (call,) = kept()
    assert (call.output, call.route_reason, call.is_partial) == ("half", "upstream_cut", True)


def test_a_client_that_goes_away_is_recorded_as_such(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    upstream.hold()
    host, port = site.removeprefix("http://").split(":")
    body = json.dumps({"model": PRODUCTION, "messages": [{"role": "user", "content": "x"}]})
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        upstream.wait_for_chats(1)
    (call,) = kept_soon()
    assert (call.status_code, call.route_reason) == (499, "client_disconnected")
    assert call.is_partial


def test_store_false_keeps_nothing(site: str, key: str) -> None:
    assert ask(site, key, store=False).status_code == 200
    assert kept() == []


def test_a_request_can_choose_no_host_and_bring_no_key(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    answer = ask(site, key, api_base="http://evil.example", api_key="stolen", base_url="http://x")
    assert answer.status_code == 200
    (sent,) = upstream.chats
    assert not {"api_base", "api_key", "base_url"} & sent.json.keys()
    assert not {"api_base", "api_key", "base_url"} & kept()[0].request_params.keys()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{not json", 400, "invalid_json"),
        (b"", 400, "invalid_json"),
        (b"[1, 2]", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"model": NaN}', 400, "invalid_json"),
        (b'{"model": "m"}', 400, "invalid_input"),
        (b'{"model": "m", "messages": "hello"}', 400, "invalid_input"),
        (b'{"model": 5, "messages": []}', 400, "invalid_input"),
        (b'{"model": "http://evil.example/m", "messages": []}', 400, "invalid_input"),
        (
            b'{"model": "m", "messages": [{"content": "' + b"x" * 50_000_000 + b'"}]}',
            413,
            "request_too_large",
        ),
    ],
    ids=["broken", "empty", "array", "deep", "nan", "none", "text", "number", "url", "50 MB"],
)
def test_bad_input_gets_the_one_error_shape(
    site: str, key: str, body: bytes, status: int, code: str
) -> None:
    answer = post(site, key, body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code", "retryable"}
    assert error["code"] == code
    assert kept() == []


def test_nul_bytes_do_not_break_what_is_kept(site: str, key: str) -> None:
    answer = ask(site, key, messages=[{"role": "user", "content": "a\0b"}])
    assert answer.status_code == 200
    assert kept()[0].messages[0]["content"] == "a\ufffdb"


def test_keys_are_checked_and_a_revoked_one_stops_working_within_a_second(
    site: str, project: Project, upstream: ScriptedUpstream
) -> None:
    row, raw = create_key(project, name="app", scopes=["capture"])
    _, api_only = create_key(project, name="api", scopes=["api"])
    assert ask(site, raw).status_code == 200
    _, later = create_key(project, name="app", scopes=["capture"])
    assert ask(site, later).status_code == 200  # at once, though the table is read beside the calls
    revoke_key(row)
    revoked_at = time.monotonic()
    while ask(site, raw).status_code != 401:
        assert time.monotonic() - revoked_at < 1.0
    asked = len(upstream.chats)
    for bad in ("nope", api_only, "x' OR (SELECT pg_sleep(8))--"):
        answer = ask(site, bad)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert len(upstream.chats) == asked


def test_a_project_without_an_upstream_says_what_to_do(project: Project, key: str) -> None:
    with serving() as (address, _):
        answer = ask(address, key)
    assert answer.status_code == 502
    assert re.search("name a default upstream", answer.json()["error"]["message"])


def test_a_full_spool_loses_the_record_and_not_the_answer(site: str, key: str) -> None:
    running = gateway._open[-1]
    assert running.spool.fd is not None
    with Path("/dev/full").open("wb") as full:  # each write to it fails as on a full disk
        os.dup2(full.fileno(), running.spool.fd)
    answer = ask(site, key)
    assert answer.status_code == 200
    assert running.lost_records == {"disk": 1}


def test_models_lists_what_an_app_may_send(site: str, key: str, upstream: ScriptedUpstream) -> None:
    client = openai.OpenAI(base_url=f"{site}/v1", api_key=key)
    assert [model.id for model in client.models.list()] == [PRODUCTION, TEACHER]
    upstream.script(Reply(body=completion("billing")))
    assert ask(site, key).json()["choices"][0]["message"]["content"] == "billing"


def test_a_silent_upstream_is_left_when_the_client_goes(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    upstream.hold()
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(
            f"{site}/v1/chat/completions",
            json={"model": PRODUCTION, "messages": [{"role": "user", "content": "x"}]},
            headers={"authorization": f"Bearer {key}"},
            timeout=0.5,
        )
    assert [(c.status_code, c.route_reason) for c in kept_soon()] == [(499, "client_disconnected")]


def test_an_odd_stream_reaches_the_app_whole_and_is_kept_as_far_as_it_can_be_read(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    events = [b'data: {"choices":["x"]}\n\n', b'data: {"choices":[{"delta":"x"}]}\n\n']
    upstream.script(Reply(events=events, body=b"data: [DONE]\n\n"))
    answer = ask(site, key, stream=True)
    assert answer.content == b"".join(events) + b"data: [DONE]\n\n"
    (call,) = kept()
    assert (call.output, call.is_partial) == ("", False)


def test_what_an_upstream_says_of_the_operators_key_stays_here(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(openai_error(401, "Incorrect API key provided: upstream-key"))
    answer = ask(site, key)
    assert answer.status_code == 502
    assert "upstream-key" not in answer.text
