"""The loop, runs, evaluations and models through their addresses; and who may open what."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from distill.models import Alias, DistillationRun, ModelVersion
from factory.erasure import Sought
from factory.models import (
    CurationRun,
    Delivery,
    ExampleImport,
    FreezeJob,
    Job,
    Membership,
    Webhook,
    Workload,
)
from factory.services.erase import start_erasure
from factory.services.keys import create_key
from tests.browser.world import HOSTILE, World, build, finished_run, make_run

pytestmark = pytest.mark.django_db
BASE = "/acme/tickets"
PUBLIC = {"healthz", "readyz", "sign_in", "sign_out", "home"}
OF_NOBODY = {"new_project"}  # no project's, so no stranger's
POSTS = {
    "join_prompt", "pause_label_job", "resume_label_job", "take_out_prompt",
    "cancel_example_import", "cancel_freeze",
    "cancel_curation",
    "cancel_bulk_accept", "revert_bulk_accept",
    "cancel_import", "cancel_label_job", "cancel_run", "curate", "deal_more", "decide", "freeze",
    "apply_set", "cancel_application", "cancel_insight", "cancel_judge", "delete_set",
    "bring_back_augmentation", "cancel_augmentation", "pause_augmentation",
    "resume_augmentation", "withdraw_augmentation",
    "delete_view", "review_heartbeat", "review_release", "save_view",
    "ping_webhook", "remove_webhook", "send_again",
    "student_set", "undo_application", "undo_step",
    "accept_prompt", "ignore_prompt", "move_alias", "publish", "revoke_key", "roll_back", "undo",
    "confirm_erasure", "new_erasure", "preview_policy", "save_policy", "save_retention",
}  # fmt: skip
# Read and sent to at one address; who may differs.
READ_AND_SENT = {
    "assumptions", "bulk_accept", "curation", "insight", "opportunities", "prompt_report", "report",
}  # fmt: skip
TAKEN_ALONG = {"dataset_export", "dataset_file", "dataset_rows"}  # not by who may only look
FORMS = {
    "adjudicate", "assign_review", "change_teacher",
    "branch_dataset", "curation_recipe", "new_example_import", "new_version",
    "guideline", "label_set", "new_augmentation", "new_committee", "new_import", "new_judge",
    "new_key", "new_label_job", "new_member", "new_run",
    "new_teacher", "new_upstream", "new_webhook", "new_workload", "queue_review",
}  # fmt: skip
OF_OWNERS = {"webhook"}  # an address may hold a secret of its own


@pytest.fixture
def world(workload: Workload, alice: User, settings: Any, tmp_path: Any) -> World:
    settings.STORAGE_URL = (tmp_path / "storage").as_uri()
    settings.JOBS_DIR = tmp_path / "jobs"
    return build(workload, alice)


@pytest.fixture
def alice_at(alice: User, workload: Workload) -> Client:
    client = Client()
    client.force_login(alice)
    return client


def text(response: Any) -> str:
    return str(response.content.decode())


# --- who may open what ----------------------------------------------------------------------------
def routes(patterns: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and the path of every page of ours."""
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if not path.startswith(("admin/", "api/", "v1/")):
                yield from routes(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield pattern.name, path


ROUTES = dict(routes(get_resolver().url_patterns))


def address(name: str, world: World) -> str:
    values = {
        "project": "acme", "workload": "tickets", "call": world.call.pk, "name": "main",
        "key": create_key(world.workload.project, name="k", scopes=["api"])[0].pk,
        "job": job_for(name, world).pk, "path": "README.md", "act": world.act.pk,
        "run": world.run.pk, "evaluation": world.evaluation.pk, "number": 1,
        "accept": world.accept.pk,
        "webhook": delivery_of(world).webhook_id, "delivery": delivery_of(world).pk,
        "erasure": erasure_of(world), "teacher": world.label_job.teacher_id,
        "curate": CurationRun.objects.latest("pk").pk,
        "step": world.workload.curation_steps.latest("pk").pk,
        "group": world.workload.call_groups.values_list("pk", flat=True)[0],
    }  # fmt: skip
    return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda match: str(values[match[1]]), ROUTES[name])


def job_for(name: str, world: World) -> Job:
    if "example_import" in name:
        file: dict[str, Any] = {"filename": "rows.csv", "file_sha256": "a" * 64, "file_bytes": 1}
        return ExampleImport.objects.get_or_create(workload=world.workload, **file)[0]
    if "freeze" in name:
        return FreezeJob.objects.get_or_create(workload=world.workload, name="main", recipe={})[0]
    if "import" in name:
        return world.import_job
    if "augment" in name:
        return world.augmentation
    return world.judge if "judge" in name else world.label_job


