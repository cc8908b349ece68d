"""How fast are near copies found, how many, and in how much memory? 100,000 and 300,000 texts.

python benchmarks/curate.py [--sizes 100000 300000] [--only understudy]

Each line is a process of its own over the same generated texts (`curate_texts.py`):

understudy   the whole door, `services.curate.add_examples`, with an embedded PostgreSQL that syncs
             to disk: digests, near copies against the index in the database, conversations, splits,
             rows and index written. What is counted as memory is what the process grew by; its
             processor time includes the database's.
rensa        the bare library, all in memory: sketch the same 1- and 2-grams, look up in
             `RMinHashLSH`, verify by Jaccard, join. Nothing is kept.
datasketch   the same with `MinHash` and `MinHashLSH`, in an environment of its own.

A copy is found where it is in its original's cluster. A false merge is a text in a cluster that
holds another original.
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

from curate_texts import KINDS, texts  # noqa: E402
from machine import machine  # noqa: E402
from rivals import environment  # noqa: E402

SIZES = (100_000, 300_000)
RIVALS = ("rensa", "datasketch")
DATASKETCH = ("datasketch==2.0.0", "xxhash==4.1.0")
THRESHOLD = 0.6


# --- measuring ------------------------------------------------------------------------------------
class Measure:
    """Wall time, processor time of this process and a server's, and what this process grew by."""

    def __init__(self, server: int | None = None) -> None:
        self.server, self.served = server, server_seconds(server)
        self.grown_from = peak_mb()
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def stop(self, count: int) -> dict[str, float]:
        """Return the figures for so many rows."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        cpu += server_seconds(self.server) - self.served
        grown = peak_mb() - self.grown_from
        return {"rows_s": count / wall, "rows_cpu_s": count / cpu, "memory_mb": grown}


def server_seconds(server: int | None) -> float:
    """Return the processor time that a process and its children have taken."""
    if server is None:
        return 0.0
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # a process that has just ended
            fields = stat.read_text().rpartition(")")[2].split()
            if server in {int(fields[1]), int(stat.parent.name)}:
                own, ended = fields[11:13], fields[13:15]
                ticks += sum(map(int, own)) + (server == int(stat.parent.name)) * sum(
                    map(int, ended)
                )
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_mb() -> float:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def judged(clusters: Sequence[str], count: int) -> dict[str, Any]:
    """Compare clusters, one a text, with what was planted."""
    planted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    of_original: dict[int, str] = {}
    owners: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for cluster, (_, original, kind) in zip(clusters, texts(count), strict=True):
        owners[cluster][original] += 1
        if not kind:
            of_original[original] = cluster
            continue
        planted[kind] += 1
        found[kind] += of_original[original] == cluster
    strays = sum(owned.total() - max(owned.values()) for owned in owners.values())
    return {
        "recall": found.total() / planted.total(),
        "recalls": {kind: found[kind] / planted[kind] for kind in KINDS},
        "false": strays / count,
    }


# --- what each process does -----------------------------------------------------------------------
def understudy(count: int) -> dict[str, Any]:
    """Add the texts as examples to a workload in a database of its own."""
    var = ROOT / "var" / "benchmark" / f"curate-{count}"
    shutil.rmtree(var, ignore_errors=True)
    os.environ["UNDERSTUDY_VAR"] = str(var)
    os.environ["DJANGO_SETTINGS_MODULE"] = "factory.settings"
    import django  # noqa: PLC0415 - after the settings' environment

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    from factory.embedded import Postgres  # noqa: PLC0415
    from factory.models import Workload  # noqa: PLC0415
    from factory.services.curate import add_examples  # noqa: PLC0415
    from factory.services.projects import create_project, create_workload  # noqa: PLC0415

    def rows() -> Iterator[tuple[list[dict[str, str]], str]]:
        for text, _, _ in texts(count):
            yield [{"role": "user", "content": text}], "an answer"

    with Postgres(var / "postgres"):
        call_command("migrate", verbosity=0)
        project = create_project(slug="bench", name="Bench")
        workload = create_workload(project, slug="texts", kind=Workload.Kind.GENERATION)
        server = int((var / "postgres" / "postmaster.pid").read_text().split()[0])
        measured = Measure(server)
        add_examples(workload, rows())
        figures: dict[str, Any] = measured.stop(count)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_total_relation_size('factory_nearkey') / 1048576.0")
            figures["index_mb"] = float(cursor.fetchone()[0])
        stored = workload.examples.values_list("messages__0__content", "cluster")
        of_text = dict(stored.iterator(10_000))
        connection.close()
    shutil.rmtree(var, ignore_errors=True)
    return {**figures, **judged([of_text[text] for text, _, _ in texts(count)], count)}


def rensa(count: int) -> dict[str, Any]:
    """Sketch, look up, verify and join in memory."""
    from rensa import RMinHash, RMinHashLSH  # noqa: PLC0415

    from factory.curation.near_duplicates import BANDS, ROWS, SEED, grams_of  # noqa: PLC0415
    from factory.dedupe import words_of  # noqa: PLC0415

    measured = Measure()
    index = RMinHashLSH(threshold=THRESHOLD, num_perm=BANDS * ROWS, num_bands=BANDS)
    kept: list[frozenset[int]] = []
    clusters: list[int] = []
    for at, (text, _, _) in enumerate(texts(count)):
        grams = grams_of(words_of(text))
        sketch = RMinHash(num_perm=BANDS * ROWS, seed=SEED)
        sketch.update([str(gram) for gram in grams])
        nearest = best(grams, index.query(sketch), kept)
        index.insert(at, sketch)
        kept.append(grams)
        clusters.append(at if nearest is None else clusters[nearest])
    return {**measured.stop(count), **judged([str(one) for one in clusters], count)}


def datasketch(count: int) -> dict[str, Any]:
    """Do the same with datasketch."""
    import xxhash  # noqa: PLC0415
    from datasketch import MinHash, MinHashLSH  # noqa: PLC0415

    measured = Measure()
    index = MinHashLSH(num_perm=100, params=(20, 5))
    kept: list[frozenset[int]] = []
    clusters: list[int] = []
    for at, (text, _, _) in enumerate(texts(count)):
        words = re.findall(r"\w+", text.casefold())
        grams = frozenset(
            xxhash.xxh32_intdigest(gram.encode())
            for gram in (*words, *map(" ".join, itertools.pairwise(words)))
        )
        sketch = MinHash(num_perm=100, hashfunc=xxhash.xxh32_intdigest)
        sketch.update_batch([gram.to_bytes(4) for gram in grams])
        nearest = best(grams, index.query(sketch), kept)
        index.insert(at, sketch)
        kept.append(grams)
        clusters.append(at if nearest is None else clusters[nearest])
    return {**measured.stop(count), **judged([str(one) for one in clusters], count)}


def best(
    grams: frozenset[int], candidates: Iterable[int], kept: Sequence[frozenset[int]]
) -> int | None:
    """Return the candidate with the most grams in common, if these are enough."""
    alike = [(len(grams & kept[at]) / len(grams | kept[at]), -at) for at in sorted(candidates)]
    similarity, at = max(alike, default=(0.0, 0))
    return -at if similarity >= THRESHOLD else None


# --- the table ------------------------------------------------------------------------------------
def measure(method: str, count: int) -> dict[str, Any]:
    """Run a method in a process of its own; empty where it cannot be had."""
    try:
        python = environment(*DATASKETCH) if method == "datasketch" else Path(sys.executable)
    except subprocess.CalledProcessError:
        print("datasketch cannot be installed here: left out", file=sys.stderr)
        return {}
    command = [str(python), __file__, "--method", method, "--sizes", str(count)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    figures: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return figures


def row(method: str, count: int, figures: dict[str, Any]) -> str:
    """Write a line of the table."""
    recalls = " ".join(f"{figures['recalls'][kind]:.3f}" for kind in KINDS)
    return (
        f"{method:<11} {count:>8,} {figures['rows_s']:>8,.0f} {figures['rows_cpu_s']:>11,.0f} "
        f"{figures['recall']:>7.3f}  {recalls}  {figures['false']:>7.4%} "
        f"{figures['memory_mb']:>8,.0f} {figures.get('index_mb', 0):>9,.0f}"
    )


def main() -> None:
    """Measure, print the table and the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--only", choices=("understudy", *RIVALS))
    parser.add_argument("--method", choices=("understudy", *RIVALS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    methods = {"understudy": understudy, "rensa": rensa, "datasketch": datasketch}
    if arguments.method:
        print(json.dumps(methods[arguments.method](arguments.sizes[0])))
        return
    print(f"{machine()}\n")
    print("method          rows   rows/s  rows/CPU-s  recall  typo  words around  same   false "
          "  grew MB  index MB")  # fmt: skip
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for count in arguments.sizes:
        for method in [arguments.only] if arguments.only else methods:
            if figures := measure(method, count):
                found[method, count] = figures
                print(row(method, count, figures), flush=True)
    told(
        [found["understudy", count] for count in arguments.sizes if ("understudy", count) in found]
    )


def told(ours: Sequence[dict[str, Any]]) -> None:
    """Print the goals of our own lines, the smallest size first."""
    if not ours:
        return
    first, last = ours[0], ours[-1]
    goal("growth", last["rows_s"] / first["rows_s"], 0.9, least=True)
    goal("growth_in_processor_time", last["rows_cpu_s"] / first["rows_cpu_s"], 0.9, least=True)
    goal("recall", min(one["recall"] for one in ours), 0.95, least=True)
    goal("false_merges", max(one["false"] for one in ours), 0.001, least=False)
    goal("memory_growth_mb", last["memory_mb"] - first["memory_mb"], 50, least=False)


def goal(name: str, value: float, wanted: float, *, least: bool) -> None:
    """Print a goal as the other benchmarks do."""
    is_met = value >= wanted if least else value <= wanted
    print(f"{name} {value:.4g} goal {wanted} {'met' if is_met else 'short'}")


if __name__ == "__main__":
    main()
