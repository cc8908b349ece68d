"""What apps say later about answers."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from factory.models import CapturedCall, Feedback, Project, Workload
from factory.services.capture import record_calls
from factory.services.discover import attach_group, group_calls
from factory.services.feedback import attach_feedback
from factory.services.keys import create_key
from tests.conftest import MakeCall, call_record

pytestmark = pytest.mark.django_db

Say = Callable[..., Any]


@pytest.fixture
def say(client: Client, project: Project) -> Say:
    """Say something of a call, with the key that the app calls models with."""
    key = create_key(project, name="app", scopes=["capture"])[1]

    def post(call: str, kind: str, value: object, **fields: object) -> Any:
        body = {"call": call, "kind": kind, "value": value, **fields}
        headers = {"authorization": f"Bearer {key}"}
        return client.post(
            "/api/v1/feedback", body, content_type="application/json", headers=headers
        )

    return post


def belongs(call: CapturedCall, workload: Workload) -> None:
    """Let a call's prompt be the workload's."""
    group_calls(workload.project)
    call.refresh_from_db()
    assert call.group is not None
    attach_group(call.group, workload)


def test_each_kind_is_kept_with_its_call(say: Say, make_call: MakeCall) -> None:
    call = make_call("where is my parcel")
    for kind, value in (
        ("boolean", True),
        ("score", 0.25),
        ("comment", " too long "),
        ("demonstration", "delivery"),
    ):
        answer = say(call.request_id, kind, value)
        assert (answer.status_code, answer.json()["is_attached"]) == (200, True)
    said = {row.kind: row.value for row in call.feedback.all()}
    assert said == {
        "boolean": True, "score": 0.25, "comment": "too long", "demonstration": "delivery",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("boolean", 1),
        ("boolean", "true"),
        ("boolean", None),
        ("score", True),
        ("score", "0.5"),
        ("score", None),
        ("comment", ""),
        ("comment", "  "),
        ("comment", 5),
        ("comment", "x" * 10_001),
        ("demonstration", ""),
        ("demonstration", 7),
        ("demonstration", "x" * 200_001),
        ("stars", 5),
    ],
)
def test_a_value_of_another_kind_is_refused(
    say: Say, make_call: MakeCall, kind: str, value: object
) -> None:
    call = make_call("where is my parcel")
    answer = say(call.request_id, kind, value)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in {"value", "body.kind"}
    assert not Feedback.objects.exists()


def test_the_later_word_replaces_the_earlier_and_names_tell_several_apart(
    say: Say, make_call: MakeCall
) -> None:
    call = make_call("where is my parcel")
    for value in (True, True, False):
        assert say(call.request_id, "boolean", value).status_code == 200
    say(call.request_id, "boolean", True, name="polite")
    rows = call.feedback.order_by("id").values_list("name", "value")
    assert list(rows) == [("", False), ("polite", True)]


def test_a_call_is_known_by_its_answers_id_too(say: Say, project: Project) -> None:
    record = call_record("help")
    assert record.response is not None
    record.response["id"] = "chatcmpl-77"
    record_calls(project, [record], CapturedCall.Source.GATEWAY)
    assert say("chatcmpl-77", "boolean", True).status_code == 200
    assert say(record.request_id, "boolean", False).status_code == 200
    assert [row.value for row in Feedback.objects.all()] == [False]


def test_what_is_said_before_the_call_has_come_waits_for_it(
    say: Say, make_call: MakeCall, project: Project
) -> None:
    early = say("req-late", "score", 1)
    assert (early.status_code, early.json()["is_attached"]) == (202, False)
    assert say("req-late", "score", 2).status_code == 202
    attach_feedback()
    assert Feedback.objects.get().call is None
    call = make_call("help", request_id="req-late")
    attach_feedback()
    assert [row.value for row in call.feedback.all()] == [2.0]


def test_what_is_said_of_a_call_that_has_come_wins_over_what_waited(
    say: Say, make_call: MakeCall
) -> None:
    say("req-late", "boolean", True)
    call = make_call("help", request_id="req-late")
    assert say("req-late", "boolean", False).status_code == 200
    attach_feedback()
    assert [row.value for row in Feedback.objects.all()] == [False]
    assert call.feedback.count() == 1


def test_two_ids_of_one_call_leave_its_latest_word(say: Say, project: Project) -> None:
    say("chatcmpl-5", "boolean", True)
    say("req-5", "boolean", False)
    record = call_record("help", request_id="req-5")
    assert record.response is not None
    record.response["id"] = "chatcmpl-5"
    record_calls(project, [record], CapturedCall.Source.GATEWAY)
    attach_feedback()
    assert [row.value for row in Feedback.objects.all()] == [False]


def test_what_no_call_comes_for_is_dropped_after_a_day(say: Say) -> None:
    say("req-never", "boolean", True)
    Feedback.objects.update(created_at=timezone.now() - timedelta(hours=23))
    attach_feedback()
    assert Feedback.objects.count() == 1
    Feedback.objects.update(created_at=timezone.now() - timedelta(hours=25))
    attach_feedback()
    assert not Feedback.objects.exists()


def test_a_demonstration_must_be_an_answer_of_the_workload(
    say: Say, make_call: MakeCall, workload: Workload
) -> None:
    call = make_call("where is my parcel")
    belongs(call, workload)
    refused = say(call.request_id, "demonstration", "weather")
    assert refused.status_code == 400
    assert "not one of: billing, delivery, login" in refused.json()["error"]["message"]
    assert say(call.request_id, "demonstration", " delivery ").json()["value"] == "delivery"


def test_texts_are_redacted_before_they_are_kept(
    say: Say, make_call: MakeCall, client: Client, alice: User, project: Project
) -> None:
    call = make_call("write to ann@example.org")
    assert call.question == "write to [EMAIL_1]"
    say(call.request_id, "comment", "bob@example.org says it is wrong")
    say(call.request_id, "demonstration", "[EMAIL_1] and carol@example.org")
    comment, demonstration = call.feedback.order_by("id")
    assert comment.value == "[EMAIL_1001] says it is wrong"
    assert demonstration.value == "[EMAIL_1] and [EMAIL_1002]"
    client.force_login(alice)
    page = client.get(reverse("call", args=[project.slug, call.pk])).content.decode()
    assert "names [EMAIL_1002], which the call does not" in page


def test_the_calls_page_and_the_api_show_what_was_said(
    say: Say, make_call: MakeCall, client: Client, alice: User, project: Project
) -> None:
    call = make_call("where is my parcel")
    say(call.request_id, "boolean", False, name="helpful")
    say(call.request_id, "demonstration", "delivery")
    client.force_login(alice)
    page = client.get(reverse("call", args=[project.slug, call.pk])).content.decode()
    assert "Feedback" in page
    assert "helpful" in page
    key = create_key(project, name="ci", scopes=["api"])[1]
    headers = {"authorization": f"Bearer {key}"}
    shown = client.get(f"/api/v1/calls/{call.request_id}", headers=headers).json()
    assert [(row["kind"], row["value"]) for row in shown["feedback"]] == [
        ("boolean", False),
        ("demonstration", "delivery"),
    ]


def test_feedback_is_counted_by_project_and_workload(
    say: Say, make_call: MakeCall, client: Client, project: Project, workload: Workload
) -> None:
    calls = [make_call(text) for text in ("one", "two", "three")]
    belongs(calls[0], workload)
    for call, is_good in zip(calls, (True, False, True), strict=True):
        say(call.request_id, "boolean", is_good)
    say(calls[0].request_id, "score", 4)
    say(calls[1].request_id, "score", 1.5)
    say("req-never", "boolean", False)
    key = create_key(project, name="ci", scopes=["api"])[1]
    headers = {"authorization": f"Bearer {key}"}
    counts = client.get("/api/v1/feedback/counts", headers=headers).json()
    assert (counts["boolean"], counts["score"], counts["comment"]) == (3, 2, 0)
    assert counts["true_share"] == pytest.approx(2 / 3)
    assert counts["mean_score"] == pytest.approx(2.75)
    of_workload = client.get("/api/v1/feedback/counts?workload=tickets", headers=headers).json()
    assert of_workload["boolean"] in {1, 3}  # the three share one prompt


def test_another_projects_calls_cannot_be_judged(
    say: Say, client: Client, project: Project
) -> None:
    other = Project.objects.create(slug="other", name="Other")
    record_calls(other, [call_record("theirs", request_id="req-x")], CapturedCall.Source.IMPORT)
    assert say("req-x", "boolean", True).status_code == 202
    attach_feedback()
    assert not Feedback.objects.filter(call__isnull=False).exists()


def test_a_key_without_a_fitting_scope_says_nothing(client: Client, project: Project) -> None:
    key = create_key(project, name="ci", scopes=["download"])[1]
    body = {"call": "x", "kind": "boolean", "value": True}
    answer = client.post(
        "/api/v1/feedback",
        body,
        content_type="application/json",
        headers={"authorization": f"Bearer {key}"},
    )
    assert answer.status_code == 401
