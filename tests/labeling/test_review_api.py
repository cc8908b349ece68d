"""Review through the API: cards, decisions, a lead's words, the queue's policy and parts."""

import json
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

from factory.models import Example, Project, Workload
from factory.services import jobs
from factory.services.keys import create_key
from factory.services.projects import create_project
from labeling.models import InsightRun, Review, ReviewLease
from labeling.services.insight import insight_work
from labeling.services.queue import set_policy
from labeling.services.review import queue_review
from tests.conftest import MakeExample

pytestmark = pytest.mark.django_db
REVIEW = "/api/v1/workloads/tickets/review"


@pytest.fixture
def api(project: Project) -> Client:
    _, secret = create_key(project, name="k", scopes=["api"])
    return Client(headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture
def queue(workload: Workload, make_example: MakeExample) -> list[Example]:
    made = [make_example(f"ticket {n}", "billing", split="test") for n in range(3)]
    set_policy(workload, wanted=2)
    queue_review(workload, suspicious=0)
    return made


def send(client: Client, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    response = client.generic(
        method, f"{REVIEW}{path}", json.dumps(body or {}), content_type="application/json"
    )
    assert response.status_code == status, response.content
    return response.json()


def post(client: Client, path: str, status: int = 200, **body: Any) -> Any:
    return send(client, "POST", path, body, status)


def say(client: Client, reviewer: str, item: int, decision: str, output: str = "") -> Any:
    body: dict[str, Any] = {
        "reviewer": reviewer,
        "review_id": str(uuid4()),
        "decision": decision,
        "output": output,
    }
    return post(client, f"/items/{item}/decide", **body)


def test_cards_are_dealt_kept_given_back_decided_and_taken_back(
    api: Client, queue: list[Example]
) -> None:
    hand = post(api, "/next", reviewer="bob", count=2)
    assert [card["target"] for card in hand["cards"]] == ["billing", "billing"]
    assert hand["why"] is None
    first, second = (card["id"] for card in hand["cards"])
    assert post(api, "/heartbeat", reviewer="bob", items=[first, second])["held"] == sorted(
        [first, second]
    )
    assert post(api, "/release", reviewer="bob", items=[second])["released"] == 1
    said = say(api, "bob", first, "edit", "login")
    assert (said["decision"], said["status"]) == ("edit", "open")
    undone = post(api, "/undo", reviewer="bob", review_id=str(uuid4()))
    assert undone == {"undone": said["review_id"], "item": first}
    assert post(api, "/release", reviewer="bob")["released"] == 1


def test_an_empty_hand_says_why(api: Client, queue: list[Example]) -> None:
    while cards := post(api, "/next", reviewer="bob")["cards"]:
        say(api, "bob", cards[0]["id"], "accept")
    why = post(api, "/next", reviewer="bob")["why"]
    assert (why["total"], why["yours"], why["leased"]) == (3, 3, {})


def test_nobody_is_told_what_others_said_before_all_have_spoken(
    api: Client, queue: list[Example]
) -> None:
    [card] = post(api, "/next", reviewer="bob")["cards"]
    say(api, "bob", card["id"], "edit", "login")
    listed = send(api, "GET", "/items?status=open")["items"]
    assert [item["versions"] for item in listed] == [None] * 3
    assert {item["target"] for item in listed} == {"billing"}
    [theirs] = post(api, "/next", reviewer="alice")["cards"]
    assert (theirs["id"], theirs["target"]) == (card["id"], "billing")
    assert say(api, "alice", card["id"], "accept")["status"] == "disputed"
    [disputed] = send(api, "GET", "/items?status=disputed")["items"]
    assert [v["people"] for v in disputed["versions"]] == [["alice"], ["bob"]]


def test_a_lead_settles_and_a_reviewer_may_not(api: Client, queue: list[Example]) -> None:
    [card] = post(api, "/next", reviewer="bob")["cards"]
    post(
        api, f"/items/{card['id']}/decide",
        reviewer="bob", review_id=str(uuid4()), decision="flag", reason="unsure",
    )  # fmt: skip
    word: dict[str, Any] = {"review_id": str(uuid4()), "decision": "edit", "output": "login"}
    post(api, f"/items/{card['id']}/adjudicate", 403, reviewer="bob", **word)
    post(api, f"/items/{card['id']}/adjudicate", 404, reviewer="nobody", **word)
    [flagged] = send(api, "GET", "/items?status=flagged")["items"]
    assert flagged["flags"] == ["bob: unsure"]
    settled = post(api, f"/items/{card['id']}/adjudicate", reviewer="alice", **word)
    assert settled["status"] == "done"
    assert Example.objects.get(pk=card["example"]).target == "login"
    post(api, f"/items/{card['id']}/unflag", 409, reviewer="alice")


def test_a_queue_is_filled_and_its_policy_changed(
    api: Client, workload: Workload, make_example: MakeExample
) -> None:
    for n in range(4):
        make_example(f"ticket {n}", "billing", split="test")
    run = post(api, "/queue", suspicious=0, wanted=2)
    jobs.run(InsightRun, run["id"], insight_work)
    found = send(api, "GET", "")
    assert (found["progress"]["open"], found["progress"]["missing"]) == (4, 8)
    changed = send(api, "PATCH", "", {"wanted": 1, "probe_share": 0.1, "lease_seconds": 60})
    assert (changed["progress"]["missing"], changed["probe_share"]) == (4, 0.1)
    send(api, "PATCH", "", {"probe_share": 0.9}, 400)
    assert send(api, "GET", "/probes") == []


def test_parts_have_names_and_go_to_people(
    api: Client, workload: Workload, queue: list[Example], bob: User
) -> None:
    part = {"text": "ticket 1"}
    assert send(api, "PUT", "/views/ones", part)["only"] == part
    assert send(api, "GET", "")["views"] == [{"name": "ones", "only": part}]
    send(api, "DELETE", "/views/ones")
    send(api, "DELETE", "/views/ones", status=404)
    [card] = post(api, "/next", reviewer="bob", only=part)["cards"]
    assert card["example"] == queue[1].pk
    assert len(send(api, "GET", "/items?text=ticket%201")["items"]) == 1
    post(api, "/assign", 400, people=["bob"])
    assert post(api, "/assign", people=["bob", "alice"]) == {"bob": 3, "alice": 3}


def test_the_same_decision_sent_twice_is_one_and_a_strangers_key_finds_nothing(
    api: Client, queue: list[Example], carol: User
) -> None:
    [card] = post(api, "/next", reviewer="bob")["cards"]
    body: dict[str, Any] = {"reviewer": "bob", "review_id": str(uuid4()), "decision": "accept"}
    for _ in range(2):
        post(api, f"/items/{card['id']}/decide", **body)
    assert Review.objects.count() == 1
    other = create_project(slug="other", name="Other", owner=carol)
    _, secret = create_key(other, name="k", scopes=["api"])
    stranger = Client(headers={"Authorization": f"Bearer {secret}"})
    post(stranger, "/next", 404, reviewer="carol")
    post(api, "/next", 404, reviewer="carol")
    assert ReviewLease.objects.filter(reviewer=carol).count() == 0
