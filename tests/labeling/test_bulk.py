"""Bulk accept: rows that a score is sure of stand, a sample goes to people, one act reverts all."""

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

from factory.errors import Conflict, InvalidInput
from factory.models import Example, Project, Workload
from factory.services import jobs
from factory.services.keys import create_key
from factory.services.projects import save_upstream
from labeling.models import BulkAccept, InsightRun, Label, LabelJob, ReviewItem, Suspicion
from labeling.selectors.bulk import act_on, audit_of, cuts_of, standing_rows
from labeling.services.bulk import bulk_accept_work, start_bulk_accept, start_revert
from labeling.services.label import create_teacher
from labeling.services.review import decide, next_item, queue_review
from tests.conftest import MakeExample

pytestmark = pytest.mark.django_db
BASE = "/acme/tickets"
SURE, UNSURE = 100, 40


@pytest.fixture
def alice_at(alice: User, project: Project) -> Client:
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def label_job(workload: Workload) -> LabelJob:
    upstream = save_upstream(
        workload.project, name="big", base_url="http://127.0.0.1:9999/v1", key="k"
    )
    teacher = create_teacher(workload.project, name="big", upstream=upstream, model="m")
    return LabelJob.objects.create(
        workload=workload, teacher=teacher, votes=5, budget_usd=1, status="succeeded"
    )


@pytest.fixture
def rows(workload: Workload, label_job: LabelJob, make_example: MakeExample) -> list[Example]:
    """100 rows of which four votes in five say "login", 40 of three in five; production: billing.

    All wait in the review queue, for the votes disagree. Ten test rows are like the first.
    """
    made = []
    for n in range(SURE + UNSURE + 10):
        split = "test" if n >= SURE + UNSURE else "train"
        example = make_example(f"ticket {n}", "billing", split=split)
        sure = 0.6 if SURE <= n < SURE + UNSURE else 0.8
        label(label_job, example, "login", sure)
        made.append(example)
    return made


def label(job: LabelJob, example: Example, output: str, confidence: float) -> None:
    Label.objects.create(
        job=job, example=example, output=output, confidence=confidence, status="unsure"
    )
    if example.split != "test":
        ReviewItem.objects.create(
            example=example, workload=job.workload, reason="unsure", priority=1 - confidence
        )


def accept(workload: Workload, at_least: float = 0.8, **options: Any) -> BulkAccept:
    return run(start_bulk_accept(workload, score="votes", at_least=at_least, **options))


def run(act: BulkAccept) -> BulkAccept:
    jobs.run(BulkAccept, act.pk, bulk_accept_work)
    act = BulkAccept.objects.get(pk=act.pk)
    assert act.status == "succeeded", act.error
    return act


def state(workload: Workload) -> list[tuple[Any, ...]]:
    columns = ("pk", "target", "provenance", "status", "may_train")
    items = ("review_item__reason", "review_item__priority", "review_item__status")
    return list(workload.examples.order_by("pk").values_list(*columns, *items))


def decide_next(workload: Workload, user: User, right: str) -> ReviewItem | None:
    item = next_item(workload, user)
    if item is not None:
        decide(item, user, review_id=uuid4(), decision="edit", output=right)
    return item


# --- accepting ------------------------------------------------------------------------------------
def test_rows_above_the_score_get_their_own_label_and_leave_the_queue(
    workload: Workload, rows: list[Example]
) -> None:
    act = accept(workload)
    assert act.rows == SURE - 30
    accepted = Example.objects.filter(pk__in=act.changes.filter(is_audit=False).values("example"))
    kept = set(accepted.values_list("target", "provenance", "status", "split"))
    assert kept == {("login", "relabeled_by_model", "labeled", "train")}
    assert not ReviewItem.objects.filter(example__in=accepted).exists()
    assert workload.review_items.count() == UNSURE + 30


def test_a_sample_goes_to_people_and_is_not_accepted(
    workload: Workload, rows: list[Example]
) -> None:
    act = accept(workload)
    sample = Example.objects.filter(pk__in=act.changes.filter(is_audit=True).values("example"))
    assert sample.count() == 30
    assert set(sample.values_list("target", "status")) == {("billing", "captured")}
    assert set(sample.values_list("review_item__status", flat=True)) == {"open"}


