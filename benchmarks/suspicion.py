"""Review order: how many wrong answers the 10 % most suspicious rows hold, against a random 10 %.

python benchmarks/suspicion.py [--data FOLDER] [--cleanlab PYTHON]

On the production logs of ../shared/data, as captured: no human label is used, and the right answers
(corrections.jsonl) only count the hits. Settings were chosen on the rows whose id hashes to the
first half; the goal lines report the second. Beside our order stand cleanlab's scores, given the
same out-of-fold probabilities (--cleanlab names a Python that has it, by default that of
var/benchmark/cleanlab; without one its lines are left out).
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from factory.dedupe import group_key  # noqa: E402 - after the path
from factory.folds import folds_of  # noqa: E402
from factory.messages import Json, variable_text  # noqa: E402
from labeling import fields  # noqa: E402
from labeling.suspicion import Row, features_of, out_of_fold, suspicions  # noqa: E402

GOAL = 3.0
SHARES = (0.05, 0.10, 0.25)
PERMUTATIONS = 1000


@dataclass(frozen=True)
class Set:
    """A log: its rows, which are wrong and how, and which half each is in."""

    rows: list[Row]
    kinds: list[str]  # what is wrong with the answer, empty where nothing is
    held_out: list[bool]
    schema: Json


def main() -> None:
    """Measure both sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    default = ROOT / "var" / "benchmark" / "cleanlab" / "bin" / "python"
    parser.add_argument("--cleanlab", type=Path, default=default)
    arguments = parser.parse_args()
    print(machine())
    goals = []
    for name in ("ticket_routing", "voice_extraction"):
        if not (arguments.data / name).is_dir():
            print(f"skipped: {arguments.data / name} is not there")
            continue
        goals.append(measure(name, arguments.data / name, arguments.cleanlab))
    for line in goals:
        print(line)


def measure(name: str, folder: Path, cleanlab: Path) -> str:
    """Print a set's table; return its goal line."""
    found = load(folder)
    began = time.process_time()
    ours = suspicions(found.rows, found.schema)
    seconds = time.process_time() - began
    wrong = Counter(kind for kind in found.kinds if kind)
    said = ", ".join(f"{n} {kind}" for kind, n in wrong.most_common())
    print(
        f"\n{name}: {len(found.rows):,} rows, {wrong.total()} wrong ({said}); {seconds:.1f} cpu-s"
    )
    print(f"{'order':<44}{'half':<10}" + "".join(f"{f'top {share:.0%}':>10}" for share in SHARES))
    orders = {"random": None, "ours": ours, **rivals(name, found, cleanlab)}
    for order, scores in orders.items():
        for half, wanted in (("chosen on", False), ("held out", True)):
            print_row(order, half, found, scores, wanted=wanted)
    if "broken" in wrong:
        valid = keep(found, [kind != "broken" for kind in found.kinds])
        scores = [one for one, kind in zip(ours, found.kinds, strict=True) if kind != "broken"]
        print_row("ours, without broken answers", "held out", valid, scores, wanted=True)
    print_kinds(found, ours)
    lift = found_share(found, ours, 0.10, held_out=True) / 0.10
    state = "met" if lift >= GOAL else "short"
    return f"suspicion-{name.replace('_', '-')} {lift:.2f} goal {GOAL:.0f} {state}"


def print_row(
    order: str, half: str, found: Set, scores: Sequence[float] | None, *, wanted: bool
) -> None:
    """Print which share of a half's wrong answers lies in the top of an order."""
    shares = [
        by_chance(found, share, held_out=wanted)
        if scores is None
        else found_share(found, scores, share, held_out=wanted)
        for share in SHARES
    ]
    print(f"{order:<44}{half:<10}" + "".join(f"{share:>10.1%}" for share in shares))


def print_kinds(found: Set, scores: Sequence[float]) -> None:
    """Print what is found of each kind of fault in the top 10 %, of the half held out."""
    at = [n for n, held in enumerate(found.held_out) if held]
    top = sorted(at, key=lambda n: -scores[n])[: round(0.10 * len(at))]
    every, met = Counter(found.kinds[n] for n in at), Counter(found.kinds[n] for n in top)
    parts = [f"{kind} {met[kind]} of {every[kind]}" for kind in sorted(every) if kind]
    print(f"  in the top 10 % of the half held out: {', '.join(parts)}")


def found_share(found: Set, scores: Sequence[float], share: float, *, held_out: bool) -> float:
    """Return the share of a half's wrong answers that lies in the top `share` of its rows."""
    at = [n for n, held in enumerate(found.held_out) if held == held_out]
    top = sorted(at, key=lambda n: -scores[n])[: round(share * len(at))]
    return sum(bool(found.kinds[n]) for n in top) / sum(bool(found.kinds[n]) for n in at)


