"""What a label job does besides asking: smoke run, pauses, limits, panel, reasons, confidence."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from factory.erasure import Sought
from factory.errors import Conflict, InvalidInput
from factory.models import Example, Job, Workload
from factory.services import jobs
from factory.services.keys import create_key
from labeling.models import Label, LabelJob, PanelRow, RateLimit, ReviewItem, Teacher, TeacherReply
from labeling.services.erase import erase_said, examples_about
from labeling.services.label import (
    change_teacher,
    label_work,
    pause_label_job,
    resume_label_job,
    start_label_job,
)
from labeling.services.limits import SharedLimit
from tests.conftest import MakeExample
from tests.fakes import Reply, ScriptedUpstream, completion
from tests.labeling.conftest import RunJob, work_on

pytestmark = pytest.mark.django_db


def rows(make_example: MakeExample, count: int, target: str = "delivery") -> None:
    for n in range(count):
        make_example(f"about billing {n}", target)


def answers(*texts: str, **fields: Any) -> list[Reply]:
    return [Reply(body=completion(text, **fields)) for text in texts]


# --- the smoke run --------------------------------------------------------------------------------
def test_a_job_whose_first_rows_fail_stops_before_the_rest_and_says_why(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    rows(make_example, 40)
    upstream.script(*answers(*["nonsense"] * 32))
    job = run_job()
    assert job.status == Job.Status.PAUSED
    assert "16 of the first 16 rows" in job.error
    assert "is not one of" in job.error
    assert (job.smoke["failed"], job.smoke["passed"]) == (16, False)
    assert len(upstream.chats) == 32
    assert not Label.objects.exists()
    assert not ReviewItem.objects.exists()


def test_one_bad_row_of_sixteen_is_no_reason_to_stop(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    rows(make_example, 40)
    upstream.script(*answers("nonsense", *['{"answer": "billing"}'] * 15, "nonsense"))
    job = run_job()
    assert job.status == Job.Status.SUCCEEDED
    assert (job.smoke["rows"], job.smoke["failed"], job.smoke["passed"]) == (16, 1, True)
    assert job.labels.count() == 40


def test_a_job_goes_on_nevertheless_and_pays_for_no_answer_again(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    rows(make_example, 40)
    upstream.script(*answers(*["nonsense"] * 32))
    job = run_job()
    resume_label_job(job, nevertheless=True)
    job = work_on(job)
    assert (job.status, job.progress["invalid"], job.progress["accepted"]) == ("succeeded", 16, 24)
    assert len(upstream.chats) == TeacherReply.objects.count() == 32 + 24


def test_the_smoke_run_says_what_the_job_will_cost_and_how_sure_that_is(
    run_job: RunJob, make_example: MakeExample
) -> None:
    for n in range(60):
        make_example("about billing " + "x" * n * 20)
    job = run_job()
    assert job.smoke["low_usd"] < job.smoke["usd"] < job.smoke["high_usd"]
    assert job.smoke["low_usd"] < float(job.spent_usd) < job.smoke["high_usd"]


# --- pause, resume, budget ------------------------------------------------------------------------
def test_a_paused_job_keeps_what_is_on_its_way_and_goes_on_where_it_was(
    upstream: ScriptedUpstream, workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    rows(make_example, 300)
    change_teacher(teacher, in_flight=4)
    job = start_label_job(workload, teacher=teacher, votes=1, budget_usd=Decimal(1))

    def paused(running: LabelJob) -> None:
        pause_label_job(running)
        label_work(running)

    job = work_on(job, paused)
    assert (job.status, job.error) == (Job.Status.PAUSED, "Paused.")
    assert TeacherReply.objects.count() == len(upstream.chats) < 300
    with pytest.raises(Conflict):
        pause_label_job(job)
    resume_label_job(job)
    job = work_on(job)
    assert (job.status, job.labels.count(), len(upstream.chats)) == ("succeeded", 300, 300)


def test_more_money_lets_a_job_at_its_budget_go_on_and_less_than_is_spent_does_not(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    rows(make_example, 120)
    job = run_job(budget_usd=Decimal("0.01"))
    assert job.status == Job.Status.PAUSED
    with pytest.raises(InvalidInput):
        resume_label_job(job, budget_usd=Decimal("0.000001"))
    resume_label_job(job, budget_usd=Decimal(1))
    job = work_on(job)
    assert (job.status, job.labels.count(), len(upstream.chats)) == ("succeeded", 120, 120)


def test_a_paused_job_can_be_cancelled_and_a_cancelled_one_not_resumed(
    run_job: RunJob, make_example: MakeExample
) -> None:
    rows(make_example, 120)
    job = run_job(budget_usd=Decimal("0.01"))
    jobs.cancel(job)
    job.refresh_from_db()
    assert job.status == Job.Status.CANCELLED
    with pytest.raises(Conflict):
        resume_label_job(job)


def test_a_waiting_job_is_paused_at_once(
    workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    job = start_label_job(workload, teacher=teacher, votes=1, budget_usd=Decimal(1))
    pause_label_job(job)
    assert work_on(job).status == Job.Status.PAUSED


# --- limits ---------------------------------------------------------------------------------------
def test_two_workers_share_one_minute(teacher: Teacher) -> None:
    change_teacher(teacher, requests_per_minute=600)
    one, other = SharedLimit(teacher), SharedLimit(teacher)
    waits = []
    for worker in [one, other] * 4:
        worker._requests = 0
        waits.append(worker._take(0))
    # Eight lots of 2.5 requests at 10 a second: the last may begin after 7 lots.
    assert waits[0] <= 0
    assert waits[-1] == pytest.approx(7 * 0.25, abs=0.2)
    assert RateLimit.objects.count() == 1


def test_tokens_are_limited_as_requests_are(teacher: Teacher) -> None:
    change_teacher(teacher, tokens_per_minute=6000)
    limit = SharedLimit(teacher)
    assert limit._take(300) <= 0
    limit._tokens = 0
    assert limit._take(300) == pytest.approx(3, abs=0.2)


def test_an_endpoint_that_wants_a_rest_is_left_alone_by_every_worker(teacher: Teacher) -> None:
    one, other = SharedLimit(teacher), SharedLimit(teacher)
    assert other.closed_for() <= 0
    one.close(60)
    assert 55 < other.closed_for() <= 60
    one.close(1)
    assert other.closed_for() > 55


def test_a_job_keeps_to_the_minute_of_its_teacher(
    workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    rows(make_example, 12)
    change_teacher(teacher, requests_per_minute=600)
    started = time.monotonic()
    job = work_on(start_label_job(workload, teacher=teacher, votes=1, budget_usd=Decimal(1)))
    assert job.status == Job.Status.SUCCEEDED
    assert time.monotonic() - started > 0.9  # 12 requests, 10 a second, the first lot at once


def test_429s_lower_the_room_and_are_shown(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    rows(make_example, 60)
    busy = Reply(429, {"error": {"message": "slow"}}, {"retry-after-ms": "20"})
    upstream.script(*[busy] * 30)
    job = run_job()
    assert job.progress["busy"] == job.progress["retries"] == 30
    assert job.status == Job.Status.SUCCEEDED


# --- terms, reasons, confidence -------------------------------------------------------------------
def test_a_label_carries_the_terms_of_its_teacher_and_who_answered(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample, teacher: Teacher
) -> None:
    make_example("about billing", "login")
    change_teacher(teacher, may_train_on_outputs=False, licence="closed")
    with pytest.raises(InvalidInput, match="terms"):
        run_job()
    upstream.script(Reply(body=completion("billing", model="teacher-xl-2026-11")))
    run_job(applies=False)
    label, example = Label.objects.get(), Example.objects.get()
    assert (label.may_train, label.answered_by) == (False, "teacher-xl-2026-11")
    assert (example.target, example.provenance) == ("login", "teacher")


def test_a_job_beside_the_targets_asks_what_people_answered_too(
    run_job: RunJob, make_example: MakeExample
) -> None:
    make_example("about billing", "login", provenance="relabeled_by_human", status="reviewed")
    run_job(applies=False)
    assert Label.objects.get().output == "billing"
    assert Example.objects.get().target == "login"


def test_reasons_are_asked_for_before_the_answer_and_kept_beside_the_target(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    make_example("about billing", "login")
    said = json.dumps({"rationale": "It is about a bill.", "answer": "billing"})
    upstream.script(*answers(said))
    job = run_job(rationale=True)
    (sent,) = upstream.chats
    schema = sent.json["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == schema["required"] == ["rationale", "answer"]
    assert sent.json["max_tokens"] > 256
    label = Label.objects.get()
    assert (label.output, label.rationale) == ("billing", "It is about a bill.")
    assert Example.objects.get().target == "billing"
    assert job.progress["accepted"] == 1


def test_reasons_go_with_free_text_and_a_cut_off_answer_is_none(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample, workload: Workload
) -> None:
    workload.output_schema = None
    workload.save(update_fields=["output_schema"])
    make_example("hello", "x")
    upstream.script(*answers('{"rationale": "polite', '{"rationale": "polite", "answer": "Hi!"}'))
    run_job(rationale=True)
    label = Label.objects.get()
    assert (label.status, label.output, label.rationale) == ("accepted", "Hi!", "polite")


def test_how_sure_the_teacher_is_comes_from_the_tokens_of_its_answer(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample, teacher: Teacher
) -> None:
    Teacher.objects.update(asks_logprobs=True)
    teacher.refresh_from_db()
    make_example("about billing")
    tokens = [{"token": t, "logprob": p} for t, p in (('{"answer": "', -3.0), ("billing", -0.5))]
    upstream.script(*answers('{"answer": "billing"}', logprobs={"content": tokens}))
    run_job(teacher=teacher)
    assert upstream.chats[0].json["logprobs"] is True
    assert Label.objects.get().probability == pytest.approx(0.6065, abs=1e-3)


def test_reviewed_examples_are_shown_before_the_question(
    upstream: ScriptedUpstream, workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    make_example("about an invoice", "billing", provenance="uploaded", status="reviewed")
    make_example("about billing an invoice", "login")
    job = start_label_job(workload, teacher=teacher, votes=1, budget_usd=Decimal(1), few_shot=2)
    work_on(job)
    (sent,) = upstream.chats
    roles = [message["role"] for message in sent.json["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert sent.json["messages"][1]["content"] == "about an invoice"
    assert json.loads(sent.json["messages"][2]["content"]) == {"answer": "billing"}


# --- the panel ------------------------------------------------------------------------------------
def test_a_teacher_that_changed_behind_its_name_is_noticed(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    rows(make_example, 60)
    first = run_job(panel_rows=30)
    assert PanelRow.objects.count() == 30
    assert (first.panel["agreed"], first.panel["is_first"], first.panel["changed"]) == (
        30,
        True,
        False,
    )
    Example.objects.update(status="captured")
    same = run_job(panel_rows=30)
    assert (same.panel["agreed"], same.panel["changed"]) == (30, False)
    upstream.script(*answers(*['{"answer": "login"}'] * 30, model="teacher-xl"))
    other = run_job(panel_rows=30)
    assert (other.panel["agreed"], other.panel["fell"], other.panel["renamed"]) == (0, True, False)
    assert other.panel["high"] < first.panel["low"]
    assert other.panel["baseline"]["job"] == first.pk


def test_a_teacher_that_names_another_model_is_noticed_though_it_agrees(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    rows(make_example, 40)
    run_job(panel_rows=20)
    said = '{"answer": "billing"}'
    upstream.script(*[Reply(body=completion(said, model="teacher-xl-new"))] * 20)
    job = run_job(panel_rows=20)
    assert (job.panel["fell"], job.panel["renamed"], job.panel["changed"]) == (False, True, True)
    assert job.panel["models"] == ["teacher-xl-new"]


def test_a_panel_is_bought_anew_by_each_job_and_counts_against_its_budget(
    upstream: ScriptedUpstream, run_job: RunJob, make_example: MakeExample
) -> None:
    rows(make_example, 40)
    run_job(panel_rows=20)
    assert len(upstream.chats) == 60
    second = run_job(panel_rows=20)
    assert len(upstream.chats) == 80
    assert second.spent_usd == sum(reply.cost_usd for reply in second.replies.all()) > 0


def test_a_panel_row_goes_with_its_example(
    run_job: RunJob, make_example: MakeExample, workload: Workload
) -> None:
    rows(make_example, 40)
    run_job(panel_rows=20)
    row = PanelRow.objects.earliest("pk")
    asked = row.question["messages"][-1]["content"]
    assert examples_about(workload.project, Sought.text(asked)) == {row.example_id}
    assert erase_said(workload, [row.example_id])["panel rows"] == 1
    assert PanelRow.objects.count() == 19


def test_a_small_job_has_no_panel(run_job: RunJob, make_example: MakeExample) -> None:
    rows(make_example, 40)
    assert run_job().panel == {}


# --- the doors ------------------------------------------------------------------------------------
@pytest.fixture
def key(workload: Workload) -> str:
    return create_key(workload.project, name="k", scopes=["api"])[1]


def api(key: str, path: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    client = Client()
    if body is None:
        return client.get(f"/api/v1{path}", headers=headers)
    return client.post(f"/api/v1{path}", body, content_type="application/json", headers=headers)


def test_teachers_and_jobs_have_an_api(
    key: str, teacher: Teacher, workload: Workload, make_example: MakeExample
) -> None:
    rows(make_example, 120)
    made = api(key, "/teachers", {
        "name": "small", "upstream": "big", "model": "small-1", "input_usd": 1, "output_usd": 2,
        "requests_per_minute": 60, "licence": "Apache-2.0",
    })  # fmt: skip
    assert made.status_code == 200, made.content
    assert {one["name"] for one in api(key, "/teachers").json()} == {"big", "small"}
    job_of = f"/workloads/{workload.slug}/label-jobs"
    asked = {"teacher": "big", "votes": 1, "budget_usd": 0.01}
    both = [
        api(key, f"{job_of}/estimate", {**asked, "mode": mode}).json()["usd"]
        for mode in ("live", "batch")
    ]
    assert both[1] == pytest.approx(both[0] / 2)
    job = api(key, job_of, asked).json()
    work_on(LabelJob.objects.get(pk=job["id"]))
    assert api(key, f"/label-jobs/{job['id']}").json()["status"] == "paused"
    refused = api(key, f"/label-jobs/{job['id']}/pause", {})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    again = api(key, f"/label-jobs/{job['id']}/resume", {"budget_usd": 1})
    assert (again.status_code, again.json()["status"]) == (200, "queued")
    assert work_on(LabelJob.objects.get(pk=job["id"])).status == Job.Status.SUCCEEDED


def test_the_pages_start_pause_and_resume_a_job(
    alice: User, teacher: Teacher, workload: Workload, make_example: MakeExample
) -> None:
    rows(make_example, 120)
    client = Client()
    client.force_login(alice)
    at = f"/{workload.project.slug}/{workload.slug}"
    shown = client.get(f"{at}/label-jobs/estimate/?mode=batch&votes=2")
    assert b"240" in shown.content
    form = {
        "teacher": teacher.pk, "votes": 1, "budget_usd": "0.01", "mode": "live",
        "accept_confidence": 1, "few_shot": 0,
    }  # fmt: skip
    started = client.post(f"{at}/label-jobs/new/", form)
    assert started.status_code == 302, started.content
    job = work_on(LabelJob.objects.get())
    page = client.get(f"{at}/label-jobs/{job.pk}/").content.decode()
    assert "Budget reached" in page
    assert "Resume" in page
    client.post(f"{at}/label-jobs/{job.pk}/resume/", {"budget_usd": "1"})
    client.post(f"{at}/label-jobs/{job.pk}/pause/")
    job.refresh_from_db()
    assert job.status == Job.Status.PAUSED
    client.post(f"{at}/label-jobs/{job.pk}/resume/", {"budget_usd": "1"})
    assert work_on(job).status == Job.Status.SUCCEEDED


def test_a_strangers_click_changes_nothing(
    carol: User, bob: User, teacher: Teacher, workload: Workload
) -> None:
    job = start_label_job(workload, teacher=teacher, votes=1, budget_usd=Decimal(1))
    at = f"/{workload.project.slug}/{workload.slug}"
    for person in (carol, bob):
        client = Client()
        client.force_login(person)
        for path in (f"label-jobs/{job.pk}/pause/", f"teachers/{teacher.pk}/"):
            assert client.post(f"{at}/{path}", {"in_flight": 1}).status_code in {403, 404}
    job.refresh_from_db()
    teacher.refresh_from_db()
    assert (job.status, teacher.in_flight) == (Job.Status.QUEUED, 64)


def test_limits_and_terms_can_be_changed_in_the_browser(
    alice: User, teacher: Teacher, workload: Workload
) -> None:
    client = Client()
    client.force_login(alice)
    at = f"/{workload.project.slug}/{workload.slug}/teachers"
    form = {"in_flight": 7, "requests_per_minute": 90, "batch_price_share": 0.5, "licence": "MIT"}
    assert client.post(f"{at}/{teacher.pk}/", form).status_code == 302
    teacher.refresh_from_db()
    assert (teacher.in_flight, teacher.requests_per_minute) == (7, 90)
    assert (teacher.may_train_on_outputs, teacher.licence) == (False, "MIT")
    new = {
        **form, "name": "other", "upstream": teacher.upstream_id, "model": "m-2", "params": "{}",
        "input_usd": 1.5, "output_usd": 3,
    }  # fmt: skip
    assert client.post(f"{at}/new/", new).status_code == 302
    teacher.upstream.refresh_from_db()
    assert teacher.upstream.prices["m-2"] == {"input": 1.5, "output": 3.0}
    assert client.post(f"{at}/new/", {**new, "name": "x", "output_usd": ""}).status_code == 422


def test_a_command_labels_and_says_what_came_of_it(
    teacher: Teacher, workload: Workload, make_example: MakeExample, capsys: Any
) -> None:
    rows(make_example, 20)
    named = {"project": workload.project.slug, "workload": workload.slug}
    call_command("label", **named, teacher="big", votes=1, estimate=True)
    assert not LabelJob.objects.exists()
    call_command("label", **named, teacher="big", votes=1, budget=Decimal("0.003"))
    job = LabelJob.objects.get()
    assert job.status == Job.Status.PAUSED
    call_command("label", **named, resume=job.pk, budget=Decimal(1))
    said = capsys.readouterr().out
    assert "20 rows, 20 calls of teacher-xl" in said
    assert f"label job {job.pk}: succeeded" in said
    assert Example.objects.filter(target="billing").count() == 20


def test_a_teacher_is_named_from_a_shell(teacher: Teacher) -> None:
    names = ["--project", "acme", "--upstream", "big", "--model", "teacher-xl"]
    limits = ["--price", "1", "2", "--in-flight", "8", "--no-training", "--licence", "Apache-2.0"]
    call_command("add_teacher", "small", *names, *limits, "--params", '{"temperature": 0}')
    made = Teacher.objects.get(name="small")
    assert (made.params, made.in_flight, made.licence) == ({"temperature": 0}, 8, "Apache-2.0")
    assert not made.may_train_on_outputs
    assert made.upstream.prices["teacher-xl"] == {"input": 1.0, "output": 2.0}
    for wrong in ("no JSON", '{"model": "x"}'):
        with pytest.raises(CommandError):
            call_command("add_teacher", "other", *names, "--params", wrong)
