"""Forwards a call: asks its targets in turn and relays the first answer that will do.

Until a byte of an answer has gone out, a failure costs the app nothing: a busy upstream is asked
once more within its retry budget, then the next target is. Where there is a next one, an answer
is only relayed once it is seen to be one. After the first byte a failure cuts the connection.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field

import orjson

from distill.exchange import Call
from distill.routing import Choice, Target
from distill.upstreams import PAUSE_SECONDS, CircuitOpen, Health, Upstreams, retry_pause
from distill.wire import Answer, Client
from factory.capture.endpoints import address, key_header
from factory.errors import UnderstudyError, UpstreamFailed
from factory.messages import Json

logger = logging.getLogger(__name__)

KEY_REFUSED = {401, 403}
SUCCESS, REDIRECTS = range(200, 300), range(300, 400)
SERVER_ERRORS = 500  # and above
FETCH_SECONDS, FETCHED_BYTES = 5.0, 4 * 1024 * 1024
# Of an upstream's answer: what describes the connection, not the answer, and what we say ourselves.
DROPPED_HEADERS = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"set-cookie", b"server", b"date", b"alt-svc", b"x-understudy-request-id",
}  # fmt: skip
RENAMED_HEADERS = {b"x-request-id": b"x-upstream-request-id"}
NO_ANSWER = (OSError, UpstreamFailed)  # timeouts and broken connections among them


class AnswerCut(ConnectionError):
    """The upstream broke off after its answer had begun; nothing else can be sent any more."""


@dataclass(frozen=True)
class Patience:
    """Seconds to wait for an answer's first byte, between its pieces, and where there is a next."""

    first_byte: float
    between: float
    with_fallback: float


