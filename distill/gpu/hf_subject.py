"""A base, a merged model, or a base with an adapter, in transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from distill.gpu.base import load_tokenizer, locate
from distill.gpu.model import device, load_model
from distill.gpu.rows import ChatEncoder
from distill.gpu.subject import Answer
from distill.jobdir import InputError, Json
from distill.spec import EvalSpec


class HfSubject:
    """A loaded transformers model."""

    def __init__(self, spec: EvalSpec) -> None:
        torch.set_num_threads(spec.threads)
        folder = locate(spec.model, spec.revision)
        dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
        self.device = str(device())
        self._encoder = ChatEncoder(load_tokenizer(folder))
        model: Any = load_model(folder, dtype)
        if spec.adapter:
            if not (Path(spec.adapter) / "adapter_config.json").is_file():
                raise InputError(f"the adapter {spec.adapter} does not exist")
            model = PeftModel.from_pretrained(model, spec.adapter)
        self._model = model.eval()
        self._spec = spec
        self._ends = self._end_tokens(model.generation_config.eos_token_id)
        self._label_tree = self._labels_as_tree() if spec.constrained else None

    def answer(self, prompt: list[Json]) -> Answer:
        """Generate from the prompt's last `max_length` tokens."""
        ids = self._encoder.prompt_ids(prompt)[-self._spec.max_length :]
        given = torch.tensor([ids], device=self.device)
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                do_sample=False,
                max_new_tokens=self._spec.max_new_tokens,
                eos_token_id=self._ends,
                pad_token_id=self._encoder.tokenizer.pad_token_id,
                prefix_allowed_tokens_fn=self._allowed_next(len(ids)),
            )
        new = output[0, len(ids) :].tolist()
        text = self._encoder.tokenizer.decode(new, skip_special_tokens=True)
        return Answer(str(text), len(ids), len(new))

    def close(self) -> None:
        """Nothing to do: the process ends."""

    def _end_tokens(self, configured: int | list[int] | None) -> list[int]:
        listed = configured if isinstance(configured, list) else [configured]
        return sorted(
            {token for token in [*listed, self._encoder.end_of_turn] if token is not None}
        )

    def _labels_as_tree(self) -> dict[tuple[int, ...], list[int]]:
        """Return which tokens may follow each beginning of a label."""
        tree: dict[tuple[int, ...], set[int]] = {}
        for label in self._spec.labels:
            encoded = self._encoder.tokenizer(label, add_special_tokens=False)["input_ids"]
            ids = [*encoded, self._encoder.end_of_turn]
            for place, token in enumerate(ids):
                tree.setdefault(tuple(ids[:place]), set()).add(token)
        return {beginning: sorted(tokens) for beginning, tokens in tree.items()}

    def _allowed_next(self, prompt_length: int) -> Callable[[int, torch.Tensor], list[int]] | None:
        tree, end = self._label_tree, [self._encoder.end_of_turn]
        if tree is None:
            return None
        return lambda _, ids: tree.get(tuple(ids[prompt_length:].tolist()), end)


def open_subject(spec: EvalSpec) -> HfSubject:
    """Load the model."""
    return HfSubject(spec)
