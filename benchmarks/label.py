"""A label job beside distilabel, Bespoke Curator and a bare asyncio loop, in one run.

python benchmarks/label.py [--rounds 3] [--rows 5000] [--peer-rows 2000] [--without-peers]

All ask the same local endpoint: a FAKE provider that answers after 100 ms, whatever it is asked.
Ours is a whole job as a worker runs it: rows out of PostgreSQL, smoke run, panel, budget, cache,
answers checked against the label set, replies and labels and targets written in transactions. The
others ask and keep the answers in memory. Each runs in a process of its own; the peers come from
PyPI into environments of their own. The ideal is what the latency allows: 64 / 0.1 s = 640 rows/s.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any, cast

from label_peers import INSTRUCTION, LABELS, MODEL, peak_memory_mb, text_of
from machine import machine

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
VAR = ROOT / "var" / "benchmark"
IN_FLIGHT, LATENCY_SECONDS = 64, 0.1
IDEAL = IN_FLIGHT / LATENCY_SECONDS
# distilabel imports requests and does not say so.
PEERS = {
    "distilabel": ["distilabel[openai]==1.5.3", "requests"],
    "curator": ["bespokelabs-curator==0.1.31"],
}


@dataclass
class Runner:
    """Somebody who labels, and what was measured of them, one value a round."""

    name: str
    rows: int
    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    lost: int = 0


def main() -> None:
    """Measure, and print the table and the goals."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--peer-rows", type=int, default=2000)
    parser.add_argument("--without-peers", action="store_true")
    given = parser.parse_args()
    runners = [Runner("understudy", given.rows), Runner("bare loop", given.rows)]
    if not given.without_peers:
        runners += [Runner(name, given.peer_rows) for name in PEERS]
    with endpoint() as base_url, installation():
        for _ in range(given.rounds):
            for runner in runners:
                measure(runner, base_url)
        sizes = [1000, given.rows, 4 * given.rows]
        memory = {rows: ours(base_url, rows)["memory_mb"] for rows in sizes}
    show(runners, memory)


def measure(runner: Runner, base_url: str) -> None:
    """Run once and take note."""
    before = children_seconds()
    if runner.name == "understudy":
        seen = ours(base_url, runner.rows)
    else:
        seen = peer(runner.name.removesuffix(" loop"), base_url, runner.rows)
    runner.rates.append(seen["rows"] / seen["seconds"])
    runner.cpu_ms.append((children_seconds() - before) * 1000 / runner.rows)
    runner.memory_mb.append(seen["memory_mb"])
    runner.lost += runner.rows - int(seen["rows"])
    print(f"{runner.name:<12}{runner.rates[-1]:8.0f} rows/s  ({machine()})", flush=True)


def children_seconds() -> float:
    """Return the CPU time of all processes that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def show(runners: list[Runner], memory: dict[int, float]) -> None:
    """Print the table and the goals."""
    by_name = {runner.name: runner for runner in runners}
    print(f"\n{machine()}; {IN_FLIGHT} in flight, {LATENCY_SECONDS * 1000:.0f} ms")
    print(f"{'':<12}{'rows':>7}{'rows/s':>9}{'of ideal':>10}{'CPU ms/row':>12}{'MB':>7}{'lost':>6}")
    for runner in runners:
        rate = median(runner.rates)
        print(
            f"{runner.name:<12}{runner.rows:>7}{rate:>9.0f}{rate / IDEAL:>10.1%}"
            f"{median(runner.cpu_ms):>12.2f}{max(runner.memory_mb):>7.0f}{runner.lost:>6}"
        )
    print("memory of a job's worker: ", end="")
    print(", ".join(f"{rows} rows {size:.0f} MB" for rows, size in memory.items()), end="\n\n")
    mine, loop = by_name["understudy"], by_name["bare loop"]
    share = median(mine.rates) / IDEAL
    goal("label-share-of-ideal", share, 0.9, is_met=share >= 0.9)
    peers = [median(by_name[name].rates) for name in PEERS if name in by_name]
    if peers:
        ahead = median(mine.rates) / max(peers)
        goal("label-ahead-of-peers", ahead, 1, is_met=ahead > 1)
    of_loop = median([m / t for m, t in zip(mine.rates, loop.rates, strict=True)])
    goal("label-of-bare-loop", of_loop, 0.8, is_met=of_loop >= 0.8)
    smallest, largest = min(memory), max(memory)
    growth = memory[largest] / memory[smallest]
    goal("label-memory-growth", growth, 1.1, is_met=growth <= 1.1)


def goal(name: str, value: float, wanted: float, *, is_met: bool) -> None:
    """Print a figure beside what it should be."""
    print(f"{name} {value:.3f} goal {wanted} {'met' if is_met else 'short'}")


# --- ours -----------------------------------------------------------------------------------------
@contextmanager
def installation() -> Iterator[None]:
    """Run PostgreSQL with our tables in it; durable, as for a user."""
    var = VAR / "label"
    shutil.rmtree(var, ignore_errors=True)
    var.mkdir(parents=True)
    os.environ |= {
        "UNDERSTUDY_VAR": str(var),
        "PRIVATE_UPSTREAM_HOSTS": "127.0.0.1",
        "DJANGO_SETTINGS_MODULE": "factory.settings",
        "LOG_LEVEL": "ERROR",
    }
    from factory.embedded import Postgres  # noqa: PLC0415 - after the settings' environment

    with Postgres(var / "postgres"):
        migrate = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"]
        subprocess.run(migrate, check=True)
        import django  # noqa: PLC0415

        django.setup()
        yield


def ours(base_url: str, rows: int) -> dict[str, float]:
    """Run one label job over new examples, in a worker of its own."""
    job = prepare(base_url, rows)
    return child([sys.executable, __file__, "--work", str(job)])


def prepare(base_url: str, rows: int) -> int:
    """Make a project with examples and a queued job; return the job's id."""
    from factory.digest import digest_of  # noqa: PLC0415
    from factory.models import Example, Workload  # noqa: PLC0415
    from factory.services.projects import (  # noqa: PLC0415
        create_project,
        create_workload,
        save_upstream,
    )
    from labeling.services.label import create_teacher, start_label_job  # noqa: PLC0415

    project = create_project(slug=f"bench-{time.time_ns()}", name="Benchmark")
    schema = {"type": "string", "enum": LABELS}
    workload = create_workload(
        project, slug="tickets", kind=Workload.Kind.CLASSIFICATION, output_schema=schema
    )
    examples = []
    for at in range(rows):
        said = [
            {"role": "system", "content": INSTRUCTION},
            {"role": "user", "content": text_of(at)},
        ]
        digest = digest_of(said)
        examples.append(
            Example(
                workload=workload, origin=Example.Origin.UPLOAD, messages=said, target="delivery",
                provenance="teacher", digest=digest, group=digest, split="train",
            )
        )  # fmt: skip
    Example.objects.bulk_create(examples, batch_size=1000)
    prices = {MODEL: {"input": 2.0, "output": 8.0}}
    upstream = save_upstream(
        project, name="up", base_url=base_url, key="sk-loopback", prices=prices
    )
    teacher = create_teacher(project, name="t", upstream=upstream, model=MODEL)
    job = start_label_job(workload, teacher=teacher, votes=1, budget_usd=Decimal(1000))
    return int(job.pk)


