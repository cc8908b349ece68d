"""Insight: a job judges labels and fills the queue; the page says rates, yields and worth."""

import json
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

from factory.models import Example, Project, Workload
from factory.services import jobs
from labeling.models import InsightRun, ReviewItem, Suspicion
from labeling.selectors.insight import insight_of
from labeling.selectors.review import error_rates
from labeling.services.insight import insight_work, start_insight
from labeling.services.leases import lease
from labeling.services.review import decide, next_item, queue_review
from tests.conftest import MakeExample

pytestmark = pytest.mark.django_db
BASE = "/acme/tickets"
WORDS = {
    "billing": ["invoice", "charge", "refund", "payment", "receipt", "price"],
    "delivery": ["parcel", "courier", "shipping", "address", "package", "driver"],
    "login": ["password", "account", "locked", "reset", "code", "email"],
}


@pytest.fixture
def alice_at(alice: User, project: Project) -> Client:
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def tickets(make_example: MakeExample) -> list[Example]:
    """180 training rows, each tenth of them wrong, and 60 test rows that a person gave."""
    made = []
    for n in range(240):
        label = sorted(WORDS)[n % 3]
        text = f"{' '.join(WORDS[label][k] for k in ((n // 3) % 6, (n // 18) % 6))} number{n}"
        if n < 60:
            make_example(text, label, split="test", provenance="relabeled_by_human")
        else:
            wrong = sorted(WORDS)[(n + 1) % 3]
            made.append(make_example(text, wrong if n % 10 == 0 else label))
    return made


def run(workload: Workload, **options: Any) -> InsightRun:
    job = start_insight(workload, **options)
    jobs.run(InsightRun, job.pk, insight_work)
    job.refresh_from_db()
    assert job.status == "succeeded", job.error
    return job


def truth(example: Example) -> str:
    words = example.messages[-1]["content"].split()
    return next(label for label, known in WORDS.items() if words[0] in known)


def review_all(workload: Workload, user: User, most: int = 10_000) -> None:
    while most and (item := next_item(workload, user)):
        right = truth(item.example)
        decision = "accept" if item.example.target == right else "edit"
        decide(item, user, review_id=uuid4(), decision=decision, output=right)
        most -= 1


# --- the job --------------------------------------------------------------------------------------
def test_every_labelled_row_is_ranked_and_the_planted_errors_come_first(
    workload: Workload, tickets: list[Example]
) -> None:
    job = run(workload)
    assert job.facts["judged"] == 240
    assert Suspicion.objects.count() == 240
    worst = Suspicion.objects.filter(rank__lte=18).select_related("example")
    wrong = {example.pk for example in tickets if example.target != truth(example)}
    assert len({one.example_id for one in worst} & wrong) >= 16
    first = Suspicion.objects.get(rank=1)
    assert first.probability is not None
    assert first.probability < 0.5
    assert first.likelier == truth(first.example)
    assert job.facts["curve"]["test_rows"] == 60
    assert job.facts["corrections"] == {"count": 0, "worth": None}


def test_judged_again_rows_that_are_gone_are_forgotten(
    workload: Workload, tickets: list[Example]
) -> None:
    run(workload)
    Example.objects.filter(pk=tickets[0].pk).update(target=None)
    run(workload)
    assert Suspicion.objects.count() == 239


def test_the_job_fills_the_queue_with_suspicious_rows_and_a_draw(
    workload: Workload, tickets: list[Example]
) -> None:
    job = run(workload, to_review=20)
    assert job.facts["queued"] == {"audit": 0, "random": 4, "suspicious": 20}
    items = ReviewItem.objects.select_related("example")
    found = [i for i in items if i.reason == "suspicious" and i.example.target != truth(i.example)]
    assert len(found) >= 14
    assert sum(item.draw is not None for item in items) == 4


def test_one_measurement_at_a_time(workload: Workload) -> None:
    assert start_insight(workload) == start_insight(workload)


# --- rates ----------------------------------------------------------------------------------------
def test_the_draw_takes_rows_that_were_decided_before_too(
    workload: Workload, alice: User, tickets: list[Example]
) -> None:
    queue_review(workload, suspicious=30, audit_share=0.0)
    review_all(workload, alice)
    queue_review(workload, suspicious=20, audit_share=0.5)
    review_all(workload, alice)
    drawn = ReviewItem.objects.exclude(draw=None).select_related("example")
    assert drawn.count() == 20
    highest = sorted(tickets, key=lambda e: -float(draw_of(e)))[:20]
    assert {item.example_id for item in drawn} == {example.pk for example in highest}
    overall = error_rates(workload)[0].share
    assert overall.n == 20
    assert overall.low <= 0.1 <= overall.high


def draw_of(example: Example) -> float:
    from labeling.services.review import drawn_number  # noqa: PLC0415

    return drawn_number(example.digest)


def test_a_draw_that_is_half_done_counts_only_up_to_the_first_open_row(
    workload: Workload, alice: User, tickets: list[Example]
) -> None:
    queue_review(workload, suspicious=20, audit_share=0.5)
    drawn = ReviewItem.objects.exclude(draw=None).order_by("-draw")
    top, last = drawn[0], drawn[19]
    for item in (last, drawn[1]):
        lease(item, alice, 60)
        decide(item, alice, review_id=uuid4(), decision="accept")
    assert error_rates(workload)[0].share.n == 0
    lease(top, alice, 60)
    decide(top, alice, review_id=uuid4(), decision="accept")
    assert error_rates(workload)[0].share.n == 2


# --- the page -------------------------------------------------------------------------------------
def test_the_page_says_rates_yields_and_what_more_is_worth(
    alice_at: Client, alice: User, workload: Workload, tickets: list[Example]
) -> None:
    assert "Nothing was judged yet" in alice_at.get(f"{BASE}/insight/").content.decode()
    run(workload, to_review=60)
    review_all(workload, alice)
    run(workload)
    insight = insight_of(workload)
    assert insight.corrections >= 15
    assert insight.worth is not None
    assert insight.batches[0].wrong >= 14
    page = alice_at.get(f"{BASE}/insight/").content.decode()
    assert "The next 1,000 labels are worth" in page
    assert "Of the next 100, about" in page
    assert "People corrected" in page
    assert "The most suspicious answers" in page


def test_filling_the_queue_from_the_page_starts_the_job(
    alice_at: Client, workload: Workload, tickets: list[Example]
) -> None:
    response = alice_at.post(f"{BASE}/review/queue/", {"suspicious": 5, "audit_share": 0.2})
    assert response.headers["Location"] == f"{BASE}/insight/"
    job = InsightRun.objects.get()
    assert (job.to_review, job.audit_share) == (5, 0.2)
    assert "waits for a worker" in alice_at.get(f"{BASE}/insight/").content.decode()
    jobs.run(InsightRun, job.pk, insight_work)
    live = alice_at.get(f"{BASE}/insight/live/")
    assert live.headers["HX-Refresh"] == "true"
    assert "5 suspicious" in alice_at.get(f"{BASE}/insight/").content.decode()


def test_json_answers_are_judged_by_their_shape(
    workload: Workload, make_example: MakeExample
) -> None:
    workload.output_schema = {"type": "object"}
    workload.save()
    for n in range(130):
        kind = ("play", "book")[n % 2]
        split = "test" if n < 60 else "train"
        slots = {"name": f"name{n}"}
        by = "relabeled_by_human" if split == "test" else "teacher"
        target = json.dumps({"intent": kind, "slots": slots})
        make_example(f"{kind} name{n} please", target, split=split, provenance=by)
    job = run(workload)
    assert job.facts["curve"]["measured"][-1]["value"] > 0.9
