"""The review queue: who gets what, what a decision does, and how it is taken back."""

import threading
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from factory.errors import Conflict, InvalidInput, NotFound
from factory.models import Example, Workload
from factory.selectors import workload_for_user
from factory.services.jobs import in_future
from factory.services.projects import create_project, create_workload
from labeling.models import Review, ReviewItem, ReviewLease
from labeling.selectors.review import audit_result, review_item_of, review_progress
from labeling.services.review import decide, next_item, queue_review, undo
from tests.conftest import MakeExample

pytestmark = pytest.mark.django_db


def queue(example: Example, priority: float = 0.5, reason: str = "suspicious") -> ReviewItem:
    return ReviewItem.objects.create(
        example=example, workload=example.workload, reason=reason, priority=priority
    )


def take(workload: Workload, user: User) -> ReviewItem:
    item = next_item(workload, user)
    assert item is not None
    return item


def judge(item: ReviewItem, user: User, decision: str, output: str = "", **fields: Any) -> Review:
    given = {"review_id": uuid4(), "decision": decision, "output": output, **fields}
    return decide(item, user, **given)


def state(example: Example) -> tuple[str | None, str, str]:
    example.refresh_from_db()
    return example.target, example.provenance, example.status


# --- filling it -----------------------------------------------------------------------------------
def test_every_unanswered_test_row_is_audited_and_the_most_suspicious_others_follow(
    workload: Workload, make_example: MakeExample
) -> None:
    for extra in "abcdefghijklmnopqrstuvwxyz":
        make_example(f"invoice charge refund {extra}{extra}", "billing")
        make_example(f"parcel courier late address {extra}{extra}", "delivery")
    wrong = make_example("invoice charge refund today", "delivery")
    audits = {make_example(f"refund {n}", "billing", split="test").pk for n in range(4)}
    make_example("checked", "billing", split="test", provenance="relabeled_by_human")
    make_example("unlabelled", None, split="test")
    make_example("dropped", "billing", split="test", status="discarded")

    assert queue_review(workload, suspicious=3) == {"audit": 4, "random": 1, "suspicious": 3}

    items = ReviewItem.objects.select_related("example")
    assert audits == {i.example_id for i in items if i.example.split == "test"}
    assert sum(item.draw is not None for item in items) == 5
    suspicious = [item for item in items.order_by("-priority") if item.reason == "suspicious"]
    assert suspicious[0].example_id == wrong.pk
    assert all(0.0 <= item.priority <= 1.0 for item in items)
    assert queue_review(workload, suspicious=0) == {"audit": 0, "random": 0, "suspicious": 0}


def test_the_audits_order_says_nothing_about_the_rows(
    workload: Workload, make_example: MakeExample
) -> None:
    for n in range(200):
        make_example(f"refund {n}", "billing" if n < 100 else "Broken", split="test")
    queue_review(workload, suspicious=0)
    first = ReviewItem.objects.order_by("-priority")[:100].values_list("example__target", flat=True)
    assert 30 <= sum(target == "Broken" for target in first) <= 70


# --- dealing it out -------------------------------------------------------------------------------
def test_the_most_suspicious_item_comes_first_and_stays_with_its_reviewer(
    workload: Workload, alice: User, bob: User, make_example: MakeExample
) -> None:
    low, high = (queue(make_example(str(p)), p) for p in (0.2, 0.9))
    assert take(workload, bob) == high
    assert take(workload, bob) == high
    assert next_item(workload, bob, skip=(high.pk,)) == low
    assert next_item(workload, alice) is None


def test_a_lease_that_is_over_goes_to_whoever_asks_next(
    workload: Workload, alice: User, bob: User, make_example: MakeExample
) -> None:
    queue(make_example("a"))
    item = take(workload, bob)
    ReviewLease.objects.update(until=in_future(-1))
    assert take(workload, alice) == item
    with pytest.raises(Conflict, match="went back"):
        judge(item, bob, "accept")
    assert judge(item, alice, "accept").decision == "accept"


def test_a_decision_that_comes_late_counts_while_nobody_else_has_the_item(
    workload: Workload, bob: User, make_example: MakeExample
) -> None:
    queue(make_example("a"))
    item = take(workload, bob)
    ReviewLease.objects.update(until=in_future(-600))
    assert judge(item, bob, "accept").decision == "accept"


