"""The demo's fake provider, through HTTP and with the real `openai` client."""

import http.client
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import openai
import pytest

from factory.demo.sample import QUEUES, SampleCall, generate
from factory.demo.upstream import DemoUpstream
from tests.fakes import Reply, ScriptedUpstream, completion, openai_error

LABEL_SCHEMA: Any = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"label": {"type": "string", "enum": list(QUEUES)}},
            "required": ["label"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with DemoUpstream(latency_ms=0).serve() as url:
        yield url


def client_for(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key="sk-demo", max_retries=0)


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def root_of(base_url: str) -> str:
    return base_url.removesuffix("/v1")


def ledger(base_url: str) -> dict[str, int]:
    with urlopen(f"{root_of(base_url)}/demo/ledger") as answer:
        counts: dict[str, int] = json.load(answer)
    return counts


def ask_all(base_url: str, calls: list[SampleCall], **params: Any) -> list[list[str]]:
    """The answers (one per choice) to many calls over one connection."""
    connection = http.client.HTTPConnection(str(urlsplit(base_url).netloc))
    headers = {"Authorization": "Bearer sk-demo"}
    answers = []
    for call in calls:
        body = json.dumps({**call.request, **params})
        connection.request("POST", "/v1/chat/completions", body, headers)
        choices = json.load(connection.getresponse())["choices"]
        answers.append([choice["message"]["content"] for choice in choices])
    connection.close()
    return answers


@pytest.mark.parametrize(
    ("text", "queue"),
    [
        ("my parcel arrived smashed, the box was torn", "delivery_problem"),
        ("Forgot my pasword and no reset mail ever comes", "account_access"),
        ("pls cancel the Family plan", "subscription"),
        ("thanks for fixing the invoice. where is my order?", "order_status"),
        ("I have been charged two times for March", "billing"),
    ],
)
def test_it_reads_tickets_it_has_never_seen(text: str, queue: str) -> None:
    with DemoUpstream({"teacher-xl": 0}, latency_ms=0).serve() as url:
        answer = client_for(url).chat.completions.create(model="teacher-xl", messages=user(text))
    assert answer.choices[0].message.content == queue


@pytest.mark.parametrize(("model", "rate"), [("frontier-large", 0.08), ("teacher-xl", 0.03)])
def test_it_errs_at_the_stated_rate(base_url: str, model: str, rate: float) -> None:
    calls = list(generate(2500, seed=99))
    answers = ask_all(base_url, calls, model=model)
    wrong = sum(said != [call.gold] for said, call in zip(answers, calls, strict=True))
    assert wrong / len(calls) == pytest.approx(rate, abs=0.25 * rate + 0.005)
    assert {said for (said,) in answers} == set(QUEUES)


def test_at_temperature_zero_it_repeats_itself(base_url: str) -> None:
    calls = list(generate(60, seed=5))
    assert ask_all(base_url, calls) == ask_all(base_url, calls)


def test_votes_disagree_where_it_tends_to_be_wrong(base_url: str) -> None:
    calls = list(generate(1500, seed=6))
    votes = ask_all(base_url, calls, model="teacher-xl", temperature=0.8, seed=1, n=5)
    wrong: Counter[bool] = Counter()
    seen: Counter[bool] = Counter()
    for said, call in zip(votes, calls, strict=True):
        settled = len(set(said)) == 1
        seen[settled] += 1
        wrong[settled] += Counter(said).most_common(1)[0][0] != call.gold
    assert 0.02 < seen[False] / len(calls) < 0.2
    assert wrong[False] / seen[False] > 10 * wrong[True] / seen[True]


def test_votes_vary_by_draw_and_repeat_by_seed(base_url: str) -> None:
    calls = list(generate(300, seed=12))
    options = {"model": "frontier-large", "temperature": 1}
    first = ask_all(base_url, calls, seed=1, **options)
    assert first == ask_all(base_url, calls, seed=1, **options)
    assert first != ask_all(base_url, calls, seed=2, **options)
    assert ask_all(base_url, calls, **options) != ask_all(base_url, calls, **options)


def test_a_schema_with_one_enum_gets_json_and_each_choice_is_one(base_url: str) -> None:
    answer = client_for(base_url).chat.completions.create(
        model="teacher-xl", messages=user("where is my order?"), response_format=LABEL_SCHEMA, n=3
    )
    assert len(answer.choices) == 3
    assert all(set(json.loads(str(c.message.content))) == {"label"} for c in answer.choices)
    assert answer.usage is not None
    assert answer.usage.total_tokens > answer.usage.prompt_tokens > 0


def test_labels_of_another_desk_are_answered_from_that_desk(base_url: str) -> None:
    schema = json.loads(
        json.dumps(LABEL_SCHEMA).replace(json.dumps(list(QUEUES)), '["tea", "red"]')
    )
    answer = client_for(base_url).chat.completions.create(
        model="teacher-xl", messages=user("paint it red"), response_format=schema
    )
    assert json.loads(str(answer.choices[0].message.content)) == {"label": "red"}


def test_a_stream_says_the_same_as_the_whole_and_ends_with_the_usage(base_url: str) -> None:
    client = client_for(base_url)
    request: Any = next(generate(1, seed=3)).request
    whole = client.chat.completions.create(**request)
    stream = client.chat.completions.create(
        **request, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len([piece for piece in pieces if piece]) > 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(c.usage is None for c in chunks[:-1])


def test_a_stream_without_the_option_carries_no_usage(base_url: str) -> None:
    request: Any = next(generate(1, seed=3)).request
    chunks = list(client_for(base_url).chat.completions.create(**request, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_a_repeated_idempotency_key_is_answered_from_store_and_billed_once() -> None:
    with DemoUpstream(latency_ms=5).serve() as url:
        client = client_for(url).chat.completions.with_raw_response

        def ask(_: int) -> tuple[str, str | None]:
            raw = client.create(
                model="teacher-xl",
                messages=user("refund my order please"),
                extra_headers={"Idempotency-Key": "job-1/vote-1"},
            )
            return raw.parse().id, raw.headers.get("x-idempotent-replay")

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(ask, range(6)))
        assert len({answer_id for answer_id, _ in answers}) == 1
        assert Counter(replay for _, replay in answers) == {None: 1, "true": 5}
        counts = ledger(url)
        assert (counts["calls"], counts["replays"]) == (1, 5)
        once = counts["billed_tokens"]
        client.create(model="teacher-xl", messages=user("refund my order please"))
        assert ledger(url) == {"calls": 2, "replays": 5, "billed_tokens": pytest.approx(2 * once)}


def test_an_idempotency_key_with_another_body_is_refused(base_url: str) -> None:
    client = client_for(base_url)
    headers = {"Idempotency-Key": "once"}
    client.chat.completions.create(model="teacher-xl", messages=user("one"), extra_headers=headers)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="teacher-xl", messages=user("two"), extra_headers=headers
        )
    assert refused.value.code == "idempotency_key_reused"


def test_the_rate_limit_answers_429_with_a_wait() -> None:
    with DemoUpstream(latency_ms=0, rate_limit=1).serve() as url:
        client = client_for(url)

        def ask_three_times() -> None:
            for _ in range(3):
                client.chat.completions.create(model="teacher-xl", messages=user("hello"))

        with pytest.raises(openai.RateLimitError) as refused:
            ask_three_times()
    assert refused.value.response.headers["retry-after"] == "1"
    assert refused.value.code == "rate_limit_exceeded"


def test_an_unknown_model_is_refused(base_url: str) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client_for(base_url).chat.completions.create(model="gpt-0", messages=user("hi"))
    assert refused.value.code == "model_not_found"


def test_a_missing_key_is_refused(base_url: str) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        client_for(base_url).models.list(extra_headers={"Authorization": "Basic x"})
    assert refused.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"model": "teacher-xl"}',
        b'{"model": "teacher-xl", "messages": []}',
        b'{"model": "teacher-xl", "messages": [{"role": "user", "content": "x"}], "n": 99}',
    ],
)
def test_a_bad_body_gets_the_openai_error_shape(base_url: str, body: bytes) -> None:
    connection = http.client.HTTPConnection(str(urlsplit(base_url).netloc))
    headers = {"Authorization": "Bearer sk-demo"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    answer = connection.getresponse()
    error = json.load(answer)["error"]
    assert answer.status == 400
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


def test_it_says_that_it_is_a_fake(base_url: str) -> None:
    with urlopen(root_of(base_url)) as answer:
        about = json.load(answer)
        assert answer.headers["x-understudy-demo"] == "fake upstream"
    assert about["fake"] is True
    reply = client_for(base_url).chat.completions.create(model="teacher-xl", messages=user("hi"))
    assert "fake" in str(reply.system_fingerprint)
    assert {m.id for m in client_for(base_url).models.list()} == {"frontier-large", "teacher-xl"}


def test_the_command_serves_and_says_where() -> None:
    command = [sys.executable, "-m", "factory.demo.upstream", "--port", "0"]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "fake" in line
        models = client_for(line.rsplit(maxsplit=1)[-1]).models.list().data
        process.terminate()
        process.wait(timeout=20)
    assert len(models) == 2


def test_a_script_is_played_before_the_rules() -> None:
    upstream = ScriptedUpstream()
    upstream.script(
        openai_error(503, "overloaded", retry_after="2"), Reply(body=completion("from the script"))
    )
    with upstream.serve() as url:
        client = client_for(url)
        with pytest.raises(openai.InternalServerError) as failed:
            client.chat.completions.create(model="teacher-xl", messages=user("where is my order?"))
        contents = [
            client.chat.completions.create(model="teacher-xl", messages=user("where is my order?"))
            .choices[0]
            .message.content
            for _ in range(2)
        ]
    assert failed.value.response.headers["retry-after"] == "2"
    assert contents == ["from the script", "order_status"]
    assert [r.json["model"] for r in upstream.chats] == ["teacher-xl"] * 3


def test_a_dropped_connection_reaches_the_client_as_one() -> None:
    upstream = ScriptedUpstream()
    upstream.script(Reply(events=[b'data: {"choices": []}\n\n'], drop=True))
    with upstream.serve() as url, pytest.raises(openai.APIError):
        list(
            client_for(url).chat.completions.create(
                model="teacher-xl", messages=user("hello"), stream=True
            )
        )


def test_held_calls_arrive_and_wait() -> None:
    upstream = ScriptedUpstream()
    with upstream.serve() as url, ThreadPoolExecutor(1) as pool:
        upstream.hold()
        call = pool.submit(
            client_for(url).chat.completions.create,
            model="teacher-xl",
            messages=user("where is my order?"),
        )
        upstream.wait_for_chats(1)
        assert not call.done()
        upstream.release()
        assert call.result(timeout=30).choices[0].message.content == "order_status"