def delivery_of(world: World) -> Delivery:
    given: dict[str, Any] = {"url": "http://127.0.0.1:9/in", "events": ["alias.moved"]}
    webhook, _ = Webhook.objects.get_or_create(project=world.workload.project, **given)
    sent = {"webhook": webhook, "event": "alias.moved", "data": {}}
    return Delivery.objects.get_or_create(**sent, defaults={"due_at": timezone.now()})[0]


def erasure_of(world: World) -> int:
    sought = Sought.metadata("user_id", "42")
    project = world.workload.project
    return start_erasure(project, sought, reason="asked to", is_rehearsal=True).pk


def test_every_page_is_known_to_these_tests() -> None:
    pages = set(ROUTES) - PUBLIC - OF_NOBODY - POSTS - FORMS
    assert {"project", "workload", "call", "review", "run", "evaluation", "model"} <= pages
    assert set(ROUTES) >= POSTS | FORMS


def test_a_stranger_finds_nothing_at_any_address(world: World, carol: User) -> None:
    client = Client()
    client.force_login(carol)
    for name in sorted(set(ROUTES) - PUBLIC - OF_NOBODY):
        send = client.post if name in POSTS else client.get
        assert send(address(name, world)).status_code == 404, name


def test_a_visitor_is_sent_to_sign_in_from_every_address(world: World) -> None:
    for name in sorted(set(ROUTES) - PUBLIC):
        response = Client().get(address(name, world))
        assert response.status_code == 302, name
        assert response.headers["Location"].startswith("/sign-in/"), name


def test_a_viewer_sees_every_page_and_changes_nothing(world: World, carol: User) -> None:
    Membership.objects.create(project=world.workload.project, user=carol, role="viewer")
    client = Client()
    client.force_login(carol)
    for name in sorted(POSTS | FORMS | READ_AND_SENT):
        assert client.post(address(name, world)).status_code == 403, name
    assert all(client.get(address(name, world)).status_code == 403 for name in OF_OWNERS)
    pages = set(ROUTES) - PUBLIC - OF_NOBODY - POSTS - FORMS - TAKEN_ALONG - OF_OWNERS
    for name in sorted(pages):
        assert client.get(address(name, world)).status_code == 200, name


def test_what_changes_something_is_not_done_by_looking(world: World, alice_at: Client) -> None:
    for name in sorted(POSTS):
        assert alice_at.get(address(name, world)).status_code == 405, name


def test_no_page_carries_script_or_style_of_its_own_or_lets_hostile_text_through(
    world: World, alice_at: Client
) -> None:
    for name in sorted(set(ROUTES) - {"sign_in", "sign_out"} - POSTS - OF_NOBODY - TAKEN_ALONG):
        page = text(alice_at.get(address(name, world)))
        assert HOSTILE not in page, name
        assert "<img src=x" not in page, name
        assert not re.search(r"\s(style|on\w+)=\"", page), name
        assert not re.search(r"<script(?! src=)", page), name


# --- the loop -------------------------------------------------------------------------------------
def test_the_loop_shows_the_counts_of_every_stage(world: World, alice_at: Client) -> None:
    page = text(alice_at.get(f"{BASE}/"))
    figures = dict(re.findall(r"<span>([^<]+)</span>\s*<b>([^<]+)</b>", page))
    assert figures == {
        "Captured": "121", "Examples": "231", "Labelled": figures["Labelled"],
        "Reviewed": figures["Reviewed"], "Dataset": "v1", "Student": f"run {world.live_run.pk}",
        "Evaluation": figures["Evaluation"], "Version": "v1", "Production": "v1",
        "Your app": "tickets",
    }  # fmt: skip
    reviewed = world.workload.examples.filter(status="reviewed").count()
    assert figures["Reviewed"] == str(reviewed)
    assert 'value="48" max="120"' in page


