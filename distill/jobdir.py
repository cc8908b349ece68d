"""The folder through which the Celery side and the GPU process talk: files only, no database."""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from distill.spec import Spec, read_spec, to_json

Json = dict[str, object]


class InputError(ValueError):
    """The job's input cannot be used; whoever started the job has to change it."""


class JobDirBusyError(RuntimeError):
    """Another process works in this folder."""


@dataclass(frozen=True)
class JobDir:
    """One job: `spec.json` and rows in; `progress.jsonl`, `result.json` and `files/` out."""

    root: Path

    @classmethod
    def create(
        cls, root: Path, spec: Spec, tables: Mapping[str, Iterable[Mapping[str, object]]]
    ) -> "JobDir":
        """Write the input; `tables` maps `train` to the rows of `train.jsonl`, and so on.

        `spec.json` is written last, so a folder that has one is complete.
        """
        job = cls(root)
        job.files.mkdir(parents=True, exist_ok=True)
        job.scratch.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_atomically(job.table(name), "".join(lines).encode())
        write_atomically(root / "spec.json", to_json(spec))
        return job

    @property
    def files(self) -> Path:
        """What is handed over."""
        return self.root / "files"

    @property
    def work(self) -> Path:
        """What later steps may use and nobody downloads."""
        return self.root / "work"

    @property
    def scratch(self) -> Path:
        """Checkpoints and the like: deleted once there is a result."""
        return self.root / "work" / "scratch"

    @property
    def log(self) -> Path:
        """What the process printed."""
        return self.root / "log.txt"

    def table(self, name: str) -> Path:
        """Return the path of `train.jsonl`, `validation.jsonl` or `rows.jsonl`."""
        return self.root / f"{name}.jsonl"

    def spec(self) -> Spec:
        """Read `spec.json`; `SpecError` if this program cannot run it."""
        return read_spec((self.root / "spec.json").read_bytes())

    def rows(self, name: str) -> list[Json]:
        """Return the rows of a table; `InputError` names the line that is not a chat row."""
        path = self.table(name)
        if not path.is_file():
            raise InputError(f"{path.name} is missing")
        with path.open(encoding="utf-8") as lines:
            numbered = enumerate(lines, start=1)
            return [_chat_row(line, f"{path.name}, line {n}") for n, line in numbered]

    def result(self) -> Json | None:
        """Return the result of a finished job."""
        return _read_json(self.root / "result.json")

    def error(self) -> Json | None:
        """Return why the last attempt failed."""
        return _read_json(self.root / "error.json")

    def write_result(self, result: Mapping[str, object]) -> None:
        """Record success."""
        write_atomically(self.root / "result.json", _pretty(result))

    def write_error(self, blame: str, message: str, kind: str) -> None:
        """Record a failure; `blame` (user or system) says who has to act."""
        error = {"blame": blame, "message": message, "kind": kind, "at": time.time()}
        write_atomically(self.root / "error.json", _pretty(error))

    def clear_error(self) -> None:
        """Forget the failure of an earlier attempt."""
        (self.root / "error.json").unlink(missing_ok=True)

    def append_progress(self, phase: str, step: int, max_steps: int, **details: object) -> None:
        """Append one event as one line."""
        event = {"at": time.time(), "phase": phase, "step": step, "max_steps": max_steps, **details}
        with (self.root / "progress.jsonl").open("a", encoding="utf-8") as log:
            if log.tell() and not _ends_with_newline(self.root / "progress.jsonl"):
                log.write("\n")
            log.write(json.dumps(event) + "\n")

    def read_progress(self, offset: int = 0) -> tuple[list[Json], int]:
        """Return the events written since `offset`, and the offset for the next call.

        A line still being written is left for the next call, a torn one (the writer was killed)
        is passed over.
        """
        path = self.root / "progress.jsonl"
        if not path.is_file():
            return [], offset
        with path.open("rb") as log:
            log.seek(offset)
            whole, _, _ = log.read().rpartition(b"\n")
        if not whole:
            return [], offset
        events = [event for line in whole.split(b"\n") if (event := _event(line)) is not None]
        return events, offset + len(whole) + 1

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder; `JobDirBusyError` if another process does. Released by exit."""
        with (self.root / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise JobDirBusyError(f"{self.root} is in use by another process") from error
            yield


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, read in pieces."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def listed_file(job: JobDir, path: Path, **details: object) -> Json:
    """Return the entry of a file in a result: path relative to the folder, sha256 and size."""
    name = path.relative_to(job.root).as_posix()
    return {"path": name, "sha256": file_sha256(path), "size": path.stat().st_size, **details}


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as output:
        output.write(data)
        output.flush()
        os.fsync(output.fileno())
    temporary.replace(path)
    _fsync_folder(path.parent)


def replace_folder(new: Path, final: Path) -> None:
    """Put a finished folder in place of an unfinished or older one."""
    if final.exists():
        shutil.rmtree(final)
    new.rename(final)
    _fsync_folder(final.parent)


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _pretty(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _read_json(path: Path) -> Json | None:
    if not path.is_file():
        return None
    value: Json = json.loads(path.read_bytes())
    return value


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as content:
        content.seek(-1, os.SEEK_END)
        return content.read(1) == b"\n"


def _event(line: bytes) -> Json | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _chat_row(line: str, where: str) -> Json:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error})") from error
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not messages[1:]:
        raise InputError(f"{where}: 'messages' must hold a question and an answer")
    if not all(isinstance(message, dict) for message in messages):
        raise InputError(f"{where}: every message must be an object")
    if messages[-1].get("role") != "assistant" or not isinstance(messages[-1].get("content"), str):
        raise InputError(f"{where}: the last message must be the assistant's answer, as text")
    checked: Json = row
    return checked
