"""The privacy page: the policy and its preview, retention, and the way to an erasure."""

import json
import logging
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from factory.models import CapturedCall, Erasure, Project, Workload
from factory.services.capture import record_calls
from factory.services.keys import create_key
from tests.conftest import MakeCall, call_record

pytestmark = pytest.mark.django_db
BASE = "/acme/-/privacy/"
POLICY = {"kinds": ["EMAIL", "PHONE"], "terms": "", "patterns": "", "sample": "", "call": ""}


@pytest.fixture
def alice_at(alice: User, project: Project) -> Client:
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def key(project: Project) -> str:
    return create_key(project, name="ci", scopes=["api"])[1]


def text(response: Any) -> str:
    return str(response.content.decode())


def test_a_policy_holds_from_the_next_call_on(
    alice_at: Client, project: Project, make_call: MakeCall
) -> None:
    saved = {**POLICY, "kinds": ["EMAIL"], "terms": "Project Bluebird"}
    answer = alice_at.post(f"{BASE}policy/", {**saved, "patterns": r"CUSTOMER_NO = C-\d{4}"})
    assert answer.status_code == 302
    project.refresh_from_db()
    said = "bluebird@example.org asks about project bluebird, C-1234, from 192.0.2.7"
    call = make_call(said, request_id="after")
    assert call.question == "[EMAIL_1] asks about [TERM_1], [CUSTOMER_NO_1], from 192.0.2.7"
    assert call.redactions == {"EMAIL": 1, "TERM": 1, "CUSTOMER_NO": 1}
    page = text(alice_at.get(BASE))
    assert "Project Bluebird" in page
    assert "<dt>CUSTOMER_NO</dt>" in page


def test_a_preview_shows_what_would_go_and_keeps_nothing(
    alice_at: Client, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sample = "Write to anna@example.org or bob@example.org, and anna@example.org again"
    page = alice_at.post(f"{BASE}preview/", {**POLICY, "sample": sample})
    assert page.context["preview"].counts == {"EMAIL": 2}
    assert text(page).count("<mark") == 3
    assert "[EMAIL_2]" in text(page)
    project.refresh_from_db()
    assert project.redaction == {}
    assert project.calls.count() == 0
    assert "anna@example.org" not in caplog.text
    assert page.headers["Cache-Control"].startswith("max-age=0")


def test_a_preview_tries_the_typed_policy_on_a_stored_call(
    alice_at: Client, make_call: MakeCall
) -> None:
    call = make_call("Dear anna@example.org, your order with Umbrella Corp is late")
    page = alice_at.post(f"{BASE}preview/", {**POLICY, "terms": "umbrella corp", "call": call.pk})
    assert page.context["preview"].counts == {"EMAIL": 1, "TERM": 1}


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("patterns", "no equals sign", "Each line is a name"),
        ("patterns", "X = (", "Not a pattern"),
        ("patterns", "EMAIL = x+", "no name of its own"),
        ("kinds", ["SHOE_SIZE"], "Select a valid choice"),
        ("names", "on", "presidio"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_beside_its_field(
    alice_at: Client, project: Project, field: str, typed: object, said: str
) -> None:
    answer = alice_at.post(f"{BASE}policy/", {**POLICY, field: typed})
    assert answer.status_code == 422
    assert said in text(answer)
    project.refresh_from_db()
    assert project.redaction == {}


def test_retention_is_set_for_the_project_and_each_workload(
    alice_at: Client, project: Project, workload: Workload
) -> None:
    form = {"project": "30", f"workload-{workload.pk}": "400"}
    assert alice_at.post(f"{BASE}retention/", form).status_code == 302
    project.refresh_from_db()
    workload.refresh_from_db()
    assert (project.retention_days, workload.retention_days) == (30, 400)
    assert alice_at.post(f"{BASE}retention/", {**form, "project": "0"}).status_code == 422


def test_an_erasure_begins_with_a_rehearsal(alice_at: Client, project: Project) -> None:
    form = {"metadata": "user_id=42", "value": "", "reason": "asked by mail"}
    answer = alice_at.post(f"{BASE}erasures/new/", form)
    job = project.erasures.get()
    assert answer.headers["Location"] == f"{BASE}erasures/{job.pk}/"
    assert (job.is_rehearsal, job.status, job.asked_by) == (True, "queued", "alice")
    assert "42" not in job.sought
    page = text(alice_at.get(f"{BASE}erasures/{job.pk}/"))
    assert 'hx-trigger="poll from:body"' in page
    assert "Erase all of this" not in page
    Erasure.objects.filter(pk=job.pk).update(status="succeeded", report={"counts": {"calls": 3}})
    assert "Erase all of this" in text(alice_at.get(f"{BASE}erasures/{job.pk}/live/"))
    done = alice_at.post(f"{BASE}erasures/{job.pk}/confirm/")
    real = project.erasures.latest("pk")
    assert done.headers["Location"] == f"{BASE}erasures/{real.pk}/"
    assert (real.is_rehearsal, real.reason) == (False, "asked by mail")
    again = alice_at.post(f"{BASE}erasures/{job.pk}/confirm/", follow=True)
    assert "was confirmed, or is too old" in text(again)
    assert project.erasures.count() == 2


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"metadata": "", "value": ""}, "one of the two"),
        ({"metadata": "a=b", "value": "both"}, "one of the two"),
        ({"metadata": "user 42", "value": ""}, "key=value"),
        ({"metadata": "", "value": "x"}, "3 to 300 characters"),
        ({"metadata": "", "value": "by mail"}, "do not repeat"),
    ],
)
def test_an_erasure_of_nobody_is_refused(
    alice_at: Client, project: Project, form: dict[str, str], said: str
) -> None:
    answer = alice_at.post(f"{BASE}erasures/new/", {**form, "reason": "asked by mail"})
    assert answer.status_code == 422
    assert said in text(answer)
    assert project.erasures.count() == 0


