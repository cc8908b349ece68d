"""Asks one subject for greedy answers: `python -m distill.gpu.evaluate FOLDER` (an `EvalSpec`).

The subject is a Hugging Face folder or hub id, with or without an adapter, or a GGUF file as apps
run it. Rows answered by an earlier attempt are not asked again. Scoring is `distill.scoring`'s.
"""

import importlib
import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from distill.chat import answer_of
from distill.gpu.step import run_step
from distill.gpu.subject import Subject
from distill.jobdir import InputError, JobDir, Json
from distill.spec import EvalSpec
from factory.digest import digest_of


def evaluate(job: JobDir, spec: EvalSpec) -> Json:
    """Append one line per row of `rows.jsonl` to `files/predictions.jsonl`."""
    rows = job.rows("rows")
    _require_ids(rows)
    output = job.files / "predictions.jsonl"
    done = _answered(output)
    started = time.monotonic()
    subject = _open_subject(spec)
    load_seconds = time.monotonic() - started
    with output.open("a", encoding="utf-8") as predictions:
        for number, row in enumerate(rows, start=1):
            if row["id"] not in done:
                predictions.write(json.dumps(_prediction(subject, row), ensure_ascii=False) + "\n")
                predictions.flush()
            if number % max(1, len(rows) // 100) == 0 or number == len(rows):
                job.append_progress("predict", number, len(rows))
    subject.close()
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    return {
        "predictions": "files/predictions.jsonl",
        "rows": len(lines),
        "prompt_tokens": sum(line["prompt_tokens"] for line in lines),
        "completion_tokens": sum(line["completion_tokens"] for line in lines),
        "load_seconds": load_seconds,
        "device": subject.device,
        "threads": spec.threads,
    }


def _open_subject(spec: EvalSpec) -> Subject:
    """Return the engine's subject; the import waits, for llama.cpp needs no torch."""
    engine = importlib.import_module(f"distill.gpu.{spec.engine}_subject")
    subject: Subject = engine.open_subject(spec)
    return subject


def _prediction(subject: Subject, row: Mapping[str, Any]) -> Json:
    prompt, expected = row["messages"][:-1], row["messages"][-1]["content"]
    started = time.perf_counter()
    answer = subject.answer(prompt)
    latency_ms = (time.perf_counter() - started) * 1000
    return {
        "id": row["id"],
        "prompt_digest": digest_of(prompt),
        "expected": expected,
        "output": answer_of(answer.text),
        "latency_ms": round(latency_ms, 3),
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
    }


def _answered(output: Path) -> set[str]:
    """Return the ids answered already, cutting a line that a killed process left unfinished."""
    if not output.is_file():
        return set()
    whole, _, torn = output.read_bytes().rpartition(b"\n")
    if torn:
        with output.open("r+b") as predictions:
            predictions.truncate(output.stat().st_size - len(torn))
    return {json.loads(line)["id"] for line in whole.splitlines()}


def _require_ids(rows: Iterable[Json]) -> None:
    ids = [row.get("id") for row in rows]
    if not ids:
        raise InputError("rows.jsonl is empty")
    if not all(isinstance(name, str) for name in ids) or len(set(ids)) != len(ids):
        raise InputError("every row of rows.jsonl needs an 'id' of its own, as text")


if __name__ == "__main__":
    sys.exit(run_step(EvalSpec, evaluate))
