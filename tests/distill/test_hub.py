"""The Hugging Face Hub's protocol, through its own client and a real server."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from pytest_django import DjangoDbBlocker

from distill.services.publish import move_alias
from factory.models import ApiKey
from factory.services.keys import create_key, revoke_key
from factory.services.projects import create_project, create_workload
from tests.distill.published import Site, committed, download_key, running_site, store

REPO = "acme/tickets"
MODEL = "tickets-Q4_K_M.gguf"
Json = list[dict[str, Any]]


pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def site(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    with django_db_blocker.unblock(), running_site(tmp_path_factory.mktemp("storage")) as running:
        yield running


@pytest.fixture
def hub(site: Site) -> HfApi:
    return HfApi(endpoint=site.url, token=site.key)


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_file_downloads_whole_by_alias_number_and_commit(
    hub: HfApi, site: Site, tmp_path: Path
) -> None:
    sha256 = site.file(MODEL).sha256
    for revision in (None, "main", "production", "v1", site.version.commit):
        path = hf_hub_download(
            REPO,
            MODEL,
            revision=revision,
            cache_dir=tmp_path / f"cache-{revision}",
            endpoint=hub.endpoint,
            token=hub.token,
        )
        assert digest(path) == sha256
        assert Path(path).parent.name == site.version.commit


def test_a_snapshot_holds_every_file_and_the_client_verifies_it(
    hub: HfApi, site: Site, tmp_path: Path
) -> None:
    folder = Path(hub.snapshot_download(REPO, cache_dir=tmp_path / "cache"))
    files = {file.path: file.sha256 for file in site.version.files.all()}
    assert {path.name: digest(path) for path in folder.iterdir()} == files
    checked = hub.verify_repo_checksums(REPO, cache_dir=tmp_path / "cache")
    assert checked.checked_count == len(files)
    assert not checked.mismatches


def test_the_client_reads_what_there_is(hub: HfApi, site: Site) -> None:
    names = sorted(file.path for file in site.version.files.all())
    assert sorted(hub.list_repo_files(REPO)) == names
    info = hub.model_info(REPO, files_metadata=True)
    assert (info.id, info.sha, info.private) == (REPO, site.version.commit, True)
    assert info.siblings is not None
    sizes = {sibling.rfilename: sibling.size for sibling in info.siblings}
    assert sizes == {file.path: file.size for file in site.version.files.all()}
    assert hub.file_exists(REPO, MODEL)
    assert not hub.file_exists(REPO, "config.json")
    assert not hub.file_exists(REPO, MODEL, revision="v9")
    assert hub.repo_exists(REPO)
    assert hub.revision_exists(REPO, "v1")
    assert not hub.revision_exists(REPO, "canary")
    found = hub.get_paths_info(REPO, [MODEL, "README.md", "absent"])
    assert sorted(entry.path for entry in found) == ["README.md", MODEL]
    whoami = hub.whoami()
    assert (whoami["type"], whoami["name"]) == ("user", "acme")


def test_aliases_are_branches_and_versions_tags(hub: HfApi, site: Site) -> None:
    stable, canary = committed(site.publish, "refs", seeds=(11, 12))
    committed(move_alias, stable.workload, name="canary", to=canary, expected=None)
    assert hub.list_repo_refs("acme/refs").branches == []
    with pytest.raises(RevisionNotFoundError):
        hub.model_info("acme/refs")
    committed(move_alias, stable.workload, name="production", to=stable, expected=None)
    refs = hub.list_repo_refs("acme/refs")
    assert {branch.name: branch.target_commit for branch in refs.branches} == {
        "main": stable.commit,
        "production": stable.commit,
        "canary": canary.commit,
    }
    assert {tag.name: tag.target_commit for tag in refs.tags} == {
        "v1": stable.commit,
        "v2": canary.commit,
    }


def test_a_download_that_began_stays_with_its_version_when_the_alias_moves(
    hub: HfApi, site: Site, tmp_path: Path
) -> None:
    repo, model = "acme/moving", "moving-Q4_K_M.gguf"
    older, newer = committed(site.publish, "moving", seeds=(21, 22))
    committed(move_alias, older.workload, name="production", to=older, expected=None)
    commit = hub.model_info(repo).sha
    committed(move_alias, older.workload, name="production", to=newer, expected=older)
    path = hub.hf_hub_download(repo, model, revision=commit, cache_dir=tmp_path / "old")
    assert digest(path) == older.files.get(path=model).sha256
    path = hub.hf_hub_download(repo, model, cache_dir=tmp_path / "new")
    assert digest(path) == newer.files.get(path=model).sha256


def test_missing_things_are_told_apart_as_clients_need(hub: HfApi, site: Site) -> None:
    with pytest.raises(RemoteEntryNotFoundError) as missing:
        hub.hf_hub_download(REPO, "config.json")
    assert missing.value.response.headers["X-Repo-Commit"] == site.version.commit
    with pytest.raises(RevisionNotFoundError):
        hub.hf_hub_download(REPO, MODEL, revision="canary")
    with pytest.raises(RepositoryNotFoundError):
        hub.model_info("acme/nothing")


def test_another_projects_model_looks_like_one_that_does_not_exist(site: Site) -> None:
    rival = committed(create_project, slug="rival", name="Rival")
    committed(create_workload, rival, slug="tickets", kind="classification")
    hub = HfApi(endpoint=site.url, token=committed(download_key, rival))
    answers = []
    for repo in (REPO, "acme/nothing", "nobody/nothing"):
        with pytest.raises(RepositoryNotFoundError) as refused:
            hub.model_info(repo)
        response = refused.value.response
        assert response is not None
        answers.append((response.status_code, response.json(), response.headers["X-Error-Code"]))
    assert answers[0][0] == 404
    assert answers[0] == answers[1] == answers[2]


def test_a_revoked_key_and_one_of_another_scope_are_refused(site: Site) -> None:
    revoked = committed(download_key, site.workload.project)
    committed(revoke_key, ApiKey.objects.latest("id"))
    _, capture = committed(create_key, site.workload.project, name="app", scopes=["capture"])
    for key in (revoked, capture, "hf_" + "a" * 40, "é"):
        answer = site.ask(f"/{REPO}/resolve/main/{MODEL}", "HEAD", Authorization=f"Bearer {key}")
        assert answer.status == 401
        assert answer.headers["X-Error-Message"] == "Invalid credentials in Authorization header"
    with pytest.raises(HfHubHTTPError, match="401"):
        HfApi(endpoint=site.url, token=revoked).model_info(REPO)


def test_nobody_downloads_without_a_key(site: Site) -> None:
    with pytest.raises(RepositoryNotFoundError) as refused:
        HfApi(endpoint=site.url, token=False).model_info(REPO)
    assert refused.value.response is not None
    assert refused.value.response.status_code == 401


def test_the_headers_are_those_that_clients_insist_on(site: Site) -> None:
    model, readme = site.file(MODEL), site.file("README.md")
    for kind in ("resolve", "raw"):
        for file, etag in ((model, model.sha256), (readme, readme.git_oid)):
            answer = site.ask(
                f"/{REPO}/{kind}/HEAD/{file.path}", "HEAD", Accept_Encoding="gzip, deflate"
            )
            assert answer.status == 200
            assert answer.read() == b""
            assert answer.headers["ETag"] == answer.headers["X-Linked-ETag"] == f'"{etag}"'
            assert answer.headers["Content-Length"] == str(file.size)
            assert answer.headers["X-Linked-Size"] == str(file.size)
            assert answer.headers["X-Repo-Commit"] == site.version.commit
            assert answer.headers["Accept-Ranges"] == "bytes"
            sent = {name.lower() for name in answer.headers}
            assert not sent & {"x-xet-hash", "link", "location", "content-encoding"}


def test_the_javascript_client_gets_size_and_paths(site: Site) -> None:
    model = site.file(MODEL)
    answer = site.ask(
        f"/{REPO}/resolve/main/{MODEL}",
        Range="bytes=0-0",
        Accept="application/vnd.xet-fileinfo+json, */*",
    )
    assert (answer.status, answer.read()) == (206, b"G")
    assert answer.headers["Content-Range"] == f"bytes 0-0/{model.size}"
    path, body = f"/api/models/{REPO}/paths-info/main", {"paths": [MODEL, "x"], "expand": True}
    answer = site.ask(path, "POST", body=json.dumps(body).encode(), Content_Type="application/json")
    [entry] = json.load(answer)
    assert entry["lfs"] == {"oid": model.sha256, "size": model.size, "pointerSize": 132}
    assert "xetHash" not in entry


def test_llama_cpp_finds_and_resumes_a_file(site: Site) -> None:
    refs = json.load(site.ask(f"/api/models/{REPO}/refs"))
    [commit] = [b["targetCommit"] for b in refs["branches"] if b["name"] == "main"]
    rows: Json = json.load(site.ask(f"/api/models/{REPO}/tree/{commit}?recursive=true"))
    [row] = [row for row in rows if row["path"].endswith("Q4_K_M.gguf")]
    size = row["lfs"]["size"]
    assert site.ask(f"/{REPO}/resolve/{commit}/{row['path']}", "HEAD").status == 200
    rest = site.ask(f"/{REPO}/resolve/{commit}/{row['path']}", Range="bytes=1000000-")
    assert rest.status == 206
    assert rest.headers["Content-Range"] == f"bytes 1000000-{size - 1}/{size}"
    whole = b"".join(store().read(row["lfs"]["oid"]))
    assert rest.read() == whole[1_000_000:]


STRANGE = (
    (f"/api/models/{REPO}/tree/main/additional_chat_templates", "EntryNotFound"),
    (f"/api/models/{REPO}/revision/refs%2Fpr%2F1", "RevisionNotFound"),
    (f"/api/models/{REPO}/nonsense", "RepoNotFound"),
    ("/api/models/acme", "RepoNotFound"),
    ("/api/models/acme/tick%00ets", "RepoNotFound"),
    (f"/{REPO}/resolve/main%00/{MODEL}", "RevisionNotFound"),
    (f"/{REPO}/resolve/main/", "EntryNotFound"),
    (f"/{REPO}/resolve/main/a%00b", "EntryNotFound"),
    (f"/{REPO}/resolve/main/%FF%FE", "EntryNotFound"),
    (f"/{REPO}/resolve/main/..%2f..%2fetc%2fpasswd", "EntryNotFound"),
)


def test_a_strange_address_is_a_plain_404(site: Site) -> None:
    for path, code in STRANGE:
        answer = site.ask(path)
        assert (path, answer.status, answer.headers["X-Error-Code"]) == (path, 404, code)
        assert json.load(answer)["error"]


def test_what_only_reads_takes_no_writes_and_bad_bodies_are_named(site: Site) -> None:
    assert site.ask(f"/{REPO}/resolve/main/{MODEL}", "PUT", body=b"x").status == 405
    assert site.ask(f"/api/models/{REPO}", "DELETE").status == 405
    path = f"/api/models/{REPO}/paths-info/main"
    assert site.ask(path).status == 405
    for body in (b"{", b"[]", b'{"paths": "x"}', b"\xff\xfe"):
        assert site.ask(path, "POST", body=body, Content_Type="application/json").status == 400
    assert site.ask(path, "POST", body=b"\xff\x00%zz").status == 200
    assert site.ask(path, "POST", body=b"x" * 2_000_000).status == 413