def test_who_may_only_look_sees_and_changes_nothing(bob: User, project: Project) -> None:
    client = Client()
    client.force_login(bob)
    assert "Save the policy" not in text(client.get(BASE))
    for door in ("policy/", "preview/", "retention/", "erasures/new/"):
        assert client.post(f"{BASE}{door}").status_code == 403


def send(client: Client, key: str, method: str, path: str, body: object = None) -> Any:
    headers = {"authorization": f"Bearer {key}"}
    data = json.dumps(body).encode() if body is not None else b""
    return client.generic(
        method, f"/api/v1{path}", data, content_type="application/json", headers=headers
    )


def test_the_api_reads_and_writes_the_policy(client: Client, key: str, project: Project) -> None:
    policy = send(client, key, "GET", "/privacy/policy").json()
    assert "EMAIL" in policy["kinds"]
    answer = send(client, key, "PUT", "/privacy/policy", {**policy, "terms": ["Bluebird"]})
    assert answer.json()["terms"] == ["Bluebird"]
    project.refresh_from_db()
    assert project.redaction["terms"] == ["Bluebird"]
    refused = send(client, key, "PUT", "/privacy/policy", {"kinds": ["SHOE_SIZE"]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "kinds")


def test_the_api_erases_named_calls_at_once(
    client: Client, key: str, project: Project, make_call: MakeCall
) -> None:
    call = make_call("forget me")
    body = {"calls": [str(call.pk)], "reason": "asked to", "rehearsal": False}
    answer = send(client, key, "POST", "/erasures", body)
    assert answer.status_code == 202
    assert answer.json()["report"]["counts"]["calls"] == 1
    assert answer.json()["asked_by"].startswith("key us_")
    assert project.calls.count() == 0
    assert send(client, key, "POST", "/erasures", body).status_code == 404
    listed = send(client, key, "GET", "/erasures").json()
    assert send(client, key, "GET", f"/erasures/{listed[0]['id']}").json() == listed[0]


def test_the_api_rehearses_unless_told_otherwise(
    client: Client, key: str, project: Project
) -> None:
    body = {"metadata": {"user_id": "42"}, "reason": "asked to"}
    made = send(client, key, "POST", "/erasures", body).json()
    assert (made["is_rehearsal"], made["kind"]) == (True, "metadata")
    waits = send(client, key, "POST", f"/erasures/{made['id']}/confirm")
    assert (waits.status_code, waits.json()["error"]["code"]) == (409, "conflict")
    both = send(client, key, "POST", "/erasures", {**body, "value": "Anna"})
    assert both.status_code == 400


def test_another_projects_erasure_is_absent(client: Client, key: str, alice: User) -> None:
    other = Project.objects.create(slug="other", name="Other")
    record_calls(other, [call_record("theirs")], CapturedCall.Source.IMPORT)
    job = Erasure(project=other, kind="calls", reason="theirs", asked_by="them")
    job.save()
    assert send(client, key, "GET", f"/erasures/{job.pk}").status_code == 404
    assert send(client, key, "POST", f"/erasures/{job.pk}/confirm").status_code == 404
    body = {"calls": [str(other.calls.get().pk)], "reason": "x", "rehearsal": False}
    assert send(client, key, "POST", "/erasures", body).status_code == 404
    assert other.calls.count() == 1
