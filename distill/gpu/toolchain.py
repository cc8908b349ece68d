"""The llama.cpp converter of the installed llama-cpp-python: `python -m distill.gpu.toolchain`.

The wheel holds the runtime only; the converter is in the same version's source distribution, and
taking it from there keeps both of one version.
"""

import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

_WANTED = re.compile(
    r"[^/]+/vendor/llama\.cpp/((?:conversion|gguf-py)/.+|convert_(?:hf|lora)_to_gguf\.py|LICENSE)"
)


class ToolchainError(RuntimeError):
    """The converter is not installed."""


def converter_folder() -> Path:
    """Return where the converter of the installed llama-cpp-python belongs."""
    version = importlib.metadata.version("llama-cpp-python")
    return Path(sys.prefix) / "share" / "understudy" / f"llama.cpp-{version}"


def require_converter() -> Path:
    """Return the converter's folder; `ToolchainError` says how to install it."""
    folder = converter_folder()
    if not (folder / "convert_hf_to_gguf.py").is_file():
        raise ToolchainError(
            f"the llama.cpp converter is missing in {folder}: run python -m distill.gpu.toolchain"
        )
    return folder


def install() -> Path:
    """Fetch the source distribution with pip and unpack the converter, unless it is there."""
    folder = converter_folder()
    if (folder / "convert_hf_to_gguf.py").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        unpacked = Path(scratch) / "unpacked"
        _unpack(_download(Path(scratch)), unpacked)
        unpacked.rename(folder)
    return folder


def _download(folder: Path) -> Path:
    version = importlib.metadata.version("llama-cpp-python")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--no-binary", "llama-cpp-python", "--dest", str(folder)),
            f"llama-cpp-python=={version}",
        ],
        check=True,
    )
    return next(folder.glob("llama_cpp_python-*.tar.gz"))


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as sdist:
        for member in sdist:
            wanted = _WANTED.fullmatch(member.name)
            content = sdist.extractfile(member) if wanted and member.isfile() else None
            if wanted and content is not None and ".." not in Path(wanted[1]).parts:
                # By hand: `filter="data"` is not in every Python 3.11.
                target = folder / wanted[1]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())


if __name__ == "__main__":
    print(install())
