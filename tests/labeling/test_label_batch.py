"""The Batch API as the cheap mode: matched by name, both files read, nothing bought twice."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from factory.errors import JobWaits
from factory.models import Example, Job, Project, Workload
from factory.services.projects import save_upstream
from labeling.models import Label, LabelJob, Teacher, TeacherBatch, TeacherReply
from labeling.services.label import (
    create_teacher,
    end_batches,
    estimate_label_job,
    label_work,
    pause_label_job,
    resume_label_job,
    start_label_job,
)
from tests.batches import BatchUpstream, Ending
from tests.conftest import MakeExample
from tests.fakes import TEACHER, ScriptedUpstream
from tests.labeling.conftest import PRICES, work_on

pytestmark = pytest.mark.django_db

ROWS, SMOKE = 60, 16
TEXTS = {f"about {label} {n}": label for n in range(ROWS // 2) for label in ("billing", "login")}


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    fake = BatchUpstream()
    with fake.serve() as fake.base_url:  # type: ignore[attr-defined]
        yield fake


@pytest.fixture
def teacher(project: Project, upstream: BatchUpstream) -> Teacher:
    address = upstream.base_url  # type: ignore[attr-defined]
    endpoint = save_upstream(project, name="big", base_url=address, key="sk-1", prices=PRICES)
    return create_teacher(project, name="big", upstream=endpoint, model=TEACHER)


@pytest.fixture
def job(workload: Workload, teacher: Teacher, make_example: MakeExample) -> LabelJob:
    for text in TEXTS:
        make_example(text, "delivery")
    return start_label_job(
        workload, teacher=teacher, votes=1, budget_usd=Decimal(1), mode=LabelJob.Mode.BATCH
    )


def all_is_labelled(job: LabelJob) -> bool:
    return (
        job.status == Job.Status.SUCCEEDED
        and Label.objects.filter(status="accepted").count() == ROWS
        and all(e.target == TEXTS[e.messages[-1]["content"]] for e in Example.objects.all())
    )


def test_a_batch_is_waited_for_without_a_worker_and_matched_by_name_alone(
    upstream: BatchUpstream, job: LabelJob
) -> None:
    job = work_on(job)
    assert (job.status, job.progress["phase"]) == (Job.Status.QUEUED, "batch")
    (batch,) = upstream.batches.values()
    assert len(upstream.lines(batch)) == ROWS - SMOKE
    job = work_on(job)
    assert (job.status, len(upstream.batches)) == (Job.Status.QUEUED, 1)
    upstream.end(Ending(is_doubled=True))
    job = work_on(job)
    assert all_is_labelled(job)
    assert len(upstream.chats) == SMOKE
    assert TeacherReply.objects.count() == ROWS
    assert upstream.files == {}
    kept = TeacherBatch.objects.get()
    assert (kept.status, kept.lines, kept.asked) == ("completed", ROWS - SMOKE, {})


def test_an_answer_of_a_batch_costs_half(upstream: BatchUpstream, job: LabelJob) -> None:
    work_on(job)
    upstream.end()
    job = work_on(job)
    live, cheap = (
        {reply.cost_usd / (2 * reply.prompt_tokens + 8 * reply.completion_tokens) for reply in some}
        for some in (
            TeacherReply.objects.filter(latency_ms__gt=0),
            TeacherReply.objects.filter(latency_ms=0),
        )
    )
    assert {round(x * 10**8) for x in live} == {100}
    assert {round(x * 10**8) for x in cheap} == {50}
    assert job.spent_usd == sum(reply.cost_usd for reply in TeacherReply.objects.all())
    both = {
        mode: estimate_label_job(job.workload, teacher=job.teacher, votes=1, mode=mode).usd
        for mode in LabelJob.Mode.values
    }
    assert both["batch"] * 2 == both["live"]


@pytest.mark.parametrize("status", ["completed", "expired", "failed", "cancelled"])
def test_what_a_batch_left_open_is_bought_again_and_what_it_answered_is_not(
    upstream: BatchUpstream, job: LabelJob, status: str
) -> None:
    work_on(job)
    upstream.end(Ending(status, missing=5, refused=6))
    job = work_on(job)
    assert job.status == Job.Status.QUEUED
    _, second = upstream.batches.values()
    again = {line["custom_id"] for line in upstream.lines(second)}
    assert len(again) == 11
    upstream.end()
    job = work_on(job)
    assert all_is_labelled(job)
    assert upstream.answered_lines == ROWS - SMOKE
    assert (len(upstream.chats), TeacherReply.objects.count()) == (SMOKE, ROWS)


def test_what_three_batches_did_not_bring_is_bought_live(
    upstream: BatchUpstream, job: LabelJob
) -> None:
    for _ in range(3):
        job = work_on(job)
        assert job.status == Job.Status.QUEUED
        upstream.end(Ending("expired", missing=7))
    job = work_on(job)
    assert all_is_labelled(job)
    assert len(upstream.batches) == 3
    assert len(upstream.chats) == SMOKE + 7


def test_an_answer_that_cannot_be_read_is_charged_and_bought_again(
    upstream: BatchUpstream, job: LabelJob
) -> None:
    work_on(job)
    upstream.end(Ending(unreadable=3))
    work_on(job)
    upstream.end()
    job = work_on(job)
    assert all_is_labelled(job)
    lost = TeacherReply.objects.filter(finish_reason="lost")
    assert lost.count() == 3
    assert all(reply.cost_usd > 0 for reply in lost)
    assert job.spent_usd == sum(reply.cost_usd for reply in TeacherReply.objects.all())


def test_a_batch_whose_id_was_lost_in_a_crash_is_found_again(
    upstream: BatchUpstream, job: LabelJob
) -> None:
    upstream.loses_the_reply = True
    failed = work_on(job)
    assert (failed.status, TeacherBatch.objects.get().batch_id) == (Job.Status.FAILED, "")
    upstream.loses_the_reply = False
    LabelJob.objects.filter(pk=job.pk).update(status=Job.Status.QUEUED)
    work_on(job)
    assert len(upstream.batches) == 1
    upstream.end()
    assert all_is_labelled(work_on(job))
    assert len(upstream.batches) == 1


def test_a_batch_that_was_never_sent_is_sent(upstream: BatchUpstream, job: LabelJob) -> None:
    work_on(job)
    upstream.batches.clear()
    TeacherBatch.objects.update(batch_id="")
    work_on(job)
    assert len(upstream.batches) == 1
    upstream.end()
    assert all_is_labelled(work_on(job))


def test_the_budget_bounds_what_is_sent_and_a_higher_one_sends_the_rest(
    upstream: BatchUpstream, job: LabelJob
) -> None:
    LabelJob.objects.filter(pk=job.pk).update(budget_usd=Decimal("0.02"))
    job = work_on(job)
    (batch,) = upstream.batches.values()
    assert 0 < len(upstream.lines(batch)) < ROWS - SMOKE
    reserved = TeacherBatch.objects.get().reserved_usd
    assert job.spent_usd + reserved <= Decimal("0.02")
    while job.status == Job.Status.QUEUED:
        upstream.end()
        job = work_on(job)
    assert job.spent_usd <= Decimal("0.02")
    if job.status == Job.Status.PAUSED:
        resume_label_job(job, budget_usd=Decimal(1))
        while not (job := work_on(job)).is_final:
            upstream.end()
    assert all_is_labelled(job)


def test_a_waiting_job_can_be_paused_and_its_batch_still_counts(
    upstream: BatchUpstream, job: LabelJob
) -> None:
    job = work_on(job)
    pause_label_job(job)
    upstream.end()
    job.refresh_from_db()
    assert work_on(job).status == Job.Status.PAUSED
    resume_label_job(job)
    assert all_is_labelled(work_on(job))


def test_the_batches_of_a_cancelled_job_are_called_off(
    upstream: BatchUpstream, job: LabelJob
) -> None:
    job = work_on(job)
    end_batches(job)
    assert {batch.status for batch in upstream.batches.values()} == {"cancelling"}


def test_an_endpoint_without_a_batch_api_says_so(
    job: LabelJob, workload: Workload, make_example: MakeExample
) -> None:
    plain = ScriptedUpstream()
    with plain.serve() as base_url:
        save_upstream(workload.project, name="big", base_url=base_url, key="sk-1", prices=PRICES)
        job = work_on(job)
    assert (job.status, job.blame) == (Job.Status.FAILED, Job.Blame.USER)
    assert "no Batch API" in job.error


def test_a_job_that_waits_says_so_to_its_runner(job: LabelJob) -> None:
    def claimed(running: LabelJob) -> None:
        with pytest.raises(JobWaits):
            label_work(running)

    work_on(job, claimed)
