"""The page of quality: who agrees with whom, whose score keeps its word, what an hour buys."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from factory.models import Example, Project, Workload
from factory.services.keys import create_key
from factory.services.projects import save_upstream
from labeling.agreement import cohen_kappa
from labeling.models import InsightRun, Label, LabelJob, Review, ReviewItem, Suspicion
from labeling.selectors.quality import (
    TEACHER,
    agreements,
    calibrations,
    quality_of,
    rated_items,
    reviewers_of,
)
from labeling.services.label import create_teacher
from labeling.services.review import decide, next_item, queue_review, undo
from tests.conftest import MakeExample

pytestmark = pytest.mark.django_db
BASE = "/acme/tickets"


@pytest.fixture
def alice_at(alice: User, project: Project) -> Client:
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def tickets(make_example: MakeExample) -> list[Example]:
    """40 rows that production called billing; each fourth of them is about delivery."""
    return [make_example(f"ticket {n}") for n in range(40)]


def right_of(example: Example) -> str:
    number = int(str(example.messages[-1]["content"]).split()[-1])
    return "billing" if number % 4 else "delivery"


def queued(workload: Workload, examples: list[Example], **fields: Any) -> None:
    for example in examples:
        values = {"reason": "suspicious", "priority": 0.5, **fields}
        ReviewItem.objects.create(example=example, workload=workload, **values)


def review_all(workload: Workload, user: User, *, seconds: float = 4.0, slip: int = 0) -> None:
    """Decide all that waits for a person; each `slip`-th decision is a wrong one."""
    n = 0
    while item := next_item(workload, user):
        n += 1
        output = "login" if slip and n % slip == 0 else right_of(item.example)
        decide(
            item, user, review_id=uuid4(), decision="edit", output=output, seconds=seconds
        )  # an edit that changes nothing is an accept


# --- agreement ------------------------------------------------------------------------------------
def test_each_rater_is_a_person_or_the_teacher(
    workload: Workload, tickets: list[Example], alice: User, bob: User
) -> None:
    queued(workload, tickets, wanted=2)
    review_all(workload, alice)
    review_all(workload, bob, slip=5)
    items = rated_items(workload)
    assert len(items) == 40
    assert {frozenset(item) for item in items} == {frozenset({"alice", "bob", TEACHER})}
    found = agreements(workload)
    assert found.people.same.value == pytest.approx(32 / 40)
    pairs = {(pair.first, pair.second): pair for pair in found.everybody.pairs}
    assert pairs["alice", "bob"].kappa.value == pytest.approx(
        cohen_kappa([(item["alice"], item["bob"]) for item in items])
    )
    assert pairs["alice", TEACHER].same.value == pytest.approx(30 / 40)
    assert found.people.fleiss_answers == 2
    assert found.everybody.fleiss_answers == 3


def test_what_was_undone_discarded_or_said_by_a_lead_is_no_raters_answer(
    workload: Workload, tickets: list[Example], alice: User
) -> None:
    queued(workload, tickets[:3])
    for decision in ("accept", "reject", "accept"):
        item = next_item(workload, alice)
        assert item is not None
        decide(item, alice, review_id=uuid4(), decision=decision)
    undo(workload, alice, review_id=uuid4())
    assert len(rated_items(workload)) == 1
    Review.objects.update(is_authoritative=True)
    assert rated_items(workload) == []


def test_only_drawn_rows_are_fair_to_the_teacher(
    workload: Workload, tickets: list[Example], alice: User
) -> None:
    doubtful = [one for one in tickets if right_of(one) == "delivery"]
    drawn = [one for one in tickets if right_of(one) == "billing"]
    queued(workload, doubtful)
    queued(workload, drawn, reason="audit", draw=0.5)
    review_all(workload, alice)
    assert agreements(workload).everybody.same.value == pytest.approx(0.75)
    assert agreements(workload, drawn=True).everybody.same.value == 1.0


def test_json_answers_agree_whatever_the_order_of_their_fields(
    workload: Workload, make_example: MakeExample, alice: User
) -> None:
    workload.output_schema = {"type": "object"}
    workload.save()
    queued(workload, [make_example("one", '{"a": 1, "b": 2}')])
    item = next_item(workload, alice)
    assert item is not None
    decide(item, alice, review_id=uuid4(), decision="edit", output='{"b": 2, "a": 1}')
    assert agreements(workload).everybody.same.value == 1.0


# --- calibration ----------------------------------------------------------------------------------
def labelled(workload: Workload, examples: list[Example], confidence: float) -> None:
    upstream = save_upstream(
        workload.project, name="big", base_url="http://127.0.0.1:9999/v1", key="k"
    )
    teacher = create_teacher(workload.project, name="big", upstream=upstream, model="m")
    job = LabelJob.objects.create(workload=workload, teacher=teacher, votes=5, budget_usd=1)
    Label.objects.bulk_create(
        Label(job=job, example=one, output="billing", confidence=confidence, status="unsure")
        for one in examples
    )


def test_votes_are_compared_with_what_people_settled_on_drawn_rows(
    workload: Workload, tickets: list[Example], alice: User
) -> None:
    labelled(workload, tickets, 0.8)
    queued(workload, tickets[:20])
    queued(workload, tickets[20:], reason="audit", draw=0.5)
    review_all(workload, alice)
    [votes] = calibrations(workload)
    assert (votes.name, votes.drawn.n, votes.every.n) == ("votes", 20, 40)
    band = votes.drawn.bands[8]
    assert band.said == pytest.approx(0.8)
    assert (band.right.count, band.right.n) == (15, 20)
    assert votes.drawn.error == pytest.approx(0.05)
    assert votes.drawn.keeps_its_word


def test_a_drawn_row_counts_once_all_that_were_drawn_before_it_are_settled(
    workload: Workload, tickets: list[Example], alice: User
) -> None:
    labelled(workload, tickets, 0.8)
    for at, example in enumerate(tickets[:10]):
        queued(workload, [example], reason="audit", draw=1.0 - at / 100, priority=at / 100 + 0.01)
    for _ in range(7):  # the last drawn come first
        item = next_item(workload, alice)
        assert item is not None
        decide(item, alice, review_id=uuid4(), decision="accept")
    assert calibrations(workload)[0].drawn.n == 0
    review_all(workload, alice)
    assert calibrations(workload)[0].drawn.n == 10


def test_a_label_or_a_judgement_made_after_the_decision_proves_nothing(
    workload: Workload, tickets: list[Example], alice: User
) -> None:
    queued(workload, tickets, reason="audit", draw=0.5)
    review_all(workload, alice)
    labelled(workload, tickets, 0.8)
    judged(workload, tickets)
    assert calibrations(workload) == []


def judged(workload: Workload, examples: list[Example]) -> InsightRun:
    run = InsightRun.objects.create(workload=workload, status="succeeded")
    Suspicion.objects.bulk_create(
        Suspicion(example=one, workload=workload, run=run, score=0.4, probability=0.7, rank=at + 1)
        for at, one in enumerate(examples)
    )
    return run


def test_a_linear_models_probability_is_a_score_as_well(
    workload: Workload, tickets: list[Example], alice: User
) -> None:
    judged(workload, tickets)
    queued(workload, tickets, reason="audit", draw=0.5)
    review_all(workload, alice)
    [insight] = calibrations(workload)
    assert (insight.name, insight.drawn.n) == ("insight", 40)
    assert insight.drawn.bands[7].right.count == 30


# --- people ---------------------------------------------------------------------------------------
def test_pace_is_by_person_and_a_break_counts_as_five_minutes(
    workload: Workload, tickets: list[Example], alice: User, bob: User
) -> None:
    queued(workload, tickets[:8])
    for seconds in (2.0, 4.0, 6.0, 4000.0):
        item = next_item(workload, bob)
        assert item is not None
        decide(item, bob, review_id=uuid4(), decision="accept", seconds=seconds)
    review_all(workload, alice, seconds=3.0)
    [first, second] = sorted(reviewers_of(workload), key=lambda one: one.name)
    assert (first.name, first.decisions, first.seconds) == ("alice", 4, 3.0)
    assert first.per_hour == pytest.approx(1200)
    assert (second.seconds, second.mean_seconds) == (5.0, 78.0)
    assert second.accept_rate == 1.0


def test_an_hour_is_worth_what_the_last_batch_says_at_this_pace(
    workload: Workload, tickets: list[Example], alice: User
) -> None:
    assert quality_of(workload).hour is None
    queued(workload, tickets[:20])
    review_all(workload, alice, seconds=6.0)
    hour = quality_of(workload).hour
    assert hour is not None
    assert hour.rows == pytest.approx(600)
    assert (hour.left, hour.worth) == (0, None)
    assert hour.wrong.value == pytest.approx(0.25)
    run = judged(workload, tickets)
    points = [{"rows": 100, "value": 0.9, "low": 0.88, "high": 0.92}]
    none = {"value": 0.0, "low": 0.0, "high": 0.0}
    curve = {"measured": points, "forecast": [], "test_rows": 60, "more": none, "floor": 0.0}
    worth = {"value": 0.1, "low": -0.1, "high": 0.3}
    facts = {"curve": curve, "corrections": {"count": 5, "worth": worth}}
    InsightRun.objects.filter(pk=run.pk).update(facts=facts)
    hour = quality_of(workload).hour
    assert hour is not None
    assert (hour.left, hour.reach) == (20, 20)
    assert hour.worth is not None
    # 20 rows hold five wrong ones, as many as were corrected: half of the error that is left goes,
    # as half of it went before. No work removes more than there is.
    assert hour.worth.value == pytest.approx(0.05)
    assert hour.worth.low == pytest.approx(-0.05)
    assert hour.worth.high == pytest.approx(0.075)


# --- doors ----------------------------------------------------------------------------------------
def test_the_page_shows_all_of_it_and_has_words_for_nothing(
    workload: Workload, tickets: list[Example], alice: User, bob: User, alice_at: Client
) -> None:
    page = alice_at.get(f"{BASE}/quality/").content.decode()
    assert "Nobody has decided anything yet." in page
    assert "Nobody has answered a row yet." in page
    labelled(workload, tickets, 0.8)
    queued(workload, tickets[:30], wanted=2)
    queued(workload, tickets[30:], reason="audit", draw=0.5, wanted=2)
    review_all(workload, alice)
    review_all(workload, bob)
    page = alice_at.get(f"{BASE}/quality/").content.decode()
    assert "An hour is about 900 decisions" in page
    assert "alice, bob" in page
    assert "Krippendorff" in page
    assert "So far 10 drawn rows can tell" in page
    assert page.count("<circle") == 1
    assert re.search(r"<th scope=\"row\">80% to 90%</th>", page)
    drawn = alice_at.get(f"{BASE}/quality/?rows=drawn&score=nonsense").content.decode()
    assert "10 rows, with 95 % intervals" in drawn


def test_the_api_and_the_command_say_the_same(
    workload: Workload, tickets: list[Example], alice: User, capsys: Any
) -> None:
    labelled(workload, tickets, 0.8)
    queued(workload, tickets, reason="audit", draw=0.5)
    review_all(workload, alice)
    secret = create_key(workload.project, name="k", scopes=["api"])[1]
    said = Client().get(
        "/api/v1/workloads/tickets/quality", headers={"authorization": f"Bearer {secret}"}
    )
    body = said.json()
    assert said.status_code == 200, body
    assert body["with_teacher"]["same"]["value"] == 0.75
    assert body["people"]["alpha"]["why"] == "no row has two answers"
    assert body["calibrations"][0]["error"] == pytest.approx(0.05)
    assert body["reviewers"][0]["decisions"] == 40
    call_command("agreement", project="acme", workload="tickets")
    printed = capsys.readouterr().out
    assert "same answer, people and teacher: 0.750" in printed
    assert "votes is off by 5.0% on 40 drawn rows" in printed
    assert "alice: 40 decisions, 4.0 s each" in printed


def test_agreement_of_thousands_of_rows_is_read_in_a_few_queries(
    workload: Workload, tickets: list[Example], alice: User, django_assert_max_num_queries: Any
) -> None:
    queue_review(workload, suspicious=10)
    review_all(workload, alice)
    with django_assert_max_num_queries(30):
        quality_of(workload)
