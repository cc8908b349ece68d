"""What a gateway knew before it ended, it knows at its next start; nobody else reads it."""

import errno
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from distill.keyfile import KeyFile
from distill.routing import RouteTable, Target
from distill.selectors.gateway import GatewayKey
from factory.redaction.redact import Policy

KEY = "k" * 40
Table = dict[str, GatewayKey]

TEACHER = Target("https://api.example.org/v1", "sk-upstream", None, "main", "azure", "v9", 3)
STUDENT = Target("http://127.0.0.1:9000/v1", "sk-student", "tickets-v3", "students", upstream=4)
TABLE: Table = {
    "0" * 64: GatewayKey(
        project_id=7,
        project="acme",
        expires_at=datetime(2027, 1, 2, tzinfo=UTC),
        routes=RouteTable(
            default=TEACHER,
            students={"tickets": (STUDENT, TEACHER, 0.25)},
            named={"main": TEACHER},
            patterns=(("gpt-4*", TEACHER),),
        ),
        policy=Policy(frozenset({"EMAIL"}), True, ("Acme",), (("ORDER", r"ord-\d+"),)),
    ),
    "1" * 64: GatewayKey(8, "other", None, RouteTable(None, {}), Policy()),
}


def key_file(path: Path, key: str = KEY) -> KeyFile[Table]:
    return KeyFile(path, key, Table)


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    key_file(tmp_path / "var" / "keys").write(TABLE)
    assert key_file(tmp_path / "var" / "keys").load() == TABLE


def test_it_tells_nothing_to_whoever_has_only_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key_file(path).write(TABLE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    written = path.read_bytes()
    assert not any(word in written for word in (b"sk-", b"acme", b"0000", b"example"))


def test_without_a_file_or_with_one_that_is_of_no_use_there_is_no_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    assert key_file(path).load() is None
    assert not caplog.text
    key_file(path).write(TABLE)
    assert key_file(path, "another" * 8).load() is None
    whole = path.read_text()
    for damaged in ("", whole[:-7], "ü"):
        path.write_text(damaged)
        assert key_file(path).load() is None
    assert caplog.text.count("cannot be used") == 4
    KeyFile(path, KEY, dict[str, int]).write({"of another version": 1})
    assert key_file(path).load() is None


def test_it_is_written_only_when_the_table_changes(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    file = key_file(path)
    file.write(TABLE)
    first = path.stat().st_ino
    file.write(dict(TABLE))
    assert path.stat().st_ino == first
    changed = {name: replace(key, project="renamed") for name, key in TABLE.items()}
    file.write(changed)
    assert key_file(path).load() == changed


def test_where_it_cannot_be_written_the_former_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    file = key_file(path)
    file.write(TABLE)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    file.write({})
    assert "is not renewed" in caplog.text
    assert key_file(path).load() == TABLE
    assert list(tmp_path.iterdir()) == [path]
