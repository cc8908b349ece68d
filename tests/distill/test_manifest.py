"""Names, manifest and checksums of a published version."""

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from distill.manifest import (
    FileEntry,
    Manifest,
    ManifestError,
    check_names,
    commit_of,
    file_entry,
    gguf_name,
    is_file_name,
    large_entry,
    lfs_pointer,
    manifest_bytes,
    sums_text,
)

MODEL = large_entry("tickets-Q4_K_M.gguf", "ab" * 32, 4_500_000_000)
README = file_entry("README.md", b"# hello\n")
MANIFEST = Manifest(
    repository="acme/tickets",
    number=1,
    run=7,
    dataset={"name": "main", "number": 2, "digest": "cd" * 32},
    base_model="Qwen/Qwen2.5-0.5B",
    base_revision="",
    spec_digest="ef" * 32,
    files=(MODEL, README),
    evaluations=({"subject": "gguf", "file": MODEL.path, "metrics": {"n": 200}},),
    verdict={"passed": True},
)


@pytest.mark.parametrize(
    "name",
    [
        "preset.ini", "PRESET.INI", "mmproj-Q8_0.gguf", "my-mmproj.gguf", "smtp-Q4_K_M.gguf",
        "imatrix.gguf", "eagle3-x.gguf", "dflash-x.gguf", "dspark-x.gguf", "", ".", "..", "../x",
        "a/b", "a\\b", "/etc/passwd", ".hidden", "a..b", "end.", "a b", "a\0b", "a\nb", "é", "-rf",
        "x" * 200,
    ],
)  # fmt: skip
def test_a_name_that_some_client_trips_over_is_refused(name: str) -> None:
    assert not is_file_name(name)
    with pytest.raises(ManifestError):
        check_names([name])


@pytest.mark.parametrize(
    "name", ["tickets-Q4_K_M.gguf", "README.md", "SHA256SUMS", "understudy.json", "smtp.md"]
)
def test_a_usual_name_is_accepted(name: str) -> None:
    assert is_file_name(name)


@pytest.mark.parametrize("names", [["a.md", "a.md"], ["understudy.json"], ["SHA256SUMS"]])
def test_no_name_is_given_twice(names: list[str]) -> None:
    with pytest.raises(ManifestError):
        check_names(names)


def test_a_workload_whose_name_llama_cpp_would_skip_gets_a_neutral_file_name() -> None:
    assert gguf_name("tickets", "Q4_K_M") == "tickets-Q4_K_M.gguf"
    assert gguf_name("smtp", "Q4_K_M") == "model-Q4_K_M.gguf"
    assert gguf_name("imatrix-faq", "Q8_0") == "model-Q8_0.gguf"


def test_the_commit_is_the_sha1_of_the_canonical_bytes() -> None:
    data = manifest_bytes(MANIFEST)
    told = json.loads(data)
    rewritten = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert data == rewritten.encode()
    assert commit_of(data) == hashlib.sha1(data).hexdigest()
    assert told["files"][1] == {
        "path": "tickets-Q4_K_M.gguf",
        "size": 4_500_000_000,
        "sha256": "ab" * 32,
        "git_oid": MODEL.git_oid,
    }


def test_the_order_of_the_files_does_not_change_the_commit_but_any_content_does() -> None:
    data = manifest_bytes(MANIFEST)
    assert manifest_bytes(replace(MANIFEST, files=(README, MODEL))) == data
    other = (MODEL, file_entry("README.md", b"# hullo\n"))
    changed = [
        manifest_bytes(replace(MANIFEST, files=other)),
        manifest_bytes(replace(MANIFEST, number=2)),
        manifest_bytes(replace(MANIFEST, override_reason="because")),
    ]
    assert len({data, *changed}) == 4


def test_a_figure_that_json_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        manifest_bytes(replace(MANIFEST, verdict={"value": float("nan")}))


def test_git_agrees_on_the_name_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"# hello\n")
    (tmp_path / "pointer").write_bytes(lfs_pointer(MODEL.sha256, MODEL.size))
    command = ["git", "hash-object", "--no-filters", "README.md", "pointer"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, text=True)
    assert said.stdout.split() == [README.git_oid, MODEL.git_oid]


def test_sha256sum_accepts_the_sums_and_notices_a_changed_file(tmp_path: Path) -> None:
    contents = {"b.md": b"two", "a.md": b"one"}
    entries: list[FileEntry] = []
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        entries.append(file_entry(name, content))
    (tmp_path / "SHA256SUMS").write_text(sums_text(entries))
    command = ["sha256sum", "--strict", "-c", "SHA256SUMS"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True)
    assert (said.returncode, said.stdout) == (0, "a.md: OK\nb.md: OK\n")
    (tmp_path / "a.md").write_bytes(b"0ne")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1
