"""Runs llama.cpp's own converter on a folder: `python -m distill.gpu.convert CONVERTER ARGS...`.

The converter recognises a BPE tokenizer by a hash over token ids of a fixed text, so it refuses
every vocabulary it was not told about, although llama.cpp only needs to know how text is split
before BPE. Where the hash is unknown, the split is read from `tokenizer.json` instead.
"""

import importlib
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.gpu.step import die_with_parent

# How llama.cpp calls the split that each regular expression describes (src/llama-vocab.cpp).
_SPLITS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": "qwen2",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": "llama-bpe",
}


class UnknownSplitError(NotImplementedError):
    """Neither the converter nor this wrapper knows how the tokenizer splits text."""


def split_name(tokenizer: dict[str, Any]) -> str:
    """Return llama.cpp's name of the split in a parsed `tokenizer.json`."""
    steps = list(_flat(tokenizer.get("pre_tokenizer") or {}))
    for step in steps:
        if step["type"] == "Split" and step["pattern"].get("Regex") in _SPLITS:
            return _SPLITS[step["pattern"]["Regex"]]
    if [(step["type"], step.get("use_regex")) for step in steps] == [("ByteLevel", True)]:
        return "gpt-2"
    raise UnknownSplitError(f"llama.cpp has no name for this tokenizer's split: {steps}")


def main() -> None:
    """Run the converter with the fallback in place."""
    die_with_parent()
    script = Path(sys.argv[1]) / "convert_hf_to_gguf.py"
    sys.argv = [str(script), *sys.argv[2:]]
    sys.path[:0] = [str(script.parent), str(script.parent / "gguf-py")]
    text_model: Any = importlib.import_module("conversion.base").TextModel
    by_hash = text_model.get_vocab_base_pre

    def by_hash_or_split(model: Any, tokenizer: Any) -> str:
        try:
            return str(by_hash(model, tokenizer))
        except NotImplementedError:
            return split_name(json.loads((model.dir_model / "tokenizer.json").read_bytes()))

    text_model.get_vocab_base_pre = by_hash_or_split
    runpy.run_path(str(script), run_name="__main__")


def _flat(step: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if step.get("type") == "Sequence":
        for inner in step["pretokenizers"]:
            yield from _flat(inner)
    else:
        yield step


if __name__ == "__main__":
    main()
