"""Export: the files that ship are the student that was trained."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from llama_cpp import Llama
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from distill.gpu.base import load_tokenizer
from distill.gpu.convert import UnknownSplitError, split_name
from distill.gpu.export import export
from distill.gpu.hf_subject import HfSubject
from distill.gpu.merge import merge
from distill.jobdir import InputError, JobDir, file_sha256
from distill.spec import EvalSpec, ExportSpec
from tests.gpu.conftest import accuracy, ask, chat_rows, predictions

pytestmark = pytest.mark.slow

TRICKY = [
    "naïve café 12345 — “quotes”",
    "tabs\tand\n\nnewlines  \r\n",
    "日本語 🙂 ½",
    "it's HE'LL we've",
    "<b>x</b> {json: [1, 2]}",
]


def test_the_quantized_file_answers_as_the_student_was_taught(
    base: Path, exported: JobDir, gguf: Path, tmp_path: Path
) -> None:
    rows = chat_rows(60, seed=3)

    shipped = ask(tmp_path, EvalSpec("gguf", str(gguf), max_new_tokens=8), rows)

    merged = HfSubject(EvalSpec("hf", str(exported.work / "merged"), max_new_tokens=8))
    untrained = HfSubject(EvalSpec("hf", str(base), max_new_tokens=8))
    assert accuracy(shipped) >= 0.95
    for row, prediction in zip(rows, predictions(shipped)[:20], strict=False):
        prompt: Any = row["messages"]
        unquantized = merged.answer(prompt[:-1])
        assert unquantized.text == prediction["output"]
        assert unquantized.prompt_tokens == prediction["prompt_tokens"]
        assert untrained.answer(prompt[:-1]).text != prediction["expected"]


def test_the_result_names_the_files_with_their_digests(exported: JobDir) -> None:
    result: dict[str, Any] = exported.result() or {}

    files = result["files"]
    assert [item["quantization"] for item in files] == ["Q8_0", "Q4_K_M"]
    for item in files:
        path = exported.root / item["path"]
        assert (item["sha256"], item["size"]) == (file_sha256(path), path.stat().st_size)
    assert result["special_tokens"] == ["<|endoftext|>", "<|im_end|>", "<|im_start|>"]


def test_the_file_carries_its_card(gguf: Path) -> None:
    llama = Llama(str(gguf), vocab_only=True, verbose=False)
    metadata = dict(llama.metadata)
    llama.close()

    assert metadata["general.license"] == "apache-2.0"
    assert metadata["general.description"] == "Routes tickets"
    assert metadata["understudy.dataset"] == "v1"
    assert metadata["tokenizer.ggml.pre"] == "qwen2"


def test_llama_cpp_splits_text_into_the_same_tokens(base: Path, gguf: Path) -> None:
    tokenizer = load_tokenizer(base)
    llama = Llama(str(gguf), vocab_only=True, verbose=False)
    in_file = [llama.tokenize(text.encode(), add_bos=False, special=True) for text in TRICKY]
    llama.close()

    assert in_file == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TRICKY]


def test_a_second_attempt_makes_only_what_is_missing(exported: JobDir, tmp_path: Path) -> None:
    shutil.copytree(exported.root, tmp_path / "again")
    job = JobDir(tmp_path / "again")
    (job.root / "result.json").unlink()
    job.scratch.mkdir()
    kept, lost = job.files / "router-Q4_K_M.gguf", job.files / "router-Q8_0.gguf"
    lost.write_bytes(b"damaged")
    made_at = kept.stat().st_mtime_ns

    spec = job.spec()
    assert isinstance(spec, ExportSpec)

    result = export(job, spec)

    assert kept.stat().st_mtime_ns == made_at
    first: dict[str, Any] = exported.result() or {}
    assert result["files"] == first["files"]


def test_merging_shard_by_shard_gives_the_same_weights_as_peft(
    base: Path, trained: JobDir, tmp_path: Path
) -> None:
    adapter = trained.files / "adapter"
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    expected = PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()

    merge(base, adapter, tmp_path / "merged", lambda _at, _of: None)

    merged = load_file(tmp_path / "merged" / "model.safetensors")
    assert set(merged) == set(expected) - {"lm_head.weight"}
    assert all(torch.equal(weight, expected[name]) for name, weight in merged.items())


def test_an_adapter_of_another_base_is_refused(base: Path, trained: JobDir, tmp_path: Path) -> None:
    adapter = shutil.copytree(trained.files / "adapter", tmp_path / "adapter")
    shallow = shutil.copytree(base, tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    from_other = {name: weight for name, weight in weights.items() if ".layers.1." not in name}
    save_file(from_other, shallow / "model.safetensors")

    with pytest.raises(InputError, match="does not fit the base"):
        merge(shallow, adapter, tmp_path / "merged", lambda _at, _of: None)


def test_the_converter_knows_a_tokenizers_split_by_its_expression(base: Path) -> None:
    tokenizer = json.loads((base / "tokenizer.json").read_bytes())
    gpt2 = {"pre_tokenizer": {"type": "ByteLevel", "use_regex": True}}
    unheard_of = {
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated"}
    }

    assert split_name(tokenizer) == "qwen2"
    assert split_name(gpt2) == "gpt-2"
    with pytest.raises(UnknownSplitError):
        split_name(unheard_of)
