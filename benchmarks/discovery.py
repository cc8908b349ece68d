"""Do captured calls find their workloads? Groups by skeleton against known origins.

python benchmarks/discovery.py [--data FOLDER] [--seed 42]

Mixes the logs of ticket_routing and voice_extraction with two sets of generated families of prompts
(prompt_families.py and, by another hand, prompt_families_b.py), each family in the order of its
time, and groups them three ways: by skeleton (`factory.discovery.skeletons`: call by call, in
batches as the service does, and in batches of calls sorted by family), by the exact digest of the
fixed part, and with drain3, a log template miner, in an environment of its own. The goals are for
the batches and each set's calls in the mix; the logs count to the first.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import time
import venv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from sklearn.metrics import homogeneity_completeness_v_measure

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import prompt_families  # noqa: E402
import prompt_families_b  # noqa: E402
from machine import machine  # noqa: E402
from prompt_families import Call  # noqa: E402

from factory.digest import canonical_json, digest_of  # noqa: E402
from factory.discovery.discover import instruction_of  # noqa: E402
from factory.discovery.skeletons import Skeletons  # noqa: E402
from factory.messages import Json, text_of  # noqa: E402
from factory.redaction.redact import PLACEHOLDER  # noqa: E402

SETS = ("ticket_routing", "voice_extraction")
BATCH = 500  # calls
GOALS = {"purity": 0.99, "completeness": 0.95}
DRAIN = """
import json, sys, time
from drain3 import TemplateMiner
from drain3.template_miner_config import TemplateMinerConfig
config = TemplateMinerConfig()
config.profiling_enabled = False
config.drain_max_clusters = 10_000
miner = TemplateMiner(config=config)
lines = [json.loads(line) for line in sys.stdin]
start = time.perf_counter()
groups = [miner.add_log_message(line)["cluster_id"] for line in lines]
json.dump({"groups": groups, "seconds": time.perf_counter() - start}, sys.stdout)
"""


def signature(messages: list[Json], params: Json) -> str:
    """Return the digest of a request's fixed part: instruction, tools and answer format.

    Calls of one prompt template share it, whatever their variable part.
    """
    fixed = {
        "instruction": instruction_of(messages),
        "tools": params.get("tools"),
        "response_format": params.get("response_format"),
    }
    # How many values a call held before this one says nothing about its template.
    return digest_of(PLACEHOLDER.sub("[]", canonical_json(fixed).decode()))


def main() -> None:
    """Group the mix each way, print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    here = Path(os.environ.get("UNDERSTUDY_BENCHMARK_DATA", ROOT / "../shared/data"))
    parser.add_argument("--data", type=Path, default=here)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--var", type=Path, default=ROOT / "var" / "benchmark")
    parser.add_argument("--show", action="store_true", help="print the skeletons found")
    arguments = parser.parse_args()
    if not all((arguments.data / name / "calls.jsonl").is_file() for name in SETS):
        sys.exit(f"skipped: {' and '.join(SETS)} are not in {arguments.data}")
    calls = mixed(arguments.data, arguments.seed)
    origins = [family for family, _, _ in calls]
    print(f"{len(calls)} calls of {len(set(origins))} families, seed {arguments.seed}")
    print(f"{machine()}, Python {platform.python_version()}\n")
    online, skeletons, paths = grouped_online(calls)
    batches = grouped_in_batches(calls)
    rows = {
        "skeletons, online": online,
        "skeletons, in batches": batches,
        "skeletons, in sequence": grouped_in_sequence(calls),
        "exact digest": grouped_exactly(calls),
        "drain3 0.9.11": grouped_by_drain(calls, arguments.var),
    }
    print_scores(origins, rows)
    print_families(origins, rows)
    print_paths(paths)
    both = (prompt_families, prompt_families_b)
    hard = in_time([call for each in both for call in each.hard_families(arguments.seed)])
    print("Families whose bounds are a matter of opinion, no goals:")
    hard_origins = [family for family, _, _ in hard]
    hard_rows = {
        "skeletons, in batches": grouped_in_batches(hard),
        "exact digest": grouped_exactly(hard),
    }
    print_scores(hard_origins, hard_rows)
    print_families(hard_origins, hard_rows)
    print()
    if arguments.show:
        for skeleton in skeletons:
            print(f"--- {skeleton.signature[:12]} {skeleton.slots} slots\n{skeleton.text()}\n")
    # Not of both sets at once: what people ask once (free_chat, generic_chat, one_off) is in both,
    # and nothing tells one set's from the other's.
    ours = set(prompt_families_b.FAMILIES)
    for name, chosen in {"first_set": set(origins) - ours, "second_set": ours}.items():
        print_goals(name, [(o, g) for o, g in zip(origins, batches[0], strict=True) if o in chosen])


def mixed(data: Path, seed: int) -> list[Call]:
    """Return the logged and the generated calls, each family in its order and all mixed."""
    calls = [*prompt_families.families(seed), *prompt_families_b.families(seed)]
    for name in SETS:
        for line in (data / name / "calls.jsonl").read_bytes().splitlines():
            request = orjson.loads(line)["request"]
            calls.append((name, request["messages"], request))
    return in_time(calls)


def in_time(calls: list[Call]) -> list[Call]:
    """Spread each family's calls over the whole time: prompts are edited as it goes by."""
    counts, seen = Counter(family for family, _, _ in calls), Counter[str]()
    times = []
    for family, _, _ in calls:
        rng = random.Random(f"{family} {seen[family]}")
        times.append((seen[family] + rng.random()) / counts[family])
        seen[family] += 1
    return [calls[place] for place in sorted(range(len(calls)), key=times.__getitem__)]


