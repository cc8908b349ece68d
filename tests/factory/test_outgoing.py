"""What a user types as an address must not reach what is behind the operator's wall."""

import asyncio
import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from factory.errors import InvalidInput, UpstreamFailed
from factory.outgoing import check_url, is_public, open_session

PUBLIC = "93.184.215.14"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A fake name server, for none can be asked here; each lookup of a name takes one answer."""
    table: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: Any, *args: Any, **kwargs: Any) -> Any:
        answers = table.get(host)
        if answers is None:
            return real(host, port, *args, **kwargs)
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        return real(address, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return table


class Web(http.server.BaseHTTPRequestHandler):
    """A web server on a private address; `/away` redirects."""

    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        self.send_response(302 if self.path == "/away" else 200)
        self.send_header("Location", "/secret")
        self.send_header("Set-Cookie", "a=b")
        self.end_headers()
        self.wfile.write(b"inside")

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[http.server.HTTPServer]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Web)
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def get(url: str, private_hosts: tuple[str, ...] = ()) -> bytes:
    async def ask() -> bytes:
        session = open_session(private_hosts, timeout_seconds=5)
        async with session, session.get(url) as answer:
            return await answer.read()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/v1",
        "http://127.1/v1",
        "http://0/v1",
        "http://0.0.0.0/v1",
        "http://2130706433/v1",
        "http://0x7f.1/v1",
        "http://0177.0.0.1/v1",
        "http://localhost/v1",
        "http://localhost./v1",
        "http://[::1]/v1",
        "http://[::]/v1",
        "http://[::ffff:127.0.0.1]/v1",
        "http://[::ffff:169.254.169.254]/v1",
        "http://[::127.0.0.1]/v1",
        "http://[64:ff9b::a9fe:a9fe]/v1",
        "http://[2002:7f00:1::]/v1",
        "http://[fd00::1]/v1",
        "http://[fe80::1]/v1",
        "http://[fec0::1]/v1",
        "http://[ff02::1]/v1",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/v1",
        "http://172.16.0.1/v1",
        "http://192.168.1.1/v1",
        "http://100.64.0.1/v1",
        "http://192.0.0.8/v1",
        "http://224.0.0.1/v1",
        "http://255.255.255.255/v1",
        "https://user@93.184.215.14/v1",
        "https://user:secret@93.184.215.14/v1",
        "https://93.184.215.14/v1#fragment",
        "https://93.184.215.14:22/v1",
        "https://93.184.215.14:0/v1",
        "https://93.184.215.14:99999/v1",
        "https://93.184.215.14:http/v1",
        "https://[::1/v1",
        "https:///v1",
        "file:///etc/passwd",
        "gopher://93.184.215.14/",
        "ftp://93.184.215.14/",
        "//93.184.215.14/v1",
        "93.184.215.14/v1",
        "",
        "https://no-such-host.invalid/v1",
        "https://" + "a" * 70 + ".example/v1",
    ],
)
def test_an_address_that_could_reach_inside_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_url(url, [])
    assert caught.value.param == "base_url"


@pytest.mark.parametrize(
    "url",
    ["https://93.184.215.14/v1", "http://93.184.215.14:8000/v1", "https://[2606:4700::1111]/v1"],
)
def test_a_public_address_is_taken(url: str) -> None:
    check_url(url, [])


def test_a_private_host_is_taken_where_the_operator_named_it() -> None:
    check_url("http://127.0.0.1:8080/v1", ["127.0.0.1"])
    check_url("http://VLLM.internal:8000/v1", ["vllm.internal"])
    with pytest.raises(InvalidInput):
        check_url("http://127.0.0.2:8080/v1", ["127.0.0.1"])
    with pytest.raises(InvalidInput):
        check_url("file://127.0.0.1/etc/passwd", ["127.0.0.1"])


def test_a_name_with_one_private_address_among_public_ones_is_refused(
    names: dict[str, list[str]],
) -> None:
    names["api.example"] = [PUBLIC]
    check_url("https://api.example/v1", [])
    names["api.example"] = ["10.0.0.7"]
    with pytest.raises(InvalidInput):
        check_url("https://api.example/v1", [])


def test_what_is_public() -> None:
    assert is_public(PUBLIC)
    assert is_public("2606:4700:4700::1111")
    assert not is_public("fe80::1%eth0")


def test_a_private_address_is_not_connected_to_unless_named(web: http.server.HTTPServer) -> None:
    url = f"http://127.0.0.1:{web.server_port}/secret"
    with pytest.raises(UpstreamFailed):
        get(url)
    assert web.seen == []  # type: ignore[attr-defined]
    assert get(url, ("127.0.0.1",)) == b"inside"


def test_a_name_that_changes_its_mind_after_the_check_gains_nothing(
    web: http.server.HTTPServer, names: dict[str, list[str]]
) -> None:
    names["rebinding.example"] = [PUBLIC, "127.0.0.1"]
    url = f"http://rebinding.example:{web.server_port}/secret"
    check_url(url, [])
    with pytest.raises(UpstreamFailed):
        get(url)
    assert web.seen == []  # type: ignore[attr-defined]


def test_an_address_in_disguise_is_not_connected_to() -> None:
    for host in ("2130706433", "127.1", "[::ffff:127.0.0.1]"):
        with pytest.raises((UpstreamFailed, aiohttp.InvalidURL)):
            get(f"http://{host}:9/")


def test_a_redirect_is_not_followed(web: http.server.HTTPServer) -> None:
    with pytest.raises(UpstreamFailed):
        get(f"http://127.0.0.1:{web.server_port}/away", ("127.0.0.1",))
    assert web.seen == ["/away"]  # type: ignore[attr-defined]


def test_cookies_and_proxies_of_the_environment_are_left_alone(
    web: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async def ask_twice() -> int:
        async with open_session(["127.0.0.1"], timeout_seconds=5) as session:
            for _ in range(2):
                async with session.get(f"http://127.0.0.1:{web.server_port}/") as answer:
                    assert answer.status == 200
            return len(session.cookie_jar)

    assert asyncio.run(ask_twice()) == 0
