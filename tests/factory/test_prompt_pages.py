"""Prompts through their doors: joined to a workload as another wording, and taken out of it."""

from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from factory.models import CallGroup, CapturedCall, DatasetVersion, Example, Project, Workload
from factory.selectors import proposals
from factory.services.capture import record_calls
from factory.services.curate import add_examples, curate, set_split_shares
from factory.services.discover import accept_group, group_calls
from factory.services.freeze import freeze
from factory.services.keys import create_key
from factory.services.projects import create_project, create_workload
from tests.conftest import INSTRUCTION, call_record, ticket_messages

pytestmark = pytest.mark.django_db

SAID = ["my parcel is late", "cannot sign in", "refund me", "card was eaten", "wrong invoice"]
WHEN = ["since monday", "again", "please help", "", "and nobody answers the phone"]
EDITED = "Read and route the ticket. Answer with exactly one of these: billing, delivery, login."


def record_tickets(project: Project, instruction: str, name: str) -> None:
    """Record 25 calls of one wording, and group them."""
    records = []
    for n, (said, when) in enumerate(product(SAID, WHEN)):
        record = call_record(f"{said} {when}", ["billing", "login"][n % 2], request_id=f"{name}{n}")
        record.request["messages"] = ticket_messages(f"{said} {when}", instruction)
        records.append(record)
    record_calls(project, records, CapturedCall.Source.IMPORT)
    group_calls(project)


@pytest.fixture
def tickets(project: Project) -> Workload:
    record_tickets(project, INSTRUCTION, "old")
    workload = accept_group(proposals(project).get(), slug="tickets")
    set_split_shares(workload, validation=0.3, test=0.2)
    curate(project)
    return workload


@pytest.fixture
def edited(tickets: Workload) -> CallGroup:
    """A prompt edit: the same job in other words, proposed as if it were another."""
    record_tickets(tickets.project, EDITED, "new")
    return proposals(tickets.project).get()


@pytest.fixture
def alice_at(client: Client, alice: User) -> Client:
    client.force_login(alice)
    return client


def text(response: Any) -> str:
    return str(response.content.decode())


def instructions_of(version: DatasetVersion) -> set[str]:
    return {entry.example.messages[0]["content"] for entry in version.entries.all()}


def joined(group: CallGroup, alice_at: Client, workload: str = "tickets") -> Any:
    form = {"workload": workload}
    return alice_at.post(f"/acme/-/prompts/{group.pk}/join/", form, follow=True)


def test_a_prompt_edit_joins_its_workload_in_one_click(
    alice_at: Client, tickets: Workload, edited: CallGroup
) -> None:
    create_workload(tickets.project, slug="poems", kind="generation", instruction="Write a poem.")
    assert "Join tickets</button>" in text(alice_at.get("/acme/"))
    page = alice_at.get(f"/acme/-/prompts/{edited.pk}/")
    offered = [value for value, _ in page.context["join"].fields["workload"].choices]
    assert offered == ["tickets", "poems"]
    assert "<del>Route</del> <ins>Read and route</ins>" in text(page)
    response = joined(edited, alice_at)
    assert "The prompt&#x27;s calls, past and to come, are those of tickets." in text(response)
    assert [group.call_count for group in response.context["wordings"]] == [25, 25]
    record_tickets(tickets.project, EDITED, "later")
    curate(tickets.project)
    edited.refresh_from_db()
    assert {call.workload for call in edited.calls.all()} == {tickets}
    assert edited.calls.count() == 50
    assert tickets.examples.count() == 50


def test_a_wording_that_is_taken_out_leaves_with_its_examples(
    alice_at: Client, tickets: Workload, edited: CallGroup
) -> None:
    joined(edited, alice_at)
    curate(tickets.project)
    page = text(alice_at.get(f"/acme/-/prompts/{edited.pk}/"))
    assert "The 25 examples made of their calls are discarded" in page
    response = alice_at.post(f"/acme/-/prompts/{edited.pk}/take-out/", follow=True)
    assert "The prompt is proposed again; 25 examples were discarded." in text(response)
    assert proposals(tickets.project).get() == edited
    kept = tickets.examples.exclude(status=Example.Status.DISCARDED)
    assert {example.messages[0]["content"] for example in kept} == {INSTRUCTION}
    other = accept_group(edited, slug="others")
    curate(tickets.project)
    assert (kept.count(), other.examples.count()) == (25, 25)