def test_five_percent_of_many_rows_are_drawn(
    workload: Workload, label_job: LabelJob, make_example: MakeExample
) -> None:
    for n in range(700):
        label(label_job, make_example(f"row {n}", None), "login", 1.0)
    act = accept(workload)
    assert (act.changes.filter(is_audit=True).count(), act.rows) == (35, 665)


def test_an_act_takes_no_query_per_row(
    workload: Workload, rows: list[Example], django_assert_max_num_queries: Any
) -> None:
    act = start_bulk_accept(workload, score="votes", at_least=0.5)
    with django_assert_max_num_queries(60):
        jobs.run(BulkAccept, act.pk, bulk_accept_work)


def test_test_rows_and_drawn_rows_and_peoples_rows_are_left_alone(
    workload: Workload, rows: list[Example], alice: User
) -> None:
    drawn, decided, skipped, shown = rows[0], rows[1], rows[2], rows[3]
    ReviewItem.objects.filter(example=drawn).update(draw=0.5)
    for example, decision in ((decided, "accept"), (skipped, "skip"), (shown, "")):
        ReviewItem.objects.filter(example=example).update(priority=1.0)
        item = next_item(workload, alice)
        assert item is not None
        assert item.example_id == example.pk
        if decision:
            decide(item, alice, review_id=uuid4(), decision=decision)
        ReviewItem.objects.filter(example=example).update(priority=0.01)
    act = accept(workload)
    touched = set(act.changes.values_list("example", flat=True))
    assert not touched & {drawn.pk, decided.pk, skipped.pk, shown.pk}
    assert not touched & {row.pk for row in rows[SURE:]}
    tests = workload.examples.filter(split="test").values_list("target", "provenance", "status")
    assert set(tests) == {("billing", "teacher", "captured")}


def test_the_terms_of_the_teacher_count_for_what_it_answered(
    workload: Workload, rows: list[Example]
) -> None:
    Label.objects.update(may_train=False)
    act = accept(workload)
    accepted = Example.objects.filter(pk__in=act.changes.filter(is_audit=False).values("example"))
    assert set(accepted.values_list("may_train", flat=True)) == {False}


def test_too_few_rows_or_a_second_act_at_once_are_refused(
    workload: Workload, rows: list[Example]
) -> None:
    with pytest.raises(InvalidInput, match="people can look at all"):
        start_bulk_accept(workload, score="votes", at_least=0.9)
    with pytest.raises(InvalidInput, match="score is one of"):
        start_bulk_accept(workload, score="mood", at_least=0.9)
    start_bulk_accept(workload, score="votes", at_least=0.5)
    with pytest.raises(Conflict, match="another bulk accept"):
        start_bulk_accept(workload, score="votes", at_least=0.5)


def test_an_act_begun_again_after_a_crash_draws_no_second_sample(
    workload: Workload, rows: list[Example]
) -> None:
    act = start_bulk_accept(workload, score="votes", at_least=0.8)

    def killed_after_the_sample(job: BulkAccept) -> None:
        from labeling.services.bulk import _draw  # noqa: PLC0415

        with jobs.fenced(job):
            _draw(job)
        raise OSError("killed")

    jobs.run(BulkAccept, act.pk, killed_after_the_sample)
    drawn = set(act.changes.values_list("example", flat=True))
    act = run(act)
    assert set(act.changes.filter(is_audit=True).values_list("example", flat=True)) == drawn
    assert act.rows == SURE - 30


# --- measuring ------------------------------------------------------------------------------------
def test_the_sample_measures_the_band_as_people_decide_it(
    workload: Workload, rows: list[Example], alice: User
) -> None:
    act = accept(workload)
    sample = set(act.changes.filter(is_audit=True).values_list("example", flat=True))
    assert (audit_of(act).waiting, audit_of(act).error.n) == (30, 0)
    seen = wrong = 0
    while item := next_item(workload, alice):
        is_wrong = item.example_id in sample and item.example_id % 3 == 0
        seen, wrong = seen + (item.example_id in sample), wrong + is_wrong
        output = "delivery" if is_wrong else "login"
        decide(item, alice, review_id=uuid4(), decision="edit", output=output)
    found = audit_of(act)
    assert (found.waiting, seen) == (0, 30)
    assert (found.error.count, found.error.n) == (wrong, 30)
    assert found.error.low < wrong / 30 < found.error.high


