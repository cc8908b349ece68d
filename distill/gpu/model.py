"""Weights in memory: which device, which precision, and never code that came with them."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel


def device() -> torch.device:
    """Return the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_model(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load a causal language model from safetensors."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation="sdpa",
        use_safetensors=True,
        trust_remote_code=False,
        device_map={"": device()},
    )
    return model
