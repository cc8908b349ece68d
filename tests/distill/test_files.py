"""Plain downloads, through curl, wget and raw requests to a real server."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pytest_django import DjangoDbBlocker

from distill.models import VersionFile
from distill.registry.answers import asked_range
from factory.models import ApiKey
from factory.services.keys import revoke_key
from factory.services.projects import create_project
from tests.distill.published import Site, committed, download_key, running_site, store

MODEL = "tickets-Q4_K_M.gguf"
BASE = "/artifacts/acme/tickets"
FILE = f"{BASE}/main/{MODEL}"


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
def model(site: Site) -> VersionFile:
    return site.file(MODEL)


@pytest.fixture
def content(model: VersionFile) -> bytes:
    return b"".join(store().read(model.sha256))


def resume(site: Site, target: Path) -> subprocess.CompletedProcess[str]:
    command = ["curl", "-sS", "-C", "-", "-o", str(target), "-w", "%{http_code}"]
    command += ["-H", f"Authorization: Bearer {site.key}", f"{site.url}{BASE}/v1/{MODEL}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None), ("bytes=0-", range(10)), ("bytes=3-5", range(3, 6)),
        ("bytes=9-9", range(9, 10)), ("bytes=3-99", range(3, 10)), ("bytes=-4", range(6, 10)),
        ("bytes=-99", range(10)),
        ("Bytes = 3-5", range(3, 6)), ("bytes=5-3", None), ("bytes=-", None), ("bytes=a-b", None),
        ("items=0-5", None), ("bytes=0-1,3-4", None), ("bytes=--4", None), ("bytes=+1-2", None),
        ("bytes=1-2-3", None), ("bytes=٣-", None), (f"bytes={'9' * 5000}-", None),
        ("bytes=10-", range(0)), ("bytes=11-20", range(0)), ("bytes=-0", range(0)),
    ],
)  # fmt: skip
def test_a_range_is_read_as_the_rfc_says(header: str, expected: range | None) -> None:
    assert asked_range(header, 10) == expected


def test_an_empty_file_has_no_ranges() -> None:
    assert asked_range("", 0) is None
    assert asked_range("bytes=0-", 0) == range(0)
    assert asked_range("bytes=-5", 0) == range(0)


def test_curl_resumes_a_cut_download_and_leaves_a_whole_one_alone(
    site: Site, model: VersionFile, content: bytes, tmp_path: Path
) -> None:
    target = tmp_path / "model.gguf"
    assert resume(site, target).stdout == "200"
    assert hashlib.sha256(target.read_bytes()).hexdigest() == model.sha256
    for kept in (1, 1_048_576, model.size - 1):
        target.write_bytes(content[:kept])
        said = resume(site, target)
        assert (said.returncode, said.stdout) == (0, "206")
        assert hashlib.sha256(target.read_bytes()).hexdigest() == model.sha256
    said = resume(site, target)
    assert (said.returncode, said.stdout) == (0, "416")
    assert target.read_bytes() == content


def test_curl_takes_the_key_as_a_password_and_keeps_no_error_as_a_file(
    site: Site, tmp_path: Path
) -> None:
    target = tmp_path / "README.md"
    command = ["curl", "-sSf", "-u", f"anyone:{site.key}", "-o", str(target)]
    subprocess.run([*command, f"{site.url}{BASE}/main/README.md"], check=True, timeout=20)
    assert target.read_text() == site.version.card
    for wrong in ("anyone:wrong", "", ":", "é:é"):
        command[3] = wrong or ":"
        done = subprocess.run([*command, f"{site.url}{FILE}"], check=False, timeout=20)
        assert done.returncode == 22


@pytest.mark.skipif(shutil.which("wget") is None, reason="wget is not installed")
def test_wget_answers_the_challenge_and_continues(
    site: Site, content: bytes, tmp_path: Path
) -> None:
    command = ["wget", "-q", "-c", "--user=me", f"--password={site.key}", f"{site.url}{FILE}"]
    (tmp_path / MODEL).write_bytes(content[:1_000_000])
    for _ in range(2):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=20)
        assert (tmp_path / MODEL).read_bytes() == content


def test_the_cards_own_commands_fetch_and_verify_the_model(
    site: Site, model: VersionFile, tmp_path: Path
) -> None:
    commands = site.version.card.split("```sh")[1].split("# llama.cpp")[0]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HF_HOME": str(tmp_path / "hf")}
    environment |= {"UNDERSTUDY_URL": site.url, "UNDERSTUDY_KEY": site.key}
    by_hub, by_curl = commands.split("# curl")
    for number, script in enumerate((by_hub, f"# curl{by_curl}")):
        folder = tmp_path / str(number)
        folder.mkdir()
        shell = ["bash", "-euc", script]
        said = subprocess.run(
            shell, cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        assert hashlib.sha256((folder / MODEL).read_bytes()).hexdigest() == model.sha256
    assert f"{MODEL}: OK" in said.stdout


def test_each_range_gives_exactly_its_bytes(site: Site, content: bytes) -> None:
    size = len(content)
    for asked, first, stop in (
        ("0-0", 0, 1), (f"{size - 1}-", size - 1, size), ("-5", size - 5, size),
        ("1048575-1048577", 1048575, 1048578), ("5-99999999999", 5, size),
    ):  # fmt: skip
        answer = site.ask(FILE, Range=f"bytes={asked}")
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes {first}-{stop - 1}/{size}"
        assert answer.headers["Content-Length"] == str(stop - first)
        assert answer.read() == content[first:stop]
    for asked in (f"{size}-", f"{size + 7}-", "-0"):
        answer = site.ask(FILE, Range=f"bytes={asked}")
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
        assert answer.read() == b""
    for asked in ("bytes=0-1,5-6", "bytes=5-1", "lines=1-2"):
        answer = site.ask(FILE, Range=asked)
        assert (answer.status, answer.read()) == (200, content)


def test_a_range_of_another_version_of_the_file_is_answered_with_the_whole(
    site: Site, model: VersionFile
) -> None:
    etag = f'"{model.sha256}"'
    assert site.ask(FILE, Range="bytes=5-9", If_Range=etag).status == 206
    for other in ('"other"', f"W/{etag}", "Wed, 21 Oct 2015 07:28:00 GMT"):
        answer = site.ask(FILE, Range="bytes=5-9", If_Range=other)
        assert (answer.status, len(answer.read())) == (200, model.size)


def test_a_copy_that_is_still_good_is_not_sent_again(site: Site, model: VersionFile) -> None:
    etag = f'"{model.sha256}"'
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        for method in ("GET", "HEAD"):
            answer = site.ask(FILE, method=method, If_None_Match=known)
            assert (answer.status, answer.headers["ETag"], answer.read()) == (304, etag, b"")
    assert site.ask(FILE, method="HEAD", If_None_Match='"other"').status == 200


def test_head_tells_what_get_would_without_the_bytes(site: Site, model: VersionFile) -> None:
    answer = site.ask(FILE, method="HEAD", Range="bytes=5-9", Accept_Encoding="gzip")
    assert (answer.status, answer.read()) == (200, b"")
    assert answer.headers["Content-Length"] == str(model.size)
    assert answer.headers["ETag"] == f'"{model.sha256}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{MODEL}"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Encoding"] is None


def test_the_list_names_every_file_with_its_digest(site: Site) -> None:
    told = json.load(site.ask(f"{BASE}/production"))
    assert (told["repository"], told["version"]) == ("acme/tickets", 1)
    assert told["commit"] == site.version.commit
    assert {f["path"]: f["sha256"] for f in told["files"]} == {
        file.path: file.sha256 for file in site.version.files.all()
    }
    readme = next(file for file in told["files"] if file["path"] == "README.md")
    assert site.ask(readme["url"]).read() == site.version.card.encode()


OUTSIDE = (
    "../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd",
    "%252e%252e%252fetc%252fpasswd", "..%5c..%5cetc%5cpasswd", "%c0%ae%c0%ae/etc/passwd",
    "....//....//etc/passwd", "/etc/passwd", "%2fetc%2fpasswd", "README.md%00.gguf",
    "./README.md", "README.md/", "README.md/..", "%F0%9F%92%A5", "README.md%0d%0aX-Bad:1",
)  # fmt: skip


def test_no_spelling_of_a_path_leads_out_of_the_version(site: Site) -> None:
    for path in OUTSIDE:
        answer = site.ask(f"{BASE}/main/{path}")
        assert (path, answer.status) == (path, 404)
        assert json.load(answer)["error"]["code"] == "not_found"


def test_what_is_not_yours_is_not_there(site: Site) -> None:
    rival = committed(create_project, slug="rival", name="Rival")
    stranger = f"Bearer {committed(download_key, rival)}"
    theirs = site.ask(FILE, Authorization=stranger)
    nothing = site.ask("/artifacts/nobody/nothing/main/x", Authorization=stranger)
    assert theirs.status == nothing.status == 404
    assert theirs.read() == nothing.read()
    for path in ("/artifacts/", "/artifacts/acme", f"{BASE}/v9", f"{BASE}/v1%00", BASE):
        assert site.ask(path).status == 404


def test_without_a_live_key_nothing_is_told(site: Site) -> None:
    revoked = committed(download_key, site.workload.project)
    committed(revoke_key, ApiKey.objects.latest("id"))
    for given in ("", "Bearer", "Bearer wrong", f"Bearer {revoked}", "Basic !!!", "Digest x"):
        for path in (f"{BASE}/main/{MODEL}", "/artifacts/nobody/nothing/main/x"):
            answer = site.ask(path, Authorization=given)
            assert answer.status == 401
            assert "Basic realm=" in str(answer.headers["WWW-Authenticate"])
            assert json.load(answer)["error"]["type"] == "authentication_error"


def test_other_methods_are_refused(site: Site) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert site.ask(FILE, method=method).status == 405


def test_a_damaged_file_is_an_error_and_never_garbage(site: Site) -> None:
    model, address = another_model(site, "damaged", 31)
    path = store().path(model.sha256)
    path.write_bytes(path.read_bytes()[:-1])
    for method in ("GET", "HEAD"):
        answer = site.ask(address, method)
        assert answer.status == 503
        assert answer.headers["ETag"] is None
    path.unlink()
    assert json.load(site.ask(address))["error"]["retryable"] is True


def another_model(site: Site, slug: str, seed: int) -> tuple[VersionFile, str]:
    """Publish a model of a workload of its own, for a test that spoils its bytes."""
    [version] = committed(site.publish, slug, seeds=[seed])
    name = f"{slug}-Q4_K_M.gguf"
    return version.files.get(path=name), f"/artifacts/acme/{slug}/v1/{name}"


def make_sparse(model: VersionFile, size: int) -> Path:
    """Make the stored file huge without writing it: only its size is on the disk."""
    path = store().path(model.sha256)
    with path.open("r+b") as file:
        file.truncate(size)
    committed(VersionFile.objects.filter(pk=model.pk).update, size=size)
    return path


def test_a_range_beyond_four_gigabytes_is_served(site: Site) -> None:
    model, address = another_model(site, "large", 32)
    path = make_sparse(model, 5_000_000_000)
    with path.open("r+b") as file:
        file.seek(4_400_000_000)
        file.write(b"far away")
    answer = site.ask(address, Range="bytes=4400000000-4400000007")
    assert (answer.status, answer.read()) == (206, b"far away")
    assert answer.headers["Content-Range"] == "bytes 4400000000-4400000007/5000000000"


def test_a_client_that_leaves_ends_the_reading(site: Site) -> None:
    model, address = another_model(site, "endless", 33)
    make_sparse(model, 1_000_000_000_000)  # reading it all would take minutes
    request = f"GET {address} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {site.key}\r\n\r\n"
    tasks = site.server.server_state.tasks
    with socket.create_connection(("127.0.0.1", urlsplit(site.url).port or 0)) as client:
        client.sendall(request.encode())
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert tasks
    deadline = time.monotonic() + 60
    while tasks and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not tasks
