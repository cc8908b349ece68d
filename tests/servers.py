"""A pytest plugin: a real PostgreSQL and a real Redis for the session, in a folder of its own.

Loaded before Django's settings are (`-p tests.servers`), so that they look there.
"""

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from factory.embedded import Postgres, Redis

VAR = Path(tempfile.mkdtemp(prefix="understudy-test-"))
os.environ["UNDERSTUDY_VAR"] = str(VAR)
os.environ.setdefault("PRIVATE_UPSTREAM_HOSTS", "127.0.0.1,localhost")
# Django refuses ORM calls where an event loop runs, and playwright's sync API runs one.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

_servers = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    """Start what no setting names an external server for."""
    if config.option.collectonly or config.option.help:
        return
    if "DATABASE_URL" not in os.environ:
        _servers.enter_context(Postgres(VAR / "postgres", durable=False))
    if "BROKER_URL" not in os.environ:
        _servers.enter_context(Redis(VAR / "redis"))


def pytest_unconfigure() -> None:
    """Stop them, and leave nothing behind."""
    _servers.close()
    shutil.rmtree(VAR, ignore_errors=True)
