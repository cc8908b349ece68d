"""OpenAI's stored chat completions over captured calls, through the unmodified `openai` client."""

from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from django.db import connection

from factory.models import CallPayload, CapturedCall, Feedback, Project
from factory.services.capture import record_calls
from factory.services.feedback import give_feedback
from factory.services.keys import create_key
from factory.services.stored import CompletionFilter, completions_page, stored_completions
from tests.conftest import call_record
from tests.distill.published import serving

pytestmark = pytest.mark.django_db(transaction=True)

COUNT = 25


@pytest.fixture
def site(project: Project) -> Iterator[str]:
    keep(project)
    with serving() as (address, _):
        yield address


@pytest.fixture
def client(site: str, project: Project) -> openai.OpenAI:
    key = create_key(project, name="reader", scopes=["api"])[1]
    return openai.OpenAI(base_url=f"{site}/v1", api_key=key, max_retries=0)


def keep(project: Project) -> None:
    """Keep chats of two apps, and calls that are no stored chat completions."""
    chats = [stored(at) for at in range(COUNT)]
    failed = replace(stored(90), status_code=429)
    other = replace(stored(91), endpoint="responses")
    record_calls(project, [*chats, failed, other], CapturedCall.Source.GATEWAY)


def stored(at: int) -> Any:
    made = call_record(
        f"ticket {at}",
        request_id=f"req-{at}",
        minutes=at,
        metadata={"app": "desk" if at % 2 else "shop", "number": str(at)},
    )
    assert made.response is not None
    return replace(made, response={**made.response, "id": f"chatcmpl-{at}"})


def ids(page: Any) -> list[str]:
    return [completion.id for completion in page]


def test_the_client_lists_page_by_page_in_the_order_of_time(client: openai.OpenAI) -> None:
    chats = client.chat.completions
    everything = [f"chatcmpl-{at}" for at in range(COUNT)]
    assert ids(chats.list(limit=7)) == everything
    assert ids(chats.list(limit=7, order="desc")) == everything[::-1]
    first = chats.list(limit=7)
    assert (ids(first.data), first.has_more) == (everything[:7], True)
    after = chats.list(limit=100, after="chatcmpl-20")
    assert (ids(after.data), after.has_more) == (everything[21:], False)
    assert ids(chats.list(after=everything[-1])) == []


def test_what_few_calls_carry_is_found_without_looking_at_all(project: Project) -> None:
    record_calls(project, [stored(at) for at in range(5000)], CapturedCall.Source.GATEWAY)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE factory_capturedcall")
    few = stored_completions(project).filter(metadata__contains={"number": "77"})
    plan = few.order_by("id")[:21].explain()
    assert "Bitmap Index Scan" in plan
    assert "_metadata_idx" in plan
    only = CompletionFilter({"number": "77"})
    found, has_more = completions_page(project, only, after="", limit=20, is_newest_first=False)
    assert ([call.response_id for call in found], has_more) == (["chatcmpl-77"], False)


def test_the_client_narrows_by_metadata_and_model(client: openai.OpenAI) -> None:
    chats = client.chat.completions
    assert ids(chats.list(metadata={"app": "desk"}, limit=3)) == [
        f"chatcmpl-{at}" for at in range(1, COUNT, 2)
    ]
    assert ids(chats.list(metadata={"app": "shop", "number": "4"})) == ["chatcmpl-4"]
    assert ids(chats.list(metadata={"app": "none"})) == []
    assert len(ids(chats.list(model="gpt-4o-2024-08-06", limit=100))) == COUNT
    assert ids(chats.list(model="gpt-3")) == []


def test_the_client_reads_a_completion_and_its_messages(client: openai.OpenAI) -> None:
    found = client.chat.completions.retrieve("chatcmpl-3")
    assert found.choices[0].message.content == "billing"
    assert found.choices[0].finish_reason == "stop"
    assert found.model == "gpt-4o-2024-08-06"
    assert found.object == "chat.completion"
    assert found.usage is not None
    assert found.usage.prompt_tokens == 40
    shown: Any = found
    assert (shown.metadata, shown.temperature, shown.request_id) == (
        {"app": "desk", "number": "3"}, 0, "req-3",
    )  # fmt: skip
    by_request = client.chat.completions.retrieve("req-3")
    assert by_request.id == "chatcmpl-3"
    turns = list(client.chat.completions.messages.list("chatcmpl-3", limit=1))
    assert [(turn.id, turn.role) for turn in turns] == [
        ("chatcmpl-3-0", "system"),
        ("chatcmpl-3-1", "user"),
    ]
    assert turns[1].content == "ticket 3"
    newest = client.chat.completions.messages.list("chatcmpl-3", order="desc")
    assert [turn.id for turn in newest] == ["chatcmpl-3-1", "chatcmpl-3-0"]


