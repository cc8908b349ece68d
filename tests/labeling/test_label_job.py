"""Label jobs end to end: a teacher over HTTP, and the labels, targets and money that come of it."""

import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Sum

from factory.errors import Conflict, InvalidInput
from factory.models import Example, Job, Project, Workload
from factory.services import jobs
from factory.services.projects import create_project, save_upstream
from labeling.models import Label, LabelJob, ReviewItem, Teacher, TeacherReply
from labeling.selectors.label import label_job_summary
from labeling.services.label import (
    create_teacher,
    estimate_label_job,
    label_work,
    save_guideline,
    start_label_job,
)
from tests.conftest import MakeExample
from tests.fakes import TEACHER, Received, Reply, ScriptedUpstream, completion, openai_error
from tests.labeling.conftest import PRICES, RunJob, work_on

pytestmark = pytest.mark.django_db
SOON = {"retry_after_ms": "20"}


def answers(*texts: str) -> list[Reply]:
    return [Reply(body=completion(text)) for text in texts]


def idempotency_keys(chats: list[Received]) -> list[str]:
    return [sent.headers["idempotency-key"] for sent in chats]


def paid() -> Decimal:
    return TeacherReply.objects.aggregate(usd=Sum("cost_usd"))["usd"] or Decimal(0)