def work(job_id: int) -> None:
    """Be the worker of one job; print what it came to."""
    import django  # noqa: PLC0415

    django.setup()
    from factory.celery import use_uvloop  # noqa: PLC0415
    from factory.services import jobs  # noqa: PLC0415
    from labeling.models import LabelJob  # noqa: PLC0415
    from labeling.services.label import label_work  # noqa: PLC0415

    use_uvloop()
    started = time.perf_counter()
    jobs.run(LabelJob, job_id, label_work)
    seconds = time.perf_counter() - started
    job = LabelJob.objects.get(pk=job_id)
    assert job.status == "succeeded", job.error
    labelled = job.labels.filter(status="accepted").count()
    print(json.dumps({"rows": labelled, "seconds": seconds, "memory_mb": peak_memory_mb()}))


# --- the others -----------------------------------------------------------------------------------
def peer(name: str, base_url: str, rows: int) -> dict[str, float]:
    """Run a peer once in its own environment."""
    python = environment(name) if name in PEERS else sys.executable
    script = str(Path(__file__).with_name("label_peers.py"))
    return child([python, script, name, base_url, str(rows), str(IN_FLIGHT)])


def environment(name: str) -> str:
    """Return the Python of a peer's environment, made at its first use."""
    home = VAR / name
    if not (home / "installed").exists():
        print(f"installing {PEERS[name][0]} (minutes) ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(home / "bin" / "pip"), "install", "--quiet", *PEERS[name]], check=True)
        (home / "installed").touch()
    return str(home / "bin" / "python")


def child(command: list[str]) -> dict[str, float]:
    """Run a process and return the JSON of its last line."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=VAR)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr[-2000:]}")
    return cast("dict[str, float]", json.loads(done.stdout.strip().splitlines()[-1]))


# --- the endpoint ---------------------------------------------------------------------------------
@contextmanager
def endpoint() -> Iterator[str]:
    """Run the fake provider in a process of its own."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield running.stdout.readline().strip()
        finally:
            running.terminate()


class FakeProvider(asyncio.Protocol):
    """Answers each chat call after the latency, the label drawn by the body's length."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self.transport, self.received = cast("asyncio.Transport", transport), b""

    def data_received(self, data: bytes) -> None:
        """Answer what is whole, one request at a time."""
        self.received += data
        head, found, rest = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if len(rest) >= length:
            self.received = rest[length:]
            answer = ANSWERS[length % len(ANSWERS)]
            asyncio.get_running_loop().call_later(LATENCY_SECONDS, self.transport.write, answer)


def _answer(label: str) -> bytes:
    message = {"role": "assistant", "content": json.dumps({"answer": label}), "refusal": None}
    completion: dict[str, Any] = {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": MODEL,
        "system_fingerprint": "fp_understudy_benchmark_fake",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 90, "completion_tokens": 6, "total_tokens": 96},
    }
    body = json.dumps(completion).encode()
    head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return f"HTTP/1.1 200 OK\r\n{head}x-understudy-demo: fake\r\n\r\n".encode() + body


ANSWERS = [_answer(label) for label in LABELS]


async def serve() -> None:
    """Serve until stopped; say where."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(FakeProvider, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        import uvloop

        uvloop.run(serve())
    elif sys.argv[1:2] == ["--work"]:
        sys.path.insert(0, str(ROOT))
        work(int(sys.argv[2]))
    else:
        main()
