"""Several reviewers for one item: places, agreement, disputes, flags, probes, assignment."""

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factory.errors import Conflict, InvalidInput
from factory.models import Example, Membership, Project, Workload
from factory.services.jobs import in_future
from factory.services.projects import add_member
from labeling.models import Review, ReviewItem, ReviewLease
from labeling.selectors.queue import (
    QueueFilter,
    items_for_leads,
    narrowed,
    standing_flags,
    versions_of,
    why_empty,
)
from labeling.selectors.review import (
    audit_result,
    probe_results,
    review_progress,
    settled_reviews,
    standing_reviews,
)
from labeling.services.queue import assign, save_view, set_policy
from labeling.services.review import (
    adjudicate,
    decide,
    heartbeat,
    next_item,
    queue_review,
    release,
    undo,
    unflag,
)
from tests.conftest import MakeExample, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def dave(project: Project) -> User:
    dave = make_user("dave")
    add_member(project, dave, Membership.Role.REVIEWER)
    return dave


@pytest.fixture
def pair(workload: Workload) -> Workload:
    """Let two people decide each item."""
    set_policy(workload, wanted=2)
    return workload


@pytest.fixture
def example(make_example: MakeExample, pair: Workload) -> Example:
    made = make_example("late parcel", "billing", split="test")
    queue_review(pair, suspicious=0)
    return made


def take(workload: Workload, user: User, **options: Any) -> ReviewItem:
    item = next_item(workload, user, **options)
    assert item is not None
    return item


def judge(item: ReviewItem, user: User, decision: str, output: str = "", **fields: Any) -> Review:
    return decide(item, user, review_id=uuid4(), decision=decision, output=output, **fields)


def say(workload: Workload, user: User, decision: str, output: str = "", **fields: Any) -> Review:
    return judge(take(workload, user), user, decision, output, **fields)


def state(example: Example) -> tuple[str | None, str, str]:
    example.refresh_from_db()
    return example.target, example.provenance, example.status


def status(example: Example) -> str:
    return ReviewItem.objects.get(example=example).status


MACHINES = ("billing", "teacher", "captured")


# --- two people, one item -------------------------------------------------------------------------
def test_the_example_changes_when_the_last_wanted_decision_agrees(
    pair: Workload, example: Example, alice: User, bob: User
) -> None:
    say(pair, bob, "edit", "delivery")
    assert state(example) == MACHINES
    assert status(example) == "open"
    say(pair, alice, "edit", "delivery")
    assert state(example) == ("delivery", "relabeled_by_human", "reviewed")
    assert status(example) == "done"
    assert settled_reviews(pair).get().reviewer == alice
    assert standing_reviews(pair).count() == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("edit", "delivery"), ("accept", "")),
        (("reject", ""), ("accept", "")),
        (("edit", "delivery"), ("edit", "login")),
    ],
)
def test_a_disagreement_waits_for_a_lead_and_changes_nothing(
    pair: Workload, example: Example, alice: User, bob: User, dave: User,
    first: tuple[str, str], second: tuple[str, str],
) -> None:  # fmt: skip
    say(pair, bob, *first)
    say(pair, alice, *second)
    assert state(example) == MACHINES
    assert status(example) == "disputed"
    assert next_item(pair, dave) is None
    assert [item.example_id for item in items_for_leads(pair)] == [example.pk]


def test_nobody_is_given_an_item_twice_or_beyond_what_it_wants(
    pair: Workload, example: Example, alice: User, bob: User, dave: User
) -> None:
    say(pair, bob, "accept")
    assert next_item(pair, bob) is None
    item = take(pair, alice)
    assert next_item(pair, dave) is None
    with pytest.raises(Conflict):
        judge(item, dave, "accept")
    with pytest.raises(Conflict):
        judge(item, bob, "accept")
    judge(item, alice, "accept")
    assert item.reviews.count() == 2