def test_a_cut_says_what_it_would_take_and_how_wrong_drawn_rows_above_it_were(
    workload: Workload, rows: list[Example], alice: User
) -> None:
    queue_review(workload, suspicious=20, audit_share=0.5)
    drawn = ReviewItem.objects.exclude(draw=None).exclude(example__split="test")
    drawn.update(priority=1.0)
    count = drawn.count()
    assert count == 20
    for n in range(count):
        decide_next(workload, alice, "login" if n % 5 else "delivery")
    cuts = {cut.at_least: cut for cut in cuts_of(workload, "votes", 0.75)}
    settled = Label.objects.filter(example__in=drawn.values("example"), confidence=0.8).count()
    assert cuts[0.75].rows == SURE - settled
    assert cuts[0.75].error.n == settled
    assert cuts[0.5].error.n == count
    assert cuts[0.5].error.count == 4
    assert (cuts[0.9].rows, cuts[0.9].is_possible) == (0, False)
    assert cuts[0.8].accepted + cuts[0.8].audited == cuts[0.8].rows


# --- reverting ------------------------------------------------------------------------------------
def test_one_act_gives_every_row_and_its_place_in_the_queue_back(
    workload: Workload, rows: list[Example]
) -> None:
    before = state(workload)
    act = accept(workload)
    assert state(workload) != before
    undo = run(start_revert(act))
    assert undo.rows == act.rows
    assert state(workload) == before
    with pytest.raises(Conflict, match="reverted already"):
        start_revert(act)
    assert accept(workload).rows == SURE - 30


def test_what_people_answered_since_stays(
    workload: Workload, rows: list[Example], alice: User
) -> None:
    act = accept(workload)
    accepted = act.changes.filter(is_audit=False).select_related("example")[:2]
    for change, decision in zip(accepted, ("accept", "reject"), strict=True):
        item = ReviewItem.objects.create(
            example=change.example, workload=workload, reason="suspicious", priority=1.0
        )
        dealt = next_item(workload, alice)
        assert dealt is not None
        assert dealt.pk == item.pk
        decide(dealt, alice, review_id=uuid4(), decision=decision)
    assert (
        standing_rows(act).count() == act.rows - 1
    )  # the discarded one is out of use, not changed
    run(start_revert(act))
    kept, gone = (Example.objects.get(pk=change.example_id) for change in accepted)
    assert (kept.target, kept.provenance, kept.status) == (
        "login",
        "relabeled_by_human",
        "reviewed",
    )
    assert gone.status == "discarded"
    others = Example.objects.filter(pk__in=act.changes.values("example"))
    others = others.exclude(pk__in=[kept.pk, gone.pk])
    assert set(others.values_list("target", flat=True)) == {"billing"}


def test_provenance_tells_an_accepted_row_from_a_reviewers(
    workload: Workload, rows: list[Example], alice: User
) -> None:
    act = accept(workload)
    change = act.changes.filter(is_audit=False)[0]
    found = act_on(Example.objects.get(pk=change.example_id))
    assert found is not None
    assert found.act == act
    item = decide_next(workload, alice, "login")
    assert item is not None
    assert act_on(Example.objects.get(pk=item.example_id)) is None


