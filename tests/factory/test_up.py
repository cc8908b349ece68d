"""`manage.py up` and `manage.py run`, as the processes they are."""

import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from factory.processes import NAMES
from tests.factory.running import Running, ends

Site = tuple[Running, Path, str]  # with its folder and address
EXTERNAL = ("DATABASE_URL", "BROKER_URL")


def manage(*arguments: str, var: Path, **settings: str) -> Running:
    """Start a command of its own installation: embedded servers but for what `settings` name."""
    env = {name: value for name, value in os.environ.items() if name not in EXTERNAL}
    env |= {"UNDERSTUDY_VAR": str(var)} | settings
    return Running([sys.executable, "manage.py", *arguments], env)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def descendants(pid: int) -> dict[int, str]:
    """Return the command line of each process below `pid`."""
    found: dict[int, str] = {}
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found[child] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
            found |= descendants(child)
    return found


def pid_with(text: str, below: int) -> int:
    return next(pid for pid, command in descendants(below).items() if text in command)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    var = tmp_path_factory.mktemp("site")
    with manage("up", "--port", str(free_port()), var=var) as up:
        address = up.wait_for("ready at").split("ready at ")[1].split()[0]
        yield up, var, address
        up.end(signal.SIGINT)


def test_up_runs_every_process_and_both_servers(site: Site) -> None:
    up, _, address = site
    with urllib.request.urlopen(f"{address}healthz") as answer:
        assert answer.status == 200
    commands = "\n".join(descendants(up.process.pid).values())
    for part in ("postgres", "redis-server", "uvicorn", "ship_calls", " beat "):
        assert part in commands
    for queue in ("default", "teacher", "gpu"):
        assert f"--queues {queue} " in commands


def test_a_second_up_on_the_same_folder_says_who_is_there(site: Site) -> None:
    up, var, _ = site
    with manage("up", var=var) as second:
        assert f"in use by process {up.process.pid}" in second.wait_for("CommandError")
        assert second.process.wait() == 1


def test_a_killed_worker_is_started_again(site: Site) -> None:
    up, _, _ = site
    os.kill(pid_with("--queues teacher ", up.process.pid), signal.SIGKILL)
    up.wait_for("teacher was ended by SIGKILL; starting it again")
    up.wait_for("teacher@")


def test_a_killed_database_is_started_again(site: Site) -> None:
    up, _, _ = site
    os.kill(pid_with("/bin/postgres ", up.process.pid), signal.SIGKILL)
    up.wait_for("PostgreSQL had ended; it runs again")


def test_neither_a_kill_nor_ctrl_c_leaves_a_process(tmp_path: Path) -> None:
    start = ("up", "--port", str(free_port()))
    with manage(*start, var=tmp_path) as up:
        up.wait_for("ready at")
        pids = descendants(up.process.pid)
        assert len(pids) > len(NAMES)
        up.process.kill()
        with manage(*start, var=tmp_path) as again:
            again.wait_for("ready at")
            pids |= descendants(again.process.pid)
            assert again.end(signal.SIGINT) == 0
        assert [command for pid, command in pids.items() if not ends(pid)] == []


def test_up_starts_no_server_where_another_is_configured(tmp_path: Path) -> None:
    unreachable = "postgresql://nobody@/nothing?host=/nonexistent"
    with manage("up", "--only", "beat", var=tmp_path, DATABASE_URL=unreachable) as up:
        assert "/nonexistent" in up.wait_for("CommandError: the database cannot be used")
        assert up.process.wait() == 1
    assert not (tmp_path / "postgres").exists()


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with manage("up", "--port", port, var=tmp_path) as up:
            assert "Address already in use" in up.wait_for(f"cannot listen on 127.0.0.1:{port}")


def test_run_becomes_the_process_itself(tmp_path: Path) -> None:
    with manage("run", "web", "--port", str(free_port()), var=tmp_path) as web:
        web.wait_for("Uvicorn running on")
        command = Path(f"/proc/{web.process.pid}/cmdline").read_text()
        assert "uvicorn\0factory.asgi:application" in command
    assert not (tmp_path / "postgres").exists()
