"""The gateway's HTTP client against real sockets: what servers send, and what they should not."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from distill import wire
from distill.wire import HIGH_WATER, MAX_HEAD_BYTES, Answer, Client, ConnectionBroken, split_url
from factory.errors import UpstreamFailed

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PUBLIC = "93.184.215.14"
OK = b"HTTP/1.1 200 OK\r\n"
HEADERS = {"accept": "*/*", "content-type": "application/json"}


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    _, found, length = head.lower().partition(b"content-length: ")
    return head + (await reader.readexactly(int(length.split()[0])) if found else b"")


class Server:
    """Sends scripted bytes, one entry for each request, and counts its connections."""

    def __init__(self, *replies: bytes, keeps: bool = True) -> None:
        self.replies, self.keeps = list(replies), keeps
        self.requests: list[bytes] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.replies:
                self.requests.append(await read_request(reader))
                writer.write(self.replies.pop(0))
                await writer.drain()
                if not self.keeps:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def run(
    handler: Handler, work: Callable[[Client, str], Coroutine[Any, Any, Any]], **options: Any
) -> Any:
    """Serve on a free port and do the work against it, with a client that may call it."""

    async def main() -> Any:
        server = await asyncio.start_server(handler, "127.0.0.1", 0, **options)
        client = Client(["127.0.0.1", "localhost"], connect_seconds=5)
        port = server.sockets[0].getsockname()[1]
        try:
            async with asyncio.timeout(20):
                return await work(client, f"127.0.0.1:{port}")
        finally:
            client.close()
            server.close()

    return asyncio.run(main())


async def whole(answer: Answer) -> bytes:
    parts = []
    while piece := await answer.read():
        parts.append(piece)
    answer.close()
    return b"".join(parts)


async def get(client: Client, host: str) -> tuple[int, bytes]:
    answer = await client.ask("GET", f"http://{host}/v1/models", HEADERS)
    return answer.status, await whole(answer)


def test_a_request_goes_out_as_given_and_its_connection_is_kept() -> None:
    server = Server(*[OK + b"X-A: 1\r\nContent-Length: 2\r\n\r\nhi"] * 3)

    async def work(client: Client, host: str) -> None:
        for _ in range(3):
            answer = await client.ask("POST", f"http://{host}/v1/a%2Fb?q=ü", HEADERS, b"{}")
            assert (answer.status, answer.header(b"x-a")) == (200, "1")
            assert await whole(answer) == b"hi"
        assert (
            server.requests[0]
            == (
                f"POST /v1/a%2Fb?q=%C3%BC HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\n"
                "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
            ).encode()
        )

    run(server, work)
    assert (len(server.requests), server.connections) == (3, 1)


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", b"hello"),
        (OK + b"\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK + b"content-length: 1\r\n\r\na", b"a"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
    ids=["chunked", "until the end", "HTTP/1.0", "interim", "empty"],
)
def test_each_way_to_end_an_answer_is_understood(reply: bytes, body: bytes) -> None:
    status, said = run(Server(reply, keeps=False), get)
    assert (status in {200, 204}, said) == (True, body)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-len",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        OK + b"x: " + b"a" * 2 * MAX_HEAD_BYTES,
    ],
    ids=["nothing", "no HTTP", "cut head", "upgrade", "endless head"],
)
def test_what_is_no_answer_is_an_error(reply: bytes) -> None:
    with pytest.raises(ConnectionBroken):
        run(Server(reply, keeps=False), get)


@pytest.mark.parametrize(
    "reply",
    [
        OK + b"content-length: 9\r\n\r\nhalf",
        OK + b"transfer-encoding: chunked\r\n\r\n9\r\nhalf",
        OK + b"transfer-encoding: chunked\r\n\r\nnonsense\r\n",
    ],
)
def test_an_answer_cut_short_does_not_look_whole(reply: bytes) -> None:
    with pytest.raises(ConnectionBroken):
        run(Server(reply, keeps=False), get)


@pytest.mark.parametrize(
    "reply",
    [
        OK + b"connection: close\r\ncontent-length: 1\r\n\r\na",
        OK + b"content-length: 1\r\n\r\na" + OK + b"content-length: 4\r\n\r\nevil",
        OK + b"content-length: 1\r\n\r\nagarbage",
    ],
    ids=["asked to close", "a second answer", "garbage behind it"],
)
def test_a_connection_that_cannot_be_trusted_is_not_used_again(reply: bytes) -> None:
    server = Server(reply, reply)

    async def twice(client: Client, host: str) -> list[tuple[int, bytes]]:
        return [await get(client, host), await get(client, host)]

    assert run(server, twice) == [(200, b"a"), (200, b"a")]
    assert server.connections == 2


def test_an_answer_left_unread_takes_its_connection_along() -> None:
    server = Server(OK + b"content-length: 99\r\n\r\nhalf", OK + b"content-length: 1\r\n\r\nb")

    async def leave(client: Client, host: str) -> bytes:
        answer = await client.ask("GET", f"http://{host}/", HEADERS)
        assert await answer.read() == b"half"
        answer.close()
        return (await get(client, host))[1]

    assert run(server, leave) == b"b"
    assert server.connections == 2


def test_a_silent_server_can_be_left() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # returns when the client has gone
        writer.close()

    async def leave(client: Client, host: str) -> None:
        async with asyncio.timeout(0.1):
            await get(client, host)

    with pytest.raises(TimeoutError):
        run(silent, leave)


def test_who_reads_slowly_does_not_make_us_hold_the_answer() -> None:
    size = 64 * 1024 * 1024
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(OK + f"content-length: {size}\r\n\r\n".encode())
        while sent < size:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536
        writer.close()

    async def read_late(client: Client, host: str) -> tuple[int, int]:
        answer = await client.ask("GET", f"http://{host}/", HEADERS)
        for _ in range(10_000):  # turns of the loop, in which the server sends all it can
            await asyncio.sleep(0)
        held = answer._unread
        return held, len(await whole(answer))

    held, read = run(flood, read_late)
    assert read == size
    assert HIGH_WATER < held < 2 * HIGH_WATER


def test_idle_connections_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(*[OK + b"content-length: 1\r\n\r\na"] * 2)

    async def later(client: Client, host: str) -> None:
        await get(client, host)
        monkeypatch.setattr(wire, "KEPT_SECONDS", -1.0)
        await get(client, host)

    run(server, later)
    assert server.connections == 2


def test_a_header_cannot_smuggle_another() -> None:
    async def smuggle(client: Client, host: str) -> None:
        await client.ask("GET", f"http://{host}/", {"authorization": "k\r\nhost: evil"})

    server = Server()
    with pytest.raises(UpstreamFailed):
        run(server, smuggle)
    assert server.requests == []


# --- where it may go ------------------------------------------------------------------------------
def ask_from_outside(url: str, seconds: float = 5) -> None:
    async def main() -> None:
        await Client([], connect_seconds=seconds).ask("GET", url, HEADERS)

    asyncio.run(main())


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:169.254.169.254]", "2130706433", "10.0.0.1"],
)
def test_private_addresses_are_not_connected_to(host: str) -> None:
    with pytest.raises((UpstreamFailed, socket.gaierror)):
        ask_from_outside(f"http://{host}:8080/v1/models")


def test_a_name_is_looked_up_once_and_exactly_what_was_checked_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, *args: Any, **kwargs: Any) -> Any:
        """A fake name server, for none can be asked here: public first, then private."""
        if host == "rebind.example":
            asked.append(host)
            return real("127.0.0.1" if len(asked) > 1 else PUBLIC, *args, **kwargs)
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with socket.create_server(("127.0.0.1", 0)) as inside:
        inside.settimeout(0.1)
        with pytest.raises(OSError):  # nothing answers there  # noqa: PT011
            ask_from_outside(f"http://rebind.example:{inside.getsockname()[1]}/", 0.2)
        with pytest.raises(TimeoutError):
            inside.accept()
    assert asked == ["rebind.example"]


@pytest.mark.parametrize("url", ["ftp://a/", "http:///x", "file:///etc/passwd", "//a"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(UpstreamFailed):
        split_url(url)


def test_a_port_of_its_own_is_in_the_host_header() -> None:
    assert split_url("https://api.example/v1")[0].header == "api.example"
    assert split_url("https://api.example:8443/v1")[0].header == "api.example:8443"
    assert split_url("http://[::1]:80/v1")[0].header == "[::1]"


# --- TLS ------------------------------------------------------------------------------------------
def certificate(folder: Path, name: str) -> Path:
    """Write a self-signed certificate for 127.0.0.1 and its key into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("is_trusted", [True, False])
def test_tls_is_spoken_and_the_certificate_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_trusted: bool
) -> None:
    path = certificate(tmp_path, "upstream")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    trusted = path if is_trusted else certificate(tmp_path, "other")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    server = Server(*[OK + b"content-length: 2\r\n\r\nhi"] * 2)

    async def twice(client: Client, host: str) -> list[bytes]:
        answers = [await client.ask("GET", f"https://{host}/", HEADERS) for _ in range(1)]
        return [await whole(answer) for answer in answers]

    if is_trusted:
        assert run(server, twice, ssl=context) == [b"hi"]
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            run(server, twice, ssl=context)
        assert server.requests == []
