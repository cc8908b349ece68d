"""The client of the teacher, against a provider that speaks the real protocol."""

import asyncio
from typing import Any

import pytest

from factory.errors import InvalidInput, UpstreamFailed
from labeling.teacher import NotAnswered, Question, QuestionRefused, Reply, TeacherClient
from tests.fakes import TEACHER, ScriptedUpstream, completion, openai_error
from tests.fakes import Reply as Scripted

LOCAL = ["127.0.0.1"]
SOON = {"retry_after_ms": "10"}


def question(**changes: Any) -> Question:
    fields: dict[str, Any] = {
        "model": TEACHER,
        "messages": [{"role": "user", "content": "billing or login?"}],
        "params": {"max_tokens": 10},
        "response_format": None,
    }
    return Question(**{**fields, **changes})


def ask(upstream: ScriptedUpstream, asked: Question | None = None, **options: Any) -> Reply:
    fields: dict[str, Any] = {
        "base_url": upstream.base_url,  # type: ignore[attr-defined]
        "key": "sk-secret",
        "private_hosts": LOCAL,
        "timeout_seconds": 5,
        "in_flight": 2,
    }

    async def go() -> Reply:
        async with TeacherClient(**{**fields, **options}) as client:
            return await client.ask(asked or question(), idempotency_key="key-1")

    return asyncio.run(go())


def test_a_question_goes_out_as_it_is_with_its_key_and_idempotency_key(
    upstream: ScriptedUpstream,
) -> None:
    upstream.script(Scripted(body=completion("login")))
    asked = question(params={"max_tokens": 10, "top_k": 5}, response_format={"type": "text"})
    reply = ask(upstream, asked)
    assert (reply.text, reply.finish_reason) == ("login", "stop")
    assert (reply.prompt_tokens, reply.completion_tokens) == (20, 5)
    (sent,) = upstream.chats
    assert sent.json == asked.body()
    assert sent.headers["authorization"] == "Bearer sk-secret"
    assert sent.headers["idempotency-key"] == "key-1"


def test_the_operators_own_openai_account_is_not_told_to_an_endpoint(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-operator")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-operator")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    ask(upstream)
    (sent,) = upstream.chats
    assert "operator" not in str(sent.headers)


def test_busy_and_broken_answers_are_tried_again(upstream: ScriptedUpstream) -> None:
    upstream.script(
        openai_error(429, "slow down", **SOON),
        openai_error(503, "overloaded", **SOON),
        Scripted(body=completion("login")),
    )
    assert ask(upstream).text == "login"
    assert len(upstream.chats) == 3
    assert {sent.headers["idempotency-key"] for sent in upstream.chats} == {"key-1"}


def test_what_stays_broken_is_the_upstreams_failure(upstream: ScriptedUpstream) -> None:
    upstream.script(*[openai_error(500, "boom", **SOON)] * 3)
    with pytest.raises(UpstreamFailed, match="500"):
        ask(upstream, max_retries=2)
    assert len(upstream.chats) == 3


def test_silence_ends_in_time(upstream: ScriptedUpstream) -> None:
    upstream.hold()
    with pytest.raises(UpstreamFailed):
        ask(upstream, timeout_seconds=0.2, max_retries=0)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_the_user_must_fix_is_said_at_once_and_without_the_key(
    upstream: ScriptedUpstream, status: int
) -> None:
    upstream.script(openai_error(status, "no: sk-secret"))
    with pytest.raises(InvalidInput) as raised:
        ask(upstream)
    assert not isinstance(raised.value, QuestionRefused)
    assert "sk-secret" not in raised.value.message
    assert len(upstream.chats) == 1


def test_an_account_without_money_is_the_users_to_fix(upstream: ScriptedUpstream) -> None:
    upstream.script(*[openai_error(429, "pay", code="insufficient_quota", **SOON)] * 2)
    with pytest.raises(InvalidInput, match="used up"):
        ask(upstream, max_retries=1)


def test_a_question_too_long_is_refused_by_itself(upstream: ScriptedUpstream) -> None:
    upstream.script(openai_error(400, "too long", code="context_length_exceeded"))
    with pytest.raises(QuestionRefused, match="too long"):
        ask(upstream)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"choices": [3]}', b'{"choices": []}'])
def test_what_is_no_completion_is_the_upstreams_failure(
    upstream: ScriptedUpstream, body: bytes
) -> None:
    upstream.script(Scripted(body=body))
    with pytest.raises(NotAnswered) as raised:
        ask(upstream, max_retries=0)
    assert raised.value.may_be_billed


def test_a_refusal_and_an_answer_without_usage_are_told_as_such(upstream: ScriptedUpstream) -> None:
    refused = completion("")
    refused["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "no"}
    refused["usage"] = {"prompt_tokens": -3, "completion_tokens": "many"}
    upstream.script(Scripted(body=refused))
    reply = ask(upstream)
    assert (reply.text, reply.finish_reason) == ("", "content_filter")
    assert reply.prompt_tokens is reply.completion_tokens is None


def test_a_redirect_is_not_followed(upstream: ScriptedUpstream) -> None:
    upstream.script(Scripted(status=307, headers={"location": "http://169.254.169.254/"}))
    with pytest.raises(InvalidInput, match="redirects"):
        ask(upstream)
    assert len(upstream.requests) == 1


def test_an_address_that_may_not_be_called_is_never_reached(upstream: ScriptedUpstream) -> None:
    with pytest.raises(UpstreamFailed, match="may not be called"):
        ask(upstream, private_hosts=[])
    assert upstream.requests == []


def test_equal_questions_share_a_name_and_votes_and_endpoints_do_not() -> None:
    asked, again = question(), question()
    assert asked.cache_key("http://a", 0) == again.cache_key("http://a", 0)
    others = {
        asked.cache_key("http://a", 1),
        asked.cache_key("http://b", 0),
        question(model="other").cache_key("http://a", 0),
        question(params={"max_tokens": 11}).cache_key("http://a", 0),
    }
    assert len(others | {asked.cache_key("http://a", 0)}) == 5


def test_the_token_bounds_hold_for_any_text() -> None:
    prompt, answer = question(messages=[{"role": "user", "content": "ÿ😀" * 50}]).token_bounds()
    assert prompt >= 50 * 6
    assert answer == 10
