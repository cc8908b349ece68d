"""Asks one subject for greedy answers: `python -m distill.gpu.evaluate FOLDER` (an `EvalSpec`).

The subject is a Hugging Face folder or hub id, with or without an adapter, or a GGUF file as apps
run it. Rows answered by an earlier attempt are not asked again. Scoring is `distill.scoring`'s.
"""

import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from llama_cpp import Llama, LlamaGrammar
from peft import PeftModel

from distill.chat import answer_of, clean_messages
from distill.gpu.base import device, load_model, load_tokenizer, locate
from distill.gpu.gguf import control_tokens
from distill.gpu.rows import ChatEncoder
from distill.gpu.step import run_step
from distill.jobdir import InputError, JobDir, Json
from distill.spec import EvalSpec
from factory.digest import digest_of


@dataclass(frozen=True)
class Answer:
    """What a subject said, and how many tokens that took."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class Subject(Protocol):
    """A model that answers one chat at a time."""

    def answer(self, prompt: list[Json]) -> Answer:
        """Return the greedy answer."""

    def close(self) -> None:
        """Free the model."""


def evaluate(job: JobDir, spec: EvalSpec) -> Json:
    """Append one line per row of `rows.jsonl` to `files/predictions.jsonl`."""
    rows = job.rows("rows")
    _require_ids(rows)
    output = job.files / "predictions.jsonl"
    done = _answered(output)
    started = time.monotonic()
    subject: Subject = GgufSubject(spec) if spec.engine == "gguf" else HfSubject(spec)
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
        "device": str(device()) if spec.engine == "hf" else "cpu",
        "threads": spec.threads,
    }


class HfSubject:
    """A base, merged model, or base with adapter, in transformers."""

    def __init__(self, spec: EvalSpec) -> None:
        folder = locate(spec.model, spec.revision)
        dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
        self._encoder = ChatEncoder(load_tokenizer(folder))
        model: Any = load_model(folder, dtype)
        if spec.adapter:
            if not (Path(spec.adapter) / "adapter_config.json").is_file():
                raise InputError(f"the adapter {spec.adapter} does not exist")
            model = PeftModel.from_pretrained(model, spec.adapter)
        self._model = model.eval()
        self._spec = spec
        self._ends = self._end_tokens(model.generation_config.eos_token_id)
        self._allowed = self._label_trie() if spec.constrained else None

    def answer(self, prompt: list[Json]) -> Answer:
        """Generate from the prompt's last `max_length` tokens."""
        ids = self._encoder.prompt_ids(prompt)[-self._spec.max_length :]
        given = torch.tensor([ids], device=device())
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                do_sample=False,
                max_new_tokens=self._spec.max_new_tokens,
                eos_token_id=self._ends,
                pad_token_id=self._encoder.tokenizer.pad_token_id,
                prefix_allowed_tokens_fn=self._next_tokens(len(ids)) if self._allowed else None,
            )
        new = output[0, len(ids) :].tolist()
        text = self._encoder.tokenizer.decode(new, skip_special_tokens=True)
        return Answer(str(text), len(ids), len(new))

    def close(self) -> None:
        """Nothing to do: the process ends."""

    def _end_tokens(self, configured: int | list[int] | None) -> list[int]:
        listed = configured if isinstance(configured, list) else [configured]
        return sorted({token for token in [*listed, self._encoder.end_of_turn] if token is not None})

    def _label_trie(self) -> dict[tuple[int, ...], list[int]]:
        """Return which tokens may follow each beginning of a label."""
        trie: dict[tuple[int, ...], set[int]] = {}
        for label in self._spec.labels:
            encoded = self._encoder.tokenizer(label, add_special_tokens=False)["input_ids"]
            ids = [*encoded, self._encoder.end_of_turn]
            for place, token in enumerate(ids):
                trie.setdefault(tuple(ids[:place]), set()).add(token)
        return {beginning: sorted(tokens) for beginning, tokens in trie.items()}

    def _next_tokens(self, prompt_length: int) -> Any:
        allowed, end = self._allowed or {}, [self._encoder.end_of_turn]
        return lambda _, ids: allowed.get(tuple(ids[prompt_length:].tolist()), end)


class GgufSubject:
    """A GGUF file in llama.cpp, asked through the chat API that apps use."""

    def __init__(self, spec: EvalSpec) -> None:
        if not Path(spec.model).is_file():
            raise InputError(f"the file {spec.model} does not exist")
        # n_threads_batch defaults to every core, which on a shared machine costs 30 times the
        # latency; n_ctx defaults to 512.
        self._llama = Llama(
            spec.model,
            n_ctx=spec.max_length,
            n_threads=spec.threads,
            n_threads_batch=spec.threads,
            n_gpu_layers=-1 if torch.cuda.is_available() else 0,
            verbose=False,
        )
        self._specials = control_tokens(self._llama)
        self._spec = spec
        self._format = _response_format(spec)

    def answer(self, prompt: list[Json]) -> Answer:
        """Ask with temperature 0."""
        messages: Any = clean_messages(prompt, self._specials)
        reply: Any = self._llama.create_chat_completion(
            messages,
            temperature=0.0,
            repeat_penalty=1.0,
            max_tokens=self._spec.max_new_tokens,
            **self._format,
        )
        usage = reply["usage"]
        text = reply["choices"][0]["message"]["content"] or ""
        return Answer(text, usage["prompt_tokens"], usage["completion_tokens"])

    def close(self) -> None:
        """Free the model before the interpreter ends, when it no longer could."""
        self._llama.close()


def _response_format(spec: EvalSpec) -> dict[str, Any]:
    if not spec.constrained:
        return {}
    if spec.labels:
        choices = " | ".join(json.dumps(label, ensure_ascii=False) for label in spec.labels)
        return {"grammar": LlamaGrammar.from_string(f"root ::= {choices}", verbose=False)}
    return {"response_format": {"type": "json_object", "schema": spec.json_schema}}


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