def test_a_place_whose_lease_is_over_goes_to_another(
    pair: Workload, example: Example, alice: User, bob: User, dave: User
) -> None:
    item = take(pair, alice)
    take(pair, bob)
    assert next_item(pair, dave) is None
    ReviewLease.objects.filter(reviewer=bob).update(until=in_future(-600))
    assert take(pair, dave) == item
    with pytest.raises(Conflict, match="went back"):
        judge(item, bob, "accept")
    judge(item, dave, "accept")
    judge(item, alice, "accept")
    assert status(example) == "done"


def test_the_audit_counts_an_item_once_however_many_decided_it(
    pair: Workload, make_example: MakeExample, alice: User, bob: User
) -> None:
    for n in range(10):
        make_example(f"refund {n}", "billing", split="test")
    queue_review(pair, suspicious=0)
    for n in range(10):
        answer = ("edit", "login") if n < 2 else ("accept", "")
        item = take(pair, bob)
        judge(item, bob, *answer)
        judge(take(pair, alice), alice, *answer)
    assert audit_result(pair).error.n == 10
    assert audit_result(pair).error.count == 2


def test_what_nobody_has_decided_follows_the_policy(
    workload: Workload, make_example: MakeExample, bob: User
) -> None:
    for n in range(3):
        make_example(f"ticket {n}", split="test")
    queue_review(workload, suspicious=0)
    say(workload, bob, "accept")
    set_policy(workload, wanted=3)
    assert sorted(ReviewItem.objects.values_list("wanted", flat=True)) == [1, 3, 3]
    assert review_progress(workload)["missing"] == 6


# --- undoing --------------------------------------------------------------------------------------
def test_either_of_two_takes_back_what_both_settled(
    pair: Workload, example: Example, alice: User, bob: User
) -> None:
    say(pair, bob, "edit", "delivery")
    say(pair, alice, "edit", "delivery")
    undo(pair, bob, review_id=uuid4())
    assert state(example) == MACHINES
    assert status(example) == "open"
    say(pair, bob, "edit", "delivery")
    assert state(example)[0] == "delivery"


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["alice", "bob", "dave"]),
        st.sampled_from(["accept", "login", "delivery", "reject", "skip", "flag", "undo", "lead"]),
    ),
    max_size=24,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS, wanted=st.integers(1, 3))
def test_any_order_of_acts_comes_to_what_stands_and_undoing_all_of_it_to_the_start(
    workload: Workload, alice: User, bob: User, dave: User, make_example: MakeExample,
    acts: list[tuple[str, str]], wanted: int,
) -> None:  # fmt: skip
    Review.objects.exclude(undoes=None).delete()
    Review.objects.all().delete()
    Example.objects.all().delete()
    examples = [make_example(text, "billing", split="test") for text in ("a", "b")]
    set_policy(workload, wanted=wanted)
    queue_review(workload, suspicious=0)
    people = {"alice": alice, "bob": bob, "dave": dave}
    for name, act in acts:
        do(workload, people[name], act)
        for example in examples:
            check(example)
    for flagged in ReviewItem.objects.filter(status="flagged"):
        unflag(flagged, alice)
    for _ in range(len(acts) + 1):
        for user in people.values():
            undo(workload, user, review_id=uuid4())
            release(workload, user)
    for example in examples:
        check(example)
        assert state(example) == MACHINES
        assert status(example) == "open"


def do(workload: Workload, user: User, act: str) -> None:
    if act == "undo":
        try:
            undo(workload, user, review_id=uuid4())
        except Conflict:
            return
    elif act == "lead":
        waiting = items_for_leads(workload).first()
        if waiting is not None:
            adjudicate(waiting, user, review_id=uuid4(), decision="edit", output="login")
    elif (item := next_item(workload, user)) is not None:
        decision = "edit" if act in {"login", "delivery"} else act
        output = act if decision == "edit" else ""
        judge(item, user, decision, output, reason="broken" if act == "flag" else "")