def test_the_client_changes_metadata_which_is_redacted(
    client: openai.OpenAI, project: Project
) -> None:
    changed: Any = client.chat.completions.update(
        "chatcmpl-3", metadata={"app": "new", "by": "ann@example.org"}
    )
    assert changed.metadata == {"app": "new", "by": "[EMAIL_1]"}
    assert ids(client.chat.completions.list(metadata={"app": "new"})) == ["chatcmpl-3"]
    assert project.calls.get(request_id="req-3").metadata == changed.metadata
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.update("chatcmpl-3", metadata={"k": "v" * 513})
    assert refused.value.param == "metadata"


def test_the_client_deletes_a_completion_for_good(client: openai.OpenAI, project: Project) -> None:
    call = project.calls.get(request_id="req-3")
    give_feedback(project, reference="req-3", kind="comment", value="wrong")
    deleted = client.chat.completions.delete("chatcmpl-3")
    assert (deleted.id, deleted.deleted, deleted.object) == (
        "chatcmpl-3", True, "chat.completion.deleted",
    )  # fmt: skip
    assert not CapturedCall.objects.filter(pk=call.pk).exists()
    assert not CallPayload.objects.filter(pk=call.pk).exists()
    assert not Feedback.objects.exists()
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve("chatcmpl-3")
    record_calls(project, [stored(3)], CapturedCall.Source.GATEWAY)
    assert "chatcmpl-3" not in ids(client.chat.completions.list(limit=100))


def test_what_is_not_there_is_said_as_openai_says_it(client: openai.OpenAI) -> None:
    for ask in (
        lambda: client.chat.completions.retrieve("chatcmpl-none"),
        lambda: client.chat.completions.retrieve("req-90"),  # it failed
        lambda: client.chat.completions.retrieve("req-91"),  # of another endpoint
        lambda: client.chat.completions.delete("chatcmpl-none"),
        lambda: client.chat.completions.list(after="chatcmpl-none"),
        lambda: client.chat.completions.messages.list("chatcmpl-none"),
    ):
        with pytest.raises(openai.NotFoundError) as missing:
            ask()
        body: Any = missing.value.body
        assert "not found" in body["message"]
        assert body["type"] == "invalid_request_error"
        assert {"param", "code"} < body.keys()
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.list(limit=101)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.list(metadata={f"k{at}": "v" for at in range(17)})


def test_paging_ends_where_answers_share_one_id(client: openai.OpenAI, project: Project) -> None:
    same = [
        replace(stored(at), request_id=f"same-{at}", response={**stored(at).response, "id": "cmpl"})
        for at in (30, 31, 32)
    ]
    record_calls(project, same, CapturedCall.Source.GATEWAY)
    for order in ("asc", "desc"):
        found = ids(client.chat.completions.list(limit=1, order=order))
        assert set(found) == {"cmpl", *(f"chatcmpl-{at}" for at in range(COUNT))}


def test_a_key_that_only_calls_models_and_a_strangers_read_nothing(
    site: str, project: Project, carol: object
) -> None:
    capture = create_key(project, name="app", scopes=["capture"])[1]
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{site}/v1", api_key=capture).chat.completions.list()
    stranger = Project.objects.create(slug="other", name="Other")
    foreign = create_key(stranger, name="app", scopes=["api"])[1]
    client = openai.OpenAI(base_url=f"{site}/v1", api_key=foreign)
    assert ids(client.chat.completions.list()) == []
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve("chatcmpl-3")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.delete("chatcmpl-3")
    assert project.calls.filter(request_id="req-3").exists()


def test_to_make_a_completion_is_still_the_gateways(site: str, project: Project) -> None:
    key = create_key(project, name="app", scopes=["capture", "api"])[1]

    def status(method: str, path: str) -> int:
        connection = HTTPConnection(urlsplit(site).netloc, timeout=10)
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection.request(method, path, b"{}" if method == "POST" else None, headers)
        return connection.getresponse().status

    assert status("POST", "/v1/chat/completions") == 400  # `model` is needed
    assert status("GET", "/v1/models") == 200
    assert status("GET", "/v1/chat/completions") == 200
    assert status("PUT", "/v1/chat/completions") == 405
    assert status("GET", "/v1/chat/completions/chatcmpl-1/messages") == 200