def test_frozen_versions_keep_what_was_taken_out(
    alice_at: Client, tickets: Workload, edited: CallGroup
) -> None:
    joined(edited, alice_at)
    curate(tickets.project)
    before = freeze(tickets)
    alice_at.post(f"/acme/-/prompts/{edited.pk}/take-out/")
    both = [instructions_of(version) for version in (before, freeze(tickets))]
    assert both == [{INSTRUCTION, EDITED}, {INSTRUCTION}]


def test_a_wording_that_comes_back_brings_its_examples_as_they_were(
    alice_at: Client, tickets: Workload, edited: CallGroup
) -> None:
    joined(edited, alice_at)
    curate(tickets.project)
    first = Example.objects.filter(call__group=edited).order_by("id")[0]
    add_examples(tickets, [(first.messages, "delivery")])  # a person's word
    before = sorted(tickets.examples.values_list("id", "status", "weight", "target"))
    alice_at.post(f"/acme/-/prompts/{edited.pk}/take-out/")
    joined(edited, alice_at)
    curate(tickets.project)
    assert sorted(tickets.examples.values_list("id", "status", "weight", "target")) == before


def test_a_prompt_of_one_workload_does_not_join_another(
    alice_at: Client, tickets: Workload, edited: CallGroup
) -> None:
    create_workload(tickets.project, slug="poems", kind="generation")
    joined(edited, alice_at)
    assert joined(edited, alice_at, "poems").status_code == 409
    alice_at.post(f"/acme/-/prompts/{edited.pk}/take-out/")
    assert alice_at.post(f"/acme/-/prompts/{edited.pk}/take-out/").status_code == 409


def test_a_prompt_joins_no_workload_of_another_project_and_a_reviewer_joins_none(
    alice_at: Client, alice: User, bob: User, tickets: Workload, edited: CallGroup
) -> None:
    other = create_project(slug="other", name="Other", owner=alice)
    create_workload(other, slug="theirs", kind="generation")
    assert joined(edited, alice_at, "theirs").status_code == 404
    alice_at.force_login(bob)
    assert joined(edited, alice_at).status_code == 403
    assert alice_at.post(f"/acme/-/prompts/{edited.pk}/take-out/").status_code == 403
    assert "<form" not in text(alice_at.get(f"/acme/-/prompts/{edited.pk}/")).split("<main")[1]
    edited.refresh_from_db()
    assert edited.workload is None


def test_the_api_lists_accepts_ignores_joins_and_takes_out(
    tickets: Workload, edited: CallGroup
) -> None:
    secret = create_key(tickets.project, name="ci", scopes=["api"])[1]
    told = {"authorization": f"Bearer {secret}"}

    def api(method: str, path: str = "", **body: str) -> Any:
        send = getattr(Client(headers=told), method)
        sent = {"data": body, "content_type": "application/json"} if method == "post" else {}
        answer = send(f"/api/v1/prompts{path}", **sent)
        assert answer.status_code == 200, answer.content
        return answer.json()

    one = f"/{edited.pk}"
    assert {p["state"] for p in api("get")} == {"proposed", "joined"}
    (nearest,) = api("get", one)["nearest"]
    assert nearest["workload"] == "tickets"
    assert 0.5 < nearest["share"] < 1
    assert api("post", f"{one}/ignore")["state"] == "ignored"
    assert api("post", f"{one}/join", workload="tickets")["workload"] == "tickets"
    curate(tickets.project)
    assert api("post", f"{one}/take-out")["discarded"] == 25
    assert api("post", f"{one}/accept", slug="fresh")["workload"] == "fresh"
    refused = Client(headers=told).get("/api/v1/prompts/999999")
    assert refused.status_code == 404


def test_the_command_lists_prompts_and_decides_what_becomes_of_one(
    tickets: Workload, edited: CallGroup, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*words: str) -> str:
        call_command("prompts", "--project", "acme", *words)
        return capsys.readouterr().out

    listed = told()
    assert "of tickets: [system] Route the ticket" in listed
    assert "% as tickets: [system] Read and route" in listed
    assert told("--join", str(edited.pk), "tickets") == "its calls are those of tickets\n"
    assert told("--take-out", str(edited.pk)) == "proposed again; 0 examples discarded\n"
    assert told("--accept", str(edited.pk)).endswith(" is a workload\n")
    with pytest.raises(CommandError, match="no such prompt"):
        told("--join", "x", "tickets")
