"""How fast is a dataset version frozen, how much memory does it take, is it made again the same?

python benchmarks/freeze.py [--rows 20000 60000] [--seed 7]

A PostgreSQL of its own below var/benchmark/freeze. For each number of rows: examples of about 200
characters are written, frozen (read, selected, written as JSON lines and Parquet, the splits
compared, rows inserted), and the files made again from the rows in the database and compared byte
by byte. Peak memory is the process's own, above what it held before, reset before each step. To
compare the splits is most of the time; it looks at a sample of at most 2,000 held-out rows of each
split and 50,000 training rows, so it grows up to that and then no more. Growth is of all the rest,
in seconds of this process's processor time: on a shared machine the clock on the wall tells little.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
VAR = ROOT / "var" / "benchmark" / "freeze"
os.environ["UNDERSTUDY_VAR"] = str(VAR)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "factory.settings")

import django  # noqa: E402 - after the environment

django.setup()

from django.core.management import call_command  # noqa: E402
from machine import machine  # noqa: E402
from more_itertools import chunked  # noqa: E402

from factory.digest import digest_of  # noqa: E402
from factory.embedded import Postgres  # noqa: E402
from factory.models import DatasetVersion, Example, Project, Workload  # noqa: E402
from factory.services.freeze import differing_files, freeze  # noqa: E402
from factory.services.projects import create_project, create_workload  # noqa: E402

T = TypeVar("T")
LABELS = ["billing", "delivery", "login", "returns"]
SPLITS = ("train",) * 8 + ("validation", "test")
LINEAR = 1.15  # seconds per row, of the largest against the smallest


def main() -> None:
    """Measure and print; exit 0 when it could be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 60_000])
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    print(machine())
    head = ("rows", "wall", "compare", "the rest", "peak", "again", "the same")
    print("\n" + " ".join(f"{name:>9}" for name in head))
    per_row = []
    with ExitStack() as running:
        running.enter_context(Postgres(VAR / "postgres"))
        call_command("migrate", verbosity=0)
        number = Project.objects.count()
        project = create_project(slug=f"freeze-{number}", name="Freeze")
        for rows in asked.rows:
            workload = filled(project, rows, Random(asked.seed))
            phases: dict[str, float] = {}
            began = time.monotonic()
            version, seconds, peak = measured(partial(frozen, workload, phases))
            wall = time.monotonic() - began
            differing, again, _ = measured(partial(differing_files, version))
            compared = phases["writing the version"] - phases["comparing the splits"]
            rest = seconds - compared
            per_row.append(rest / rows)
            print(
                f"{rows:>9,} {wall:>7.1f} s {compared:>7.1f} s {rest:>7.1f} s "
                f"{peak:>6,.0f} MB {again:>7.1f} s {'no' if differing else 'yes':>9}"
            )
    growth = per_row[-1] / per_row[0]
    print(f"freeze-growth {growth:.2f} goal {LINEAR} {'met' if growth <= LINEAR else 'short'}")


def frozen(workload: Workload, phases: dict[str, float]) -> DatasetVersion:
    """Freeze, and note when each phase began."""

    def note(phase: str, _done: int) -> None:
        phases.setdefault(phase, time.process_time())

    return freeze(workload, on_progress=note)


def filled(project: Project, rows: int, chance: Random) -> Workload:
    """Make a workload with examples of random words, each in a group of its own."""
    workload = create_workload(
        project,
        slug=f"rows-{rows}",
        kind="classification",
        output_schema={"type": "string", "enum": LABELS},
    )
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(20_000)]

    def example(number: int) -> Example:
        text = " ".join(chance.choices(words, k=28))
        messages = [
            {"role": "system", "content": "Route the ticket to one of the queues."},
            {"role": "user", "content": text},
        ]
        digest = digest_of(messages)
        return Example(
            workload=workload, origin="upload", messages=messages, target=chance.choice(LABELS),
            provenance="uploaded", status="reviewed", digest=digest, group=digest,
            split=SPLITS[number % len(SPLITS)],
        )  # fmt: skip

    for batch in chunked(map(example, range(rows)), 1000):
        Example.objects.bulk_create(batch)
    return workload


def measured(work: Callable[[], T]) -> tuple[T, float, float]:
    """Return what work returns, its seconds, and its peak memory in MB above what was held."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, start = memory("VmRSS"), time.process_time()
    found = work()
    return found, time.process_time() - start, memory("VmHWM") - before


def memory(name: str) -> float:
    """Return one of the process's memory figures in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in status if line.startswith(name)).split()[1]) / 1024


if __name__ == "__main__":
    main()
