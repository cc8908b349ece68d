"""Settings come from the environment; a wrong one stops the start with a sentence."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from factory.settings import database

SHOW = "from factory import settings as s; print(repr((s.{})))"


def start(var: Path, show: str = "DEBUG", **environment: str) -> "subprocess.CompletedProcess[str]":
    clean = {"PATH": os.environ["PATH"], "UNDERSTUDY_VAR": str(var)}
    return subprocess.run(
        [sys.executable, "-c", SHOW.format(show)],
        cwd=settings.BASE_DIR,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_any_setting_it_runs_embedded_and_not_in_debug(tmp_path: Path) -> None:
    started = start(tmp_path, "DEBUG, s.STORAGE_URL, s.ALLOWED_HOSTS[0]")
    assert started.stdout == f"(False, 'file://{tmp_path}/storage', 'localhost')\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "sqlite:///x.db"),
        ("DATABASE_URL", "postgresql://%zz"),
        ("BROKER_URL", "http://redis"),
        ("STORAGE_URL", "/var/lib/models"),
        ("SECRET_KEY", "short"),
        ("ENCRYPTION_KEY", "short"),
        ("ALLOWED_HOSTS", "*"),
        ("DEBUG", "maybe"),
        ("MAX_BODY_MB", "0"),
        ("MAX_BODY_MB", "--5"),
        ("MAX_BODY_MB", "1.5"),
        ("MAX_BODY_MB", "many"),
        ("STUDENT_USD_PER_HOUR", "nan"),
        ("LOG_LEVEL", "LOUD"),
        ("SECRET_KEY_FILE", "/no/such/file"),
    ],
)
def test_a_wrong_value_stops_the_start_with_a_sentence(
    tmp_path: Path, name: str, value: str
) -> None:
    stopped = start(tmp_path, **{name: value})
    assert stopped.returncode == 1
    last = stopped.stderr.strip().splitlines()[-1]
    assert last.startswith("django.core.exceptions.ImproperlyConfigured: ")
    assert name.removesuffix("_FILE") in last


def test_a_secret_is_made_once_for_the_owners_eyes_only(tmp_path: Path) -> None:
    first, again = start(tmp_path, "SECRET_KEY"), start(tmp_path, "SECRET_KEY")
    assert first.stdout == again.stdout != start(tmp_path / "other", "SECRET_KEY").stdout
    kept = sorted((tmp_path / "secrets").iterdir())
    assert [path.name for path in kept] == ["encryption_key", "secret_key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}


def test_a_value_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://u:p@db/name\n")
    started = start(tmp_path, "DATABASES['default']['HOST']", DATABASE_URL_FILE=f"{tmp_path}/url")
    assert started.stdout == "'db'\n"


def test_private_hosts_are_compared_in_lower_case(tmp_path: Path) -> None:
    started = start(
        tmp_path, "PRIVATE_UPSTREAM_HOSTS", PRIVATE_UPSTREAM_HOSTS="VLLM.local, ,10.0.0.7"
    )
    assert started.stdout == "['vllm.local', '10.0.0.7']\n"


def test_a_database_url_becomes_djangos_settings() -> None:
    made = database("postgresql://u:p%40ss@db.example:5433/name?sslmode=require")
    assert (made["USER"], made["PASSWORD"], made["HOST"]) == ("u", "p@ss", "db.example")
    assert (made["PORT"], made["NAME"]) == ("5433", "name")
    assert made["OPTIONS"] == {"connect_timeout": 10, "sslmode": "require"}
    with pytest.raises(ImproperlyConfigured):
        database("postgresql://%zz")
