"""kill -9 at random under load: every call that an app got an answer to is kept, once.

python benchmarks/chaos_capture.py [--calls 20000] [--kills 40] [--postgres-kills 5] [--outage 60]

Real processes as a user runs them: two gateways behind uvicorn on one spool, the shipper, the
embedded PostgreSQL (durable) and Redis; the model is `loopback.py`'s FAKE one. Clients send
numbered calls, a third of them streams, and note each answer that they read to its end, while a
nemesis kills processes and starts them again. Then database and broker are away for a minute
under load, in which a gateway is killed and started anew. In the end the notes are compared with
the database.
"""

import argparse
import asyncio
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from machine import machine

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from factory.capture import spool  # noqa: E402 - the path must be set first
from factory.embedded import Postgres, Redis  # noqa: E402
from factory.processes import process  # noqa: E402

CLIENTS = 32
STREAM_EVERY = 3
PATIENCE_SECONDS = 180
FILLER = "The second charge has not been paid back yet, please have a look. " * 8


# --- load -----------------------------------------------------------------------------------------
@dataclass
class Load:
    """Clients in a thread of their own, and their notes."""

    key: str
    ports: list[int]  # of the gateways that may be called; others may change it
    pause_seconds: float = 0.0  # of each client between two calls
    numbers: Iterator[int] = field(default_factory=itertools.count)
    sent: set[int] = field(default_factory=set)
    acknowledged: set[int] = field(default_factory=set)
    failures: Counter[str] = field(default_factory=Counter)
    under_way: Counter[int] = field(default_factory=Counter)  # by port
    is_over: bool = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send calls until the end of the block."""
        thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        self.is_over = False
        thread.start()
        try:
            yield
        finally:
            self.is_over = True
            thread.join()

    async def _all(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(self._client(session) for _ in range(CLIENTS)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self.is_over:
            number, port = next(self.numbers), random.choice(self.ports)
            self.sent.add(number)
            self.under_way[port] += 1
            try:
                await self._ask(session, port, number)
                self.acknowledged.add(number)
            except (aiohttp.ClientError, TimeoutError, RefusedError) as error:
                self.failures[
                    str(error) if isinstance(error, RefusedError) else type(error).__name__
                ] += 1
                await asyncio.sleep(0.05)
            finally:
                self.under_way[port] -= 1
            await asyncio.sleep(self.pause_seconds)

    async def _ask(self, session: aiohttp.ClientSession, port: int, number: int) -> None:
        body = {
            "model": "frontier-large",
            "messages": [
                {"role": "system", "content": "Answer the ticket politely and briefly."},
                {"role": "user", "content": text_of(number)},
            ],
            "metadata": {"number": str(number)},
            "stream": number % STREAM_EVERY == 0,
        }
        async with session.post(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {self.key}"},
        ) as answer:
            said = await answer.read()
            if answer.status != 200:
                raise RefusedError(f"HTTP {answer.status}")
            if body["stream"] and not said.endswith(b"data: [DONE]\n\n"):
                raise RefusedError("a stream without its end")


class RefusedError(Exception):
    """The gateway answered, but not with an answer."""


def text_of(number: int) -> str:
    """Return what the call of a number says."""
    return f"Ticket {number}: {FILLER}"


# --- processes ------------------------------------------------------------------------------------
class Victim:
    """A process that is started again each time it is killed."""

    def __init__(self, name: str, var: Path, port: int = 0) -> None:
        self.name, self.port = name, port
        self.plan = process(name, var_dir=var, port=port)
        self.log = (var / f"{name}-{port}.log").open("ab")
        self.kills = 0
        self.start()

    def start(self) -> None:
        """Start it; it is not waited for."""
        self.running = subprocess.Popen(
            self.plan.argv,
            env=os.environ | dict(self.plan.env),
            cwd=ROOT,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def kill(self) -> None:
        """End it by kill -9."""
        os.killpg(self.running.pid, signal.SIGKILL)
        self.running.wait()
        self.kills += 1

    def is_open(self) -> bool:
        """Whether it takes connections."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


@dataclass
class World:
    """Everything that runs."""

    var: Path
    postgres: Postgres
    redis: Redis
    gateways: list[Victim]
    shipper: Victim
    load: Load
    postgres_kills: int = 0

    def kill_postgres(self) -> None:
        """End the postmaster by kill -9, and start it after a moment."""
        assert self.postgres.pid is not None
        os.kill(self.postgres.pid, signal.SIGKILL)
        time.sleep(random.uniform(0, 2))
        self.postgres.start()
        self.postgres_kills += 1