def check(example: Example) -> None:
    """Compare an item with what its standing decisions say, worked out anew."""
    item = ReviewItem.objects.get(example=example)
    standing = list(item.reviews.filter(undone_by=None).exclude(decision="undo"))
    final = max(
        (r for r in standing if r.is_authoritative), key=lambda r: r.created_at, default=None
    )
    verdicts = [
        r for r in standing if r.decision in {"accept", "edit", "reject"} and not r.is_authoritative
    ]
    flags = [
        r
        for r in standing
        if r.decision == "flag" and (final is None or r.created_at > final.created_at)
    ]
    answers = {(r.decision == "reject", r.output) for r in verdicts}
    live = item.leases.filter(until__gt=in_future(0)).exclude(reviewer__reviews__in=verdicts)
    assert item.given == len({r.reviewer_id for r in verdicts}) == len(verdicts) <= item.wanted
    assert item.given + live.count() <= item.wanted or item.status != "open"
    if final is not None:
        answers = {(False, "login")}
    is_settled = final is not None or (len(verdicts) >= item.wanted and len(answers) == 1)
    if flags:
        assert item.status == "flagged"
        return
    if not is_settled:
        assert item.status == ("open" if len(verdicts) < item.wanted else "disputed")
        assert state(example) == MACHINES
        return
    assert item.status == "done"
    [(is_reject, output)] = answers
    wanted = ("billing", "teacher", "discarded") if is_reject else None
    assert state(example) == (wanted or (output, "relabeled_by_human", "reviewed"))


def test_sixty_decisions_of_all_kinds_are_undone_one_by_one(
    workload: Workload, make_example: MakeExample, bob: User
) -> None:
    for n in range(60):
        make_example(f"ticket {n}", split="test")
    queue_review(workload, suspicious=0)
    acts = ["accept", "reject", "skip", "flag"]
    for n in range(60):
        say(workload, bob, acts[n % 4], note="why")
    for _ in range(60):
        assert undo(workload, bob, review_id=uuid4()) is not None
        release(workload, bob)
    assert undo(workload, bob, review_id=uuid4()) is None
    assert set(Example.objects.values_list("target", "provenance", "status")) == {MACHINES}
    assert set(ReviewItem.objects.values_list("status", "given")) == {("open", 0)}


# --- skip -----------------------------------------------------------------------------------------
def test_what_i_skip_comes_back_to_me_last_and_to_others_at_once(
    workload: Workload, make_example: MakeExample, alice: User, bob: User
) -> None:
    for n in range(4):
        make_example(f"ticket {n}", split="test")
    queue_review(workload, suspicious=0)
    first, second = take(workload, bob), None
    judge(first, bob, "skip")
    assert take(workload, alice) == first
    release(workload, alice)
    second = take(workload, bob)
    judge(second, bob, "skip")
    for _ in range(2):
        left = take(workload, bob)
        assert left not in {first, second}
        judge(left, bob, "accept")
    seen = []
    for _ in range(4):
        seen.append(take(workload, bob))
        judge(seen[-1], bob, "skip")
    assert seen == [first, second, first, second]


# --- flags ----------------------------------------------------------------------------------------
def test_a_flag_needs_a_reason_and_keeps_an_item_from_everybody_until_a_lead_looked(
    workload: Workload, make_example: MakeExample, alice: User, bob: User
) -> None:
    example = make_example("ticket", split="test")
    queue_review(workload, suspicious=0)
    item = take(workload, bob)
    with pytest.raises(InvalidInput, match="reason"):
        judge(item, bob, "flag")
    judge(item, bob, "flag", reason="personal data", note="a name")
    assert state(example) == MACHINES
    assert next_item(workload, alice) is None
    item.refresh_from_db()
    assert [(flag.reason, flag.reviewer) for flag in standing_flags(item)] == [
        ("personal data", bob)
    ]
    assert why_empty(workload, alice).flagged == 1
    unflag(item, alice)
    assert take(workload, bob) == item
    with pytest.raises(Conflict):
        unflag(item, alice)


