"""Asks a model behind an OpenAI-compatible endpoint: the protocol by hand, on the guarded session.

By hand because the `openai` client costs 2 to 4 ms of processor time a call, several times what
all the rest of labelling a row does; batches, which are a few calls a day, go through it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from random import random
from time import monotonic
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from multidict import CIMultiDictProxy
from yarl import URL

from factory.digest import digest_of
from factory.errors import InvalidInput, UnderstudyError, UpstreamFailed
from factory.messages import (
    Json,
    first_choice,
    object_of,
    objects_in,
    output_of,
    parse_json,
    string_of,
)
from factory.outgoing import open_session
from labeling.pace import rest_asked, wait_asked

MAX_RETRIES = 6  # of what is no 429; 24 s of backoff
PATIENCE_SECONDS = 60.0
MAX_REPLY_BYTES = 16_000_000
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.5, 8.0
REFUSED = "content_filter"
OF_THE_USER = {401: "does not accept the key", 403: "forbids it", 404: "does not know the model"}
TRY_AGAIN = {408, 409, 429}
CHARACTERS_PER_TOKEN = 4  # of English text, for estimates; the budget counts bytes instead
MAX_INT = 2**31 - 1


class QuestionRefused(InvalidInput):
    """The endpoint will not answer this one question (too long, against its rules)."""


class NotAnswered(UpstreamFailed):
    """One attempt without an answer. `may_be_billed` where the endpoint may have made one."""

    def __init__(
        self,
        message: str,
        *,
        wait_seconds: float | None = None,
        is_busy: bool = False,
        may_be_billed: bool = False,
        may_retry: bool = True,
    ) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
        self.is_busy = is_busy
        self.may_be_billed = may_be_billed
        self.may_retry = may_retry


@dataclass(frozen=True)
class Question:
    """One request, but for the address and the key. Equal questions may share their answer."""

    model: str
    messages: list[Json]
    params: Json
    response_format: Json | None

    def body(self) -> Json:
        """Return the request's JSON body."""
        fixed: Json = {"model": self.model, "messages": self.messages}
        if self.response_format is not None:
            fixed["response_format"] = self.response_format
        return {**self.params, **fixed}

    def cache_key(self, base_url: str, vote: int | str) -> str:
        """Return the name that this question's `vote`-th answer from an endpoint is kept under."""
        return digest_of({"base_url": base_url, "body": self.body(), "vote": vote})

    def token_bounds(self) -> tuple[int, int]:
        """Return the most prompt and completion tokens that the call can be charged for.

        A byte-level tokenizer makes at most one token of a byte; the JSON around the texts is more
        than a chat template adds.
        """
        body = orjson.dumps([self.messages, self.response_format])
        return len(body) + 64, max_tokens(self.params)


def question_of(body: Json) -> Question:
    """Return the question whose body this is."""
    params = {k: v for k, v in body.items() if k not in {"model", "messages", "response_format"}}
    return Question(body["model"], body["messages"], params, body.get("response_format"))


def max_tokens(params: Json) -> int:
    """Return the bound on the answer's length that the parameters set."""
    return int(params.get("max_completion_tokens") or params["max_tokens"])


@dataclass(frozen=True)
class Reply:
    """One answer; the token counts are None where the endpoint did not say them.

    `tokens` are the answer's with their log probabilities, where these were asked for and given;
    `rest_seconds` is how long the endpoint wants no further request.
    """

    text: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_ms: int
    model: str = ""
    tokens: tuple[tuple[str, float], ...] = ()
    rest_seconds: float = 0.0


