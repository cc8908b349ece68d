"""Quantizes a GGUF file with llama.cpp's own routine."""

import ctypes
from collections.abc import Mapping
from pathlib import Path

import llama_cpp

_FILE_TYPES = {
    "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q6_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q6_K,
    "Q5_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q5_K_M,
    "Q4_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M,
}
_TEXT_TAG = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR
_LONGEST = 127


class QuantizeError(RuntimeError):
    """llama.cpp refused; its reason is in the log."""


def quantize(
    source: Path, target: Path, quantization: str, keys: Mapping[str, str], threads: int
) -> None:
    """Write `target`, with the text `keys` (at most 127 bytes each) among its metadata."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = _FILE_TYPES[quantization]
    params.nthread = threads
    overrides = _overrides(keys)
    params.kv_overrides = ctypes.cast(overrides, type(params.kv_overrides))
    status = llama_cpp.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    if status != 0:
        target.unlink(missing_ok=True)
        raise QuantizeError(f"llama.cpp could not write {target.name} (status {status})")


def _overrides(keys: Mapping[str, str]) -> "ctypes.Array[llama_cpp.llama_model_kv_override]":
    """Return the array that llama.cpp reads up to the first empty key."""
    overrides = (llama_cpp.llama_model_kv_override * (len(keys) + 1))()
    for override, (key, text) in zip(overrides, sorted(keys.items()), strict=False):
        override.tag = _TEXT_TAG
        override.key = key.encode()[:_LONGEST]
        override.value.val_str = text.encode()[:_LONGEST].decode(errors="ignore").encode()
    return overrides