@pytest.mark.django_db(transaction=True)
def test_two_reviewers_at_once_never_get_the_same_item(
    workload: Workload, alice: User, bob: User, make_example: MakeExample
) -> None:
    for n in range(40):
        queue(make_example(f"ticket {n}"))
    dealt: dict[str, list[int]] = {"alice": [], "bob": []}
    start = threading.Barrier(2)

    def review(user: User) -> None:
        start.wait()
        while item := next_item(workload, user):
            dealt[user.username].append(item.pk)
            judge(item, user, "accept")
        connection.close()

    threads = [threading.Thread(target=review, args=(user,)) for user in (alice, bob)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(dealt["alice"] + dealt["bob"]) == sorted(
        ReviewItem.objects.values_list("pk", flat=True)
    )


@pytest.mark.django_db(transaction=True)
def test_an_item_on_its_way_to_somebody_is_stepped_over_not_waited_for(
    workload: Workload, alice: User, bob: User, make_example: MakeExample
) -> None:
    first, second = (queue(make_example(str(p)), p) for p in (0.9, 0.1))
    got: list[ReviewItem | None] = []

    def other() -> None:
        got.append(next_item(workload, alice))
        connection.close()

    with transaction.atomic():
        assert take(workload, bob) == first
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert got == [second]


# --- deciding -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("decision", "output", "after"),
    [
        ("accept", "", ("billing", "relabeled_by_human", "reviewed")),
        ("edit", "login", ("login", "relabeled_by_human", "reviewed")),
        ("reject", "", ("billing", "teacher", "discarded")),
        ("skip", "", ("billing", "teacher", "captured")),
    ],
)
def test_a_decision_does_what_it_says_and_undo_restores_exactly(
    workload: Workload, bob: User, make_example: MakeExample,
    decision: str, output: str, after: tuple[str, str, str],
) -> None:  # fmt: skip
    example = make_example("a", "billing")
    before = state(example)
    queue(example, 0.7)
    review = judge(take(workload, bob), bob, decision, output, note="hm", seconds=3.5)
    assert state(example) == after
    item = ReviewItem.objects.get()
    assert not item.leases.exists()
    assert (item.status, item.priority) == ("open" if decision == "skip" else "done", 0.7)
    assert (review.note, review.seconds) == ("hm", 3.5)

    undone = undo(workload, bob, review_id=uuid4())
    assert undone is not None
    assert undone.undoes == review
    assert state(example) == before
    item.refresh_from_db()
    assert (item.status, item.priority) == ("open", 0.7)
    assert item.leases.get().reviewer == bob
    assert Review.objects.count() == 2


def test_the_same_decision_sent_twice_is_one(
    workload: Workload, alice: User, bob: User, make_example: MakeExample
) -> None:
    queue(make_example("a"))
    queue(make_example("b"), 0.1)
    item, review_id = take(workload, bob), uuid4()
    first = judge(item, bob, "edit", "login", review_id=review_id)
    again = judge(item, bob, "edit", "login", review_id=review_id)
    assert first == again
    assert Review.objects.count() == 1
    with pytest.raises(Conflict):
        judge(take(workload, bob), bob, "accept", review_id=review_id)
    with pytest.raises(Conflict):
        judge(item, alice, "edit", "login", review_id=review_id)


def test_a_decided_item_cannot_be_decided_again(
    workload: Workload, bob: User, make_example: MakeExample
) -> None:
    queue(make_example("a"))
    item = take(workload, bob)
    judge(item, bob, "accept")
    with pytest.raises(Conflict, match="already"):
        judge(item, bob, "reject")


def test_an_item_that_was_not_leased_cannot_be_decided(
    workload: Workload, bob: User, make_example: MakeExample
) -> None:
    with pytest.raises(Conflict):
        judge(queue(make_example("a")), bob, "accept")


@pytest.mark.parametrize(
    ("decision", "output", "says"),
    [
        ("edit", "Biling", "billing, delivery, login"),
        ("edit", "  ", "empty"),
        ("like", "", "accept, edit, reject, skip, flag"),
        ("undo", "", "accept, edit, reject, skip, flag"),
    ],
)
def test_what_is_not_allowed_is_refused_with_what_is(
    workload: Workload, bob: User, make_example: MakeExample, decision: str, output: str, says: str
) -> None:
    example = make_example("a", "billing")
    queue(example)
    with pytest.raises(InvalidInput, match=says):
        judge(take(workload, bob), bob, decision, output)
    assert state(example) == ("billing", "teacher", "captured")
    assert not Review.objects.exists()


def test_a_broken_or_missing_answer_cannot_be_accepted(
    workload: Workload, bob: User, make_example: MakeExample
) -> None:
    queue(make_example("a", "I think billing"), 0.9)
    item = take(workload, bob)
    with pytest.raises(InvalidInput, match="is not one of"):
        judge(item, bob, "accept")
    judge(item, bob, "edit", "billing")
    queue(make_example("b", None), 0.8)
    with pytest.raises(InvalidInput, match="no answer"):
        judge(take(workload, bob), bob, "accept")