@contextmanager
def world(var: Path) -> Iterator[World]:
    """Start everything on a fresh folder; stop it at the end."""
    shutil.rmtree(var, ignore_errors=True)
    var.mkdir(parents=True)
    os.environ |= {
        "UNDERSTUDY_VAR": str(var),
        "PRIVATE_UPSTREAM_HOSTS": "127.0.0.1",
        "DJANGO_SETTINGS_MODULE": "factory.settings",
        "LOG_LEVEL": "WARNING",
    }
    os.environ.pop("DATABASE_URL", None)
    os.environ.pop("BROKER_URL", None)
    import django  # noqa: PLC0415 - after the settings' environment

    with ExitStack() as held:
        postgres = held.enter_context(Postgres(var / "postgres"))
        redis = held.enter_context(Redis(var / "redis"))
        django.setup()
        upstream = free_port()
        key = make_project(upstream)
        model = [sys.executable, str(ROOT / "benchmarks" / "loopback.py"), str(upstream)]
        log = held.enter_context((var / "loopback.log").open("wb"))
        server = held.enter_context(subprocess.Popen(model, stderr=log))
        held.callback(server.kill)
        victims = [Victim("web", var, free_port()), Victim("web", var, free_port())]
        victims.append(Victim("shipper", var))
        for victim in victims:
            held.callback(victim.kill)
        *gateways, shipper = victims
        for gateway in gateways:
            until(gateway.is_open, "a gateway")
        load = Load(key, [gateway.port for gateway in gateways])
        yield World(var, postgres, redis, gateways, shipper, load)


def make_project(upstream: int) -> str:
    """Make the schema and a project whose upstream is the loopback server; return its key."""
    from django.core.management import call_command  # noqa: PLC0415 - after Django's setup
    from django.db import connection  # noqa: PLC0415

    from factory.services.keys import create_key  # noqa: PLC0415
    from factory.services.projects import create_project, save_upstream  # noqa: PLC0415

    call_command("migrate", interactive=False, verbosity=0)
    project = create_project(slug="chaos", name="Chaos")
    url = f"http://127.0.0.1:{upstream}/v1"
    save_upstream(project, name="loopback", base_url=url, key="sk-loopback", is_default=True)
    _, key = create_key(project, name="app", scopes=["capture"])
    connection.close()
    return str(key)


# --- the two trials -------------------------------------------------------------------------------
def chaos(run: World, calls: int, kills: int, postgres_kills: int) -> None:
    """Kill at random while clients collect so many answers."""
    victims = [*run.gateways, run.shipper]
    blows: list[Callable[[], None]] = [run.kill_postgres] * postgres_kills
    blows += [blow(random.choice(victims)) for _ in range(kills)]
    random.shuffle(blows)
    # Spread over the calls, at moments that no call decides.
    moments = sorted(random.uniform(0.01, 0.97) * calls for _ in blows)
    with run.load.running():
        for moment, strike in zip(moments, blows, strict=True):
            until(lambda at=moment: len(run.load.acknowledged) >= at, "answers")  # type: ignore[misc]
            time.sleep(random.uniform(0, 0.1))
            strike()
        until(lambda: len(run.load.acknowledged) >= calls, "answers")


def blow(victim: Victim) -> Callable[[], None]:
    """Return what kills a process and starts it again."""

    def strike() -> None:
        if victim.port:
            until(victim.is_open, "a gateway")  # a process that is only starting is no target
        victim.kill()
        victim.start()

    return strike


def outage(run: World, seconds: float) -> int:
    """Take database and broker away under load; return how many calls a new gateway answered."""
    load, (first, second) = run.load, run.gateways
    for gateway in run.gateways:
        until(gateway.is_open, "a gateway")
    load.failures.clear()
    load.pause_seconds = CLIENTS / 200  # at most 200 calls a second
    with load.running():
        run.postgres.stop()
        run.redis.stop()
        began = time.monotonic()
        time.sleep(seconds / 3)
        load.ports = [first.port]  # as a load balancer would, before it is replaced
        until(lambda: not load.under_way[second.port], "the end of its calls")
        second.kill()
        second.start()
        until(second.is_open, "a gateway without a database")
        before = len(load.acknowledged)
        load.ports = [second.port]
        time.sleep(seconds / 3)
        served = len(load.acknowledged) - before
        load.ports = [first.port, second.port]
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        run.redis.start()
        run.postgres.start()
    return served