def test_agreed_votes_become_the_target(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    texts = {f"about {label} {n}": label for n in range(20) for label in ("billing", "login")}
    for text in texts:
        make_example(text, "delivery")
    job = run_job(votes=3)
    assert (job.status, job.error) == (Job.Status.SUCCEEDED, "")
    for example in Example.objects.all():
        assert example.target == texts[example.messages[-1]["content"]]
        assert (example.provenance, example.status) == ("relabeled_by_model", "labeled")
    assert set(Label.objects.values_list("status", "confidence")) == {("accepted", 1.0)}
    assert len(upstream.chats) == TeacherReply.objects.count() == 120
    assert job.progress["done"] == job.progress["total"] == job.progress["accepted"] == 40
    assert job.spent_usd == paid() > 0
    assert job.progress["spent_usd"] == pytest.approx(float(paid()))


def test_the_request_carries_guideline_schema_and_a_bound_on_its_length(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample, workload: Workload
) -> None:
    make_example("about billing")
    save_guideline(workload, text="Old.")
    save_guideline(workload, text="Refunds are billing.")
    job = run_job()
    (sent,) = upstream.chats
    assert "Refunds are billing." in sent.json["messages"][0]["content"]
    assert sent.json["response_format"]["json_schema"]["strict"] is True
    assert 0 < sent.json["max_tokens"] < 100
    assert job.guideline is not None
    assert job.guideline.number == 2


def test_divided_votes_go_to_a_person_and_change_nothing(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    example = make_example("about billing", "delivery")
    upstream.script(*answers('{"answer": "login"}', '{"answer": "login"}', '{"answer": "billing"}'))
    run_job(votes=3)
    label, item = Label.objects.get(), ReviewItem.objects.get()
    assert (label.status, label.output, label.votes) == (
        "unsure",
        "login",
        {"login": 2, "billing": 1},
    )
    assert item.reason == "unsure"
    assert item.priority == pytest.approx(1 / 3)
    example.refresh_from_db()
    assert (example.target, example.provenance) == ("delivery", "teacher")


def test_a_broken_answer_is_repaired_by_asking_once_more(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    make_example("about billing", "delivery")
    upstream.script(*answers('{"answer": "refnuds"}', '{"answer": "login"}'))
    run_job()
    first, second = upstream.chats
    assert second.json["messages"][:-2] == first.json["messages"]
    assert "refnuds" in second.json["messages"][-2]["content"]
    assert Label.objects.get().status == "accepted"
    assert Example.objects.get().target == "login"
    assert Label.objects.get().cost_usd == paid()


def test_what_stays_broken_is_invalid_and_goes_to_a_person(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    make_example("about billing", "delivery")
    upstream.script(*answers("refnuds", "still wrong"))
    job = run_job()
    label = Label.objects.get()
    assert (label.status, label.votes, label.confidence) == ("invalid", {}, 0.0)
    assert "is not one of" in label.error
    assert ReviewItem.objects.get().reason == "invalid"
    assert (job.status, job.progress["invalid"]) == (Job.Status.SUCCEEDED, 1)


def test_a_cut_off_answer_is_not_asked_for_again(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    make_example("about billing")
    upstream.script(Reply(body=completion('{"ans', finish_reason="length")))
    run_job()
    assert len(upstream.chats) == 1
    assert "cut off" in Label.objects.get().error


def test_json_answers_are_labelled_by_their_schema(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample, workload: Workload
) -> None:
    workload.output_schema = {"type": "object", "required": ["intent"]}
    workload.save(update_fields=["output_schema"])
    make_example("play some jazz", '{"intent": "x"}')
    upstream.script(*answers('{"intent":"play","slots":{}}', '{"slots": {}, "intent": "play"}'))
    run_job(votes=2)
    assert json.loads(Example.objects.get().target or "") == {"intent": "play", "slots": {}}
    assert Label.objects.get().confidence == 1.0


def test_a_persons_word_is_never_overwritten_nor_paid_for(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    make_example("about billing 1", "login", provenance="relabeled_by_human", status="reviewed")
    make_example("about billing 2", "login", provenance="uploaded", status="reviewed")
    make_example("about billing 3", "login", status="discarded")
    job = run_job()
    assert (job.status, job.progress["total"]) == (Job.Status.SUCCEEDED, 0)
    assert upstream.chats == []
    assert set(Example.objects.values_list("target", flat=True)) == {"login"}


def test_unsure_test_rows_wait_for_the_audit_so_that_it_stays_fair(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    make_example("about billing", "delivery", split="test")
    upstream.script(*answers("login", "billing"))
    run_job(votes=2)
    assert Label.objects.get().status == "unsure"
    assert not ReviewItem.objects.exists()


def test_a_storm_of_429_loses_no_row(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    for n in range(60):
        make_example(f"about billing {n}")
    upstream.script(*[openai_error(429, "slow down", **SOON)] * 100)
    job = run_job()
    assert (job.status, job.progress["accepted"], job.progress["failed"]) == ("succeeded", 60, 0)
    assert len(upstream.chats) == 160
    assert TeacherReply.objects.count() == 60


def test_a_row_that_fails_is_told_and_the_others_go_on(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    make_example("about billing", "delivery")
    upstream.script(openai_error(400, "too long", code="context_length_exceeded"))
    job = run_job()
    assert (job.status, job.blame) == (Job.Status.FAILED, Job.Blame.USER)
    assert "too long" in job.error
    make_example("about login", "delivery")
    upstream.script(openai_error(400, "too long", code="context_length_exceeded"))
    job = run_job()
    assert job.status == Job.Status.SUCCEEDED
    assert Counter(job.labels.values_list("status", flat=True)) == {"failed": 1, "accepted": 1}
    ((problem, count),) = label_job_summary(job).problems
    assert "too long" in problem
    assert count == 1


def test_a_refused_key_ends_the_job_at_once_and_blames_the_user(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    for n in range(100):
        make_example(f"about billing {n}")
    upstream.script(*[openai_error(401, "bad key")] * 200)
    job = run_job()
    assert (job.status, job.blame) == (Job.Status.FAILED, Job.Blame.USER)
    assert "does not accept the key" in job.error
    assert len(upstream.chats) <= 64
    assert not Label.objects.exists()


def test_an_endpoint_that_is_away_sends_the_job_back_to_the_queue(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    for n in range(100):
        make_example(f"about billing {n}")
    # 501 with this header is not tried again by the client, so the test need not wait.
    upstream.script(*[openai_error(501, "away", x_should_retry="false")] * 500)
    job = run_job()
    assert (job.status, job.attempt) == (Job.Status.QUEUED, 1)
    assert len(upstream.chats) < 100 + 32
    upstream._script.clear()
    job = work_on(job)
    assert (job.status, job.progress["accepted"]) == (Job.Status.SUCCEEDED, 100)


def test_the_budget_is_never_passed_and_what_was_paid_for_is_kept(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    for n in range(120):
        make_example(f"about billing {n}")
    budget = Decimal("0.0100")
    job = run_job(votes=1, budget_usd=budget)
    assert (job.status, job.is_final) == (Job.Status.PAUSED, False)
    assert "Budget reached" in job.error
    billed = upstream.ledger.billed_tokens
    assert billed > 0
    assert job.spent_usd == paid() <= budget
    # The highest price of one more call is all that may be left over.
    assert paid() > budget - Decimal("0.0025")
    assert TeacherReply.objects.count() == upstream.ledger.calls == Label.objects.count()
    assert 0 < Label.objects.count() < 120


def test_more_budget_goes_on_where_the_first_ended_and_pays_no_answer_twice(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    for n in range(120):
        make_example(f"about billing {n}")
    first = run_job(votes=2, budget_usd=Decimal("0.01"))
    second = run_job(votes=2)
    assert (first.status, second.status) == (Job.Status.PAUSED, Job.Status.SUCCEEDED)
    keys = idempotency_keys(upstream.chats)
    assert len(keys) == len(set(keys)) == 240 == TeacherReply.objects.count()
    assert first.spent_usd + second.spent_usd == paid()
    assert second.labels.count() == 120


def test_a_worker_without_the_lease_writes_nothing(
    upstream: ScriptedUpstream, workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    for n in range(10):
        make_example(f"about billing {n}", "delivery")
    job = start_label_job(workload, teacher=teacher, votes=1, budget_usd=Decimal(1))

    def paused(running: LabelJob) -> None:
        LabelJob.objects.filter(pk=running.pk).update(epoch=running.epoch + 1)
        label_work(running)

    job = work_on(job, paused)
    assert job.status == Job.Status.RUNNING
    assert not job.spent_usd
    assert not job.progress
    assert not Label.objects.exists()
    assert not TeacherReply.objects.exists()
    assert set(Example.objects.values_list("target", flat=True)) == {"delivery"}


def test_a_cancelled_job_stops_and_keeps_what_was_on_its_way(
    upstream: ScriptedUpstream, workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    for n in range(200):
        make_example(f"about billing {n}")
    job = start_label_job(workload, teacher=teacher, votes=1, budget_usd=Decimal(1))

    def cancelled(running: LabelJob) -> None:
        jobs.cancel(running)
        label_work(running)

    job = work_on(job, cancelled)
    assert job.status == Job.Status.CANCELLED
    assert len(upstream.chats) < 200
    assert TeacherReply.objects.count() == len(upstream.chats) == Label.objects.count()


def test_one_job_at_a_time_works_on_a_workload(
    workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    start_label_job(workload, teacher=teacher, budget_usd=Decimal(1))
    with pytest.raises(Conflict):
        start_label_job(workload, teacher=teacher, budget_usd=Decimal(1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"votes": 0},
        {"votes": 99},
        {"accept_confidence": 0.0},
        {"budget_usd": Decimal(-1)},
    ],
)
def test_a_job_that_makes_no_sense_is_refused(
    workload: Workload, teacher: Teacher, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        start_label_job(workload, **{"teacher": teacher, "budget_usd": Decimal(1), **wrong})


def test_a_teacher_without_price_or_permission_labels_nothing(
    project: Project, workload: Workload, upstream: ScriptedUpstream
) -> None:
    address = upstream.base_url  # type: ignore[attr-defined]
    endpoint = save_upstream(project, name="big", base_url=address, key="k", prices=PRICES)
    unpriced = create_teacher(project, name="a", upstream=endpoint, model="unknown")
    forbidden = create_teacher(
        project, name="b", upstream=endpoint, model=TEACHER, may_train_on_outputs=False
    )
    for teacher in (unpriced, forbidden):
        with pytest.raises(InvalidInput):
            start_label_job(workload, teacher=teacher, budget_usd=Decimal(1))


def test_another_projects_teacher_is_refused(
    workload: Workload, upstream: ScriptedUpstream, carol: Any
) -> None:
    theirs = create_project(slug="other", name="Other", owner=carol)
    address = upstream.base_url  # type: ignore[attr-defined]
    endpoint = save_upstream(theirs, name="big", base_url=address, key="k", prices=PRICES)
    stranger = create_teacher(theirs, name="big", upstream=endpoint, model=TEACHER)
    with pytest.raises(InvalidInput):
        start_label_job(workload, teacher=stranger, budget_usd=Decimal(1))
    with pytest.raises(InvalidInput):
        create_teacher(workload.project, name="x", upstream=endpoint, model=TEACHER)


def test_an_estimate_is_near_what_is_paid(
    upstream: ScriptedUpstream, workload: Workload, teacher: Teacher, run_job: RunJob,
    make_example: MakeExample,
) -> None:  # fmt: skip
    for n in range(30):
        make_example(f"about billing {n}")
    estimate = estimate_label_job(workload, teacher=teacher, votes=2)
    assert (estimate.rows, estimate.calls) == (30, 60)
    job = run_job(votes=2)
    assert Decimal("0.5") < estimate.usd / job.spent_usd < 3


def test_a_summary_counts_labels_confidences_and_money(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    make_example("about billing")
    upstream.script(*answers("login", "billing", "login"))
    job = run_job(votes=3)
    summary = label_job_summary(job)
    assert summary.statuses == {"accepted": 0, "unsure": 1, "invalid": 0, "failed": 0}
    assert summary.histogram == [0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert (summary.replies, summary.spent_usd) == (3, paid())
    assert (summary.prompt_tokens, summary.completion_tokens) == (60, 15)