def test_an_edit_that_changes_nothing_is_an_accept(
    workload: Workload, bob: User, make_example: MakeExample
) -> None:
    workload.output_schema = {"type": "object"}
    workload.save(update_fields=["output_schema"])
    example = make_example("a", '{"x":1,"y":2}')
    queue(example)
    review = judge(take(workload, bob), bob, "edit", '{"y": 2, "x": 1}')
    assert review.decision == "accept"
    assert state(example)[0] == '{"x":1,"y":2}'


# --- undoing --------------------------------------------------------------------------------------
def test_undo_goes_back_decision_by_decision_and_a_repeated_undo_is_one(
    workload: Workload, bob: User, make_example: MakeExample
) -> None:
    examples = [make_example(f"ticket {n}", "billing") for n in range(3)]
    for example in examples:
        queue(example, 1.0 - example.pk / 10**9)
    for _ in examples:
        judge(take(workload, bob), bob, "edit", "login")
    review_id = uuid4()
    first = undo(workload, bob, review_id=review_id)
    assert undo(workload, bob, review_id=review_id) == first
    assert [state(example)[0] for example in examples] == ["login", "login", "billing"]
    undo(workload, bob, review_id=uuid4())
    undo(workload, bob, review_id=uuid4())
    assert [state(example)[0] for example in examples] == ["billing"] * 3
    assert undo(workload, bob, review_id=uuid4()) is None


def test_nobody_undoes_what_others_decided(
    workload: Workload, alice: User, bob: User, make_example: MakeExample
) -> None:
    example = make_example("a", "billing")
    queue(example)
    item = take(workload, bob)
    judge(item, bob, "skip")
    judge(take(workload, alice), alice, "edit", "login")
    assert undo(workload, bob, review_id=uuid4()) is None
    assert state(example)[0] == "login"


# --- reading it -----------------------------------------------------------------------------------
def test_progress_counts_what_stands(
    workload: Workload, alice: User, bob: User, make_example: MakeExample
) -> None:
    for n in range(6):
        queue(make_example(f"ticket {n}", "billing"), 0.9 - n / 10, "audit" if n < 2 else "unsure")
    judge(take(workload, bob), bob, "accept", seconds=2)
    judge(take(workload, bob), bob, "edit", "login", seconds=4)
    judge(take(workload, alice), alice, "reject", seconds=6)
    judge(take(workload, alice), alice, "skip", seconds=4)
    judge(take(workload, alice), alice, "accept", seconds=9)
    undo(workload, alice, review_id=uuid4())
    counts = review_progress(workload, bob)
    assert counts == {
        "total": 6, "open": 3, "done": 3, "leased": 1, "audit_open": 0, "audit_total": 2,
        "disputed": 0, "flagged": 0, "missing": 3,
        "accepted": 1, "edited": 1, "rejected": 1, "skipped": 1, "flags": 0, "mine": 2,
        "seconds_per_item": 4.0,
    }  # fmt: skip


def test_the_audit_measures_the_machines_labels_with_an_interval(
    workload: Workload, bob: User, make_example: MakeExample
) -> None:
    nothing = audit_result(workload)
    assert (nothing.error.value, nothing.error.high, nothing.kappa) == (None, 1.0, None)
    for n in range(20):
        make_example(f"refund {n}", ["billing", "login"][n % 2], split="test")
    queue_review(workload, suspicious=0)
    for n in range(20):
        item = take(workload, bob)
        wanted = item.example.target if n >= 3 else "delivery"
        judge(item, bob, "edit", wanted or "")
    queue(make_example("elsewhere", "billing"))
    judge(take(workload, bob), bob, "edit", "login")  # not audited, so not in the measure
    result = audit_result(workload)
    assert (result.error.count, result.error.n) == (3, 20)
    # Wilson's interval of 3 in 20, computed by hand from his formula.
    assert (result.error.low, result.error.high) == pytest.approx((0.0524, 0.3604), abs=1e-4)
    assert result.kappa is not None
    assert 0.6 < result.kappa < 0.9


def test_a_stranger_sees_nothing(
    workload: Workload, carol: User, bob: User, make_example: MakeExample
) -> None:
    item = queue(make_example("a"))
    with pytest.raises(NotFound):
        workload_for_user(carol, "acme", "tickets")
    theirs = create_workload(
        create_project(slug="other", name="Other", owner=carol), slug="tickets", kind="generation"
    )
    with pytest.raises(NotFound):
        review_item_of(theirs, item.pk)
    assert next_item(theirs, carol) is None
    assert undo(theirs, carol, review_id=uuid4()) is None
    assert review_progress(theirs, carol)["total"] == 0
