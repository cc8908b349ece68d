"""A FAKE of OpenAI's files and batches: the real protocol, answered by the demo's rules.

A batch is in progress until the test lets it end, in a state and with the faults that it names.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from random import Random
from typing import Any

from factory.demo.upstream import Receive, Scope, Send, read_body
from tests.fakes import ScriptedUpstream

PREFIX = "/v1"


@dataclass(frozen=True)
class Ending:
    """How a batch ends; lines are taken from the front: missing, refused, unreadable, the rest."""

    status: str = "completed"
    missing: int = 0
    refused: int = 0
    unreadable: int = 0
    is_doubled: bool = False


@dataclass
class KeptBatch:
    """A batch as the fake keeps it."""

    id: str
    input_file_id: str
    metadata: dict[str, str]
    status: str = "in_progress"
    output_file_id: str | None = None
    error_file_id: str | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "created_at": 1_790_000_000,
            "input_file_id": self.input_file_id,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "metadata": self.metadata,
            "request_counts": {"total": 0, "completed": 0, "failed": 0, **self.counts},
            "status": self.status,
        }


class BatchUpstream(ScriptedUpstream):
    """Chat calls are answered as by its parent; files and batches are answered here."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, KeptBatch] = {}
        self.answered_lines = 0
        self.loses_the_reply = False  # a created batch whose id never reaches the client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(PREFIX)
        if not path.startswith(("/files", "/batches")):
            return await super().__call__(scope, receive, send)
        headers = {k.decode().lower(): v.decode("latin-1") for k, v in scope["headers"]}
        status, found = self._found(scope["method"], path, headers, await read_body(receive))
        raw = found if isinstance(found, bytes) else json.dumps(found).encode()
        marked = [(b"content-type", b"application/json"), (b"x-understudy-demo", b"fake upstream")]
        await send({"type": "http.response.start", "status": status, "headers": marked})
        return await send({"type": "http.response.body", "body": raw})

    def _found(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Any]:
        found: Any = None
        status = 200
        match method, path.strip("/").split("/"):
            case "POST", ["files"]:
                found = self._keep_file(headers["content-type"], body)
            case "GET", ["files", file_id, "content"]:
                found = self.files[file_id]
            case "DELETE", ["files", file_id]:
                self.files.pop(file_id, None)
                found = {"id": file_id, "object": "file", "deleted": True}
            case "POST", ["batches"]:
                status, found = self._create(json.loads(body))
            case "GET", ["batches"]:
                listed = [batch.body() for batch in reversed(self.batches.values())]
                found = {"object": "list", "data": listed, "has_more": False}
            case "GET", ["batches", batch_id]:
                found = self.batches[batch_id].body()
            case "POST", ["batches", batch_id, "cancel"]:
                self.batches[batch_id].status = "cancelling"
                found = self.batches[batch_id].body()
            case _:
                status, found = 404, {"error": {"message": f"unknown: {method} {path}"}}
        return status, found

    def _keep_file(self, content_type: str, body: bytes) -> dict[str, Any]:
        parts = BytesParser().parsebytes(f"content-type: {content_type}\r\n\r\n".encode() + body)
        sent = next(p for p in parts.walk() if p.get_filename())
        file_id = f"file-{uuid.uuid4().hex}"
        payload = sent.get_payload(decode=True)
        assert isinstance(payload, bytes)
        self.files[file_id] = payload
        kept = {"id": file_id, "object": "file", "purpose": "batch", "status": "processed"}
        return {**kept, "bytes": len(payload), "created_at": 1_790_000_000, "filename": "q.jsonl"}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        batch = KeptBatch(f"batch_{uuid.uuid4().hex}", asked["input_file_id"], asked["metadata"])
        self.batches[batch.id] = batch
        if self.loses_the_reply:
            return 400, {"error": {"message": "the answer was lost on the way"}}
        return 200, batch.body()

    def lines(self, batch: KeptBatch) -> list[dict[str, Any]]:
        """The questions of a batch."""
        return [json.loads(line) for line in self.files[batch.input_file_id].splitlines()]

    def end(self, ending: Ending | None = None) -> None:
        """End what is in progress; the output comes shuffled."""
        ending = ending or Ending()
        for batch in [b for b in self.batches.values() if b.status == "in_progress"]:
            left = self.lines(batch)[ending.missing :]
            refused, left = left[: ending.refused], left[ending.refused :]
            out = [self._answered(asked) for asked in left]
            for answer in out[: ending.unreadable]:
                answer["response"]["body"] = {"choices": "none"}
            out = [*out, *out] if ending.is_doubled else out
            Random(1).shuffle(out)
            batch.status = ending.status
            batch.counts = {"completed": len(left), "failed": len(refused)}
            batch.output_file_id = self._result_file(out)
            batch.error_file_id = self._result_file([_refused(asked) for asked in refused])

    def _answered(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.answered_lines += 1
        answer = {"status_code": 200, "request_id": "r", "body": self._complete(asked["body"])}
        return {"id": "x", "custom_id": asked["custom_id"], "response": answer, "error": None}

    def _result_file(self, lines: list[dict[str, Any]]) -> str | None:
        if not lines:
            return None
        file_id = f"file-{uuid.uuid4().hex}"
        self.files[file_id] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return file_id


def _refused(asked: dict[str, Any]) -> dict[str, Any]:
    error = {"code": "batch_expired", "message": "This request could not be executed in time."}
    return {"id": "x", "custom_id": asked["custom_id"], "response": None, "error": error}
