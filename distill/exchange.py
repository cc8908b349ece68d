"""One call on its way: what was asked, by whom, what has come back so far, and what is kept."""

import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from distill.sse import Stream
from distill.visit import Send
from factory.capture.dialects import chat_form
from factory.messages import (
    MAX_METADATA_KEY,
    MAX_METADATA_PAIRS,
    MAX_METADATA_VALUE,
    CallRecord,
    Json,
    clean,
)
from factory.redaction.redact import Policy

logger = logging.getLogger(__name__)

KEPT_BYTES = 16 * 1024 * 1024  # of an answer; more is forwarded but not kept
KEPT_STREAM_BYTES = 128 * 1024 * 1024  # of a stream, whose frames weigh most and are not kept
GZIP_OR_ZLIB = 47  # zlib's way to ask for either
CLIENT_CLOSED = 499  # nginx's number for it
ANSWERS = {"choices", "output", "data", "deleted"}  # one of them is in what was asked for


@dataclass
class Call:
    """A call of an app, and the answer as it comes."""

    id: str
    project: int
    policy: Policy
    send: Send
    ids: list[tuple[bytes, bytes]]  # headers of the answer that name the call
    headers: dict[str, str]  # that its upstream is told
    path: str  # below /v1/
    method: str = "POST"
    query: str = ""
    request: Json = field(default_factory=dict)  # without what may not be passed on
    raw: bytes | None = None  # as it came; None where something had to be taken out of it
    trace_id: str = ""
    opted_out: bool = False
    started: float = field(default_factory=time.time)
    clock: float = field(default_factory=time.perf_counter)
    status: int = 0
    provider: str = ""
    reason: str = ""
    has_begun: bool = False  # the app has got the first byte of an answer
    is_recorded: bool = False
    is_broken: bool = False  # the answer, or who it was for, went away
    is_cut: bool = False  # the answer is longer than what is kept of one
    size: int = 0
    ttft_ms: int | None = None
    body: bytearray = field(default_factory=bytearray)
    stream: Stream | None = None
    unpack: Callable[[bytes], bytes] | None = None

    @property
    def endpoint(self) -> str:
        """The endpoint's name, which is its path."""
        return self.path

    @property
    def model(self) -> str:
        """The model's name as the app said it, empty where it said none."""
        name = self.request.get("model")
        return name if isinstance(name, str) else ""

    def elapsed_ms(self) -> int:
        """Return the milliseconds since the call came in."""
        return round((time.perf_counter() - self.clock) * 1000)

    def body_for(self, model: str | None) -> bytes:
        """Return what is sent on: the very bytes that came, unless the model has another name."""
        if self.raw is not None and model is None:
            return self.raw
        renamed = {} if model is None else {"model": model}
        return orjson.dumps({**self.request, **renamed})

    def begin(self, status: int, content_type: str, encoding: str) -> None:
        """Note that an upstream answers; what an earlier one had said is forgotten."""
        self.status, self.ttft_ms, self.size, self.is_cut = status, None, 0, False
        self.body = bytearray()
        self.stream = Stream(self.endpoint) if content_type == "text/event-stream" else None
        packed = encoding in {"gzip", "deflate"}
        self.unpack = zlib.decompressobj(GZIP_OR_ZLIB).decompress if packed else None

    def add(self, chunk: bytes) -> None:
        """Take note of a piece of the answer; whatever it holds, it is passed on all the same."""
        try:
            self._note(chunk if self.unpack is None else self.unpack(chunk))
        except Exception as error:  # noqa: BLE001 - the edge of capture: the app gets its answer
            self.is_cut = True
            logger.error("request=%s cannot be read: %s", self.id, type(error).__name__)  # noqa: TRY400 - a traceback might say what was said

    def _note(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.is_cut or self.size > (KEPT_STREAM_BYTES if self.stream else KEPT_BYTES):
            self.is_cut = True
        elif self.stream is None:
            self.body += chunk
        else:
            self.stream.feed(chunk)
            if self.ttft_ms is None and self.stream.has_content:
                self.ttft_ms = self.elapsed_ms()

    @property
    def is_ended(self) -> bool:
        """Whether the app, having read what came so far, takes the answer for finished."""
        return self.stream is not None and self.stream.is_ended

    @property
    def is_proven(self) -> bool:
        """Whether what came so far is an answer of a model and no garbage."""
        if self.stream is not None:
            return self.stream.has_content or self.stream.is_whole
        return bool(ANSWERS & (self.response() or {}).keys())

    def response(self) -> Json | None:
        """Return the answer as one object, whichever way it was sent; None where it is none."""
        if self.stream is not None:
            return self.stream.response()
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return value if isinstance(value, dict) else None

    def give_up(self, status: int, reason: str) -> None:
        """Note that the answer broke off; one whose end the app has read is whole all the same."""
        if self.has_begun and self.stream is not None and self.stream.is_whole:
            return
        self.status, self.reason, self.is_broken = status, reason, True

    def record(self) -> CallRecord:
        """Return what is kept of the call, in chat's shape, not redacted yet."""
        request, response = chat_form(self.endpoint, self.request, self.response())
        is_short = self.stream is not None and not self.stream.is_whole
        return CallRecord(
            request_id=self.id,
            created_at=datetime.fromtimestamp(self.started, UTC),
            request=clean(request),
            response=clean(response),
            status_code=self.status,
            latency_ms=self.elapsed_ms(),
            ttft_ms=self.ttft_ms,
            metadata=fitting_metadata(self.request.get("metadata")),
            trace_id=self.trace_id,
            provider=self.provider,
            route_reason=self.reason,
            endpoint=self.endpoint,
            is_partial=self.is_broken or self.is_cut or is_short,
        )


def fitting_metadata(given: object) -> dict[str, str]:
    """Return the pairs that are within OpenAI's limits; whether to refuse is the upstream's say."""
    pairs = given if isinstance(given, dict) else {}
    texts = {k: v if isinstance(v, str) else orjson.dumps(v).decode() for k, v in pairs.items()}
    fit = [
        (clean(key), clean(value))
        for key, value in texts.items()
        if len(key) <= MAX_METADATA_KEY and len(value) <= MAX_METADATA_VALUE
    ]
    return dict(fit[:MAX_METADATA_PAIRS])
