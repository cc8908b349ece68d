"""The one outgoing HTTP client: every call to a URL that a user typed goes through this guard.

A host is resolved once, the address is checked, and exactly that address is connected to, so a name
that changes its mind between check and use gains nothing. Redirects are never followed.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Collection, Sequence
from types import SimpleNamespace
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.tracing import Trace, TraceRequestRedirectParams

from factory.errors import InvalidInput, UpstreamFailed

ALLOWED_PORTS = {80, 443}  # and any from 1024 up
UNICAST_V6 = ipaddress.ip_network("2000::/3")  # all that is assigned; NAT64 leads back to IPv4
TUNNELS_V6 = ipaddress.ip_network("2002::/16")  # 6to4: an IPv4 address in disguise
NOT_ROUTED_V4 = ipaddress.ip_network("192.0.0.0/24")  # IETF protocol assignments


def is_public(address: str) -> bool:
    """Tell whether an IP address belongs to the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        return ip.is_global and ip in UNICAST_V6 and ip not in TUNNELS_V6
    return ip.is_global and not ip.is_multicast and ip not in NOT_ROUTED_V4


def check_url(url: str, private_hosts: Collection[str], *, name: str = "base_url") -> None:
    """Refuse (`InvalidInput`) a URL that could reach what is not meant to be reached.

    Allowed: http(s), no credentials in it, a usual port, and a host that is public or one of
    `private_hosts`, the hosts that the operator named. `name` is what the caller calls it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f"{name} is no URL: {error}", param=name) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput(f"{name} must be an http:// or https:// URL", param=name)
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidInput(f"{name} may hold no user, password or fragment", param=name)
    if port is not None and port < 1024 and port not in ALLOWED_PORTS:
        raise InvalidInput(f"port {port} is not one that a model server uses", param=name)
    if parts.hostname in private_hosts:
        return
    try:
        found = socket.getaddrinfo(parts.hostname, port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"{parts.hostname} cannot be resolved", param=name) from error
    if not all(is_public(str(entry[4][0])) for entry in found):
        raise InvalidInput(
            f"{parts.hostname} is not a public address; an operator may allow it by naming it in "
            "PRIVATE_UPSTREAM_HOSTS",
            param=name,
        )


async def allowed_addresses(host: str, port: int, private_hosts: Collection[str]) -> list[str]:
    """Return the addresses of a host that may be called; `UpstreamFailed` where it may not."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if host not in private_hosts and not all(map(is_public, addresses)):
        raise UpstreamFailed(f"{host} leads to an address that may not be called")
    return addresses


class GuardedConnector(aiohttp.TCPConnector):
    """Checks the addresses that it is about to connect to, and connects to exactly these."""

    def __init__(self, private_hosts: Collection[str], *, limit: int) -> None:
        super().__init__(limit=limit, ttl_dns_cache=60)
        self.private_hosts = frozenset(private_hosts)

    # aiohttp has no public hook that also sees hosts written as addresses.
    async def _resolve_host(
        self, host: str, port: int, traces: Sequence[Trace] | None = None
    ) -> list[ResolveResult]:
        found = await super()._resolve_host(host, port, traces)
        if host not in self.private_hosts and not all(is_public(a["host"]) for a in found):
            raise UpstreamFailed(f"{host} leads to an address that may not be called")
        return found


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, answer: TraceRequestRedirectParams
) -> None:
    answer.response.close()
    raise UpstreamFailed(f"{answer.url.host} answered with a redirect, which is never followed")


def open_session(
    private_hosts: Collection[str],
    *,
    timeout_seconds: float,
    limit: int = 0,
) -> aiohttp.ClientSession:
    """Open a guarded client; must be called inside a running event loop.

    Bytes are passed on as they come (no decompression), cookies are never kept, proxies from the
    environment are not used. `limit` bounds open connections, 0 means none. What it refuses, it
    refuses with `UpstreamFailed`.
    """
    watch = aiohttp.TraceConfig()
    watch.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(
        connector=GuardedConnector(private_hosts, limit=limit),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=timeout_seconds),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        trace_configs=[watch],
    )