# --- the check ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Verdict:
    """What the database says of the clients' notes."""

    kept: int
    lost: int
    duplicated: int
    never_sent: int
    damaged: int
    miscounted: int


def check(load: Load, folder: Path, not_before: int = 0) -> Verdict:
    """Wait until the spool is empty, then compare; calls of lower numbers are left out."""
    until(lambda: spool.status(folder).oldest_seconds == 0, "an empty spool")
    from django.db import connection  # noqa: PLC0415 - after Django's setup
    from django.db.models import Sum  # noqa: PLC0415

    from factory.models import CallTally, CapturedCall  # noqa: PLC0415

    found: Counter[int] = Counter()
    damaged = 0
    rows = CapturedCall.objects.select_related("payload").order_by("id")
    for call in rows.iterator(chunk_size=500):
        number = int(call.metadata["number"])
        found[number] += 1
        is_whole = call.question == text_of(number) and call.output and not call.is_partial
        damaged += number in load.acknowledged and not is_whole
    counted = CallTally.objects.aggregate(sum=Sum("calls"))["sum"] or 0
    connection.close()
    acknowledged = {number for number in load.acknowledged if number >= not_before}
    return Verdict(
        kept=sum(found.values()),
        lost=len(acknowledged - found.keys()),
        duplicated=sum(times - 1 for times in found.values()),
        never_sent=len(found.keys() - load.sent),
        damaged=damaged,
        miscounted=abs(counted - sum(found.values())),
    )


def main() -> None:
    """Run both trials and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--calls", type=int, default=20_000, help="answered ones, before the outage"
    )
    parser.add_argument("--kills", type=int, default=40, help="of gateways and the shipper")
    parser.add_argument("--postgres-kills", type=int, default=5)
    parser.add_argument(
        "--outage", type=float, default=60, help="seconds without database and broker"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "benchmark" / "chaos")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    random.seed(given.seed)
    with world(given.folder) as run:
        load, folder = run.load, run.var / "spool"
        began = time.monotonic()
        chaos(run, given.calls, given.kills, given.postgres_kills)
        seconds = time.monotonic() - began
        first = check(load, folder)
        broken, answered, next_number = (
            load.failures.copy(),
            len(load.acknowledged),
            max(load.sent) + 1,
        )
        killed = {v: v.kills for v in [*run.gateways, run.shipper]}
        served = outage(run, given.outage)
        second = check(load, folder, next_number)
    gateways = sum(kills for victim, kills in killed.items() if victim.port)
    print_machine(given.seed)
    print(f"chaos   {answered} calls answered in {seconds:.0f} s; kill -9: {gateways} of gateways, "
          f"{killed[run.shipper]} of the shipper, {run.postgres_kills} of PostgreSQL")  # fmt: skip
    print(f"        {sum(broken.values())} calls broken off by the kills {dict(broken)}, "
          f"{first.kept} kept in all")  # fmt: skip
    print(f"outage  {len(load.acknowledged) - answered} calls answered in {given.outage:.0f} s "
          "without database and broker, "
          f"{served} of them by a gateway started meanwhile")  # fmt: skip
    if load.failures:
        print(f"        failed: {dict(load.failures)}")
    print()
    goal("chaos-lost", first.lost)
    goal("chaos-duplicated", first.duplicated)
    goal("chaos-never-sent", first.never_sent + second.never_sent)
    goal("chaos-damaged", first.damaged + second.damaged)
    goal("chaos-miscounted", first.miscounted + second.miscounted)
    goal("outage-failed-calls", sum(load.failures.values()))
    goal("outage-missing", second.lost + second.duplicated)


def goal(name: str, value: int) -> None:
    """Print a count that should be nought."""
    print(f"{name} {value} goal 0 {'short' if value else 'met'}")


def print_machine(seed: int) -> None:
    """Print what it ran on."""
    print(f"\n{machine()}; Python "
          f"{sys.version.split()[0]}; {CLIENTS} clients, seed {seed}\n")  # fmt: skip


def until(ready: Callable[[], Any], what: str) -> None:
    """Return once something holds; end the run where it never does."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not ready():
        if time.monotonic() > end:
            sys.exit(f"{what} did not come in {PATIENCE_SECONDS} s")
        time.sleep(0.02)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