def test_a_decision_that_is_on_its_way_when_an_item_is_flagged_counts_once_it_is_unflagged(
    pair: Workload, example: Example, alice: User, bob: User, dave: User
) -> None:
    say(pair, dave, "accept")
    item = take(pair, alice)
    release(pair, alice)
    say(pair, bob, "flag", note="odd")
    judge(item, alice, "accept")
    assert (status(example), state(example)) == ("flagged", MACHINES)
    unflag(item, alice)
    assert (status(example), state(example)[2]) == ("done", "reviewed")


# --- a lead's word --------------------------------------------------------------------------------
def test_versions_stand_side_by_side_and_a_leads_word_settles(
    pair: Workload, example: Example, alice: User, bob: User, dave: User
) -> None:
    say(pair, bob, "edit", "login")
    say(pair, dave, "accept")
    item = items_for_leads(pair).get()
    versions = [(v.output, v.people, v.is_teachers) for v in versions_of(item)]
    assert versions == [("billing", ["dave"], True), ("login", ["bob"], False)]
    review_id = uuid4()
    word: dict[str, Any] = {"review_id": review_id, "decision": "edit", "output": "login"}
    adjudicate(item, alice, note="see the guideline", **word)
    assert adjudicate(item, alice, **word).pk == review_id
    assert state(example) == ("login", "relabeled_by_human", "reviewed")
    settled = settled_reviews(pair).get()
    assert (settled.reviewer, settled.is_authoritative) == (alice, True)
    with pytest.raises(Conflict):
        adjudicate(item, alice, review_id=uuid4(), decision="accept")
    assert undo(pair, bob, review_id=uuid4()) is None
    assert undo(pair, alice, review_id=uuid4()) is not None
    assert (status(example), state(example)) == ("disputed", MACHINES)


# --- leases ---------------------------------------------------------------------------------------
def test_a_heartbeat_renews_the_holders_lease_before_it_asks_anything_else(
    pair: Workload, example: Example, alice: User, bob: User, dave: User
) -> None:
    item = take(pair, bob)
    ReviewLease.objects.update(until=in_future(5))
    assert heartbeat(pair, bob, [item.pk]) == [item.pk]
    assert ReviewLease.objects.filter(until__gt=in_future(200)).exists()
    ReviewLease.objects.update(until=in_future(-5))
    assert heartbeat(pair, bob, [item.pk]) == [item.pk]
    ReviewLease.objects.update(until=in_future(-5))
    take(pair, alice)
    take(pair, dave)
    assert heartbeat(pair, bob, [item.pk]) == []
    assert heartbeat(pair, alice, [item.pk]) == [item.pk]


def test_what_is_given_back_is_free_at_once_and_nobody_hoards(
    workload: Workload, make_example: MakeExample, alice: User, bob: User
) -> None:
    for n in range(12):
        make_example(f"ticket {n}", split="test")
    queue_review(workload, suspicious=0)
    held: tuple[int, ...] = ()
    while (item := next_item(workload, bob, skip=held)) is not None:
        held = (*held, item.pk)
    assert len(held) == 10
    assert release(workload, bob, held[:1]) == 1
    assert take(workload, alice).pk == held[0]
    assert release(workload, bob) == 9
    assert release(workload, bob) == 0


# --- assignment and parts of the queue ------------------------------------------------------------
def test_what_is_assigned_goes_to_its_people_only_and_evenly(
    workload: Workload, make_example: MakeExample, alice: User, bob: User, dave: User, carol: User
) -> None:
    for n in range(6):
        make_example(f"ticket {n}", split="test")
    queue_review(workload, suspicious=0)
    assert assign(workload, [bob, dave]) == {"bob": 3, "dave": 3}
    assert next_item(workload, alice) is None
    assert why_empty(workload, alice).others == 6
    for _ in range(3):
        say(workload, bob, "accept")
    assert next_item(workload, bob) is None
    with pytest.raises(InvalidInput, match="carol"):
        assign(workload, [carol])
    assert assign(workload, []) == {}
    assert next_item(workload, alice) is not None
    release(workload, alice)
    set_policy(workload, wanted=2)
    with pytest.raises(InvalidInput, match="2 people"):
        assign(workload, [bob])


