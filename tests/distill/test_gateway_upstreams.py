"""Who answers: named upstreams, students with a teacher behind them, and what failure costs."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest

from distill import gateway
from distill.models import Deployment, Route
from distill.upstreams import FAILURES_TO_OPEN
from factory.models import Project, Upstream, Workload
from factory.services.projects import create_project, save_upstream
from labeling.services.label import create_teacher
from tests.distill.gateways import kept, kept_soon
from tests.distill.published import published, serving
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

ALIAS = "tickets"
SAYS: Any = [{"role": "user", "content": "I was charged twice"}]
STUDENT = "tickets-v1"


def ask(site: str, key: str, model: str = PRODUCTION, **fields: Any) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key}"}
    body = {"model": model, "messages": SAYS, **fields}
    return httpx2.post(f"{site}/v1/chat/completions", json=body, headers=headers, timeout=30)


def said(answer: httpx2.Response) -> str:
    return str(answer.json()["choices"][0]["message"]["content"])


# --- chosen by the model's name -------------------------------------------------------------------
@pytest.fixture
def other(project: Project) -> Iterator[ScriptedUpstream]:
    """Give a second upstream, "lab", that claims the models `lab-*`."""
    made = ScriptedUpstream()
    with made.serve() as base_url:
        save_upstream(
            project, name="lab", base_url=base_url, key="lab-key", model_patterns=["lab-*"]
        )
        yield made


def test_a_pattern_or_a_prefix_chooses_the_upstream_and_nothing_else_does(
    other: ScriptedUpstream, site: str, key: str, upstream: ScriptedUpstream
) -> None:
    other.script(*[Reply(body=completion("from the lab"))] * 2)
    assert said(ask(site, key, "lab-7b")) == "from the lab"
    assert said(ask(site, key, f"lab/{TEACHER}", base_url="http://evil.example")) == "from the lab"
    assert ask(site, key, PRODUCTION, organization="lab").status_code == 200
    assert [r.json["model"] for r in other.chats] == ["lab-7b", TEACHER]
    assert {r.headers["authorization"] for r in other.chats} == {"Bearer lab-key"}
    assert [r.json["model"] for r in upstream.chats] == [PRODUCTION]
    calls = kept()
    assert [c.provider for c in calls] == ["lab", "lab", "prod"]
    assert [c.route_reason for c in calls] == ["model_pattern", "named_upstream", "passthrough"]


def test_models_of_named_upstreams_are_listed_under_their_name(
    other: ScriptedUpstream, site: str, key: str
) -> None:
    client = openai.OpenAI(base_url=f"{site}/v1", api_key=key)
    listed = [model.id for model in client.models.list()]
    assert listed == [PRODUCTION, TEACHER, f"lab/{PRODUCTION}", f"lab/{TEACHER}"]


def test_another_projects_upstream_cannot_be_named(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    with ScriptedUpstream().serve() as base_url:
        stranger = create_project(slug="other", name="Other")
        save_upstream(stranger, name="secret", base_url=base_url, key="their-key")
        answer = ask(site, key, f"secret/{TEACHER}")
    assert answer.status_code == 404  # the own default upstream does not know such a model
    assert upstream.chats[0].json["model"] == f"secret/{TEACHER}"


def test_a_stored_response_is_looked_for_at_every_upstream(
    other: ScriptedUpstream, site: str, key: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(openai_error(404, "Response with id 'resp_1' not found."))
    body = {"id": "resp_1", "object": "response", "output": []}
    other.script(Reply(body=body))
    answer = httpx2.get(
        f"{site}/v1/responses/resp_1", headers={"authorization": f"Bearer {key}"}, timeout=30
    )
    assert answer.json() == body


@pytest.mark.parametrize(
    ("api_version", "path", "query"),
    [
        ("2024-10-21", "/openai/deployments/gpt-4o/chat/completions", "api-version=2024-10-21"),
        ("", "/openai/v1/chat/completions", ""),
    ],
    ids=["deployments", "v1"],
)
def test_azure_gets_its_own_addresses_and_its_own_header(
    project: Project, key: str, api_version: str, path: str, query: str
) -> None:
    azure = ScriptedUpstream()
    azure.script(Reply(body=completion("from azure", "gpt-4o")))
    with azure.serve() as base_url, serving() as (site, _):
        save_upstream(
            project,
            name="azure",
            base_url=base_url.removesuffix("/v1"),
            key="azure-key",
            is_default=True,
            dialect=Upstream.Dialect.AZURE,
            api_version=api_version,
        )
        assert said(ask(site, key, "gpt-4o")) == "from azure"
    (sent,) = azure.chats
    assert (sent.path, sent.query) == (path, query)
    assert sent.headers["api-key"] == "azure-key"
    assert "authorization" not in sent.headers


def test_a_redirect_is_not_followed_and_not_passed_on(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(Reply(status=307, headers={"location": "http://169.254.169.254/"}))
    answer = ask(site, key)
    assert answer.status_code == 502
    assert "location" not in answer.headers
    assert len(upstream.requests) == 1


# --- a student with its teacher behind it ---------------------------------------------------------
@dataclass
class Cast:
    """A routed workload: the student gets every call first, the teacher stands behind it."""

    site: str
    key: str
    student: ScriptedUpstream
    teacher: ScriptedUpstream
    stop_student: Callable[[], None]

    def ask(self, **fields: Any) -> httpx2.Response:
        return ask(self.site, self.key, ALIAS, **fields)


@pytest.fixture
def cast(workload: Workload, key: str, settings: Any) -> Iterator[Cast]:
    settings.FALLBACK_AFTER_SECONDS = 0.5
    student, teacher = ScriptedUpstream(), ScriptedUpstream()
    with ExitStack() as open_servers:
        students = open_servers.enter_context(ExitStack())
        at_student = students.enter_context(student.serve())
        at_teacher = open_servers.enter_context(teacher.serve())
        project = workload.project
        own = save_upstream(project, name="own", base_url=at_student, key="")
        big = save_upstream(project, name="big", base_url=at_teacher, key="k", is_default=True)
        Route.objects.create(
            workload=workload,
            deployment=Deployment.objects.create(
                version=published(workload), upstream=own, model=STUDENT, is_live=True
            ),
            fallback=create_teacher(project, name="t", upstream=big, model=TEACHER),
            student_share=1.0,
        )
        teacher.script(*[Reply(body=completion("teacher"))] * 20)
        site, _ = open_servers.enter_context(serving())
        yield Cast(site, key, student, teacher, students.close)


def test_the_student_answers_under_its_own_name_and_without_a_key(cast: Cast) -> None:
    cast.student.script(Reply(body=completion("student", STUDENT)))
    assert said(cast.ask()) == "student"
    (sent,) = cast.student.chats
    assert sent.json["model"] == STUDENT
    assert "authorization" not in sent.headers
    (call,) = kept()
    assert (call.request_model, call.response_model) == (ALIAS, STUDENT)
    assert (call.provider, call.route_reason) == ("own", "student")
    assert cast.teacher.chats == []


TOKEN = {"index": 0, "delta": {"content": "half"}, "finish_reason": None}
ROLE = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}


@pytest.mark.parametrize(
    "reply",
    [
        openai_error(500, "out of memory"),
        openai_error(404, "no such model"),
        Reply(body=b"<html>proxy error</html>"),
        Reply(body=b"null"),
        Reply(body=b'{"choices": [{"index": 0, "mess', drop=True),
        Reply(events=[b"data: garbage\n\n"], body=b"\n"),
        Reply(events=events_of({"choices": [ROLE]}), drop=True),
        Reply(delay_s=2, body=completion("too late")),
        Reply(events=events_of({"choices": [ROLE]}, {"choices": [TOKEN]}), pause_s=2),
    ],
    ids=[
        "500", "404", "html", "null", "cut", "garbage stream", "stream cut at its start",
        "slow", "slow first token",
    ],
)  # fmt: skip
def test_whatever_a_student_does_its_callers_are_answered(cast: Cast, reply: Reply) -> None:
    cast.student.script(reply)
    answer = cast.ask()
    assert (answer.status_code, said(answer)) == (200, "teacher")
    assert cast.teacher.chats[0].json["model"] == TEACHER
    (call,) = kept()
    assert (call.provider, call.route_reason, call.output) == ("big", "student_failed", "teacher")
    assert (call.status_code, call.is_partial) == (200, False)


def test_a_student_that_is_gone_costs_no_call_and_soon_no_time(cast: Cast) -> None:
    own = Upstream.objects.get(name="own")
    cast.stop_student()
    answers = [cast.ask() for _ in range(FAILURES_TO_OPEN + 3)]
    assert {a.status_code for a in answers} == {200}
    metrics = httpx2.get(f"{cast.site}/metrics").text
    assert f'understudy_gateway_breaker_state{{upstream="{own.pk}"}} 2' in metrics


def test_a_stream_of_a_student_is_passed_on_from_its_first_token(cast: Cast) -> None:
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    events = events_of({"choices": [ROLE]}, {"choices": [TOKEN]}, {"choices": [end]})
    cast.student.script(Reply(events=events, body=b"data: [DONE]\n\n"))
    assert cast.ask(stream=True).content == b"".join(events) + b"data: [DONE]\n\n"
    assert cast.teacher.chats == []
    (call,) = kept()
    assert (call.output, call.provider) == ("half", "own")


# --- failure --------------------------------------------------------------------------------------
def test_a_failing_upstream_is_left_alone_and_tried_again_later(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(*[openai_error(500, "broken")] * FAILURES_TO_OPEN)
    assert {ask(site, key).status_code for _ in range(FAILURES_TO_OPEN)} == {500}
    for _ in range(3):
        refused = ask(site, key)
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            503,
            "upstream_unavailable",
        )
        assert int(refused.headers["retry-after"]) >= 1
    assert len(upstream.chats) == FAILURES_TO_OPEN
    ((_, health),) = gateway._open[-1].forwarder.upstreams
    health.breaker.tried_at -= 60  # as if a minute had passed
    assert ask(site, key).status_code == 200
    assert ask(site, key).status_code == 200
    assert [c.status_code for c in kept()] == [500] * 5 + [503] * 3 + [200] * 2


def test_a_busy_upstream_is_asked_again_for_a_tenth_of_the_calls_at_most(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    for _ in range(20):
        assert ask(site, key).status_code == 200  # these earn two retries
    upstream.script(openai_error(503, "busy"))
    assert ask(site, key).status_code == 200
    upstream.script(openai_error(429, "wait", retry_after="0.05"))
    assert ask(site, key).status_code == 200
    assert len(upstream.chats) == 24
    upstream.script(openai_error(429, "wait", retry_after="30"), openai_error(503, "busy"))
    assert [ask(site, key).status_code for _ in range(2)] == [429, 503]
    assert len(upstream.chats) == 26
    assert [c.status_code for c in kept()] == [200] * 22 + [429, 503]


def test_nobody_answering_is_not_a_storm_of_retries(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(*[openai_error(503, "down")] * 200)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(site, key).status_code, range(60)))
    assert set(answers) == {503}
    assert len(upstream.chats) < 20  # the breaker opened


def test_an_answer_that_is_cut_after_its_end_is_whole(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    events = [*events_of({"choices": [TOKEN]}, {"choices": [end]}), b"data: [DONE]\n\n"]
    upstream.script(Reply(events=events, drop=True))
    assert ask(site, key, stream=True).content == b"".join(events)
    (call,) = kept()
    assert (call.status_code, call.output, call.is_partial) == (200, "half", False)


def test_an_app_that_leaves_in_the_middle_of_a_stream_is_recorded_with_what_it_got(
    site: str, key: str, upstream: ScriptedUpstream
) -> None:
    events = events_of(*[{"choices": [TOKEN]}] * 50)
    upstream.script(Reply(events=events, pause_s=0.05))
    body = {"model": PRODUCTION, "messages": SAYS, "stream": True}
    with httpx2.stream(
        "POST",
        f"{site}/v1/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {key}"},
    ) as answer:
        next(answer.iter_raw())
    (call,) = kept_soon()
    assert (call.status_code, call.route_reason) == (499, "client_disconnected")
    assert call.is_partial
    assert call.output.startswith("half")
    assert len(call.output) < 50 * len("half")
    assert call.ttft_ms is not None


def test_the_gateway_counts_what_it_does(
    site: str, key: str, upstream: ScriptedUpstream, settings: Any
) -> None:
    upstream.hold()
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(ask, site, key)
        upstream.wait_for_chats(1)
        assert "understudy_gateway_in_flight 1\n" in httpx2.get(f"{site}/metrics").text
        upstream.release()
        assert held.result().status_code == 200
    assert ask(site, "wrong").status_code == 401
    said = httpx2.get(f"{site}/metrics")
    assert said.headers["content-type"].startswith("text/plain")
    answers = "understudy_gateway_requests_total"
    assert f'{answers}{{endpoint="chat/completions",status="200"}} 1\n' in said.text
    assert f'{answers}{{endpoint="other",status="401"}} 1\n' in said.text
    assert "understudy_gateway_in_flight 0\n" in said.text
    assert re.search(r"^understudy_gateway_spool_bytes [1-9]\d*$", said.text, re.MULTILINE)
    assert "prod" not in said.text  # names are nobody's business without the token
    settings.METRICS_TOKEN = "scrape"
    assert httpx2.get(f"{site}/metrics").status_code == 401
    allowed = httpx2.get(f"{site}/metrics", headers={"authorization": "Bearer scrape"})
    assert allowed.status_code == 200