def by_chance(found: Set, share: float, *, held_out: bool) -> float:
    """Return the mean of what random orders find."""
    wrong = [
        bool(k) for k, held in zip(found.kinds, found.held_out, strict=True) if held == held_out
    ]
    rng, count = random.Random(0), round(share * len(wrong))
    draws = [sum(rng.sample(wrong, count)) for _ in range(PERMUTATIONS)]
    return sum(draws) / PERMUTATIONS / sum(wrong)


# --- the sets -------------------------------------------------------------------------------------
def load(folder: Path) -> Set:
    """Read a log and what was right."""
    gold = {row["id"]: row["gold"] for row in read(folder / "corrections.jsonl")}
    rows, kinds, held_out = [], [], []
    for call in read(folder / "calls.jsonl"):
        messages = call["request"]["messages"]
        output = call["response"]["choices"][0]["message"]["content"]
        rows.append(Row(variable_text(messages), output, group_key(messages)))
        kinds.append(fault(output, gold[call["id"]]))
        held_out.append(hashlib.sha256(call["id"].encode()).digest()[0] % 2 == 1)
    is_labels = isinstance(next(iter(gold.values())), str)
    labels = sorted({row.output for row in rows})
    schema = {"type": "string", "enum": labels} if is_labels else {"type": "object"}
    return Set(rows, kinds, held_out, schema)


def read(path: Path) -> list[Any]:
    """Read JSON lines."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def fault(output: str, gold: Any) -> str:
    """Name what is wrong with an answer, nothing where it is right."""
    if isinstance(gold, str):
        return "" if output == gold else "wrong label"
    try:
        value = json.loads(output)
    except ValueError:
        return "broken"
    if value == gold:
        return ""
    if value.get("intent") != gold["intent"]:
        return "wrong intent"
    return "dropped slot" if set(value["slots"]) != set(gold["slots"]) else "cut span"


def keep(found: Set, kept: Sequence[bool]) -> Set:
    """Return some rows of a set."""
    return Set(
        [row for row, keeps in zip(found.rows, kept, strict=True) if keeps],
        [kind for kind, keeps in zip(found.kinds, kept, strict=True) if keeps],
        [held for held, keeps in zip(found.held_out, kept, strict=True) if keeps],
        found.schema,
    )


# --- cleanlab -------------------------------------------------------------------------------------
def rivals(name: str, found: Set, cleanlab: Path) -> dict[str, list[float]]:
    """Return cleanlab's suspicions, by its methods; a broken answer, which it cannot read, is 1."""
    if not cleanlab.exists():
        print(f"  (no cleanlab: {cleanlab} is not there)")
        return {}
    folder = ROOT / "var" / "benchmark"
    is_json = found.schema["type"] == "object"
    valid = [n for n, kind in enumerate(found.kinds) if kind != "broken"]
    rows = [found.rows[n] for n in valid]
    paths = [folder / f"suspicion-{name}.npz"]
    with threadpool_limits(1):
        features = features_of([row.text for row in rows])
        labels = [json.loads(r.output)["intent"] if is_json else r.output for r in rows]
        names, own = np.unique(labels, return_inverse=True)
        groups = [row.group for row in rows]
        given = out_of_fold(own, len(names), folds_of(groups, own), features)
        np.savez(paths[0], labels=own, probabilities=given)
        if is_json:
            paths.append(folder / f"suspicion-{name}-words.npz")
            save_words(paths[1], rows, groups)
    command = [str(cleanlab), str(ROOT / "benchmarks" / "suspicion_cleanlab.py"), *map(str, paths)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    orders = {}
    for method, scores in json.loads(said).items():
        every = [1.0] * len(found.rows)
        for n, quality in zip(valid, scores, strict=True):
            every[n] = 1.0 - quality
        what = "on the intent, " if is_json and not method.startswith("words") else ""
        orders[f"cleanlab {what}{method}"] = every
    return orders


def save_words(path: Path, rows: list[Row], groups: list[str]) -> None:
    """Save our word model's probabilities, as cleanlab's token classification takes them."""
    readings = [fields.reading(row.text, row.output) for row in rows]
    folds = folds_of(groups, np.zeros(len(rows), dtype=np.intp))
    words = fields.judged_words(readings, folds, fields.fixed_fields(readings))
    assert words is not None
    counts = np.bincount(words.owner, minlength=len(rows))
    np.savez(path, labels=words.own, probabilities=words.probabilities, counts=counts)


if __name__ == "__main__":
    main()
