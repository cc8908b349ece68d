"""The gateway beside the LiteLLM Python proxy and the upstream alone, in one run.

python benchmarks/gateway.py [--rounds 3] [--seconds 5]

Ours runs as it does for a user (`manage.py up`, embedded PostgreSQL, one web process, the shipper):
every call is redacted, written to the spool and shipped, and counted in the database at the end.
LiteLLM runs from PyPI in an environment of its own, one worker, without a database and without an
access log. The upstream and the load generator are `loopback.py`'s.
"""

import argparse
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import median

from loopback import CHUNKS, TEXT, Load, drive, request_bytes
from machine import machine
from rivals import LITELLM, environment

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
VAR = ROOT / "var" / "benchmark"
CONNECTIONS = 64
# No two alike within a while, and one in two with personal data that has to be taken out.
TICKET = (
    "I bought a lamp from your shop last week, order {at}, and it came with a crack in the glass "
    "shade. The parcel looked fine from outside. I wrote to you twice since and nobody answered, "
    "which is not what I expect from a shop that I have bought from for years. I would like either "
    "a new shade or my money back, and I do not want to wait for another two weeks for that. "
    "The lamp itself works, so it is only about the shade; I still have the box. {contact}"
)
CONTACT = "Write to jo{at}@example.org or call +44 20 7946 {at}, please."


@dataclass
class Target:
    """Something that answers chat completions, and what was measured of it, one value a round."""

    name: str
    port: int
    key: str
    pid: int = 0  # whose CPU is counted
    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    low_cpu_ms: list[float] = field(default_factory=list)
    ttft_ms: list[float] = field(default_factory=list)
    answered: int = 0
    failed: int = 0

    def run(
        self, *, connections: int, seconds: float, is_stream: bool = False
    ) -> tuple[Load, float]:
        """Drive it; return what was seen and the CPU milliseconds per request."""
        requests = cycle(
            [request_bytes(self.port, self.key, body(at, is_stream)) for at in range(997)]
        )
        before = self.cpu_seconds()
        load = drive(self.port, requests, connections=connections, seconds=seconds)
        self.answered += len(load.latencies)
        self.failed += load.failed
        used = self.cpu_seconds() - before
        return load, used * 1000 / max(1, len(load.latencies))

    def cpu_seconds(self) -> float:
        """Return the CPU time that its process has used."""
        if not self.pid:
            return 0.0
        stat = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")  # user and system

    def measure(self, seconds: float) -> None:
        """Measure one round: alone, under load, streaming."""
        alone, cpu = self.run(connections=1, seconds=seconds / 2)
        self.p50_ms.append(alone.p50_ms())
        self.low_cpu_ms.append(cpu)
        loaded, cpu = self.run(connections=CONNECTIONS, seconds=seconds)
        self.rates.append(loaded.rate)
        self.cpu_ms.append(cpu)
        streamed, _ = self.run(connections=1, seconds=seconds / 2, is_stream=True)
        assert len(streamed.first_tokens) == len(streamed.latencies), "a stream without its tokens"
        self.ttft_ms.append(streamed.ttft_ms())


def body(at: int, is_stream: bool) -> bytes:  # noqa: FBT001
    """Return the body of one of the benchmark's requests."""
    number = 4000 + at
    contact = CONTACT.format(at=number) if at % 2 else ""
    asked = {
        "model": "frontier-large",
        "messages": [
            {"role": "system", "content": "Answer the ticket politely and briefly."},
            {"role": "user", "content": TICKET.format(at=number, contact=contact)},
        ],
        "temperature": 0,
        **({"stream": True} if is_stream else {}),
    }
    return json.dumps(asked).encode()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="per measurement")
    arguments = parser.parse_args()
    with ExitStack() as running:
        upstream = free_port()
        running.enter_context(process(
            [sys.executable, str(ROOT / "benchmarks" / "loopback.py"), str(upstream)], "upstream",
        ))  # fmt: skip
        until_open(upstream)
        direct = Target("upstream alone", upstream, "none")
        litellm = running.enter_context(litellm_proxy(upstream))
        ours = running.enter_context(understudy(upstream))
        targets = [direct, ours, litellm]
        for target in targets:
            target.run(connections=8, seconds=2)  # warm
        for _ in range(arguments.rounds):
            for target in targets:
                target.measure(arguments.seconds)
        captured = captured_calls(ours.answered)
    show(targets, captured)