Groups = tuple[Sequence[object], float]  # a group per call; seconds


def grouped_online(calls: list[Call]) -> tuple[Groups, Skeletons, dict[str, list[float]]]:
    """Assign one call after the other, each timed; what changed the groups apart from the rest."""
    index, found, each = Skeletons(), [], []
    start = time.perf_counter()
    for _, messages, params in calls:
        begun = time.perf_counter()
        found.append(index.assign(messages, params).signature)
        each.append(time.perf_counter() - begun)
    seconds = time.perf_counter() - start
    again: list[float] = []
    for _, messages, params in calls:
        begun = time.perf_counter()
        index.match(messages, params)
        again.append(time.perf_counter() - begun)
    return (found, seconds), index, {"assign (learns)": each, "match (learned before)": again}


def grouped_in_batches(calls: list[Call]) -> Groups:
    """Assign in batches, and again what is in groups that others came out of."""
    index = Skeletons()
    found: list[str] = []
    start = time.perf_counter()
    for at in range(0, len(calls), BATCH):
        batch = [(messages, params) for _, messages, params in calls[at : at + BATCH]]
        found += [match.signature for match in index.assign_all(batch)]
        split = index.take_split()
        for place, group in enumerate(found):
            if group in split:
                found[place] = index.match(*calls[place][1:]).signature
    return found, time.perf_counter() - start


def grouped_in_sequence(calls: list[Call]) -> Groups:
    """Assign one workload after the other, as they are rolled out: the hardest order."""
    order = sorted(range(len(calls)), key=lambda place: calls[place][0])
    found, seconds = grouped_in_batches([calls[place] for place in order])
    back = dict(zip(order, found, strict=True))
    return [back[place] for place in range(len(calls))], seconds


def grouped_exactly(calls: list[Call]) -> Groups:
    """Group by the digest of system text, tools and format."""
    start = time.perf_counter()
    found = [signature(messages, params) for _, messages, params in calls]
    return found, time.perf_counter() - start


def grouped_by_drain(calls: list[Call], var: Path) -> Groups:
    """Group the prompts, each as one line, with drain3's defaults."""
    home = var / "drain3"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
    pip = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--quiet",
        "drain3==0.9.11",
        "setuptools<81",
    ]
    subprocess.run(pip, check=True)
    lines = "\n".join(json.dumps(as_line(messages)) for _, messages, _ in calls)
    done = subprocess.run(
        [str(python), "-c", DRAIN], input=lines, capture_output=True, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer["groups"], answer["seconds"]


def as_line(messages: list[Json]) -> str:
    """Return a prompt as a log line."""
    return " ".join(f"{m['role']}: {text_of(m.get('content'))}" for m in messages)


def scores(origins: Sequence[str], groups: Sequence[object]) -> dict[str, float]:
    """Return purity (share of calls that are of their group's main family) and the V-measures."""
    names: dict[object, int] = {}
    numbers = [names.setdefault(group, len(names)) for group in groups]
    members: dict[int, Counter[str]] = {}
    for number, origin in zip(numbers, origins, strict=True):
        members.setdefault(number, Counter())[origin] += 1
    pure = sum(max(counts.values()) for counts in members.values()) / len(origins)
    homogeneity, completeness, v = homogeneity_completeness_v_measure(origins, numbers)
    return {"purity": pure, "homogeneity": homogeneity, "completeness": completeness, "V": v}


def print_goals(prefix: str, pairs: Sequence[tuple[str, object]]) -> None:
    """Print what the goals are for, of some of the calls."""
    found = scores([origin for origin, _ in pairs], [group for _, group in pairs])
    for name, goal in GOALS.items():
        verdict = "met" if found[name] >= goal else "short"
        print(f"{prefix}_{name} {found[name]:.4f} goal {goal} {verdict}")


def print_scores(origins: Sequence[str], rows: dict[str, Groups]) -> None:
    """Print a line for each way of grouping."""
    print(f"{'':24}{'groups':>8}{'purity':>9}{'homog.':>9}{'compl.':>9}{'V':>9}{'us/call':>9}")
    for name, (groups, seconds) in rows.items():
        figures = "".join(f"{value:9.4f}" for value in scores(origins, groups).values())
        micros = 1e6 * seconds / len(origins)
        print(f"{name:24}{len(set(groups)):8}{figures}{micros:9.0f}")


def print_families(origins: Sequence[str], rows: dict[str, Groups]) -> None:
    """Print, for each family, its groups, and the share of its calls in the largest."""
    title = "groups (share of the largest)"
    print(f"\n{title:32}" + "".join(f"{name:>24}" for name in rows))
    for family, calls in sorted(Counter(origins).items()):
        line = f"{family:24}{calls:8}"
        for groups, _ in rows.values():
            own = Counter(g for g, o in zip(groups, origins, strict=True) if o == family)
            line += f"{len(own):14} ({max(own.values()) / calls:7.1%})"
        print(line)


def print_paths(paths: dict[str, list[float]]) -> None:
    """Print percentiles of the time that single calls took."""
    print(f"\n{'us for one call':32}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}{'mean':>9}")
    for name, seconds in paths.items():
        ordered = sorted(1e6 * s for s in seconds)
        at = [ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.9, 0.99, 1.0)]
        figures = "".join(f"{value:9.0f}" for value in [*at, sum(ordered) / len(ordered)])
        print(f"{name:32}{figures}")
    print()


if __name__ == "__main__":
    main()
