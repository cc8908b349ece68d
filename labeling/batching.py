"""OpenAI's Batch API, through the `openai` client: a file of questions out, two files back.

Lines are matched by their `custom_id` and never by their order. In every terminal state both the
output file and the error file are read: an expired batch has answers, a completed one has errors.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import openai
import orjson
from openai import AsyncOpenAI, DefaultAioHttpClient, Omit
from openai._vendor.httpx_aiohttp import AiohttpTransport
from openai.types import Batch

from factory.errors import InvalidInput, UnderstudyError, UpstreamFailed
from factory.messages import Json, object_of, parse_json, string_of
from factory.outgoing import open_session
from labeling.teacher import OF_THE_USER, NotAnswered, Question, Reply, reply_of

MAX_LINES, MAX_BYTES = 50_000, 200_000_000  # of one input file
TERMINAL = {"completed", "failed", "expired", "cancelled"}
LATEST = 100  # batches that are looked through for one whose id was lost
TOKEN = "understudy"  # noqa: S105 - the metadata's name for our own name of a batch


@dataclass(frozen=True)
class State:
    """Where a batch is; `done` counts answered and failed lines."""

    batch_id: str
    status: str
    done: int
    input_file_id: str
    files: tuple[str, ...]
    problem: str

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will come."""
        return self.status in TERMINAL


@dataclass(frozen=True)
class Result:
    """One line of a result file: the reply, or why there is none and whether it may be billed."""

    custom_id: str
    reply: Reply | None
    problem: str = ""
    may_be_billed: bool = False


def line_of(question: Question, custom_id: str) -> bytes:
    """Return a question as a line of an input file."""
    asked = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions"}
    return orjson.dumps({**asked, "body": question.body()}) + b"\n"


def result_of(line: str | bytes) -> Result | None:
    """Read a line of an output or error file; None where it names no question."""
    try:
        found = object_of(parse_json(line.encode() if isinstance(line, str) else line))
    except InvalidInput:
        return None
    custom_id = string_of(found.get("custom_id"))
    if not custom_id:
        return None
    response = object_of(found.get("response"))
    body = object_of(response.get("body"))
    if response.get("status_code") != 200:
        return Result(custom_id, None, _problem(found, body))
    try:
        return Result(custom_id, reply_of(body))
    except NotAnswered as error:
        return Result(custom_id, None, error.message, may_be_billed=True)


def _problem(found: Json, body: Json) -> str:
    error = object_of(found.get("error")) or object_of(body.get("error"))
    return (string_of(error.get("message")) or "no answer")[:300]


class BatchClient:
    """An open line to an endpoint's files and batches: `async with BatchClient(...) as client`."""

    def __init__(
        self, *, base_url: str, key: str, private_hosts: Collection[str], timeout_seconds: float
    ) -> None:
        self.base_url = base_url
        self.key = key
        self.private_hosts = private_hosts
        self.timeout_seconds = timeout_seconds
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        session = open_session(self.private_hosts, timeout_seconds=self.timeout_seconds)
        await self._open.enter_async_context(session)
        # All goes through the guarded session: no redirects, no proxies from the environment.
        http = DefaultAioHttpClient(
            transport=AiohttpTransport(client=session), follow_redirects=False, trust_env=False
        )
        client = AsyncOpenAI(
            base_url=self.base_url,
            api_key=self.key or "none",
            timeout=self.timeout_seconds,
            http_client=http,
            # The operator's own account is none of this endpoint's business.
            default_headers={
                "OpenAI-Organization": Omit(),  # type: ignore[dict-item]  # the client's way to
                "OpenAI-Project": Omit(),  # type: ignore[dict-item]  # leave a header out
                "Accept-Encoding": "identity",
            },
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

    async def submit(self, lines: Path, token: str) -> State:
        """Send a file of questions and start its batch, which can be found by the token."""
        try:
            with lines.open("rb") as file:
                sent = await self._client.files.create(
                    file=("questions.jsonl", file), purpose="batch"
                )
            batch = await self._client.batches.create(
                input_file_id=sent.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={TOKEN: token},
            )
        except openai.APIError as error:
            raise self._explained(error) from error
        return _state(batch)

    async def find(self, token: str) -> State | None:
        """Return the batch that was started with the token, None where it never was."""
        try:
            async for batch in self._client.batches.list(limit=LATEST):
                if (batch.metadata or {}).get(TOKEN) == token:
                    return _state(batch)
        except openai.APIError as error:
            raise self._explained(error) from error
        return None

    async def look(self, batch_id: str) -> State:
        """Return where a batch is."""
        try:
            return _state(await self._client.batches.retrieve(batch_id))
        except openai.APIError as error:
            raise self._explained(error) from error

    async def cancel(self, batch_id: str) -> None:
        """Ask for a batch to end; what it has answered by then is there to be read."""
        try:
            await self._client.batches.cancel(batch_id)
        except openai.APIError as error:
            raise self._explained(error) from error

    async def results(self, state: State) -> AsyncIterator[Result]:
        """Read the lines of the output and the error file, as they come over the wire."""
        try:
            for file_id in state.files:
                content = self._client.files.with_streaming_response.content(file_id)
                async with content as response:
                    async for line in response.iter_lines():
                        if (result := result_of(line)) is not None:
                            yield result
        except openai.APIError as error:
            raise self._explained(error) from error

    async def delete_files(self, *file_ids: str) -> None:
        """Take the questions and answers off the endpoint; one that is gone already is gone."""
        for file_id in filter(None, file_ids):
            try:
                await self._client.files.delete(file_id)
            except openai.NotFoundError:
                continue
            except openai.APIError as error:
                raise self._explained(error) from error

    def _explained(self, error: openai.APIError) -> UnderstudyError:
        said = error.message.replace(self.key, "…") if self.key else error.message
        said = said.replace("\0", "")[:300]
        if not isinstance(error, openai.APIStatusError):
            return UpstreamFailed(f"The Batch API cannot be reached: {said}")
        if error.status_code in {404, 405}:
            return InvalidInput(f"The teacher's endpoint has no Batch API: {said}", param="mode")
        if error.status_code in OF_THE_USER:
            reason = OF_THE_USER[error.status_code]
            return InvalidInput(f"The teacher's endpoint {reason}: {said}", param="upstream")
        if error.status_code in {408, 409, 429} or error.response.is_server_error:
            return UpstreamFailed(f"The Batch API answered {error.status_code}: {said}")
        return InvalidInput(f"The Batch API refused: {said}", param="mode")


def _state(batch: Batch) -> State:
    counts = batch.request_counts
    errors = (batch.errors.data or []) if batch.errors else []
    files = (batch.output_file_id, batch.error_file_id)
    return State(
        batch_id=batch.id,
        status=batch.status,
        done=counts.completed + counts.failed if counts else 0,
        input_file_id=batch.input_file_id,
        files=tuple(file for file in files if file),
        problem="; ".join(error.message or "" for error in errors)[:1000],
    )
