"""The converter comes out of the source distribution, and nothing else does."""

import io
import tarfile
from pathlib import Path

from distill.gpu import toolchain

WANTED = ("convert_hf_to_gguf.py", "conversion/base.py", "gguf-py/gguf/constants.py")


def test_only_the_converter_is_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "sdist.tar.gz"
    inside = [f"pkg-1/vendor/llama.cpp/{name}" for name in WANTED]
    others = [
        "pkg-1/setup.py",
        "pkg-1/vendor/llama.cpp/src/x.py",
        "pkg-1/vendor/other/LICENSE",
    ]
    with tarfile.open(archive, "w:gz") as sdist:
        for name in [*inside, *others]:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            sdist.addfile(member, io.BytesIO(name.encode()))

    toolchain._unpack(archive, tmp_path / "out")

    found = {str(path.relative_to(tmp_path / "out")) for path in tmp_path.glob("out/**/*.py")}
    assert found == set(WANTED)


def test_the_converter_is_of_the_installed_runtimes_version() -> None:
    folder = toolchain.require_converter()

    assert folder == toolchain.install()
    assert (folder / "gguf-py" / "gguf").is_dir()
