"""Turns an adapter into GGUF files: `python -m distill.gpu.export FOLDER` (an `ExportSpec` in it).

Merge, convert to F16, quantize; each output carries a receipt, so a second attempt redoes only
what is missing or damaged.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from distill.child import PARENT_VARIABLE
from distill.gpu.base import load_tokenizer, locate
from distill.gpu.merge import merge
from distill.gpu.quantize import quantize
from distill.gpu.rows import ChatEncoder
from distill.gpu.step import run_step
from distill.gpu.toolchain import require_converter
from distill.jobdir import (
    InputError,
    JobDir,
    Json,
    file_sha256,
    listed_file,
    replace_folder,
    write_atomically,
)
from distill.spec import ExportSpec, spec_digest

_GENERAL = ("version", "description", "author", "organization", "url")
_FRONT_MATTER = ("license", "language")


class ConvertError(RuntimeError):
    """llama.cpp's converter failed; its reason is in the log."""


def export(job: JobDir, spec: ExportSpec) -> Json:
    """Write `files/NAME-QUANT.gguf` for each quantization, and the merged model to `work/`."""
    converter = require_converter()
    base = locate(spec.base_model, spec.revision)
    merged = _merged(job, spec, base)
    listed = [_listed(job, spec, merged, converter, name) for name in spec.quantizations]
    config = json.loads((merged / "config.json").read_bytes())
    return {
        "merged": "work/merged",
        "context_length": config.get("max_position_embeddings"),
        "special_tokens": ChatEncoder(load_tokenizer(merged)).special_tokens,
        "converter": converter.name,
        "files": listed,
    }


def _merged(job: JobDir, spec: ExportSpec, base: Path) -> Path:
    merged, receipt = job.work / "merged", job.work / "merged.json"
    if receipt.is_file() and json.loads(receipt.read_bytes())["spec"] == spec_digest(spec):
        return merged
    adapter = Path(spec.adapter)
    if not (adapter / "adapter_model.safetensors").is_file():
        raise InputError(f"the adapter {adapter} does not exist")
    unfinished = job.scratch / "merging"
    shutil.rmtree(unfinished, ignore_errors=True)
    merge(base, adapter, unfinished, lambda at, of: job.append_progress("merge", at, of))
    (unfinished / "README.md").write_text(_front_matter(spec), encoding="utf-8")
    replace_folder(unfinished, merged)
    write_atomically(receipt, json.dumps({"spec": spec_digest(spec)}).encode())
    job.append_progress("merge", 1, 1)
    return merged


def _listed(job: JobDir, spec: ExportSpec, merged: Path, converter: Path, name: str) -> Json:
    """Return a quantization's entry in the result, making the file if it is not there whole."""
    path = job.files / f"{spec.name}-{name}.gguf"

    def write(target: Path) -> None:
        source = job.scratch / f"{spec.name}-F16.gguf"
        _once(job, spec, source, lambda f16: _convert(job, spec, merged, converter, f16))
        job.append_progress("quantize", 0, 1, detail=name)
        if name == "F16":
            shutil.copyfile(source, target)
        else:
            quantize(source, target, name, _provenance(spec), spec.threads)
        job.append_progress("quantize", 1, 1, detail=name)

    _once(job, spec, path, write)
    return listed_file(job, path, kind="gguf", quantization=name)


def _once(job: JobDir, spec: ExportSpec, path: Path, write: Callable[[Path], None]) -> None:
    receipt = job.work / f"{path.name}.json"
    if receipt.is_file() and path.is_file():
        known = json.loads(receipt.read_bytes())
        if known == {"spec": spec_digest(spec), "sha256": file_sha256(path)}:
            return
    unfinished = job.scratch / f"{path.name}.unfinished"
    write(unfinished)
    unfinished.replace(path)
    made = {"spec": spec_digest(spec), "sha256": file_sha256(path)}
    write_atomically(receipt, json.dumps(made).encode())


def _convert(job: JobDir, spec: ExportSpec, merged: Path, converter: Path, target: Path) -> None:
    job.append_progress("convert", 0, 1)
    metadata = job.scratch / "metadata.json"
    general = {f"general.{key}": spec.card[key] for key in _GENERAL if key in spec.card}
    metadata.write_text(json.dumps(general), encoding="utf-8")
    command = [
        *(sys.executable, "-m", "distill.gpu.convert", str(converter), str(merged)),
        *("--outtype", "f16", "--outfile", str(target)),
        *("--metadata", str(metadata), "--model-name", spec.name),
    ]
    environment = {**os.environ, PARENT_VARIABLE: str(os.getpid())}
    status = subprocess.run(command, env=environment, check=False).returncode
    if status != 0 or not target.is_file():
        raise ConvertError(f"the llama.cpp converter ended with status {status}")
    job.append_progress("convert", 1, 1)


def _front_matter(spec: ExportSpec) -> str:
    """Return the card's head, the only place from which the converter takes the licence."""
    lines = [f"{key}: {json.dumps(spec.card[key])}" for key in _FRONT_MATTER if key in spec.card]
    return "\n".join(["---", *lines, "---", f"# {spec.name}", ""])


def _provenance(spec: ExportSpec) -> dict[str, str]:
    known = {*_GENERAL, *_FRONT_MATTER}
    extra = {f"understudy.{key}": text for key, text in spec.card.items() if key not in known}
    return {"understudy.export_digest": spec_digest(spec), **extra}


if __name__ == "__main__":
    sys.exit(run_step(ExportSpec, export))