@dataclass
class Forwarder:
    """The way out of one process; `keep` is told of a call before its last byte leaves."""

    client: Client
    patience: Patience
    keep: Callable[[Call], Awaitable[None]]
    upstreams: Upstreams = field(default_factory=Upstreams)

    async def forward(self, call: Call, choice: Choice) -> None:
        """Answer a call; an `UnderstudyError` where none of its targets could."""
        call.reason = choice.reason
        failure: UnderstudyError = UpstreamFailed("No model is set: name a default upstream.")
        for target in choice.targets:
            call.provider = target.provider
            try:
                await self._ask(call, target, is_last=target is choice.targets[-1])
            except UnderstudyError as error:
                failure = error
                call.reason = f"{choice.reason}_failed"
                logger.warning("request=%s %s", call.id, error.message)
            else:
                return
        call.status = failure.http_status
        await self.keep(call)
        raise failure

    async def fetch(self, target: Target, path: str) -> Json | None:
        """Return what an upstream answers to a short question; None where it does not."""
        url = address(target.dialect, target.base_url, target.api_version, path, "")
        accepted = {"accept": "application/json", "accept-encoding": "identity"}
        headers = {**accepted, **key_header(target.dialect, target.key)}
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                answer = await self.client.ask("GET", url, headers)
                with closing(answer):
                    whole = b""
                    while len(whole) < FETCHED_BYTES and (piece := await answer.read()):
                        whole += piece
            value = orjson.loads(whole) if answer.status == 200 else None
        except (*NO_ANSWER, orjson.JSONDecodeError):
            return None
        return value if isinstance(value, dict) else None

    async def _ask(self, call: Call, target: Target, *, is_last: bool) -> None:
        """Ask a target, once more where that may help; `UnderstudyError`: it has not answered."""
        health = self.upstreams.health(target)
        health.budget.deposit()
        pause = await self._attempt(call, target, health, is_last=is_last, may_retry=True)
        if pause is not None:
            health.retries += 1
            await asyncio.sleep(pause)
            await self._attempt(call, target, health, is_last=is_last, may_retry=False)

    async def _attempt(
        self, call: Call, target: Target, health: Health, *, is_last: bool, may_retry: bool
    ) -> float | None:
        """Relay a target's answer; or return the pause after which it is to be asked again."""
        breaker, name = health.breaker, target.provider
        if not breaker.admit():
            raise CircuitOpen(f"{name} is failing; try again.", breaker.wait_seconds())
        limit = self.patience.first_byte if is_last else self.patience.with_fallback
        try:
            async with asyncio.timeout(limit):
                answer = await self._send(call, target)
        except NO_ANSWER as error:
            breaker.failed()
            # Not refused and not slow: the connection failed, or a kept one had been closed.
            is_broken = isinstance(error, OSError) and not isinstance(error, TimeoutError)
            if may_retry and is_broken and health.budget.withdraw():
                return PAUSE_SECONDS
            raise UpstreamFailed(f"{name} did not answer: {type(error).__name__}.") from error
        with closing(answer):
            is_down = answer.status >= SERVER_ERRORS or answer.status in REDIRECTS
            if is_down:
                breaker.failed()
            pause = retry_pause(answer.status, answer.header) if may_retry else None
            if pause is not None and health.budget.withdraw():
                return pause
            # A refused key is the operator's, and what is said of it none of the app's business.
            if answer.status in REDIRECTS or answer.status in KEY_REFUSED:
                raise UpstreamFailed(f"{name} refused with {answer.status}.")
            if not (is_last or answer.status in SUCCESS):
                raise UpstreamFailed(f"{name} answered {answer.status}.")
            await self._relay(call, answer, health, limit, is_last=is_last)
            if not is_down:
                breaker.succeeded()
        return None

    def _send(self, call: Call, target: Target) -> Awaitable[Answer]:
        """Start the request: only the address, the key and, for an alias, the model differ."""
        model = target.model or call.model
        url = address(
            target.dialect, target.base_url, target.api_version, call.path, model, call.query
        )
        headers = {**call.headers, **key_header(target.dialect, target.key)}
        body = call.body_for(target.model) if call.method == "POST" else None
        return self.client.ask(call.method, url, headers, body)

    async def _relay(
        self,
        call: Call,
        answer: Answer,
        health: Health,
        limit: float,
        *,
        is_last: bool,
    ) -> None:
        """Pass an answer on as it comes; its record is on disk before its last byte leaves."""
        kind = answer.header(b"content-type").partition(";")[0].strip().lower()
        call.begin(answer.status, kind, answer.header(b"content-encoding"))
        pieces = self._pieces(call, answer, limit)
        seen: list[bytes] = []
        if not is_last:
            try:
                async with asyncio.timeout(limit):
                    seen = await _proof(call, pieces)
            except NO_ANSWER as error:
                health.breaker.failed()
                raise UpstreamFailed(f"{call.provider} answered no answer.") from error
        if answer.status < SERVER_ERRORS:
            health.breaker.answers()
        await call.send(_start(call, answer))
        call.has_begun = True
        try:
            last = await self._pass_on(call, seen, pieces)
        except NO_ANSWER as error:
            last = b""
            if not call.is_ended:
                health.breaker.failed()
                call.give_up(UpstreamFailed.http_status, "upstream_cut")
                await self.keep(call)
                # The server cuts the connection: a half answer must not look whole.
                raise AnswerCut(call.id) from error
        await self.keep(call)
        await call.send({"type": "http.response.body", "body": last, "more_body": False})

    async def _pass_on(self, call: Call, seen: list[bytes], pieces: AsyncIterator[bytes]) -> bytes:
        """Send the pieces on; return the last one of an answer that is not a stream, held back."""
        held = b""
        async for piece in _chained(seen, pieces) if seen else pieces:
            if call.is_ended:  # apps go once they have read this piece
                await self.keep(call)
            now, held = (piece, b"") if call.stream is not None else (held, piece)
            if now:
                await call.send({"type": "http.response.body", "body": now, "more_body": True})
        return held

    async def _pieces(self, call: Call, answer: Answer, limit: float) -> AsyncIterator[bytes]:
        while True:
            if answer.has_news:  # no clock need be set
                piece = await answer.read()
            else:
                async with asyncio.timeout(limit):
                    piece = await answer.read()
            if not piece:
                return
            call.add(piece)
            limit = self.patience.between
            yield piece


async def _proof(call: Call, pieces: AsyncIterator[bytes]) -> list[bytes]:
    """Read until what came is seen to be an answer; `UpstreamFailed` where it ends before."""
    seen = []
    async for piece in pieces:
        seen.append(piece)
        if call.is_cut or (call.stream is not None and call.is_proven):
            return seen
    if not call.is_proven:
        raise UpstreamFailed("The answer is none.")
    return seen


async def _chained(seen: list[bytes], pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for piece in seen:
        yield piece
    async for piece in pieces:
        yield piece


def _start(call: Call, answer: Answer) -> Json:
    kept = [
        (RENAMED_HEADERS.get(name, name), value)
        for name, value in answer.headers
        if name not in DROPPED_HEADERS
    ]
    return {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [*kept, *call.ids],
    }
