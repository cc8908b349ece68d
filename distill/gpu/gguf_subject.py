"""A GGUF file in llama.cpp, asked through the chat API that apps use."""

import json
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp.llama_grammar import LlamaGrammar

from distill.chat import clean_messages
from distill.gpu.subject import Answer
from distill.jobdir import InputError, Json
from distill.spec import EvalSpec


class GgufSubject:
    """A loaded GGUF file."""

    def __init__(self, spec: EvalSpec) -> None:
        if not Path(spec.model).is_file():
            raise InputError(f"the file {spec.model} does not exist")
        offload = llama_cpp.llama_supports_gpu_offload()
        self.device = "gpu" if offload else "cpu"
        # n_threads_batch defaults to every core, which on a shared machine costs 30 times the
        # latency; n_ctx defaults to 512.
        self._llama = llama_cpp.Llama(
            spec.model,
            n_ctx=spec.max_length,
            n_threads=spec.threads,
            n_threads_batch=spec.threads,
            n_gpu_layers=-1 if offload else 0,
            verbose=False,
        )
        self._specials = control_tokens(self._llama)
        self._max_new_tokens = spec.max_new_tokens
        self._format = _response_format(spec)

    def answer(self, prompt: list[Json]) -> Answer:
        """Ask with temperature 0."""
        messages: Any = clean_messages(prompt, self._specials)
        reply: Any = self._llama.create_chat_completion(
            messages,
            temperature=0.0,
            repeat_penalty=1.0,
            max_tokens=self._max_new_tokens,
            **self._format,
        )
        usage = reply["usage"]
        text = reply["choices"][0]["message"]["content"] or ""
        return Answer(text, usage["prompt_tokens"], usage["completion_tokens"])

    def close(self) -> None:
        """Free the model before the interpreter ends, when it no longer could."""
        self._llama.close()


def open_subject(spec: EvalSpec) -> GgufSubject:
    """Load the file."""
    return GgufSubject(spec)


def control_tokens(llama: llama_cpp.Llama) -> list[str]:
    """Return the control tokens of a model's vocabulary, which text must not contain."""
    vocab = llama_cpp.llama_model_get_vocab(llama._model.model)  # noqa: SLF001  # no public way
    return [
        llama_cpp.llama_vocab_get_text(vocab, number).decode()
        for number in range(llama_cpp.llama_vocab_n_tokens(vocab))
        if llama_cpp.llama_vocab_get_attr(vocab, number) & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
    ]


def _response_format(spec: EvalSpec) -> dict[str, Any]:
    if not spec.constrained:
        return {}
    if spec.labels:
        choices = " | ".join(json.dumps(label, ensure_ascii=False) for label in spec.labels)
        return {"grammar": LlamaGrammar.from_string(f"root ::= {choices}", verbose=False)}
    return {"response_format": {"type": "json_object", "schema": spec.json_schema}}
