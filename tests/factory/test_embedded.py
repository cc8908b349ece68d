"""The embedded servers: real ones, killed, left behind and found again."""

import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
import redis
from kombu import Connection

from factory import embedded
from factory.embedded import AlreadyRunningError, EmbeddedError, Postgres, Redis
from tests.factory.running import Running, ends

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="the other tests ran as an ordinary user")

OWNER = """
import signal, sys
from pathlib import Path
from factory.embedded import Postgres
with Postgres(Path(sys.argv[1]), durable=False) as postgres:
    print("pid", postgres.pid, flush=True)
    signal.pause()
"""


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    with Postgres(tmp_path / "postgres", durable=False) as server:
        yield server


def remember(url: str, word: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", [word])


def remembered(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY word")]


def owner(data_dir: Path, path: str | None = None, prefix: Sequence[str] = ()) -> Running:
    """Start another process that owns a PostgreSQL, if need be with another PATH."""
    env = os.environ | ({"PATH": path} if path else {})
    return Running([*prefix, sys.executable, "-c", OWNER, str(data_dir)], env)


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert ends(pid)


def pid_of(line: str) -> int:
    return int(line.rsplit(maxsplit=1)[-1])


def test_committed_rows_survive_a_restart(postgres: Postgres) -> None:
    remember(postgres.url, "kept")
    postgres.stop()
    assert not postgres.is_running()
    assert not postgres.is_ready()
    postgres.start()
    assert remembered(postgres.url) == ["kept"]


def test_committed_rows_survive_a_kill_of_the_server(tmp_path: Path) -> None:
    with Postgres(tmp_path / "postgres") as postgres:
        remember(postgres.url, "kept")
        kill(postgres.pid)
        postgres.start()
        assert remembered(postgres.url) == ["kept"]


def test_a_session_that_outlives_the_server_is_waited_for(postgres: Postgres) -> None:
    session = psycopg.pq.PGconn.connect(postgres.url.encode())
    session.send_query(
        b"DO 'BEGIN RAISE NOTICE $$begun$$; FOR i IN 1..20000000 LOOP END LOOP; END'"
    )
    select.select([session.socket], [], [])
    kill(postgres.pid)
    assert not ends(session.backend_pid, 0)
    postgres.start()
    assert ends(session.backend_pid, 0)
    session.finish()


@pytest.mark.parametrize("kind", ["stranger", "zombie"])
def test_a_pid_file_that_names_another_process_stops_no_start(
    postgres: Postgres, kind: str
) -> None:
    remember(postgres.url, "kept")
    pid_file = postgres.data_dir / "postmaster.pid"
    content = pid_file.read_text().splitlines()
    postgres.stop()
    with subprocess.Popen(
        ["true"] if kind == "zombie" else ["cat"], stdin=subprocess.PIPE
    ) as other:
        if kind == "zombie":
            os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        pid_file.write_text("\n".join([str(other.pid), *content[1:]]) + "\n")
        postgres.socket_path.with_name(".s.PGSQL.5432.lock").write_text(f"{other.pid}\n")
        postgres.start()
        assert remembered(postgres.url) == ["kept"]


def test_a_server_ends_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    with owner(tmp_path / "postgres") as process:
        pid = pid_of(process.wait_for("pid"))
        process.process.kill()
        assert ends(pid)


def test_a_server_that_outlived_its_owner_is_replaced(tmp_path: Path) -> None:
    untied = tmp_path / "bin"  # without setpriv, nothing ends the server with its owner
    untied.mkdir()
    (untied / "unshare").symlink_to(str(shutil.which("unshare")))
    with owner(tmp_path / "postgres", path=str(untied)) as process:
        left_over = pid_of(process.wait_for("pid"))
        remember(embedded.database_url(tmp_path / "postgres"), "kept")
        process.process.kill()
        process.process.wait()
        assert not ends(left_over, 0)
        with Postgres(tmp_path / "postgres", durable=False) as postgres:
            assert ends(left_over, 0)
            assert remembered(postgres.url) == ["kept"]


def test_a_second_owner_is_told_who_is_there(postgres: Postgres) -> None:
    with pytest.raises(AlreadyRunningError, match=f"in use by process {os.getpid()}: stop that"):
        Postgres(postgres.data_dir).start()
    assert postgres.is_ready()


def test_a_deep_directory_gets_a_short_socket(tmp_path: Path) -> None:
    data_dir = tmp_path / ("deep" * 20) / ("deeper" * 10) / "postgres"
    data_dir.parent.mkdir(parents=True)
    with Postgres(data_dir, durable=False) as postgres:
        assert postgres.is_ready()
        assert len(os.fsencode(postgres.socket_path)) <= embedded.MAX_SOCKET_PATH_BYTES
        assert postgres.socket_path.parent.parent.stat().st_mode & 0o077 == 0
    postgres.socket_path.parent.rmdir()


def test_a_server_that_cannot_start_says_why(postgres: Postgres) -> None:
    postgres.stop()
    (postgres.data_dir / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(EmbeddedError, match="no_such_setting"):
        postgres.start()


def test_saying_where_a_server_will_be_starts_nothing(tmp_path: Path) -> None:
    data_dir = tmp_path / "none"
    assert embedded.database_url(data_dir) == (
        f"postgresql://understudy@/understudy?host={data_dir}&port=5432"
    )
    assert embedded.broker_url(data_dir) == f"redis+socket://{data_dir}/redis.sock?virtual_host=0"
    assert list(tmp_path.iterdir()) == []


@as_root
def test_root_without_user_namespaces_runs_it_as_nobody(tmp_path: Path) -> None:
    forbidden = tmp_path / "bin"
    forbidden.mkdir()
    (forbidden / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (forbidden / "unshare").chmod(0o755)
    data_dir = tmp_path / "postgres"
    with owner(data_dir, path=f"{forbidden}:{os.environ['PATH']}") as process:
        pid = pid_of(process.wait_for("pid"))
        assert Path(f"/proc/{pid}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
        remember(embedded.database_url(data_dir), "kept")
        process.end(signal.SIGKILL)
    with Postgres(data_dir, durable=False) as postgres:
        assert remembered(postgres.url) == ["kept"]
        assert data_dir.stat().st_uid == 0


@as_root
def test_an_ordinary_user_runs_it_too(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(tmp_path, nobody, -1)
    # The capability lets the user through to an interpreter and a folder that only root may enter.
    prefix = ["setpriv", f"--reuid={nobody}", "--clear-groups", "--securebits=+no_setuid_fixup"]
    prefix += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    with owner(tmp_path / "postgres", prefix=prefix) as process:
        pid = pid_of(process.wait_for("pid"))
        assert Path(f"/proc/{pid}").stat().st_uid == nobody
        with psycopg.connect(embedded.database_url(tmp_path / "postgres")) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("understudy",)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_messages_survive_a_restart_of_redis(tmp_path: Path, how: str) -> None:
    with Redis(tmp_path / "with a space" / "redis") as server:
        with Connection(server.url) as connection:
            connection.SimpleQueue("jobs").put({"id": 7})
        if how == "stopped":
            server.stop()
        else:
            kill(server.pid)
        server.start()
        with Connection(server.url) as connection:
            assert connection.SimpleQueue("jobs").get(timeout=5).payload == {"id": 7}


def test_redis_opens_no_port(tmp_path: Path) -> None:
    with Redis(tmp_path / "redis") as server:
        client = redis.Redis(unix_socket_path=str(server.socket_path), decode_responses=True)
        assert client.config_get("port") == {"port": "0"}
        client.close()
