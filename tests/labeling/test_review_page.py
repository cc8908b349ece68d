"""The pages of label and review, through their addresses."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

from factory.models import Example, Membership, Project, Workload
from factory.services import jobs
from factory.services.jobs import in_future
from factory.services.projects import save_upstream
from labeling.models import (
    Guideline,
    InsightRun,
    LabelJob,
    Review,
    ReviewItem,
    ReviewLease,
    ReviewPolicy,
    Teacher,
)
from labeling.services.insight import insight_work
from labeling.services.label import create_teacher
from labeling.services.queue import set_policy
from labeling.services.review import next_item, queue_review
from tests.conftest import MakeExample

pytestmark = pytest.mark.django_db
BASE = "/acme/tickets"
HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture
def queue(make_example: MakeExample, workload: Workload) -> list[ReviewItem]:
    for text in ("a", "b", "c", "d"):
        make_example(f"{text} {HOSTILE}", split="test")
    queue_review(workload, suspicious=0)
    return list(workload.review_items.order_by("-priority"))


@pytest.fixture
def bob_at(bob: User, project: Project) -> Client:
    client = Client()
    client.force_login(bob)
    return client


@pytest.fixture
def alice_at(alice: User, project: Project) -> Client:
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def teacher(project: Project) -> Teacher:
    prices = {"gpt-4o": {"input": 2.5, "output": 10}}
    upstream = save_upstream(project, name="up", base_url="http://127.0.0.1:9999/v1", prices=prices)
    return create_teacher(project, name="oracle", upstream=upstream, model="gpt-4o")


def text(response: Any) -> str:
    return str(response.content.decode())


def decide(client: Client, item: ReviewItem, /, decision: str = "accept", **fields: Any) -> Any:
    values = {"review_id": uuid4(), "item": item.pk, "decision": decision, **fields}
    return client.post(f"{BASE}/review/decide/", values, headers={"Accept": "application/json"})


# --- review ---------------------------------------------------------------------------------------
def test_the_page_deals_two_cards_and_shows_hostile_text_as_text(
    bob_at: Client, queue: list[ReviewItem]
) -> None:
    page = text(bob_at.get(f"{BASE}/review/"))
    assert page.count('class="panel card"') == 2
    assert HOSTILE not in page
    assert "&lt;img src=x" in page
    assert ReviewLease.objects.count() == 2


def test_a_decision_and_the_next_card_are_one_request(
    bob_at: Client, queue: list[ReviewItem]
) -> None:
    bob_at.get(f"{BASE}/review/")
    answer = decide(bob_at, queue[0], seconds="1.5", held=str(queue[1].pk)).json()
    assert len(answer["cards"]) == 1
    assert f'data-item="{queue[2].pk}"' in answer["cards"][0]
    assert "of 4 decided" in answer["progress"]
    review = Review.objects.get()
    assert (review.decision, review.output, review.seconds) == ("accept", "billing", 1.5)


def test_the_same_decision_sent_twice_is_one(bob_at: Client, queue: list[ReviewItem]) -> None:
    bob_at.get(f"{BASE}/review/")
    review_id = uuid4()
    for _ in range(2):
        answer = decide(bob_at, queue[0], "edit", output="login", review_id=review_id)
        assert answer.status_code == 200
    assert Review.objects.count() == 1


def test_undoing_brings_the_card_and_the_label_back(
    bob_at: Client, queue: list[ReviewItem]
) -> None:
    bob_at.get(f"{BASE}/review/")
    decide(bob_at, queue[0], "edit", output="login")
    answer = bob_at.post(f"{BASE}/review/undo/", {"review_id": uuid4()}).json()
    assert answer["undone"] is True
    assert f'data-item="{queue[0].pk}"' in answer["cards"][0]
    assert Example.objects.get(pk=queue[0].example_id).target == "billing"
    nothing = bob_at.post(f"{BASE}/review/undo/", {"review_id": uuid4()}).json()
    assert nothing["undone"] is False


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"decision": "edit", "output": "refunds"}, 400, "is not one of: billing, delivery, login"),
        ({"decision": "burn"}, 400, "decision is one of"),
        ({"review_id": "seven"}, 400, "review_id"),
        ({"item": "x"}, 400, "item"),
        ({"item": 10**30}, 404, "no such review item"),
        ({"note": "a\x00b"}, 400, "note"),
    ],
)
def test_a_wrong_decision_is_refused_in_the_one_error_shape(
    bob_at: Client, queue: list[ReviewItem], fields: dict[str, Any], status: int, said: str
) -> None:
    bob_at.get(f"{BASE}/review/")
    response = decide(bob_at, queue[0], **fields)
    assert response.status_code == status
    assert said in response.json()["error"]["message"]
    assert not Review.objects.exists()


def test_an_item_on_somebody_elses_screen_is_a_conflict(
    bob_at: Client, alice_at: Client, queue: list[ReviewItem]
) -> None:
    alice_at.get(f"{BASE}/review/")
    assert decide(bob_at, queue[0]).status_code == 409


def test_a_viewer_is_dealt_nothing_and_decides_nothing(
    bob_at: Client, bob: User, queue: list[ReviewItem]
) -> None:
    Membership.objects.filter(user=bob).update(role="viewer")
    page = text(bob_at.get(f"{BASE}/review/"))
    assert "Your role may look, not decide" in page
    assert 'class="panel card"' not in page
    assert decide(bob_at, queue[0]).status_code == 403


def test_an_empty_queue_says_what_fills_it(alice_at: Client, workload: Workload) -> None:
    page = text(alice_at.get(f"{BASE}/review/"))
    assert "The queue is empty" in page
    assert f'href="{BASE}/review/queue/"' in page


def test_the_queue_is_filled_from_its_page(alice_at: Client, make_example: MakeExample) -> None:
    make_example("held out", split="test")
    alice_at.post(f"{BASE}/review/queue/", {"suspicious": 5})
    jobs.run(InsightRun, InsightRun.objects.get().pk, insight_work)
    page = text(alice_at.get(f"{BASE}/insight/"))
    assert "New in the queue: 1 test row, 0 drawn at random, 0 suspicious" in page
    assert alice_at.post(f"{BASE}/review/queue/", {"suspicious": -1}).status_code == 422


def test_a_card_costs_a_fixed_number_of_queries(
    bob_at: Client, queue: list[ReviewItem], django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    bob_at.get(f"{BASE}/review/")
    with django_assert_max_num_queries(27):
        decide(bob_at, queue[0], held=str(queue[1].pk))


# --- label ----------------------------------------------------------------------------------------
def test_a_label_job_shows_its_price_before_and_its_progress_after(
    alice_at: Client, teacher: Teacher, make_example: MakeExample
) -> None:
    make_example("a ticket")
    estimate = text(alice_at.get(f"{BASE}/label-jobs/estimate/", {"votes": 5}))
    assert "<dt>calls</dt><dd>5</dd>" in estimate
    form = {"teacher": teacher.pk, "votes": 5, "budget_usd": "2", "accept_confidence": "0.8"}
    response = alice_at.post(f"{BASE}/label-jobs/new/", form)
    job = LabelJob.objects.get()
    assert response.headers["Location"] == f"{BASE}/label-jobs/{job.pk}/"
    assert (job.votes, float(job.budget_usd), job.accept_confidence) == (5, 2.0, 0.8)
    live = text(alice_at.get(f"{BASE}/label-jobs/{job.pk}/live/"))
    assert "waits for a worker" in live
    assert 'hx-trigger="poll from:body"' in live
    second = alice_at.post(f"{BASE}/label-jobs/new/", form)
    assert second.status_code == 422
    assert "still at work" in text(second)
    alice_at.post(f"{BASE}/label-jobs/{job.pk}/cancel/")
    assert "hx-trigger" not in text(alice_at.get(f"{BASE}/label-jobs/{job.pk}/live/"))


def test_a_teacher_without_a_price_is_said_before_the_job_is_started(
    alice_at: Client, teacher: Teacher, make_example: MakeExample
) -> None:
    make_example("a ticket")
    save_upstream(teacher.project, name="up", base_url="http://127.0.0.1:9999/v1", prices={})
    assert "gpt-4o has no price" in text(alice_at.get(f"{BASE}/label-jobs/estimate/"))


def test_a_teacher_is_named_from_its_form(
    alice_at: Client, teacher: Teacher, workload: Workload
) -> None:
    form = {"name": "two", "upstream": teacher.upstream.pk, "model": "m", "params": "{}"}
    assert alice_at.post(f"{BASE}/teachers/new/", form).status_code == 302
    assert Teacher.objects.get(name="two").may_train_on_outputs is False
    wrong = alice_at.post(f"{BASE}/teachers/new/", {**form, "params": "[1]"})
    assert wrong.status_code == 422
    same = alice_at.post(f"{BASE}/teachers/new/", form)
    assert same.status_code == 422


def test_a_teacher_of_another_project_cannot_be_chosen(
    alice_at: Client, teacher: Teacher, make_example: MakeExample
) -> None:
    make_example("a ticket")
    other = Project.objects.create(slug="other", name="Other")
    upstream = save_upstream(other, name="up", base_url="http://127.0.0.1:9999/v1")
    foreign = create_teacher(other, name="foreign", upstream=upstream, model="m")
    form = {"teacher": foreign.pk, "votes": 1, "budget_usd": "2", "accept_confidence": "1"}
    assert alice_at.post(f"{BASE}/label-jobs/new/", form).status_code == 422


def test_a_guideline_is_numbered_anew_with_each_change(
    alice_at: Client, workload: Workload
) -> None:
    assert workload.instruction in text(alice_at.get(f"{BASE}/guideline/"))
    for words in ("first", "second", "second"):
        alice_at.post(f"{BASE}/guideline/", {"text": words})
    assert list(Guideline.objects.order_by("number").values_list("number", "text")) == [
        (1, "first"),
        (2, "second"),
    ]
    assert "Guideline 2" in text(alice_at.get(f"{BASE}/label-jobs/"))


# --- the queue's other pages ----------------------------------------------------------------------
def test_a_page_keeps_its_cards_and_gives_them_back_when_it_is_left(
    bob_at: Client, queue: list[ReviewItem], alice: User, workload: Workload
) -> None:
    bob_at.get(f"{BASE}/review/")
    held = [queue[0].pk, queue[1].pk]
    answer = bob_at.post(f"{BASE}/review/heartbeat/", {"held": ",".join(map(str, held))})
    assert answer.json() == {"held": sorted(held)}
    assert next_item(workload, alice) == queue[2]
    ReviewLease.objects.filter(item__in=held).update(until=in_future(200))
    gone = bob_at.post(f"{BASE}/review/release/", {"held": f"{held[0]}"})
    assert gone.status_code == 204
    assert next_item(workload, alice, skip=(queue[2].pk,)) == queue[0]


def test_a_page_that_is_loaded_anew_keeps_its_cards_though_the_old_one_says_goodbye(
    bob_at: Client, queue: list[ReviewItem], alice: User, workload: Workload
) -> None:
    bob_at.get(f"{BASE}/review/")
    bob_at.get(f"{BASE}/review/")
    bob_at.post(f"{BASE}/review/release/", {"held": f"{queue[0].pk},{queue[1].pk}"})
    assert next_item(workload, alice) == queue[2]
    answer = bob_at.post(f"{BASE}/review/heartbeat/", {"held": f"{queue[0].pk}"})
    assert answer.json() == {"held": [queue[0].pk]}


def test_a_part_of_the_queue_stays_chosen_gets_a_name_and_is_let_go(
    bob_at: Client, queue: list[ReviewItem], make_example: MakeExample, workload: Workload
) -> None:
    make_example("a parcel", "delivery", split="test")
    queue_review(workload, suspicious=0)
    page = text(bob_at.get(f"{BASE}/review/", {"part": "", "label": "delivery"}))
    assert page.count('class="panel card"') == 1
    bob_at.post(f"{BASE}/review/views/save/", {"name": "parcels"})
    [mine] = ReviewLease.objects.all()
    answer = decide(bob_at, mine.item).json()
    assert answer["cards"] == []
    assert "<b>4</b> are outside the part that you look at" in answer["progress"]
    page = text(bob_at.get(f"{BASE}/review/", {"part": ""}))
    assert page.count('class="panel card"') == 2
    page = text(bob_at.get(f"{BASE}/review/", {"view": "parcels"}))
    assert "Nothing waits for you" in page
    assert not ReviewLease.objects.filter(until__gt=in_future(0)).exists()
    bob_at.post(f"{BASE}/review/views/delete/", {"name": "parcels"})
    assert bob_at.get(f"{BASE}/review/", {"view": "parcels"}).status_code == 404
    unnamed = bob_at.post(f"{BASE}/review/views/save/", {"name": " "}, follow=True)
    assert "Not saved" in text(unnamed)


def test_an_empty_queue_names_whose_screen_the_rest_is_on(
    bob_at: Client, alice_at: Client, queue: list[ReviewItem]
) -> None:
    for client in (alice_at, bob_at):
        client.get(f"{BASE}/review/")
    for item in queue[2:]:
        answer = decide(bob_at, item)
    assert "<b>2</b> lie on alice’s screen" in answer.json()["progress"]


def test_a_lead_is_shown_versions_side_by_side_and_settles_with_one_press(
    bob_at: Client, alice_at: Client, queue: list[ReviewItem], workload: Workload, alice: User
) -> None:
    set_policy(workload, wanted=2)
    for client, answer in ((bob_at, {"decision": "edit", "output": "login"}), (alice_at, {})):
        client.get(f"{BASE}/review/")
        decide(client, queue[0], note="see the manual", **answer)
        decide(client, queue[1], "flag", reason="unsure")
    assert bob_at.get(f"{BASE}/review/adjudicate/").status_code == 403
    first = alice_at.get(f"{BASE}/review/adjudicate/")
    assert first.context["item"] == min(queue[0], queue[1], key=lambda item: item.pk)
    page = alice_at.get(f"{BASE}/review/adjudicate/", {"item": queue[0].pk})
    shown = [(v.output, v.people, v.is_teachers) for v in page.context["versions"]]
    assert shown == [("billing", ["alice"], True), ("login", ["bob"], False)]
    assert HOSTILE not in text(page)
    assert "see the manual" in text(page)
    word = {"item": queue[0].pk, "review_id": uuid4(), "version": page.context["versions"][1].key}
    for _ in range(2):
        assert alice_at.post(f"{BASE}/review/adjudicate/", word).status_code == 302
    example = Example.objects.get(pk=queue[0].example_id)
    assert (example.target, example.status) == ("login", "reviewed")
    settled = Review.objects.get(pk=word["review_id"])
    assert (settled.reviewer, settled.is_authoritative) == (alice, True)
    flagged = {"item": queue[1].pk, "review_id": uuid4(), "version": "unflag"}
    alice_at.post(f"{BASE}/review/adjudicate/", flagged)
    empty = text(alice_at.get(f"{BASE}/review/adjudicate/"))
    assert "Nothing waits for a lead" in empty


def test_a_lead_gives_another_answer_or_discards_and_is_told_what_is_wrong(
    bob_at: Client, alice_at: Client, queue: list[ReviewItem]
) -> None:
    bob_at.get(f"{BASE}/review/")
    decide(bob_at, queue[0], "flag", note="hm")
    wrong = {"item": queue[0].pk, "review_id": uuid4(), "version": "edit", "output": "Biling"}
    page = text(alice_at.post(f"{BASE}/review/adjudicate/", wrong, follow=True))
    assert "Not taken" in page
    assert "bob flagged it" in page
    alice_at.post(f"{BASE}/review/adjudicate/", {**wrong, "output": "delivery"})
    assert Example.objects.get(pk=queue[0].example_id).target == "delivery"
    decide(bob_at, queue[1], "flag", note="hm")
    alice_at.post(
        f"{BASE}/review/adjudicate/",
        {"item": queue[1].pk, "review_id": uuid4(), "version": "reject"},
    )
    assert Example.objects.get(pk=queue[1].example_id).status == "discarded"


def test_the_queue_is_assigned_from_its_page(
    alice_at: Client, bob_at: Client, queue: list[ReviewItem]
) -> None:
    page = alice_at.post(f"{BASE}/review/assign/", {"people": ["bob"]}, follow=True)
    assert "Assigned: bob 4." in text(page)
    assert 'class="panel card"' not in text(page)
    assert text(bob_at.get(f"{BASE}/review/")).count('class="panel card"') == 2
    assert bob_at.post(f"{BASE}/review/assign/", {"people": ["bob"]}).status_code == 403


def test_how_many_decide_each_item_is_set_where_the_queue_is_filled(
    alice_at: Client, queue: list[ReviewItem], workload: Workload
) -> None:
    page = text(alice_at.get(f"{BASE}/review/queue/"))
    assert 'name="wanted" value="1"' in page
    fields = {"suspicious": 0, "wanted": 2, "probe_share": 0.05, "lease_minutes": 2}
    alice_at.post(f"{BASE}/review/queue/", fields)
    policy = ReviewPolicy.objects.get(workload=workload)
    assert (policy.wanted, policy.probe_share, policy.lease_seconds) == (2, 0.05, 120)
    assert set(ReviewItem.objects.values_list("wanted", flat=True)) == {2}
    assert alice_at.post(f"{BASE}/review/queue/", {**fields, "wanted": 0}).status_code == 422
