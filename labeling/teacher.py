"""Asks a model behind an OpenAI-compatible endpoint, through the `openai` client."""

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, Self

import openai
from openai import AsyncOpenAI, DefaultAioHttpClient, Omit
from openai._vendor.httpx_aiohttp import AiohttpTransport

from factory.digest import canonical_json, digest_of
from factory.errors import InvalidInput, UnderstudyError, UpstreamFailed
from factory.messages import Json, output_of, parse_json
from factory.outgoing import open_session

MAX_RETRIES = 6  # 24 s of backoff; with 2, a fifth of the calls was lost in a measured 429 storm
REFUSED = "content_filter"
OF_THE_USER = {401: "does not accept the key", 403: "forbids it", 404: "does not know the model"}
MAX_INT = 2**31 - 1


class QuestionRefused(InvalidInput):
    """The endpoint will not answer this one question (too long, against its rules)."""


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

    def cache_key(self, base_url: str, vote: int) -> str:
        """Return the name that this question's `vote`-th answer from an endpoint is kept under."""
        return digest_of({"base_url": base_url, "body": self.body(), "vote": vote})

    def token_bounds(self) -> tuple[int, int]:
        """Return the most prompt and completion tokens that the call can be charged for.

        A byte-level tokenizer makes at most one token of a byte; the JSON around the texts is more
        than a chat template adds.
        """
        body = canonical_json([self.messages, self.response_format])
        return len(body) + 64, max_tokens(self.params)


def max_tokens(params: Json) -> int:
    """Return the bound on the answer's length that the parameters set."""
    return int(params.get("max_completion_tokens") or params["max_tokens"])


@dataclass(frozen=True)
class Reply:
    """One answer; the token counts are None where the endpoint did not say them."""

    text: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_ms: int


class TeacherClient:
    """An open line to one endpoint: `async with TeacherClient(...) as client`.

    Errors that a pause may heal (429, 5xx, timeouts, broken lines) are tried again with jittered
    backoff, or as long as `Retry-After` says. An attempt may be silent for `timeout_seconds`; an
    ask with all its retries ends after twice that.
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
        self.base_url = base_url
        self.key = key
        self.private_hosts = private_hosts
        self.timeout_seconds = timeout_seconds
        self.in_flight = in_flight
        self.max_retries = max_retries
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        session = open_session(
            self.private_hosts, timeout_seconds=self.timeout_seconds, limit=self.in_flight
        )
        await self._open.enter_async_context(session)
        # All goes through the guarded session: no redirects, no proxies from the environment.
        http = DefaultAioHttpClient(
            transport=AiohttpTransport(client=session), follow_redirects=False, trust_env=False
        )
        client = AsyncOpenAI(
            base_url=self.base_url,
            api_key=self.key or "none",
            max_retries=self.max_retries,
            timeout=self.timeout_seconds,
            http_client=http,
            # The operator's own account is none of this endpoint's business.
            default_headers={"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()},  # type: ignore[dict-item]  # the client's way to leave a header out
        )
        self._client = await self._open.enter_async_context(client)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    async def ask(self, question: Question, *, idempotency_key: str) -> Reply:
        """Ask once, and again as the class says.

        `InvalidInput` where every question would fail until somebody changes the upstream,
        `QuestionRefused` where only this one does, `UpstreamFailed` where later may be better.
        """
        started = monotonic()
        try:
            async with asyncio.timeout(2 * self.timeout_seconds):
                response = await self._client.chat.completions.with_raw_response.create(
                    model=question.model,
                    messages=[],
                    extra_body=question.body(),
                    extra_headers={"Idempotency-Key": idempotency_key},
                )
        except TimeoutError as error:
            raise UpstreamFailed("The teacher kept no promise of an answer in time.") from error
        except openai.APIError as error:
            raise self._explained(error) from error
        return _reply(response.content, round((monotonic() - started) * 1000))

    def _explained(self, error: openai.APIError) -> UnderstudyError:
        said = error.message.replace(self.key, "…") if self.key else error.message
        said = said.replace("\0", "")[:300]
        if not isinstance(error, openai.APIStatusError):
            return UpstreamFailed(f"The teacher cannot be reached: {said}")
        if error.status_code in OF_THE_USER:
            reason = OF_THE_USER[error.status_code]
            return InvalidInput(f"The teacher's endpoint {reason}: {said}", param="upstream")
        if error.response.is_redirect:
            return InvalidInput("The teacher's endpoint redirects: name the address it leads to.")
        if error.code == "insufficient_quota":
            return InvalidInput(f"The teacher's account is used up: {said}", param="upstream")
        if error.status_code in {408, 409, 429} or error.response.is_server_error:
            return UpstreamFailed(f"The teacher answered {error.status_code}: {said}")
        return QuestionRefused(f"The teacher answered {error.status_code}: {said}")


def _reply(body: bytes, latency_ms: int) -> Reply:
    try:
        completion = parse_json(body)
    except InvalidInput as error:
        raise UpstreamFailed(f"The teacher's reply cannot be read: {error.message}") from error
    choices = completion.get("choices") if isinstance(completion, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise UpstreamFailed("The teacher's reply is not a chat completion.")
    usage = completion.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    message = choices[0].get("message")
    refused = isinstance(message, dict) and bool(message.get("refusal"))
    return Reply(
        text=output_of(completion) if isinstance(message, dict) else "",
        finish_reason=REFUSED if refused else str(choices[0].get("finish_reason") or "")[:40],
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        latency_ms=latency_ms,
    )


def _count(value: Any) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= MAX_INT else None
