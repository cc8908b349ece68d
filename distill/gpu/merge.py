"""Merges a LoRA adapter into its base shard by shard, so memory holds one shard at a time."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from distill.jobdir import InputError, Json

_PREFIX = "base_model.model."
_NOT_COPIED = (".safetensors", ".safetensors.index.json", ".gguf", ".bin", ".pth")


def merge(base: Path, adapter: Path, out: Path, on_shard: Callable[[int, int], None]) -> None:
    """Write base plus adapter to `out`: W + scale x B A in float32, stored in the base's dtype.

    Weights the adapter carries whole (trained embeddings) replace the base's. Configuration and
    tokenizer files are copied as they are, for a file written anew by a newer library may be
    unreadable to an older one.
    """
    deltas = _Adapter(adapter)
    shards = sorted(base.glob("*.safetensors"))
    if not shards:
        raise InputError(f"the base {base} has no safetensors file")
    out.mkdir(parents=True)
    for number, shard in enumerate(shards):
        on_shard(number, len(shards))
        with safe_open(shard, framework="pt") as tensors:
            names = list(tensors.keys())
            merged = {name: deltas.applied(name, tensors.get_tensor(name)) for name in names}
        save_file(merged, out / shard.name, metadata={"format": "pt"})
    deltas.require_all_used()
    for path in base.iterdir():
        if path.is_file() and not path.name.endswith(_NOT_COPIED):
            shutil.copyfile(path, out / path.name)
    for index in base.glob("*.safetensors.index.json"):
        shutil.copyfile(index, out / index.name)


class _Adapter:
    """A PEFT LoRA adapter's tensors, taken out as they are applied."""

    def __init__(self, folder: Path) -> None:
        config: Json = json.loads((folder / "adapter_config.json").read_bytes())
        self._scale = _scale(config)
        self._fan_in_fan_out = bool(config.get("fan_in_fan_out"))
        self._tensors = load_file(folder / "adapter_model.safetensors")
        self._unused = set(self._tensors)

    def applied(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight as the adapter changes it."""
        module = _PREFIX + name.removesuffix(".weight")
        whole = self._take(_PREFIX + name)
        if whole is not None:
            return whole.to(weight.dtype).contiguous()
        down, up = self._take(f"{module}.lora_A.weight"), self._take(f"{module}.lora_B.weight")
        if down is None or up is None:
            return weight
        delta = self._scale * (up.float() @ down.float())
        delta = delta.T if self._fan_in_fan_out else delta
        return (weight.float() + delta).to(weight.dtype)

    def require_all_used(self) -> None:
        """Raise `InputError` if the adapter changes weights that the base does not have.

        A tied output head is no weight of its own: it is the embedding, replaced already.
        """
        missing = sorted(self._unused - {f"{_PREFIX}lm_head.weight"})
        if missing:
            raise InputError(f"the adapter does not fit the base: no place for {missing[:3]}")

    def _take(self, name: str) -> torch.Tensor | None:
        self._unused.discard(name)
        return self._tensors.get(name)


def _scale(config: Json) -> float:
    unsupported = [
        name for name in ("use_dora", "rank_pattern", "alpha_pattern", "alora_invocation_tokens")
        if config.get(name)
    ]  # fmt: skip
    if config.get("peft_type") != "LORA" or unsupported:
        raise InputError(f"only plain LoRA adapters can be merged, not {unsupported or config}")
    rank, alpha = float(str(config["r"])), float(str(config["lora_alpha"]))
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
