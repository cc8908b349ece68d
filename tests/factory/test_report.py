"""Suitability reports through their doors: pages, API, the job, and the real logs."""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pydoc_data.topics import topics
from typing import Any

import pytest
from django.conf import settings as given_settings
from django.contrib.auth.models import User
from django.test import Client

from factory.demo.sample import generate
from factory.errors import InvalidInput
from factory.messages import CallRecord
from factory.models import CallGroup, CapturedCall, Membership, Project, SuitabilityReport
from factory.services.capture import record_calls
from factory.services.discover import accept_group, group_calls
from factory.services.imports import import_lines
from factory.services.keys import create_key
from factory.services.projects import add_member, save_upstream
from factory.services.report import (
    Subject,
    assumed_in,
    change_assumptions,
    judged,
    measured_report,
    opportunities,
    prune_reports,
    reports_on,
    start_report,
)
from factory.suitability.report import Report
from factory.tasks import expire_calls, run_report
from tests.conftest import make_user

pytestmark = pytest.mark.django_db
DATA = given_settings.BASE_DIR.parent / "shared" / "data"
START = datetime(2026, 10, 1, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script>"


def record_tickets(project: Project, count: int, *, days: float, model: str = "gpt-4o") -> None:
    """Record tickets of the demo's own app, answered rightly, spread evenly over some days."""
    between = timedelta(days=days) / count
    record_calls(
        project,
        [
            record(f"t{at}", START + at * between, call.request, call.gold)
            for at, call in enumerate(generate(count, seed=3, model=model))
        ],
        CapturedCall.Source.GATEWAY,
    )
    group_calls(project)


def record(
    request_id: str, moment: datetime, request: dict[str, Any], answer: str, **fields: Any
) -> CallRecord:
    prompt = sum(len(turn["content"]) for turn in request["messages"]) // 4
    usage = {"prompt_tokens": prompt, "completion_tokens": max(1, len(answer) // 4)}
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}}
    response = {
        "model": request["model"],
        "choices": [{**choice, "finish_reason": "stop"}],
        "usage": usage,
    }
    kept = CallRecord(
        request_id=request_id, created_at=moment, request=request, response=response,
        status_code=200, latency_ms=640,
    )  # fmt: skip
    return replace(kept, **fields)


def largest(project: Project) -> CallGroup:
    return project.call_groups.order_by("-call_count")[0]


def measure(subject: Subject) -> Report:
    """Ask for a report, let the worker do it, and judge by what it stored."""
    job = start_report(subject)
    run_report(job.pk)
    job.refresh_from_db()
    assert job.status == job.Status.SUCCEEDED, job.error
    report = judged(measured_report(subject), assumed_in(subject.project))
    assert report is not None
    return report


def text(response: Any) -> str:
    return str(response.content.decode())


@pytest.fixture(autouse=True)
def long_lease(settings: Any) -> None:
    """Let no heartbeat fall due: its own connection does not see a test's open transaction."""
    settings.JOB_LEASE_SECONDS = 3600


@pytest.fixture
def alice_at(client: Client, alice: User) -> Client:
    client.force_login(alice)
    return client


# --- what is measured and counted -----------------------------------------------------------------
def test_a_prompt_is_measured_before_it_is_a_workload(project: Project) -> None:
    record_tickets(project, 400, days=20)
    report = measure(largest(project))
    profile, traffic = report.case.profile, report.case.traffic
    assert report.case.tier.number == 1
    assert profile.answers.kind == "classification"
    assert profile.linear is not None
    assert (profile.linear.accuracy.value or 0) > (profile.linear.majority.value or 1)
    assert traffic.daily_calls == pytest.approx(20, rel=0.02)
    assert profile.privacy.level != "nothing found"
    assert profile.consistency.near.n > 0


def test_the_spend_is_what_the_calls_cost_by_the_catalogue(project: Project) -> None:
    record_tickets(project, 200, days=20)
    costs = [c.cost_usd for c in CapturedCall.objects.filter(group=largest(project))]
    assert None not in costs
    traffic = measure(largest(project)).case.traffic
    assert traffic.usd == pytest.approx(float(sum(filter(None, costs))))
    assert (traffic.priced_share, traffic.priced_token_share) == (1.0, 1.0)


def test_without_a_price_the_answer_is_to_wait_and_says_what_is_missing(project: Project) -> None:
    record_tickets(project, 400, days=20, model="house-model")
    report = measure(largest(project))
    assert report.case.forecast is None
    assert report.case.traffic.priced_share == 0
    assert report.verdict.decision == "wait"
    assert "No price is known" in " ".join(report.verdict.cons)
    assert "price of the model" in " ".join(report.verdict.changes)


def test_a_price_that_is_entered_later_holds_for_what_was_counted_before(project: Project) -> None:
    record_tickets(project, 100, days=20, model="house-model")
    save_upstream(
        project, name="house", base_url="http://127.0.0.1:9999/v1", key="k", is_default=True,
        prices={"house-model": {"input": 1000, "output": 0}},
    )  # fmt: skip
    traffic = measure(largest(project)).case.traffic
    tokens = sum(c.prompt_tokens or 0 for c in CapturedCall.objects.filter(group=largest(project)))
    assert traffic.usd == pytest.approx(tokens * 1000 / 1_000_000)


def test_a_workload_is_measured_over_all_its_prompts(project: Project) -> None:
    record_tickets(project, 300, days=20)
    workload = accept_group(largest(project))
    report = measure(workload)
    assert report.facts.calls == largest(project).call_count
    assert report.case.profile.sampled == workload.call_groups.get().calls.count()


def test_a_prompt_without_an_answered_call_fails_with_the_reason(project: Project) -> None:
    group = CallGroup.objects.create(
        project=project, signature="empty", skeleton={}, first_seen=START, last_seen=START
    )
    job = start_report(group)
    run_report(job.pk)
    job.refresh_from_db()
    assert (job.status, job.blame) == ("failed", "user")
    assert "no answered call" in job.error


def test_asking_twice_measures_once(project: Project) -> None:
    record_tickets(project, 40, days=1)
    group = largest(project)
    assert start_report(group) == start_report(group)


def test_a_report_holds_no_text_of_the_calls(project: Project) -> None:
    record_tickets(project, 200, days=20)
    group = largest(project)
    measure(group)
    stored = json.dumps(SuitabilityReport.objects.get().facts)
    questions = [call.question for call in group.calls.select_related("payload")]
    assert not [asked for asked in questions if asked in stored]


def test_changed_assumptions_change_the_answer_without_another_measurement(
    project: Project,
) -> None:
    record_tickets(project, 400, days=20)
    before = measure(largest(project))
    change_assumptions(project, {**assumed_in(project), "machine_share": 0.0, "setup_hours": 0.0})
    after = judged(measured_report(largest(project)), assumed_in(project))
    assert after is not None
    assert after.case.plan.fixed_usd < before.case.plan.fixed_usd
    assert SuitabilityReport.objects.count() == 1


def test_an_assumption_that_cannot_be_meant_is_refused(project: Project) -> None:
    with pytest.raises(InvalidInput) as caught:
        change_assumptions(project, {"agreement": 1.5})
    assert caught.value.param == "agreement"


def test_the_ranking_puts_what_pays_before_what_does_not(project: Project) -> None:
    record_tickets(project, 60, days=20)
    record_chat(project, 120)
    for group in project.call_groups.filter(call_count__gte=20):
        measure(group)
    ranked = [found for found in opportunities(project) if found.report]
    decisions = [found.report.verdict.decision for found in ranked if found.report]
    assert decisions == sorted(decisions, key=["go", "wait", "do not"].index)
    assert "do not" in decisions


# --- the pages ------------------------------------------------------------------------------------
def test_the_page_says_the_answer_and_what_it_rests_on(alice_at: Client, project: Project) -> None:
    record_tickets(project, 200, days=20)
    group = largest(project)
    page = f"/acme/-/prompts/{group.pk}/report/"
    assert "Not measured yet" in text(alice_at.get(page))
    assert alice_at.post(page).status_code == 302
    run_report(SuitabilityReport.objects.get().pk)
    shown = text(alice_at.get(page))
    assert "What would change the answer" in shown
    assert "genai-prices" in shown
    assert shown.count("<svg") == shown.count('role="img"') + shown.count('svg aria-hidden="true"')


def test_a_workloads_page_and_the_ranking_show_it(alice_at: Client, project: Project) -> None:
    record_tickets(project, 200, days=20)
    workload = accept_group(largest(project))
    measure(workload)
    assert "What would change the answer" in text(alice_at.get(f"/acme/{workload.slug}/report/"))
    assert f"/acme/{workload.slug}/report/" in text(alice_at.get("/acme/-/opportunities/"))


def test_the_ranking_measures_what_is_left(alice_at: Client, project: Project) -> None:
    record_tickets(project, 60, days=2)
    assert "not measured" in text(alice_at.get("/acme/-/opportunities/"))
    alice_at.post("/acme/-/opportunities/")
    assert SuitabilityReport.objects.filter(status="queued").exists()


def test_the_live_part_reloads_the_page_once_it_is_over(alice_at: Client, project: Project) -> None:
    record_tickets(project, 60, days=2)
    group = largest(project)
    job = start_report(group)
    live = f"/acme/-/prompts/{group.pk}/report/live/"
    assert "HX-Refresh" not in alice_at.get(live).headers
    run_report(job.pk)
    assert alice_at.get(live).headers["HX-Refresh"] == "true"


def test_the_assumptions_are_changed_on_their_page(alice_at: Client, project: Project) -> None:
    page = "/acme/-/assumptions/"
    assert "Why" in text(alice_at.get(page))
    values = assumed_in(project)
    assert alice_at.post(page, {**values, "votes": 3}).status_code == 302
    assert assumed_in(project)["votes"] == 3
    refused = alice_at.post(page, {**values, "agreement": 7})
    assert refused.status_code == 422


def test_a_hostile_label_is_shown_as_text(alice_at: Client, project: Project) -> None:
    answers = [HOSTILE, "billing"]
    record_calls(
        project,
        [
            record(f"h{at}", START + timedelta(hours=at), call.request, answers[at % 2])
            for at, call in enumerate(generate(80, seed=5))
        ],
        CapturedCall.Source.GATEWAY,
    )
    group_calls(project)
    measure(largest(project))
    shown = text(alice_at.get(f"/acme/-/prompts/{largest(project).pk}/report/"))
    assert HOSTILE not in shown
    assert "&lt;script&gt;" in shown


@pytest.mark.parametrize("address", ["prompts/{}/report/", "opportunities/", "assumptions/"])
def test_a_stranger_sees_none_of_it_and_a_viewer_changes_none(
    client: Client, project: Project, carol: User, address: str
) -> None:
    record_tickets(project, 40, days=1)
    page = "/acme/-/" + address.format(largest(project).pk)
    client.force_login(carol)
    assert client.get(page).status_code == 404
    viewer = make_user("vera")
    add_member(project, viewer, Membership.Role.VIEWER)
    client.force_login(viewer)
    assert client.get(page).status_code == 200
    assert client.post(page).status_code == 403


# --- the API --------------------------------------------------------------------------------------
def test_the_api_measures_answers_and_ranks(client: Client, project: Project) -> None:
    record_tickets(project, 200, days=20)
    group = largest(project)
    _, raw = create_key(project, name="k", scopes=["api"])
    send = {"headers": {"Authorization": f"Bearer {raw}"}}
    base = f"/api/v1/prompts/{group.pk}/report"
    assert client.get(base, **send).status_code == 404  # type: ignore[arg-type]
    job = client.post(base, **send).json()  # type: ignore[arg-type]
    assert job["status"] == "queued"
    run_report(job["id"])
    got = client.get(base, **send).json()  # type: ignore[arg-type]
    assert got["decision"] in {"go", "wait", "do not"}
    assert got["tier"] == 1
    assert got["priced_share"] == 1.0
    ranked = client.get("/api/v1/opportunities", **send).json()  # type: ignore[arg-type]
    assert ranked[0]["prompt"] == group.pk
    assert ranked[0]["decision"] == got["decision"]


# --- what it says of real traffic -----------------------------------------------------------------
def record_chat(project: Project, count: int) -> None:
    """Record a free chat: people ask anything, without an instruction, and get passages back."""
    rng = random.Random(11)
    passages = [" ".join(block.split()) for t in topics.values() for block in t.split("\n\n")]
    passages = sorted({p for p in passages if len(p.split()) > 20})
    sentences = [s for p in passages for s in p.split(". ") if 5 <= len(s.split()) <= 25]
    record_calls(
        project,
        [
            record(
                f"c{at}",
                START + timedelta(hours=at),
                {
                    "model": "gpt-4o",
                    "messages": [{"role": "user", "content": rng.choice(sentences)}],
                },
                rng.choice(passages),
            )
            for at in range(count)
        ],
        CapturedCall.Source.GATEWAY,
    )
    group_calls(project)


def test_free_chat_is_open_ended_and_not_to_be_distilled(project: Project) -> None:
    record_chat(project, 300)
    report = measure(largest(project))
    assert report.case.tier.number == 4
    assert report.verdict.decision == "do not"
    assert report.verdict.cons
    assert "narrower job" in " ".join(report.verdict.changes)


def real(project: Project, name: str) -> Report:
    path = DATA / name / "calls.jsonl"
    if not path.exists():
        pytest.skip("needs real data in ../shared/data, beside the project")
    import_lines(project, path.read_bytes().splitlines(keepends=True))
    group_calls(project)
    return measure(largest(project))


@pytest.mark.django_db(transaction=True)  # the lease is kept on a connection of its own
def test_real_ticket_routing_is_tier_1_and_go_or_wait_with_reasons(project: Project) -> None:
    report = real(project, "ticket_routing")
    profile = report.case.profile
    assert report.case.tier.number == 1
    assert report.verdict.decision in {"go", "wait"}
    assert report.verdict.pros
    assert report.verdict.changes
    assert profile.linear is not None
    assert 0.85 < (profile.linear.accuracy.value or 0) < 0.95
    assert profile.answers.label_count == 9
    assert report.case.traffic.priced_share == 1.0


@pytest.mark.django_db(transaction=True)  # the lease is kept on a connection of its own
def test_real_voice_commands_are_tier_1_field_by_field(project: Project) -> None:
    report = real(project, "voice_extraction")
    intent = next(f for f in report.case.profile.answers.fields if f.path == "intent")
    assert report.case.tier.number == 1
    assert report.verdict.decision in {"go", "wait"}
    assert intent.linear is not None
    assert intent.values == "closed"
    assert (intent.linear.value or 0) > 0.9
    assert report.case.profile.linear is None


def test_old_reports_go_by_night_and_what_the_pages_show_stays(project: Project) -> None:
    record_tickets(project, 60, days=3)
    prompt = largest(project)
    workload = accept_group(prompt, slug="tickets")
    run_report(start_report(workload).pk)
    shown = measured_report(workload)
    for subject in (prompt, workload):
        for _ in range(12):
            made = start_report(subject)
            SuitabilityReport.objects.filter(pk=made.pk).update(status="failed")
    newest = {subject: list(reports_on(subject)[:10]) for subject in (prompt, workload)}
    expire_calls()
    assert list(reports_on(prompt)) == newest[prompt]
    assert list(reports_on(workload)) == [*newest[workload], shown]
    assert measured_report(workload) == shown
    assert prune_reports() == 0


def test_an_administrator_sees_the_reports(project: Project, client: Client) -> None:
    record_tickets(project, 60, days=3)
    run_report(start_report(largest(project)).pk)
    client.force_login(User.objects.create_superuser("root"))
    page = client.get("/admin/factory/suitabilityreport/").content.decode()
    assert "1 suitability report" in page
