"""Pages of projects, calls, examples and dataset versions, through their addresses."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection
from django.test import Client

from factory.models import (
    ApiKey,
    CapturedCall,
    CurationRun,
    Example,
    ImportJob,
    Membership,
    Project,
    Workload,
)
from factory.selectors import proposals
from factory.services import jobs
from factory.services.curation import curation_work
from factory.services.freeze import freeze
from factory.services.keys import create_key
from factory.services.projects import add_member, save_upstream
from tests.conftest import PASSWORD, MakeCall, MakeExample

pytestmark = pytest.mark.django_db
WORDS = ["late", "parcel", "refund", "again", "broken"]
HOSTILE = "<script>alert('x')</script>"


@pytest.fixture
def alice_at(client: Client, alice: User, project: Project) -> Client:
    client.force_login(alice)
    return client


@pytest.fixture
def bob_at(bob: User, project: Project) -> Client:
    client = Client()
    client.force_login(bob)
    return client


def text(response: Any) -> str:
    return str(response.content.decode())


# --- the site -------------------------------------------------------------------------------------
def test_a_visitor_is_sent_to_sign_in_and_on_to_where_they_wanted(
    client: Client, project: Project
) -> None:
    response = client.get("/acme/")
    assert response.headers["Location"] == "/sign-in/?next=/acme/"
    form = {"username": "alice", "password": PASSWORD, "next": "/acme/"}
    assert client.post("/sign-in/", form).headers["Location"] == "/acme/"
    assert client.get("/acme/").status_code == 200
    client.post("/sign-out/")
    assert client.get("/acme/").status_code == 302


def test_a_wrong_password_is_refused_and_says_so(client: Client, alice: User) -> None:
    response = client.post("/sign-in/", {"username": "alice", "password": "wrong"})
    assert "Please enter a correct username and password" in text(response)


def test_home_lists_only_ones_own_projects(alice_at: Client, carol: User) -> None:
    assert 'href="/acme/"' in text(alice_at.get("/"))
    alice_at.force_login(carol)
    home = text(alice_at.get("/"))
    assert 'href="/acme/"' not in home
    assert "You are in no project yet" in home


def test_only_who_may_makes_projects(alice_at: Client, alice: User) -> None:
    form = {"name": "New", "slug": "new"}
    assert alice_at.post("/-/new/", form).status_code == 403
    alice.user_permissions.add(Permission.objects.get(codename="add_project"))
    assert alice_at.post("/-/new/", form).headers["Location"] == "/new/"
    assert Membership.objects.get(project__slug="new").user == alice


def test_a_project_cannot_hide_behind_an_address_of_the_site(alice_at: Client, alice: User) -> None:
    alice.user_permissions.add(Permission.objects.get(codename="add_project"))
    response = alice_at.post("/-/new/", {"name": "Admin", "slug": "admin"})
    assert response.status_code == 422
    assert "taken by the site itself" in text(response)


def test_health_needs_no_session_and_readiness_tells_of_a_lost_database(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/healthz").content == b"ok\n"
    assert client.get("/readyz").content == b"ok\n"

    def away() -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(connection, "ensure_connection", away)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert client.get("/healthz").status_code == 200


def test_an_error_is_a_page_for_people_and_the_one_json_shape_for_programs(
    alice_at: Client,
) -> None:
    page = alice_at.get("/nowhere/")
    assert page.status_code == 404
    assert "There is no such project, or it is not yours to see." in text(page)
    body = alice_at.get("/nowhere/", headers={"Accept": "application/json"})
    assert body.status_code == 404
    assert body.json() == {
        "error": {
            "message": "There is no such project, or it is not yours to see.",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_found",
            "retryable": False,
        }
    }
    unknown = alice_at.get("/a/b/c/d/e/")
    assert unknown.status_code == 404
    assert "There is no page at this address." in text(unknown)


def test_pages_forbid_foreign_and_inline_scripts_and_frames(alice_at: Client) -> None:
    response = alice_at.get("/acme/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "style=" not in text(response)
    assert response.headers["X-Frame-Options"] == "DENY"


def test_a_post_without_the_csrf_token_is_refused(alice: User, project: Project) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    response = client.post("/acme/-/curate/")
    assert response.status_code == 403
    assert "open too long" in text(response)


# --- a project ------------------------------------------------------------------------------------
def test_the_project_page_counts_without_a_query_per_workload(
    alice_at: Client,
    project: Project,
    workload: Workload,
    make_example: MakeExample,
    django_assert_num_queries: Callable[[int], Any],
) -> None:
    for n in range(3):
        make_example(f"ticket {n}")
        Workload.objects.create(project=project, slug=f"w{n}", kind="generation")
        create_key(project, name=f"key {n}", scopes=["capture"])
    with django_assert_num_queries(13):
        page = text(alice_at.get("/acme/"))
    assert '<td class="n" data-name="examples">3</td>' in page


def test_a_key_is_shown_once_and_works_until_it_is_revoked(
    alice_at: Client, project: Project
) -> None:
    made = alice_at.post("/acme/-/keys/new/", {"name": "ci", "scopes": ["download"]})
    key = ApiKey.objects.get()
    assert key.scopes == ["download"]
    assert f'id="secret">{key.prefix}' in text(made)
    assert "no-store" in made.headers["Cache-Control"]
    raw = text(made).split('id="secret">')[1].split("<")[0]
    assert raw not in text(alice_at.get("/acme/"))
    alice_at.post(f"/acme/-/keys/{key.pk}/revoke/")
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_a_key_without_a_scope_is_a_form_error(alice_at: Client) -> None:
    response = alice_at.post("/acme/-/keys/new/", {"name": "ci"})
    assert response.status_code == 422
    assert "This field is required" in text(response)


def test_an_upstream_on_a_forbidden_address_is_a_form_error_beside_its_field(
    alice_at: Client,
) -> None:
    form = {"name": "inside", "base_url": "http://169.254.169.254/v1", "is_default": "on"}
    response = alice_at.post("/acme/-/upstreams/new/", form)
    assert response.status_code == 422
    assert 'id="id_base_url_error"' in text(response)
    assert "169.254.169.254" in text(response)


def test_an_upstream_keeps_its_other_prices_when_one_is_typed(
    alice_at: Client, project: Project
) -> None:
    prices = {"a": {"input": 1.0, "output": 2.0}}
    save_upstream(project, name="up", base_url="http://127.0.0.1:9999/v1", prices=prices)
    form = {"name": "up", "base_url": "http://127.0.0.1:9999/v1", "priced_model": "b"}
    alice_at.post("/acme/-/upstreams/new/", {**form, "input_usd": "3", "output_usd": "4"})
    assert project.upstreams.get().prices == {**prices, "b": {"input": 3.0, "output": 4.0}}


def test_an_owner_adds_a_member_by_name_and_an_unknown_name_is_a_form_error(
    alice_at: Client, project: Project, carol: User
) -> None:
    form = {"username": "carol", "role": "viewer"}
    assert alice_at.post("/acme/-/members/new/", form).status_code == 302
    assert Membership.objects.get(user=carol).role == "viewer"
    response = alice_at.post("/acme/-/members/new/", {**form, "username": "nobody"})
    assert response.status_code == 422


def test_a_workload_name_that_clients_cannot_use_is_a_form_error(alice_at: Client) -> None:
    form = {"slug": "No Good", "kind": "generation"}
    response = alice_at.post("/acme/-/workloads/new/", form)
    assert response.status_code == 422
    assert "Use lower-case letters and digits" in text(response)


def test_an_uploaded_log_file_becomes_an_import_that_can_be_watched(
    alice_at: Client, project: Project, settings: Any, tmp_path: Any
) -> None:
    settings.STORAGE_URL = tmp_path.as_uri()
    upload = SimpleUploadedFile("calls.jsonl", b'{"id": "1"}\n')
    response = alice_at.post("/acme/-/imports/new/", {"file": upload})
    job = ImportJob.objects.get()
    assert response.headers["Location"] == f"/acme/-/imports/{job.pk}/"
    assert 'hx-trigger="poll from:body"' in text(alice_at.get(f"/acme/-/imports/{job.pk}/live/"))
    alice_at.post(f"/acme/-/imports/{job.pk}/cancel/")
    assert "hx-trigger" not in text(alice_at.get(f"/acme/-/imports/{job.pk}/live/"))
    again = alice_at.post(f"/acme/-/imports/{job.pk}/cancel/")
    assert again.status_code == 409


def test_curating_turns_calls_into_examples(
    alice_at: Client, make_call: MakeCall, project: Project
) -> None:
    def curated() -> str:
        address = alice_at.post("/acme/-/curate/").headers["Location"]
        jobs.run(CurationRun, CurationRun.objects.latest("pk").pk, curation_work)
        return text(alice_at.get(address))

    for n in range(20):
        make_call(f"{WORDS[n // 5]} {WORDS[n % 5]}", "billing" if n % 2 else "delivery")
    assert "of prompts that are no workload yet" in curated()
    group = proposals(project).get()
    assert f"/acme/-/prompts/{group.pk}/accept/" in text(alice_at.get("/acme/"))
    assert "Route the ticket" in text(alice_at.get(f"/acme/-/prompts/{group.pk}/"))
    alice_at.post(f"/acme/-/prompts/{group.pk}/accept/")
    assert "new examples" in curated()
    assert Example.objects.filter(workload__project=project).count() == 20


# --- calls and examples ---------------------------------------------------------------------------
def test_calls_are_paged_to_the_oldest_and_back_without_a_gap(
    alice_at: Client, make_call: MakeCall, django_assert_num_queries: Callable[[int], Any]
) -> None:
    for n in range(120):
        make_call(f"t{n}", minutes=n // 3)  # three calls a minute: the time alone does not order
    seen: list[str] = []
    address = "/acme/-/calls/"
    while address:
        with django_assert_num_queries(5):
            response = alice_at.get(address)
        page = response.context["page"]
        seen += [call.request_id for call in page.rows]
        older = response.content.decode().split('rel="next" href="')
        address = f"/acme/-/calls/{older[1].split(chr(34))[0]}" if len(older) > 1 else ""
    assert len(seen) == len(set(seen)) == 120
    back = alice_at.get("/acme/-/calls/", {"at": page.previous}).context["page"]
    assert [call.request_id for call in back.rows] == seen[50:100]


def test_calls_are_narrowed_by_model_status_and_day(alice_at: Client, make_call: MakeCall) -> None:
    make_call("fine")
    failed = make_call("failed")
    CapturedCall.objects.filter(pk=failed.pk).update(status_code=500, request_model="other")

    def ids(query: dict[str, str]) -> list[str]:
        page = alice_at.get("/acme/-/calls/", query).context["page"]
        return [call.request_id for call in page.rows]

    assert ids({"status": "error"}) == ["req-failed"]
    assert ids({"status": "ok", "model": "gpt-4o"}) == ["req-fine"]
    assert set(ids({"since": "2026-05-01", "until": "2026-05-01"})) == {"req-fine", "req-failed"}
    assert ids({"since": "2026-05-02"}) == []
    assert ids({"until": "2026-04-30"}) == []


@pytest.mark.parametrize("at", ["next~x", "next~x~y", "sideways~1~2", "next~2026-05-01~\x00"])
def test_a_damaged_page_link_is_a_400(alice_at: Client, at: str) -> None:
    assert alice_at.get("/acme/-/calls/", {"at": at}).status_code == 400


def test_a_filter_that_makes_no_sense_narrows_nothing(
    alice_at: Client, make_call: MakeCall
) -> None:
    make_call("fine")
    response = alice_at.get("/acme/-/calls/", {"since": "tomorrow", "status": "?"})
    assert len(response.context["page"].rows) == 1
    assert alice_at.get("/acme/-/calls/", {"model": "a\x00b"}).status_code == 400


def test_one_call_shows_its_turns_and_figures_and_escapes_them(
    alice_at: Client, make_call: MakeCall
) -> None:
    call = make_call(HOSTILE, HOSTILE)
    page = text(alice_at.get(f"/acme/-/calls/{call.pk}/"))
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;") == 3  # title attribute
    assert "40 in, 2 out" in page


def test_a_call_of_another_project_is_not_found(
    alice_at: Client, make_call: MakeCall, carol: User
) -> None:
    call = make_call("secret")
    stranger = Project.objects.create(slug="other", name="Other")
    add_member(stranger, carol, Membership.Role.OWNER)
    alice_at.force_login(carol)
    assert alice_at.get(f"/other/-/calls/{call.pk}/").status_code == 404


def test_examples_are_narrowed_and_listed_in_a_fixed_number_of_queries(
    alice_at: Client, make_example: MakeExample, django_assert_num_queries: Callable[[int], Any]
) -> None:
    for n in range(60):
        make_example(f"t{n}", split="test" if n % 3 == 0 else "train")
    with django_assert_num_queries(6):
        response = alice_at.get("/acme/tickets/examples/", {"split": "test"})
    assert len(response.context["page"].rows) == 20
    assert len(alice_at.get("/acme/tickets/examples/").context["page"].rows) == 50


def test_the_label_set_is_fixed_on_its_page(alice_at: Client, workload: Workload) -> None:
    one = alice_at.post("/acme/tickets/label-set/", {"labels": "only"})
    assert one.status_code == 422
    alice_at.post("/acme/tickets/label-set/", {"labels": "b\r\n\r\n a \r\nb"})
    workload.refresh_from_db()
    assert workload.labels == ["a", "b"]


# --- dataset versions -----------------------------------------------------------------------------
@pytest.fixture
def frozen(
    workload: Workload, make_example: MakeExample, settings: Any, tmp_path: Any
) -> list[Example]:
    settings.STORAGE_URL = tmp_path.as_uri()
    made = [make_example(f"train {n}") for n in range(55)]
    made.append(make_example("validate", "login", split="validation"))
    freeze(workload)
    return made


def test_freezing_without_a_split_says_what_is_missing(
    alice_at: Client, make_example: MakeExample
) -> None:
    make_example("only train")
    response = alice_at.post("/acme/tickets/datasets/freeze/", follow=True)
    assert "Not frozen: no validation rows" in text(response)


def test_a_version_shows_its_counts_and_its_rows(
    alice_at: Client, frozen: list[Example], django_assert_num_queries: Callable[[int], Any]
) -> None:
    with django_assert_num_queries(9):
        page = text(alice_at.get("/acme/tickets/datasets/main/v1/"))
    assert "<dt>train</dt><dd>55</dd>" in page
    assert 'rel="next"' in page
    assert alice_at.post("/acme/tickets/datasets/freeze/").headers["Location"].endswith("/main/v1/")


def test_a_versions_rows_are_streamed_to_reviewers_and_up(
    bob_at: Client, frozen: list[Example], bob: User
) -> None:
    response = bob_at.get("/acme/tickets/datasets/main/v1/rows.jsonl")
    content = b"".join(response)
    assert response.headers["Content-Length"] == str(len(content))
    rows = [json.loads(line) for line in content.splitlines()]
    assert [row["id"] for row in rows] == [example.pk for example in frozen]
    Membership.objects.filter(user=bob).update(role="viewer")
    assert bob_at.get("/acme/tickets/datasets/main/v1/rows.jsonl").status_code == 403
