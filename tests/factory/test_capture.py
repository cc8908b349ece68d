"""What is kept of a call: redacted, once, and whatever an app or a model may send."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from django.db import transaction

from factory.capture.endpoints import FOREIGN_FIELDS
from factory.messages import CallRecord, parse_json
from factory.models import CapturedCall, Project
from factory.services.capture import record_calls
from factory.services.projects import create_project, save_upstream
from tests.conftest import MakeCall, call_record

pytestmark = pytest.mark.django_db


def record(request: dict[str, Any], response: Any = None, **fields: Any) -> CallRecord:
    values: dict[str, Any] = {"request_id": "r", "status_code": 200, **fields}
    return CallRecord(
        created_at=datetime(2026, 5, 1, tzinfo=UTC), request=request, response=response, **values
    )


def keep(project: Project, *records: CallRecord) -> int:
    return record_calls(project, records, CapturedCall.Source.GATEWAY)


def test_a_call_is_kept_as_it_was(make_call: MakeCall) -> None:
    call = make_call("where is my parcel?", "delivery", metadata={"app": "desk"}, trace_id="t-1")
    assert call.output == "delivery"
    assert (call.request_model, call.response_model) == ("gpt-4o", "gpt-4o-2024-08-06")
    assert (call.prompt_tokens, call.completion_tokens) == (40, 2)
    assert (call.finish_reason, call.latency_ms, call.status_code) == ("stop", 420, 200)
    assert (call.metadata, call.trace_id, call.source) == ({"app": "desk"}, "t-1", "import")
    assert call.request_params == {"temperature": 0}
    assert call.created_at == datetime(2026, 5, 1, tzinfo=UTC)


def test_the_same_request_id_is_kept_once_by_whatever_door(project: Project) -> None:
    first, again = call_record("a", request_id="one"), call_record("b", request_id="one")
    assert keep(project, first, again) == 1
    assert record_calls(project, [again], CapturedCall.Source.IMPORT) == 0
    (call,) = CapturedCall.objects.all()
    assert call.messages[-1]["content"] == "a"


def test_request_ids_of_two_projects_do_not_meet(project: Project) -> None:
    other = create_project(slug="other", name="Other")
    assert keep(project, call_record("a")) == keep(other, call_record("a")) == 1


def test_calls_of_one_transaction_stay_or_go_with_it(project: Project) -> None:
    with transaction.atomic():
        keep(project, call_record("a"))
        keep(project, call_record("b"))
        transaction.set_rollback(True)
    assert keep(project, call_record("a")) == 1


def test_what_was_deleted_does_not_come_back_with_the_next_calls(project: Project) -> None:
    keep(project, call_record("a"))
    project.calls.all().delete()
    assert keep(project, call_record("b")) == 1
    assert project.calls.count() == 1


def test_fields_that_choose_hosts_or_keys_are_not_kept(project: Project) -> None:
    foreign = dict.fromkeys(FOREIGN_FIELDS, "sk-something")
    messages = [{"role": "user", "content": "hi"}]
    keep(project, record({"model": "m", "messages": messages, "seed": 1, **foreign}))
    assert CapturedCall.objects.get().request_params == {"seed": 1}


def test_personal_data_is_out_before_the_first_write(project: Project) -> None:
    said = "I am joe@example.com, card 4111 1111 1111 1111"
    request = {
        "model": "m",
        "messages": [{"role": "user", "content": said}],
        "user": "joe@example.com",
        "tools": [{"description": "mail ops@example.com"}],
    }
    response = {"choices": [{"message": {"content": "Hello joe@example.com"}}]}
    keep(project, record(request, response, metadata={"customer": "joe@example.com"}))
    call = CapturedCall.objects.get()
    assert call.messages[0]["content"] == "I am [EMAIL_1], card [CARD_1]"
    assert call.output == "Hello [EMAIL_1]"
    assert call.request_params == {"user": "[EMAIL_1]"}
    assert call.metadata == {"customer": "[EMAIL_1]"}
    assert call.tools == [{"description": "mail [EMAIL_2]"}]
    assert call.redactions == {"EMAIL": 2, "CARD": 1}


@pytest.mark.parametrize("text", ["a\\u0000b", "\\uD83D\\uDE00", "\\u001f", "\u2028", "é" * 10])
def test_any_text_that_json_can_hold_is_kept(project: Project, text: str) -> None:
    body = parse_json(
        f'{{"model": "m", "messages": [{{"role": "u", "content": "{text}"}}]}}'.encode()
    )
    keep(project, record(body))
    assert CapturedCall.objects.get().messages == body["messages"]


@pytest.mark.parametrize(
    "request_body",
    [
        {},
        {"model": None, "messages": None},
        {"model": ["m"], "messages": "hi"},
        {"model": "m" * 1000, "messages": ["hi", None, {"role": []}, {"content": "x"}]},
        {"model": "m", "messages": [{"role": "user", "content": {"deep": [{}] * 3}}]},
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}, 5, None]}]},
        {"model": "m", "messages": [], "tools": "none", "n": 1e30, "stop": None},
    ],
)
def test_a_request_of_any_shape_is_kept(project: Project, request_body: dict[str, Any]) -> None:
    assert keep(project, record(request_body, status_code=400)) == 1


@pytest.mark.parametrize(
    "response",
    [
        None,
        {},
        {"choices": {}, "usage": [], "model": None},
        {"choices": ["x"], "usage": {"prompt_tokens": True, "completion_tokens": "5"}},
        {"choices": [{"message": "x", "finish_reason": ["stop"]}], "usage": {"prompt_tokens": -1}},
        {"choices": [None], "usage": {"prompt_tokens": 10**12, "completion_tokens": 1.5}},
        {"model": "m" * 1000, "error": {"message": "no"}},
    ],
)
def test_an_answer_of_any_shape_is_kept(project: Project, response: Any) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert keep(project, record(asked, response)) == 1
    call = CapturedCall.objects.get()
    assert (call.output, call.prompt_tokens, call.completion_tokens) == ("", None, None)


def test_a_deeply_nested_body_is_kept_up_to_the_doors_limit(project: Project) -> None:
    nested = orjson.dumps({"model": "m", "messages": [], "deep": None})
    body = parse_json(nested.replace(b"null", b"[" * 60 + b"]" * 60))
    assert keep(project, record(body)) == 1


def test_a_calls_cost_is_its_tokens_at_the_projects_prices(
    project: Project, make_call: MakeCall
) -> None:
    assert make_call("before").cost_usd == Decimal("0.00012")  # the catalogue's
    save_upstream(
        project,
        name="prod",
        base_url="https://93.184.215.14/v1",
        prices={"gpt-4o": {"input": 5, "output": 20}},
    )
    assert make_call("after").cost_usd == Decimal("0.00024")


def test_a_name_that_the_provider_answers_under_may_have_no_price_of_its_own(
    project: Project,
) -> None:
    prices = {"house-model": {"input": 1, "output": 1}}
    save_upstream(project, name="prod", base_url="https://93.184.215.14/v1", prices=prices)
    usage = {"prompt_tokens": 500_000, "completion_tokens": 500_000}
    answer = {"model": "vendor-7b", "usage": usage}
    keep(project, record({"model": "house-model", "messages": []}, answer))
    assert CapturedCall.objects.get().cost_usd == 1


def test_the_largest_price_of_the_largest_call_can_be_kept(project: Project) -> None:
    prices = {"m": {"input": 1000, "output": 1000}}
    save_upstream(project, name="prod", base_url="https://93.184.215.14/v1", prices=prices)
    usage = {"prompt_tokens": 100_000_000, "completion_tokens": 100_000_000}
    keep(project, record({"model": "m", "messages": []}, {"usage": usage}))
    assert CapturedCall.objects.get().cost_usd == 200_000
