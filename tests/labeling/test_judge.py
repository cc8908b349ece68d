"""Judges: both orders, nothing counted that is not conclusive, and never a model's own answers."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from factory.errors import Conflict
from factory.models import Example, Project, Workload
from factory.services import jobs
from factory.services.projects import save_upstream
from labeling.models import Judging, Label, LabelJob, Teacher, Verdict
from labeling.selectors.judge import judge_summary
from labeling.services.judge import start_judging
from labeling.services.kinds import work_of_kind
from labeling.services.label import create_teacher
from tests.conftest import MakeExample
from tests.fakes import Reply, ScriptedUpstream, completion

pytestmark = pytest.mark.django_db(transaction=True)
BASE = "/acme/tickets"
JUDGE = "judge-xl"


@pytest.fixture
def judge(project: Project, upstream: ScriptedUpstream) -> Teacher:
    prices = {JUDGE: {"input": 1.0, "output": 1.0}}
    address = upstream.base_url  # type: ignore[attr-defined]
    endpoint = save_upstream(project, name="court", base_url=address, key="sk-2", prices=prices)
    return create_teacher(project, name="judge", upstream=endpoint, model=JUDGE, in_flight=1)


def verdicts(*said: str) -> list[Reply]:
    return [
        Reply(body=completion(json.dumps({"reason": "so it is", "verdict": one}), JUDGE))
        for one in said
    ]


def run(job: LabelJob) -> LabelJob:
    jobs.run(LabelJob, job.pk, work_of_kind)
    job.refresh_from_db()
    return job


def start(workload: Workload, judge: Teacher, **options: Any) -> LabelJob:
    return start_judging(workload, teacher=judge, budget_usd=Decimal(1), **options)


def other_set(teacher: Teacher, example: Example, output: str) -> str:
    job = example.workload.label_jobs.create(teacher=teacher, budget_usd=1, status="succeeded")
    Label.objects.create(job=job, example=example, output=output, confidence=1.0, status="accepted")
    return f"job-{job.pk}"


def test_a_preference_counts_only_where_both_orders_agree(
    workload: Workload, judge: Teacher, teacher: Teacher, upstream: ScriptedUpstream,
    make_example: MakeExample,
) -> None:  # fmt: skip
    key = other_set(teacher, make_example("a", "billing", produced="billing"), "delivery")
    upstream.script(*verdicts("A", "B"))
    job = run(start(workload, judge, first="production", second=key))
    assert job.status == "succeeded"
    assert Verdict.objects.get().outcome == "first"
    asked = [chat.json["messages"][-1]["content"] for chat in upstream.chats]
    assert "Answer A:\nbilling\n\nAnswer B:\ndelivery" in asked[0]
    assert "Answer A:\ndelivery\n\nAnswer B:\nbilling" in asked[1]


def test_a_judge_that_takes_whatever_comes_first_is_inconclusive(
    workload: Workload, judge: Teacher, teacher: Teacher, upstream: ScriptedUpstream,
    make_example: MakeExample,
) -> None:  # fmt: skip
    key = other_set(teacher, make_example("a", "billing", produced="billing"), "delivery")
    upstream.script(*verdicts("A", "A"))
    job = run(start(workload, judge, first="production", second=key))
    assert Verdict.objects.get().outcome == "inconclusive"
    summary = judge_summary(job)
    assert summary.score.n == 0
    assert summary.inconclusive.count == 1


@pytest.mark.parametrize("broken", ["no JSON", '{"verdict": "maybe"}', "[]"])
def test_a_broken_verdict_is_inconclusive_and_no_score(
    workload: Workload, judge: Teacher, upstream: ScriptedUpstream, make_example: MakeExample,
    broken: str,
) -> None:  # fmt: skip
    make_example("a", "billing", produced="billing")
    upstream.script(*verdicts("pass"), Reply(body=completion(broken, JUDGE)))
    job = run(start(workload, judge, first="production"))
    assert job.status == "succeeded"
    assert Verdict.objects.get().outcome == "inconclusive"
    assert judge_summary(job).score.value is None


def test_a_refused_question_is_inconclusive_and_the_others_are_judged(
    workload: Workload, judge: Teacher, upstream: ScriptedUpstream, make_example: MakeExample
) -> None:
    make_example("a", "billing", produced="billing")
    make_example("b", "billing", produced="billing")
    refused = Reply(status=400, body={"error": {"message": "too long", "code": None}})
    upstream.script(refused, *verdicts("pass", "pass", "pass"))
    run(start(workload, judge, first="production"))
    assert sorted(Verdict.objects.values_list("outcome", flat=True)) == ["inconclusive", "pass"]


def test_its_agreement_with_people_is_measured(
    workload: Workload, judge: Teacher, upstream: ScriptedUpstream, make_example: MakeExample
) -> None:
    for n in range(3):
        make_example(f"r{n}", "billing", produced="billing", provenance="relabeled_by_human")
    make_example("w", "delivery", produced="billing", provenance="relabeled_by_human")
    upstream.script(*verdicts(*["pass"] * 8))
    job = run(start(workload, judge, first="production", most=8))
    agreement = judge_summary(job).agreement
    assert (agreement.count, agreement.n) == (3, 4)


def test_no_model_judges_its_own_answers_unless_forced(
    workload: Workload, judge: Teacher, teacher: Teacher, make_example: MakeExample
) -> None:
    example = make_example("a", "billing", produced="billing")
    key = other_set(teacher, example, "delivery")
    with pytest.raises(Conflict, match="its own answers"):
        start(workload, teacher, first="production", second=key)
    forced = start(workload, teacher, first="production", second=key, force=True)
    assert Judging.objects.get(job=forced).forced


def test_a_verdict_that_was_paid_for_is_not_bought_again(
    workload: Workload, judge: Teacher, upstream: ScriptedUpstream, make_example: MakeExample
) -> None:
    make_example("a", "billing", produced="billing")
    upstream.script(*verdicts("pass", "pass"))
    run(start(workload, judge, first="production"))
    again = run(start(workload, judge, first="production"))
    assert len(upstream.chats) == 2
    assert Verdict.objects.filter(job=again).get().outcome == "pass"
    assert again.spent_usd == 0


def test_the_budget_pauses_it(
    workload: Workload, judge: Teacher, make_example: MakeExample
) -> None:
    make_example("a", "billing", produced="billing")
    job = start_judging(workload, teacher=judge, first="production", budget_usd=Decimal(0))
    assert run(job).status == "paused"
    assert not Verdict.objects.exists()


def test_the_pages_start_a_judge_and_show_its_verdicts(
    alice: User, workload: Workload, judge: Teacher, upstream: ScriptedUpstream,
    make_example: MakeExample,
) -> None:  # fmt: skip
    make_example("a", "billing", produced="billing", provenance="relabeled_by_human")
    client = Client()
    client.force_login(alice)
    form = {"teacher": judge.pk, "first": "production", "most": 10, "budget_usd": "1"}
    response = client.post(f"{BASE}/judges/new/", form)
    job = LabelJob.objects.get()
    assert response.headers["Location"] == f"{BASE}/judges/{job.pk}/"
    upstream.script(*verdicts("pass", "pass"))
    run(job)
    page = client.get(f"{BASE}/judges/{job.pk}/").content.decode()
    assert "It agrees with people on 100.0%" in page
    assert "so it is" in page