def show(targets: list[Target], captured: int) -> None:
    """Print the table, the machine and the goals."""
    direct, ours, litellm = targets
    print(f"\n{machine()}; Python "
          f"{sys.version.split()[0]}, LiteLLM {LITELLM.partition('==')[2]}; request "
          f"{len(TICKET)} characters, answer {len(TEXT)}, stream {CHUNKS} chunks\n")  # fmt: skip
    print(f"{'medians of ' + str(len(ours.rates)) + ' rounds':<18}{'req/s':>9}{'p50 ms':>9}"
          f"{'CPU ms':>9}{'CPU ms':>9}{'TTFT ms':>9}{'failed':>8}")  # fmt: skip
    print(f"{'connections':<18}{CONNECTIONS:>9}{1:>9}{CONNECTIONS:>9}{1:>9}{1:>9}")
    for target in targets:
        figures = [target.rates, target.p50_ms, target.cpu_ms, target.low_cpu_ms, target.ttft_ms]
        cells = [f"{median(f):9.1f}" if f is target.rates else f"{median(f):9.2f}" for f in figures]
        print(f"{target.name:<18}{''.join(cells)}{target.failed:>8}")
    print(f"\ncaptured {captured} of {ours.answered} answered calls")
    added = [t - d for t, d in zip(ours.p50_ms, direct.p50_ms, strict=True)]
    theirs = [t - d for t, d in zip(litellm.p50_ms, direct.p50_ms, strict=True)]
    first = [t - d for t, d in zip(ours.ttft_ms, direct.ttft_ms, strict=True)]
    rates = [o / t for o, t in zip(ours.rates, litellm.rates, strict=True)]
    goal("gateway-rps-ratio", median(rates), 20, is_met=median(rates) >= 20)
    ratio = median(added) / median(theirs)
    goal("gateway-added-p50-ratio", ratio, 0.05, is_met=ratio <= 0.05)
    cpu = max(median(ours.cpu_ms), median(ours.low_cpu_ms))
    goal("gateway-cpu-ms", cpu, 1, is_met=cpu < 1)
    goal("gateway-ttft-added-ms", median(first), 5, is_met=median(first) <= 5)
    lost = ours.answered - captured + ours.failed
    goal("gateway-lost-calls", lost, 0, is_met=lost == 0)


def goal(name: str, value: float, wanted: float, *, is_met: bool) -> None:
    """Print a figure beside what it should be."""
    print(f"{name} {value:.3f} goal {wanted} {'met' if is_met else 'short'}")


# --- what is measured -----------------------------------------------------------------------------
@contextmanager
def understudy(upstream: int) -> Iterator[Target]:
    """Run our own site with one project, whose upstream is the loopback server."""
    var, port = VAR / "gateway", free_port()
    shutil.rmtree(var, ignore_errors=True)
    os.environ |= {
        "UNDERSTUDY_VAR": str(var),
        "PRIVATE_UPSTREAM_HOSTS": "127.0.0.1",
        "DJANGO_SETTINGS_MODULE": "factory.settings",
        "LOG_LEVEL": "WARNING",
    }
    import django  # noqa: PLC0415 - after the settings' environment

    django.setup()
    from factory.services.keys import create_key  # noqa: PLC0415
    from factory.services.projects import create_project, save_upstream  # noqa: PLC0415

    up = [sys.executable, str(ROOT / "manage.py"), "up", "--port", str(port)]
    with process([*up, "--only", "web,shipper"], "understudy"):
        until_open(port)
        project = create_project(slug="bench", name="Benchmark")
        url = f"http://127.0.0.1:{upstream}/v1"
        save_upstream(project, name="loopback", base_url=url, key="sk-loopback", is_default=True)
        _, key = create_key(project, name="app", scopes=["capture"])
        yield Target("understudy", port, key, pid_of("factory.asgi:application", str(port)))


def captured_calls(expected: int) -> int:
    """Return how many calls are in the database, once the shipper has caught up."""
    from factory.models import CapturedCall  # noqa: PLC0415

    end = time.monotonic() + 120
    while (found := CapturedCall.objects.count()) < expected and time.monotonic() < end:
        time.sleep(0.5)
    return found


@contextmanager
def litellm_proxy(upstream: int) -> Iterator[Target]:
    """Run LiteLLM's proxy with the loopback server as its only model."""
    python, port, key = environment(LITELLM), free_port(), f"sk-{secrets.token_hex(16)}"
    config = VAR / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: frontier-large\n    litellm_params:\n"
        "      model: openai/frontier-large\n      api_key: sk-loopback\n"
        f"      api_base: http://127.0.0.1:{upstream}/v1\n"
        "litellm_settings:\n  telemetry: false\n",
        encoding="utf-8",
    )
    settings = {
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",  # its access log too
    }
    command = [str(python.with_name("litellm")), "--config", str(config), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--num_workers", "1"]
    with process(command, "litellm", settings) as running:
        until_open(port)
        yield Target("litellm", port, key, running.pid)


# --- processes ------------------------------------------------------------------------------------
@contextmanager
def process(
    command: list[str], name: str, environment: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process, its output in a log, and stop it at the end."""
    VAR.mkdir(parents=True, exist_ok=True)
    with (VAR / f"{name}.log").open("wb") as log:
        running = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **(environment or {})}
        )
        try:
            yield running
        finally:
            running.terminate()
            running.wait(timeout=60)


def pid_of(*words: str) -> int:
    """Return the process whose command line holds these words."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if set(words) <= set(command):
                return int(folder.name)
    sys.exit(f"no process {' '.join(words)}")


def until_open(port: int, seconds: float = 180) -> None:
    """Return once an HTTP server answers on the port."""
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5).close()
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            if time.monotonic() > end:
                sys.exit(f"nothing answers on port {port}; the logs are in {VAR}")
            time.sleep(0.2)
        else:
            return


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
