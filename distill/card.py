"""The model card: what a version is, what was measured, what it is not good for, how to use it.

Every figure is one that was given; a figure that is missing is a dash. Text that people or models
wrote is escaped, so that it can be read but can not change the page.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distill.gate import Verdict
from distill.manifest import SUMS_FILE, FileEntry
from factory.markdown import code, escaped, figure, table, yaml_text


@dataclass(frozen=True)
class Score:
    """One row of the table: who answered, on how many rows, how well, how fast, at what price.

    `score`, `low` and `high` are shares from 0 to 1; `low` and `high` bound the 95 % interval.
    """

    subject: str
    n: int
    score: float
    low: float
    high: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    usd_per_1000: float | None = None


@dataclass(frozen=True)
class Card:
    """What the card tells; `files` are the model files, the one to recommend first."""

    repository: str
    number: int
    kind: str
    metric: str
    instruction: str
    labels: Sequence[str]
    base_model: str
    base_revision: str
    licence: str
    dataset: str
    dataset_digest: str
    dataset_counts: Mapping[str, int]
    scores: Sequence[Score]
    verdict: Verdict | None
    override_reason: str
    files: Sequence[FileEntry]
    erased_rows: int = 0


def card_text(card: Card) -> str:
    """Return the card as the README.md of the version's repository."""
    parts = (
        front_matter(card),
        f"# {escaped(card.repository)} v{card.number}\n",
        about(card),
        f"## Evaluation\n\n{score_table(card)}",
        verdict_text(card),
        f"## Data\n\n{data_text(card)}",
        f"## Files\n\n{file_table(card.files)}",
        f"## Use\n\n{usage(card)}",
        f"## Limits\n\n{limits(card)}",
    )
    return "\n".join(parts)


def front_matter(card: Card) -> str:
    """Return the YAML block that hubs read. JSON strings are YAML strings."""
    is_hub_id = re.fullmatch(r"[\w.-]+/[\w.-]+", card.base_model, re.ASCII) is not None
    lines = [
        f"license: {yaml_text(card.licence or 'other')}",
        *([f"base_model: {yaml_text(card.base_model)}"] if is_hub_id else []),
        "library_name: gguf",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {yaml_text(tag)}" for tag in ("gguf", "distillation", "understudy", card.kind)),
    ]
    return "---\n" + "\n".join(lines) + "\n---\n"


def about(card: Card) -> str:
    """Say what the model is and what it was told to do."""
    revision = f" at revision {code(card.base_revision)}" if card.base_revision else ""
    licence = code(card.licence) if card.licence else "that of the base model, which see"
    text = (
        f"A small student for one {escaped(card.kind)} job, distilled from the answers of a larger "
        f"model and merged into {code(card.base_model)}{revision}. Licence: {licence}.\n"
    )
    if card.instruction:
        quoted = "\n".join(f"> {escaped(line)}" for line in card.instruction.splitlines())
        text += f"\nIt was trained with this instruction; send it the same:\n\n{quoted}\n"
    if card.labels:
        text += f"\nAnswers: {', '.join(code(label) for label in card.labels)}.\n"
    return text


def score_table(card: Card) -> str:
    """Lay the measured subjects side by side."""
    head = ("Subject", "Rows", "Score", "95 % interval", "p50", "p99", "USD per 1,000")
    rows = [
        (
            escaped(score.subject),
            f"{score.n:,}",
            f"{score.score:.1%}",
            f"{score.low:.1%} to {score.high:.1%}",
            figure(score.p50_ms, "{:,.0f} ms"),
            figure(score.p99_ms, "{:,.0f} ms"),
            figure(score.usd_per_1000, "{:,.4f}"),
        )
        for score in card.scores
    ]
    return (
        f"Score: {escaped(card.metric.replace('_', ' '))} on held-out rows, which the "
        f"student was not trained on.\n\n{table(head, rows)}"
    )


def verdict_text(card: Card) -> str:
    """Say what the gate decided, and on which grounds."""
    if card.verdict is None:
        lines = ["The gate has **not decided** on this version.\n"]
    else:
        outcome = "passed" if card.verdict.passed else "refused"
        lines = [f"The gate **{outcome}** this version:\n"]
        for check in card.verdict.checks:
            lines.append(f"- {'met' if check.passed else '**not met**'}: {escaped(check.reason)}")
    if card.override_reason:
        lines.append(f"\nIt was published by a person's decision: {escaped(card.override_reason)}")
    return "\n".join(lines) + "\n"


def data_text(card: Card) -> str:
    """Say what it was trained and measured on."""
    rows = ", ".join(f"{count:,} {escaped(split)}" for split, count in card.dataset_counts.items())
    text = f"Dataset {escaped(card.dataset)}, sha256 {code(card.dataset_digest)}: {rows}.\n"
    if card.erased_rows:
        text += (
            f"\nOf these rows {card.erased_rows:,} were erased after the student had seen them.\n"
        )
    return text


def file_table(files: Sequence[FileEntry]) -> str:
    """List the model files with what to check them by."""
    rows = [(code(f.path), f"{f.size:,}", code(f.sha256)) for f in files]
    return table(("File", "Bytes", "sha256"), rows)


def usage(card: Card) -> str:
    """Show how to fetch and run the version with the usual clients."""
    project_and_workload, file = card.repository, card.files[0].path
    quantization = file.removesuffix(".gguf").rsplit("-", 1)[-1]
    name = project_and_workload.rsplit("/", 1)[-1]
    version = f"v{card.number}"
    plain = f"$UNDERSTUDY_URL/artifacts/{project_and_workload}/{version}"
    return f"""\
`UNDERSTUDY_URL` is the address of the Understudy that published it, `UNDERSTUDY_KEY` a key of the
project that may download.

```sh
# Hugging Face's client
HF_ENDPOINT="$UNDERSTUDY_URL" HF_TOKEN="$UNDERSTUDY_KEY" \\
  hf download {project_and_workload} {file} --revision {version} --local-dir .

# curl; run it again to go on after a cut connection
curl -fL -C - -O -H "Authorization: Bearer $UNDERSTUDY_KEY" {plain}/{file}
curl -fL -O -H "Authorization: Bearer $UNDERSTUDY_KEY" {plain}/{SUMS_FILE}
sha256sum --ignore-missing -c {SUMS_FILE}

# llama.cpp, from the file, or straight from Understudy (whatever is in production there)
llama-server -m {file}
MODEL_ENDPOINT="$UNDERSTUDY_URL" HF_TOKEN="$UNDERSTUDY_KEY" \\
  llama-server -hf {project_and_workload}:{quantization}

# Ollama, from the file
echo "FROM ./{file}" > Modelfile && ollama create {name} -f Modelfile
```
"""


def limits(card: Card) -> str:
    """Say what the figures do not promise."""
    return (
        f"- It does one job, {code(card.repository)}, and was measured on that job's calls only.\n"
        "- Where its teacher was wrong and nobody corrected it, it learnt the error.\n"
        "- The figures hold for calls like the ones measured; when those change, measure again.\n"
        "- The intervals cover chance in the choice of rows, not errors in their answers.\n"
    )