def test_the_loop_costs_the_same_however_much_there_is(
    world: World, alice_at: Client, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    with django_assert_max_num_queries(20):
        alice_at.get(f"{BASE}/loop/")


def test_a_new_workload_says_how_to_begin(workload: Workload, alice_at: Client) -> None:
    page = text(alice_at.get(f"{BASE}/"))
    assert "No calls yet." in page
    assert 'href="/acme/-/imports/new/"' in page


# --- runs and evaluations -------------------------------------------------------------------------
def test_the_list_of_runs_takes_no_query_per_run(
    world: World,
    alice: User,
    alice_at: Client,
    django_assert_num_queries: Callable[[int], Any],
) -> None:
    def count() -> int:
        with django_assert_num_queries(7):
            return text(alice_at.get(f"{BASE}/runs/")).count('<th scope="row">')

    assert count() == 2
    assert world.run.teacher is not None
    for _ in range(3):
        finished_run(world.workload, world.dataset, world.run.teacher, alice)
    assert count() == 5


def test_a_live_run_draws_its_curve_and_stops_asking_when_it_is_over(
    world: World, alice_at: Client
) -> None:
    live = text(alice_at.get(f"{BASE}/runs/{world.live_run.pk}/live/"))
    assert "<polyline" in live
    assert "training loss 0.6" in live
    assert 'hx-trigger="poll from:body"' in live
    alice_at.post(f"{BASE}/runs/{world.live_run.pk}/cancel/")
    assert "stopping" in text(alice_at.get(f"{BASE}/runs/{world.live_run.pk}/live/"))
    assert "hx-trigger" not in text(alice_at.get(f"{BASE}/runs/{world.run.pk}/live/"))


def test_a_failed_run_says_why_and_what_to_do(world: World, alice_at: Client) -> None:
    DistillationRun.objects.filter(pk=world.live_run.pk).update(
        status="failed", blame="user", error="there is no such base model"
    )
    page = text(alice_at.get(f"{BASE}/runs/{world.live_run.pk}/"))
    assert "there is no such base model" in page
    assert "Change what it names, then start it again." in page
    assert f"{BASE}/runs/new/?version={world.dataset.pk}" in page


def test_a_run_is_started_with_the_typed_parameters_only(world: World, alice_at: Client) -> None:
    form = {"version": world.dataset.pk, "base_model": "Qwen/Qwen2.5-0.5B", "epochs": "2"}
    response = alice_at.post(f"{BASE}/runs/new/", form)
    run = DistillationRun.objects.latest("pk")
    assert response.headers["Location"] == f"{BASE}/runs/{run.pk}/"
    assert (run.spec["train"]["epochs"], run.spec["train"]["lora_r"]) == (2.0, 16)
    wrong = alice_at.post(f"{BASE}/runs/new/", {**form, "base_model": "/no/such/folder"})
    assert wrong.status_code == 422
    assert "/no/such/folder is no base" in text(wrong)


def test_an_evaluation_lists_exactly_the_wrong_answers(world: World, alice_at: Client) -> None:
    page = alice_at.get(f"{BASE}/evaluations/{world.evaluation.pk}/")
    accuracy = world.evaluation.metrics["accuracy"]
    wrong = round((1 - accuracy["value"]) * accuracy["n"])
    assert page.context["page"].wrong_count == wrong
    assert "&lt;img src=x" in text(page)
    assert f"{accuracy['low']:.1%} to {accuracy['high']:.1%}" in text(page)


# --- publishing -----------------------------------------------------------------------------------
def test_a_run_that_passed_is_published_by_one_button(
    world: World, alice: User, alice_at: Client
) -> None:
    assert world.run.teacher is not None
    run = finished_run(world.workload, world.dataset, world.run.teacher, alice)
    response = alice_at.post(f"{BASE}/runs/{run.pk}/publish/")
    assert response.headers["Location"] == f"{BASE}/models/v2/"
    page = text(alice_at.get(f"{BASE}/models/v2/"))
    assert f"hf download acme/tickets {run.workload.slug}-Q" in page
    assert page.count("Copy</button>") == 4
    for file in ModelVersion.objects.get(number=2).files.all():
        assert file.sha256 in page


def test_an_unmeasured_run_is_not_published_and_says_why(world: World, alice_at: Client) -> None:
    run = make_run(world.workload, world.dataset, status="succeeded")
    page = alice_at.post(f"{BASE}/runs/{run.pk}/publish/", follow=True)
    assert "Not published. No GGUF file of this run was" in text(page)


def test_an_alias_is_moved_only_from_where_the_page_showed_it(
    world: World, alice: User, alice_at: Client
) -> None:
    assert world.run.teacher is not None
    run = finished_run(world.workload, world.dataset, world.run.teacher, alice)
    alice_at.post(f"{BASE}/runs/{run.pk}/publish/")
    move = {"name": "production", "to": 2, "expected": 1}
    page = alice_at.post(f"{BASE}/models/move-alias/", move, follow=True)
    assert "production is v2 now" in text(page)
    late = alice_at.post(f"{BASE}/models/move-alias/", {**move, "to": 1}, follow=True)
    assert "Not moved: somebody moved production meanwhile" in text(late)
    assert "Roll back to v1" in text(late)
    back = alice_at.post(f"{BASE}/models/roll-back/", follow=True)
    assert "production is v1 again" in text(back)
    assert Alias.objects.get(name="production").version.number == 1


def test_a_damaged_alias_form_is_a_400(world: World, alice_at: Client) -> None:
    assert alice_at.post(f"{BASE}/models/move-alias/", {"name": "x", "to": "y"}).status_code == 400
