"""The commands of capture and curate, as an operator types them."""

import io
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from factory.models import ApiKey, ImportJob, Project
from factory.selectors import key_for_secret, project_for_user
from factory.services.projects import upstream_key
from tests.factory.test_imports import line

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery staple"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "calls.jsonl"
    path.write_bytes(b"".join(line(n) for n in range(1200)) + b"not json\n")
    return path


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_import_calls_tells_how_far_it_is_and_what_came_of_it(
    project: Project, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("import_calls", log, project="acme")
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        " 90 %  1000 lines",
        "100 %  1201 lines",
        "1201 lines read: 1200 new calls, 0 known, 1 refused",
    ]
    assert said.err.startswith("line 1201: The body is not JSON")
    call_command("import_calls", log, project="acme")
    assert "0 new calls, 1200 known, 1 refused" in capsys.readouterr().out


def test_import_calls_makes_the_project_only_when_told_to(log: Path) -> None:
    with pytest.raises(CommandError, match="there is no project 'new'"):
        call_command("import_calls", log, project="new")
    call_command("import_calls", log, "--create", project="new")
    assert Project.objects.get(slug="new").calls.count() == 1200


def test_import_calls_leaves_it_to_a_worker_when_told_to(
    project: Project, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("import_calls", log, "--no-wait", project="acme")
    job = ImportJob.objects.get()
    assert (job.status, job.file_bytes) == ("queued", log.stat().st_size)
    assert capsys.readouterr().out == f"import {job.pk} waits for a worker\n"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"not json\n"])
def test_import_calls_fails_where_nothing_can_be_read(
    project: Project, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(CommandError, match="no call that can be read"):
        call_command("import_calls", tmp_path / "log", project="acme")


def test_import_calls_names_a_file_that_is_not_there(project: Project, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        call_command("import_calls", tmp_path / "absent", project="acme")


def test_curate_tells_what_became_of_the_calls(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log").write_bytes(b"".join(line(n) for n in range(30)))
    call_command("import_calls", tmp_path / "log", project="acme")
    capsys.readouterr()
    call_command("curate", project="acme", accept=True)
    calls, workload = capsys.readouterr().out.splitlines()
    assert calls == "calls: 30 example"
    assert workload.startswith("route-the-ticket-answer (generation): 30 ")
    call_command("curate", project="acme", accept=True)
    assert capsys.readouterr().out.startswith("calls: none\n")


def test_create_key_prints_a_working_key_alone(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("create_key", project="acme", name="my app", scopes="capture,api")
    said = capsys.readouterr()
    key = key_for_secret(said.out.strip(), ApiKey.Scope.API)
    assert (key.project, key.name, key.scopes) == (project, "my app", ["api", "capture"])
    assert said.out.strip() not in said.err


def test_create_key_knows_its_scopes(project: Project) -> None:
    with pytest.raises(CommandError, match="scopes are some of capture, api, download"):
        call_command("create_key", project="acme", name="my app", scopes="root")


def test_add_user_makes_a_person_who_can_sign_in(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, f"{PASSWORD}\n")
    call_command("add_user", "dora", project="acme", role="lead")
    dora = User.objects.get(username="dora")
    assert dora.check_password(PASSWORD)
    assert (dora.is_staff, dora.is_superuser) == (False, False)
    assert project_for_user(dora, "acme", "lead") == project


def test_add_user_changes_a_known_persons_role_and_asks_nothing(
    project: Project, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "")
    call_command("add_user", "bob", project="acme", role="owner")
    assert project_for_user(bob, "acme", "owner") == project
    bob.refresh_from_db()
    assert bob.check_password(PASSWORD)


@pytest.mark.parametrize("password", ["", "short", "12345678901", "password"])
def test_add_user_refuses_a_weak_password_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    typed(monkeypatch, password)
    with pytest.raises(CommandError, match="password"):
        call_command("add_user", "dora", "--create", project="new")
    assert not User.objects.exists()
    assert not Project.objects.exists()


def test_an_upstream_is_named_and_its_key_is_asked_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "sk-secret\n")
    call_command(
        "add_upstream", "openai", "--default", "--models", "gpt-*", "--price", "gpt-9", "2", "8",
        project="acme", url="http://127.0.0.1:9999/v1/",
    )  # fmt: skip
    upstream = project.upstreams.get()
    assert (upstream.name, upstream.base_url) == ("openai", "http://127.0.0.1:9999/v1")
    assert upstream.prices == {"gpt-9": {"input": 2.0, "output": 8.0}}
    assert (upstream.model_patterns, upstream.is_default) == (["gpt-*"], True)
    assert upstream_key(upstream) == "sk-secret"


def test_an_upstream_on_a_private_address_is_refused(project: Project) -> None:
    with pytest.raises(CommandError):
        call_command("add_upstream", "own", "--no-key", project="acme", url="http://10.0.0.7/v1")
    assert not project.upstreams.exists()


@pytest.mark.parametrize("slug", ["", "Acme", "a/b", "-a", "a" * 49])
def test_a_project_is_made_under_a_name_that_can_be_an_address(log: Path, slug: str) -> None:
    with pytest.raises(CommandError):
        call_command("import_calls", log, "--create", project=slug)
    assert not Project.objects.exists()