# --- doors ----------------------------------------------------------------------------------------
def test_a_lead_accepts_and_reverts_through_the_pages(
    workload: Workload, rows: list[Example], alice: User, alice_at: Client
) -> None:
    page = alice_at.get(f"{BASE}/accept/?score=votes&at_least=0.8").content.decode()
    assert "Accept 70 rows as they are, and put 30 before people?" in page
    assert "nobody has decided a drawn row here" in page
    response = alice_at.post(f"{BASE}/accept/", {"score": "votes", "at_least": "0.8"})
    act = BulkAccept.objects.get()
    assert response.headers["Location"] == f"{BASE}/accept/{act.pk}/"
    assert act.created_by == alice
    assert (
        'hx-trigger="poll from:body"' in alice_at.get(f"{BASE}/accept/{act.pk}/").content.decode()
    )
    run(act)
    page = alice_at.get(f"{BASE}/accept/{act.pk}/live/").content.decode()
    assert "70 rows stand with their own answers" in page
    assert "Nobody has decided a row of its sample yet" in page
    assert "hx-trigger" not in page
    response = alice_at.post(f"{BASE}/accept/{act.pk}/revert/")
    undo = BulkAccept.objects.latest("pk")
    assert response.headers["Location"] == f"{BASE}/accept/{undo.pk}/"
    run(undo)
    page = alice_at.get(f"{BASE}/accept/{undo.pk}/").content.decode()
    assert "70 rows are as before" in page
    assert "It was reverted" in alice_at.get(f"{BASE}/accept/{act.pk}/").content.decode()
    assert "Revert of act" in alice_at.get(f"{BASE}/accept/").content.decode()


def test_what_cannot_be_accepted_is_said_beside_the_form(
    workload: Workload, rows: list[Example], alice_at: Client
) -> None:
    for cut, said in (("0.95", "there are 0 such rows"), ("2", "less than or equal to 1")):
        response = alice_at.post(f"{BASE}/accept/", {"score": "votes", "at_least": cut})
        assert response.status_code == 422
        assert said in response.content.decode()
    assert not BulkAccept.objects.exists()


def test_a_reviewer_looks_and_does_not_accept(
    workload: Workload, rows: list[Example], bob: User
) -> None:
    client = Client()
    client.force_login(bob)
    assert "<button>Accept" not in client.get(f"{BASE}/accept/").content.decode()
    response = client.post(f"{BASE}/accept/", {"score": "votes", "at_least": "0.8"})
    assert response.status_code == 403


def test_an_app_accepts_and_reverts_through_the_api(
    workload: Workload, rows: list[Example]
) -> None:
    key = create_key(workload.project, name="k", scopes=["api"])[1]
    client = Client(headers={"authorization": f"Bearer {key}"})
    at = "/api/v1/workloads/tickets/bulk-accepts"
    cuts = client.get(f"{at}/cuts?score=votes&at_least=0.8").json()
    assert {cut["at_least"]: cut["rows"] for cut in cuts}[0.8] == SURE
    body = {"score": "votes", "at_least": 0.8}
    started = client.post(at, body, content_type="application/json").json()
    run(BulkAccept.objects.get(pk=started["id"]))
    found = client.get(f"/api/v1/bulk-accepts/{started['id']}").json()
    assert (found["status"], found["rows"], found["sampled"], found["waiting"]) == (
        "succeeded", 70, 30, 30,
    )  # fmt: skip
    reverted = client.post(f"/api/v1/bulk-accepts/{started['id']}/revert").json()
    assert reverted["undoes"] == started["id"]
    assert client.post(at, {"at_least": 3}, content_type="application/json").status_code == 400


def test_a_linear_models_word_accepts_the_targets_that_it_has_judged(
    workload: Workload, rows: list[Example]
) -> None:
    judging = InsightRun.objects.create(workload=workload, status="succeeded")
    Suspicion.objects.bulk_create(
        Suspicion(
            example=row, workload=workload, run=judging, score=0.1, probability=0.97, rank=at + 1
        )
        for at, row in enumerate(rows)
    )
    changed = Example.objects.get(pk=rows[0].pk)
    job = LabelJob.objects.create(
        workload=workload, teacher=LabelJob.objects.get().teacher, budget_usd=1
    )
    Label.objects.create(
        job=job, example=changed, output="billing", confidence=1.0, status="accepted"
    )
    act = run(start_bulk_accept(workload, score="insight", at_least=0.95))
    assert act.rows == SURE + UNSURE - 1 - 30
    assert not act.changes.filter(example=changed).exists()
    accepted = Example.objects.filter(pk__in=act.changes.filter(is_audit=False).values("example"))
    kept = set(accepted.values_list("target", "provenance", "status"))
    assert kept == {("billing", "teacher", "labeled")}
