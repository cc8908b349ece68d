"""Writes the lock files beside this one from pyproject.toml: `make lock`, with `uv` on the PATH.

Torch and its CUDA packages are left out: which build of them is right depends on the machine, so it
is installed first, by its exact pin.
"""

import re
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LEFT_OUT = re.compile(r"(torch|triton|nvidia-|cuda-)")
LOCKS = {
    "web": ("the site and its workers", ["s3"]),
    "gpu": ("the site with the training stack", ["s3", "gpu"]),
    "dev": ("everything that the tests need", ["s3", "gpu", "dev"]),
}


def main() -> None:
    """Write every lock."""
    for name, (purpose, extras) in LOCKS.items():
        text = resolved(extras)
        kept = [block for block in re.split(r"(?m)^(?=\w)", text) if not LEFT_OUT.match(block)]
        head = f"# For {purpose}. Made by `make lock`; install with --no-deps --require-hashes.\n"
        (HERE / f"{name}.lock").write_text(head + "".join(kept), encoding="utf-8")


def resolved(extras: list[str]) -> str:
    """Return the pinned requirements with hashes, as uv resolves them."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "lock"
        chosen = [f"--extra={extra}" for extra in extras]
        options = ["--python-version=3.11", "--python-platform=x86_64-manylinux_2_28"]
        options += ["--generate-hashes", "--no-header", "--no-annotate", "--quiet"]
        command = ["uv", "pip", "compile", str(HERE.parent / "pyproject.toml"), *chosen, *options]
        subprocess.run([*command, "--output-file", str(target)], check=True)
        return target.read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
