"""A real, very small line: a base built here, a student trained and exported from it, once."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from distill.child import run_child
from distill.gpu.tiny_base import build
from distill.jobdir import JobDir, Json
from distill.spec import EvalSpec, ExportSpec, TrainSpec, read_profile, train_spec
from factory.demo.sample import vocabulary_text

WORDS = {
    "billing": ["invoice", "refund", "charge", "payment"],
    "shipping": ["parcel", "courier", "delivery", "tracking"],
    "login": ["password", "account", "locked", "code"],
    "bug": ["crash", "error", "screen", "freeze"],
}
OPENINGS = [
    "my",
    "help with the",
    "it is about the",
    "please look at the",
    "again the",
]
ENDINGS = ["today", "since monday", "please", "and nobody answers", "after the update"]


def chat_rows(count: int, seed: int) -> list[Json]:
    """Short tickets whose queue one word decides."""
    random = Random(seed)
    rows: list[Json] = []
    for number in range(count):
        label = random.choice(list(WORDS))
        word = random.choice(WORDS[label])
        text = f"{random.choice(OPENINGS)} {word} {random.choice(ENDINGS)}"
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
        rows.append({"id": f"row-{seed}-{number}", "messages": messages})
    return rows


def run(step: str, folder: Path) -> Json:
    """Run a step to its end."""
    return run_child(step, folder, on_progress=lambda _: None, should_stop=lambda: False)


def predictions(job: JobDir) -> list[Json]:
    """What an evaluation wrote."""
    lines = (job.files / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def accuracy(job: JobDir) -> float:
    """The share of answers that are the expected text."""
    rows = predictions(job)
    return sum(row["output"] == row["expected"] for row in rows) / len(rows)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    build(folder, vocabulary_text(lines=300))
    return folder


@pytest.fixture(scope="session")
def spec(base: Path) -> TrainSpec:
    return replace(train_spec(str(base), read_profile(base), rows=128), epochs=8.0, patience=9)


@pytest.fixture(scope="session")
def trained(spec: TrainSpec, tmp_path_factory: pytest.TempPathFactory) -> JobDir:
    tables = {"train": chat_rows(128, seed=1), "validation": chat_rows(16, seed=2)}
    job = JobDir.create(tmp_path_factory.mktemp("train"), spec, tables)
    run("train", job.root)
    return job


@pytest.fixture(scope="session")
def exported(spec: TrainSpec, trained: JobDir, tmp_path_factory: pytest.TempPathFactory) -> JobDir:
    export = ExportSpec(
        base_model=spec.base_model,
        adapter=str(trained.files / "adapter"),
        name="router",
        card={"license": "apache-2.0", "description": "Routes tickets", "dataset": "v1"},
    )
    job = JobDir.create(tmp_path_factory.mktemp("export"), export, {})
    run("export", job.root)
    return job


@pytest.fixture(scope="session")
def gguf(exported: JobDir) -> Path:
    return exported.files / "router-Q4_K_M.gguf"


def ask(folder: Path, subject: EvalSpec, rows: list[Json]) -> JobDir:
    """Evaluate a subject on rows."""
    job = JobDir.create(folder, subject, {"rows": rows})
    run("evaluate", job.root)
    return job