class TeacherClient:
    """An open line to one endpoint: `async with TeacherClient(...) as client`.

    An attempt may take `timeout_seconds`; no retry begins after that, or after a minute where it
    is less.
    """

    def __init__(
        self,
        *,
        base_url: str,
        key: str,
        private_hosts: Collection[str],
        timeout_seconds: float,
        in_flight: int,
        max_retries: int = MAX_RETRIES,
    ) -> None:
        self.key = key
        self.private_hosts = private_hosts
        self.timeout_seconds = timeout_seconds
        self.in_flight = in_flight
        self.max_retries = max_retries
        self._url = URL(f"{base_url.rstrip('/')}/chat/completions")
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **({"Authorization": f"Bearer {key}"} if key else {}),
        }

    async def __aenter__(self) -> Self:
        self._session = open_session(
            self.private_hosts, timeout_seconds=self.timeout_seconds, limit=self.in_flight
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def ask(self, question: Question, *, idempotency_key: str) -> Reply:
        """Ask, and again as `persist` says; raises what `attempt` does."""
        return await self.persist(lambda: self.attempt(question, idempotency_key=idempotency_key))

    async def persist(
        self,
        attempt: Callable[[], Awaitable[Reply]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> Reply:
        """Make attempts until one is answered: after a jittered wait, or as long as asked for.

        Gives up after `max_retries`, a 429 not counted, or where the wait would end too late.
        """
        end = monotonic() + max(self.timeout_seconds, PATIENCE_SECONDS)
        tries = failures = 0
        while True:
            try:
                return await attempt()
            except NotAnswered as missed:
                tries += 1
                failures += not missed.is_busy
                wait = _backoff(tries) if missed.wait_seconds is None else missed.wait_seconds
                if not missed.may_retry or failures > self.max_retries or monotonic() + wait > end:
                    raise
            await sleep(wait)

    async def attempt(self, question: Question, *, idempotency_key: str) -> Reply:
        """Ask once.

        `InvalidInput` where every question would fail until somebody changes the upstream,
        `QuestionRefused` where only this one does, `NotAnswered` where later may be better.
        """
        started = monotonic()
        try:
            async with (
                asyncio.timeout(self.timeout_seconds),
                self._session.post(
                    self._url,
                    data=aiohttp.BytesPayload(orjson.dumps(question.body())),
                    headers={**self._headers, "Idempotency-Key": idempotency_key},
                    allow_redirects=False,
                ) as response,
            ):
                content = await _read(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotAnswered(f"The teacher cannot be reached: {error}") from error
        except TimeoutError as error:
            said = "The teacher kept no promise of an answer in time."
            raise NotAnswered(said, may_be_billed=True) from error
        except aiohttp.ClientError as error:
            said = f"The line to the teacher broke: {error or type(error).__name__}"
            raise NotAnswered(said, may_be_billed=True) from error
        if not response.ok or response.status >= 300:
            raise self._explained(response.status, response.headers, content)
        latency_ms = round((monotonic() - started) * 1000)
        tokens = len(content) // CHARACTERS_PER_TOKEN
        return read_completion(content, latency_ms, rest_asked(response.headers, tokens))

    def _explained(
        self, status: int, headers: CIMultiDictProxy[str], content: bytes
    ) -> UnderstudyError:
        said, code = _error_said(content)
        said = (said.replace(self.key, "…") if self.key else said).replace("\0", "")[:300]
        if status in OF_THE_USER:
            reason = OF_THE_USER[status]
            return InvalidInput(f"The teacher's endpoint {reason}: {said}", param="upstream")
        if 300 <= status < 400:
            return InvalidInput("The teacher's endpoint redirects: name the address it leads to.")
        if code == "insufficient_quota":
            return InvalidInput(f"The teacher's account is used up: {said}", param="upstream")
        if status in TRY_AGAIN or status >= 500:
            return NotAnswered(
                f"The teacher answered {status}: {said}",
                wait_seconds=wait_asked(headers),
                is_busy=status == 429,
                may_retry=headers.get("x-should-retry") != "false",
            )
        return QuestionRefused(f"The teacher answered {status}: {said}")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return a body; `NotAnswered` where it is larger than any answer is."""
    if (response.content_length or 0) <= MAX_REPLY_BYTES and response.content_length is not None:
        return await response.read()
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_REPLY_BYTES:
            break
    if size > MAX_REPLY_BYTES or (response.content_length or 0) > MAX_REPLY_BYTES:
        response.close()
        raise NotAnswered("The teacher's reply is larger than any answer.", may_be_billed=True)
    return b"".join(parts)


def _error_said(content: bytes) -> tuple[str, str]:
    """Return what an error body says, and its code."""
    try:
        error = object_of(parse_json(content)).get("error")
    except InvalidInput:
        return content[:300].decode(errors="replace"), ""
    if not isinstance(error, dict):
        return string_of(error) or content[:300].decode(errors="replace"), ""
    return string_of(error.get("message")), string_of(error.get("code"))


def _backoff(tries: int) -> float:
    longest = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(tries - 1, 10))
    return longest * (0.5 + random() / 2)  # noqa: S311 - spreads, guards nothing


def read_completion(body: bytes, latency_ms: int = 0, rest_seconds: float = 0.0) -> Reply:
    """Read a chat completion; `NotAnswered` where the bytes are none, though they may be billed."""
    try:
        completion = parse_json(body)
    except InvalidInput as error:
        said = f"The teacher's reply cannot be read: {error.message}"
        raise NotAnswered(said, may_be_billed=True) from error
    return reply_of(object_of(completion), latency_ms, rest_seconds)


def reply_of(completion: Json, latency_ms: int = 0, rest_seconds: float = 0.0) -> Reply:
    """Return what a parsed completion says; `NotAnswered` where it is none."""
    choice = first_choice(completion)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise NotAnswered("The teacher's reply is not a chat completion.", may_be_billed=True)
    usage = object_of(completion.get("usage"))
    logprobs = objects_in(object_of(choice.get("logprobs")).get("content"))
    return Reply(
        text=output_of(completion),
        finish_reason=REFUSED
        if message.get("refusal")
        else string_of(choice.get("finish_reason"))[:40],
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        latency_ms=latency_ms,
        model=string_of(completion.get("model"))[:200],
        tokens=tuple(
            (string_of(token.get("token")), float(token["logprob"]))
            for token in logprobs
            if isinstance(token.get("logprob"), int | float)
        ),
        rest_seconds=rest_seconds,
    )


def _count(value: Any) -> int | None:
    """Return a token count; None for what is none: no prompt and no answer has 0 tokens."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return min(value, MAX_INT) if is_number and value > 0 else None
