"""What a published version is made of: names that every client accepts, one manifest, checksums."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from factory.digest import canonical_json

MANIFEST_FILE = "understudy.json"
CARD_FILE = "README.md"
SUMS_FILE = "SHA256SUMS"

# At the root of a repository llama.cpp takes this file for instructions in place of the model.
FORBIDDEN_NAMES = {"preset.ini"}
# llama.cpp takes a .gguf with one of these anywhere in its name for something beside the model.
SPECIAL_PARTS = ("mmproj", "mtp-", "imatrix", "eagle3-", "dflash-", "dspark-")


class ManifestError(ValueError):
    """A version that must not be published as it is; the message says which part and why."""


@dataclass(frozen=True)
class FileEntry:
    """One published file. `git_oid` is what git would call it, which hub clients list."""

    path: str
    size: int
    sha256: str
    git_oid: str


@dataclass(frozen=True)
class Manifest:
    """Everything that was decided about a version; its commit is the sha1 of its canonical bytes.

    `dataset` is `{"name", "number", "digest"}`; an evaluation is `{"subject", "file", "metrics"}`.
    """

    repository: str
    number: int
    run: int
    dataset: Mapping[str, Any]
    base_model: str
    base_revision: str
    spec_digest: str
    files: tuple[FileEntry, ...]
    evaluations: tuple[Mapping[str, Any], ...]
    verdict: Mapping[str, Any]
    override_reason: str = ""
    format: int = 1


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return the canonical bytes; the order in which the files were given does not matter.

    `ManifestError` for an unsafe name, a name given twice, or a name that is kept for ourselves.
    """
    check_names(entry.path for entry in manifest.files)
    files = sorted((asdict(entry) for entry in manifest.files), key=lambda entry: entry["path"])
    return canonical_json({**asdict(manifest), "files": files})


def commit_of(data: bytes) -> str:
    """Return the commit: 40 hex, the one length that hub clients take for a commit."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def check_names(paths: Iterable[str]) -> None:
    """Raise `ManifestError` unless each path is a safe name of its own."""
    seen = {MANIFEST_FILE, SUMS_FILE}
    for path in paths:
        if not is_file_name(path):
            raise ManifestError(f"{path!r} is not a name that every client can download")
        if path in seen:
            raise ManifestError(f"{path!r} is there twice")
        seen.add(path)


def is_file_name(path: str) -> bool:
    """Tell whether a path names a file that may be published: at the root, nothing surprising."""
    is_plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,198}", path) is not None
    is_special = path.endswith(".gguf") and any(part in path for part in SPECIAL_PARTS)
    is_doubtful = ".." in path or path.endswith(".")
    return is_plain and not is_doubtful and not is_special and path.lower() not in FORBIDDEN_NAMES


def gguf_name(stem: str, quantization: str) -> str:
    """Return `stem-Q4_K_M.gguf`, or `model-...` where clients would mistake the stem."""
    name = f"{stem}-{quantization}.gguf"
    return name if is_file_name(name) else f"model-{quantization}.gguf"


def is_large(path: str) -> bool:
    """Tell whether hub clients are to see a file as git-lfs: weights and data are, text is not."""
    return path.endswith((".gguf", ".safetensors", ".parquet"))


def file_entry(path: str, content: bytes) -> FileEntry:
    """Describe a small file by its content."""
    return FileEntry(path, len(content), hashlib.sha256(content).hexdigest(), git_oid(content))


def large_entry(path: str, sha256: str, size: int) -> FileEntry:
    """Describe a large file; what git holds of it is its git-lfs pointer."""
    return FileEntry(path, size, sha256, git_oid(lfs_pointer(sha256, size)))


def lfs_pointer(sha256: str, size: int) -> bytes:
    """Return git-lfs's pointer file (github.com/git-lfs/git-lfs/blob/main/docs/spec.md)."""
    lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{sha256}", f"size {size}")
    return "".join(f"{line}\n" for line in lines).encode()


def git_oid(content: bytes) -> str:
    """Return git's name for a file of this content."""
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def sums_text(files: Iterable[FileEntry]) -> str:
    """Return what `sha256sum -c SHA256SUMS` reads."""
    return "".join(f"{entry.sha256}  {entry.path}\n" for entry in sorted(files, key=_path))


def _path(entry: FileEntry) -> str:
    return entry.path
