"""`manage.py up`: start everything, on embedded servers where no other is configured."""

import errno
import http.client
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection

from factory.embedded import EmbeddedError, Postgres, Redis, Server, claim
from factory.processes import NAMES, WEB_GRACE_SECONDS, process
from factory.supervise import Supervisor

LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  what listens everywhere answers here


class Command(BaseCommand):
    help = "Start the embedded servers, the web server and the workers. Ctrl-C stops all of it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="where the web server listens")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument(
            "--only", default=",".join(NAMES), metavar="NAME,...", help="of %(default)s"
        )

    def handle(self, *_args: Any, host: str, port: int, only: str, **_options: Any) -> None:
        chosen = set(only.split(","))
        if unknown := chosen - set(NAMES):
            raise CommandError(f"--only knows {', '.join(NAMES)}, not {', '.join(sorted(unknown))}")
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the supervisor's turn
        try:
            with ExitStack() as held:
                held.enter_context(claim(settings.VAR_DIR / "up.lock"))
                if "web" in chosen:
                    refuse_taken_port(host, port)
                servers = start_servers(held)
                migrate()
                processes = [
                    process(name, var_dir=settings.VAR_DIR, host=host, port=port)
                    for name in NAMES
                    if name in chosen
                ]
                watch = watcher(servers, host, port, has_web="web" in chosen)
                Supervisor(processes, each_second=watch).run()
        except EmbeddedError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stdout.write("stopped before everything was up")


def start_servers(held: ExitStack) -> list[Server]:
    """Start the servers that the settings take for granted; `held` stops them, the last first."""
    servers = (Postgres(settings.VAR_DIR / "postgres"), Redis(settings.VAR_DIR / "redis"))
    needed = {settings.DATABASE_URL, settings.BROKER_URL}
    return [held.enter_context(server) for server in servers if server.url in needed]


def migrate() -> None:
    """Bring the schema up to date before anything reads it."""
    try:
        call_command("migrate", interactive=False, verbosity=0)
    except OperationalError as error:
        raise CommandError(f"the database cannot be used: {error}") from error
    finally:
        connection.close()


def watcher(
    servers: Sequence[Server], host: str, port: int, *, has_web: bool
) -> Callable[[], str | None]:
    """Return what to do each second: revive a server; say once that the address answers."""
    name = LOOPBACK.get(host, host)
    address = f"http://{f'[{name}]' if ':' in name else name}:{port}/"
    announced = not has_web

    def watch() -> str | None:
        nonlocal announced
        for server in servers:
            if not server.is_running():
                server.start()
                return f"{server.title} had ended; it runs again"
        if announced or not answers(name, port):
            return None
        announced = True
        return f"ready at {address} (Ctrl-C stops everything)"

    return watch


def answers(host: str, port: int) -> bool:
    """Say whether GET /healthz gives 200 within a second."""
    web = http.client.HTTPConnection(host, port, timeout=1)
    try:
        web.request("GET", "/healthz")
        return web.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        web.close()


def refuse_taken_port(host: str, port: int) -> None:
    """Stop the start with a sentence where the web server could not listen.

    The web server of an `up` that was killed a moment ago gets the time it has to end.
    """
    deadline = time.monotonic() + WEB_GRACE_SECONDS
    while (refusal := listening_error(host, port)) is not None:
        if refusal.errno != errno.EADDRINUSE or time.monotonic() > deadline:
            raise CommandError(f"cannot listen on {host}:{port} (see --port): {refusal}")
        time.sleep(0.2)


def listening_error(host: str, port: int) -> OSError | None:
    """Say why nobody could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        return error
    return None