def test_a_part_of_the_queue_is_dealt_and_the_rest_is_said_to_lie_outside(
    workload: Workload, make_example: MakeExample, bob: User
) -> None:
    make_example('he said "refund"', "billing", split="test")
    make_example("courier", "delivery", split="test")
    make_example("täglich", "login", split="test", provenance="relabeled_by_model")
    queue_review(workload, suspicious=0)
    items = workload.review_items.all()
    parts = [
        QueueFilter(label="billing"), QueueFilter(text='said "REF'), QueueFilter(text="täg"),
        QueueFilter(provenance="relabeled_by_model"), QueueFilter(split="train"),
        QueueFilter(at_least=0.0, at_most=1.0), QueueFilter(at_least=1.1),
        QueueFilter(reason="audit", origin="request_log"),
    ]  # fmt: skip
    assert [narrowed(items, part).count() for part in parts] == [1, 1, 1, 1, 0, 3, 0, 3]
    only = QueueFilter(label="delivery")
    assert take(workload, bob, only=only).example.target == "delivery"
    judge(take(workload, bob, only=only), bob, "accept")
    assert next_item(workload, bob, only=only) is None
    assert why_empty(workload, bob, only).outside == 2
    assert save_view(workload, bob, name=" parcels ", only=only).only == {"label": "delivery"}
    with pytest.raises(InvalidInput):
        save_view(workload, bob, name="all", only=QueueFilter())


def test_an_empty_queue_says_who_has_the_rest(
    pair: Workload, make_example: MakeExample, alice: User, bob: User, dave: User
) -> None:
    for n in range(3):
        make_example(f"ticket {n}", split="test")
    queue_review(pair, suspicious=0)
    assert why_empty(pair, bob).total == 3
    say(pair, bob, "accept")
    held = take(pair, alice)
    take(pair, dave)
    take(pair, alice, skip=(held.pk,))
    why = why_empty(pair, bob)
    assert (why.yours, why.done, why.leased) == (1, 0, [("alice", 1), ("dave", 1)])


# --- probes ---------------------------------------------------------------------------------------
def test_a_settled_row_is_shown_again_as_it_was_and_its_answer_changes_nothing(
    workload: Workload, make_example: MakeExample, alice: User, bob: User
) -> None:
    for n in range(3):
        make_example(f"ticket {n}", "billing", split="test")
    queue_review(workload, suspicious=0)
    for answer in ("login", "billing"):
        say(workload, alice, "edit", answer)
    Review.objects.update(created_at=in_future(-7200))
    set_policy(workload, probe_share=0.5)
    last = None
    for _ in range(200):
        item = take(workload, bob)
        assert (item.example.target, item.example.provenance) == ("billing", "teacher")
        if ReviewLease.objects.get(item=item, reviewer=bob).is_probe:
            last = judge(item, bob, "edit", "login")
        else:
            release(workload, bob)
        if Review.objects.exclude(probe="").count() == 2:
            break
    assert last is not None
    assert sorted(Example.objects.values_list("target", "status")) == [
        ("billing", "captured"), ("billing", "reviewed"), ("login", "reviewed"),
    ]  # fmt: skip
    result = probe_results(workload)[0]
    assert (result.reviewer, result.kind) == ("bob", "gold")
    assert (result.share.count, result.share.n) == (1, 2)
    assert standing_reviews(workload).count() == 2
    assert review_progress(workload, bob)["mine"] == 2
    undo(workload, bob, review_id=uuid4())
    assert ReviewLease.objects.get(item=last.item_id, reviewer=bob).is_probe
    assert probe_results(workload)[0].share.n == 1
