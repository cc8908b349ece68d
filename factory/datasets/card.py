"""The dataset card: what is in a version, where it came from, what was left out, what to mind.

Every figure is one that was counted when the version was frozen. It shows no row's text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from factory.markdown import DASH, code, escaped, figure, table, yaml_text

Json = dict[str, Any]

CARD_FILE, RECIPE_FILE = "README.md", "recipe.json"
SPLITS = ("train", "validation", "test")
TIERS = ("exact", "near", "neighbours")  # of `curation.contamination`
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
TASKS = {"classification": "text-classification"}
WORDS = {
    "teacher": "the production model's own answer",
    "relabeled_by_model": "a teacher's vote",
    "relabeled_by_human": "a reviewer's decision",
    "uploaded": "given with an uploaded row",
    "request_log": "production's calls",
    "upload": "uploaded rows",
    "synthetic": "made by a model",
}


@dataclass(frozen=True)
class Card:
    """What the card tells; `files` are the Parquet files, `facts` what the labelling knew."""

    repository: str
    number: int
    digest: str
    kind: str
    instruction: str
    recipe: Json
    recipe_digest: str
    counts: Json
    funnel: Sequence[Sequence[Any]]
    contamination: Json | None
    facts: Json
    files: Sequence[Json]


def card_text(card: Card) -> str:
    """Return the card as the README.md of the version's repository."""
    parts = (
        front_matter(card),
        f"# {escaped(card.repository)} v{card.number}\n",
        about(card),
        f"## Rows\n\n{rows_text(card)}",
        f"## Where the answers come from\n\n{provenance_text(card)}",
        f"## What was left out\n\n{funnel_text(card)}",
        f"## Label quality\n\n{quality_text(card.facts)}",
        f"## Teachers and their terms\n\n{terms_text(card.facts)}",
        f"## Redaction\n\n{redaction_text(card.facts)}",
        f"## Contamination\n\n{contamination_text(card.contamination)}",
        f"## Recipe\n\n{recipe_text(card)}",
        f"## Files\n\n{file_table(card.files)}",
        f"## Use\n\n{usage(card)}",
    )
    return "\n".join(parts)


def front_matter(card: Card) -> str:
    """Return the YAML block that hubs read."""
    total = sum(card.counts[split] for split in SPLITS)
    size = next((name for limit, name in SIZES if total < limit), "n>1M")
    lines = [
        f"pretty_name: {yaml_text(card.repository)}",
        "license: other",
        f"task_categories:\n- {TASKS.get(card.kind, 'text-generation')}",
        f"size_categories:\n- {size}",
        "tags:\n- distillation\n- understudy",
        "configs:\n- config_name: default\n  data_files:",
        *(
            f"  - split: {split}\n    path: data/{split}-*.parquet"
            for split in SPLITS
            if card.counts[split]
        ),
    ]
    return "---\n" + "\n".join(lines) + "\n---\n"


def about(card: Card) -> str:
    """Say what the rows are for."""
    text = (
        f"Rows to train and measure a small student for one {escaped(card.kind)} job. "
        f"Content sha256 {code(card.digest)}.\n"
    )
    if card.instruction:
        quoted = "\n".join(f"> {escaped(line)}" for line in card.instruction.splitlines())
        text += f"\nThe job's instruction:\n\n{quoted}\n"
    return text


def rows_text(card: Card) -> str:
    """Count the rows by split, and by label where the answers are labels."""
    by_split: Mapping[str, Mapping[str, int]] = card.counts["labels_by_split"]
    head = ("", *SPLITS)
    rows = [("rows", *(f"{card.counts[split]:,}" for split in SPLITS))]
    for label in sorted(card.counts["labels"]):
        counts = (f"{by_split[split].get(label, 0):,}" for split in SPLITS)
        rows.append((code(label), *counts))
    text = table(head, rows)
    text += (
        "\nNear copies share a split. Held-out rows are real, and test rows a person answered.\n"
    )
    if card.counts["trained_rows"] != card.counts["train"]:
        text += f"\nWith its balance, training sees {card.counts['trained_rows']:,.0f} rows.\n"
    return text


def provenance_text(card: Card) -> str:
    """Say whose word the targets are, where inputs came from, and what part is synthetic."""
    total = sum(card.counts[split] for split in SPLITS) or 1
    found = {**card.counts["provenance"], **card.counts["origins"]}
    rows = [(WORDS.get(name, name), f"{n:,}", f"{n / total:.1%}") for name, n in found.items()]
    share = card.counts["synthetic_share"]
    most = card.recipe["synthetic_share"]
    return table(("Answer or input", "Rows", "Share"), rows) + (
        f"\nSynthetic rows are {share:.1%} of what is trained on; the recipe allows {most:.0%}.\n"
    )


def funnel_text(card: Card) -> str:
    """Count what was left out, by reason."""
    return table(("", "Rows"), [(escaped(str(name)), f"{n:,}") for name, n in card.funnel])


def quality_text(facts: Json) -> str:
    """Say how often people corrected the labels that they audited."""
    audit = facts.get("audit")
    if not audit or not audit["n"]:
        return "No audit was made: how many labels are wrong is not known.\n"
    return (
        f"People audited {audit['n']:,} labels, drawn at random, and corrected {audit['count']:,}: "
        f"{audit['count'] / audit['n']:.1%} (95 % interval {audit['low']:.1%} to "
        f"{audit['high']:.1%}).\n"
    )


def terms_text(facts: Json) -> str:
    """Name the teachers, what they may be used for, and what was spent."""
    teachers = facts.get("teachers") or []
    if not teachers:
        return "No teacher labelled rows of this workload.\n"
    rows = [
        (
            escaped(teacher["name"]),
            code(teacher["model"]),
            f"{teacher['labels']:,}",
            escaped(teacher["licence"]) or DASH,
            "may train models" if teacher["may_train"] else "**may not train models**",
        )
        for teacher in teachers
    ]
    spent = figure(facts.get("spent_usd"), "US$ {:,.2f}")
    return table(("Teacher", "Model", "Labels", "Licence", "Its outputs"), rows) + (
        f"\nSpent on labelling this workload until then: {spent}.\n"
    )


def redaction_text(facts: Json) -> str:
    """Say what is taken out of calls before they are first written."""
    redaction = facts.get("redaction") or {}
    kinds = [str(kind).replace("_", " ").lower() for kind in redaction.get("kinds", [])]
    if redaction.get("names"):
        kinds.append("names of people")
    if not kinds:
        return "Nothing is taken out of this project's calls.\n"
    listed = ", ".join(escaped(kind) for kind in kinds)
    return (
        f"Taken out of this project's calls before they are written, by the policy at that time: "
        f"{listed}. No such search finds everything.\n"
    )


def contamination_text(report: Json | None) -> str:
    """Say how many held-out rows have a twin in what is trained on."""
    if not report:
        return "It was not measured.\n"
    rows = [
        (escaped(name), f"{split['rows']:,}", *(_tier(split[tier]) for tier in TIERS))
        for name, split in report["splits"].items()
    ]
    head = ("Held out", "Rows", "The same words", "Words in common", "Alike, to be judged")
    return table(head, rows) + (
        f"\nOf the words at least {report['near_from']:.0%} in common; alike from a cosine of "
        f"{report['alike_from']} (characters, TF-IDF), sought in a sample where rows are many. A "
        f"held-out row counts in the first column that it is found in.\n"
    )


def _tier(tier: Json) -> str:
    of = f" of {tier['sought']:,}"
    return f"{tier['count']:,}{of} ({tier['rate']:.1%})"


def recipe_text(card: Card) -> str:
    """Write the recipe down: with it and the examples the version can be made again."""
    rows = [(escaped(name), _value(value)) for name, value in sorted(card.recipe.items())]
    return f"sha256 {code(card.recipe_digest)}\n\n{table(('Setting', 'Value'), rows)}"


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(code(str(each)) for each in value) or "all"
    if isinstance(value, dict):
        return ", ".join(f"{escaped(str(k))} {code(str(v))}" for k, v in sorted(value.items()))
    return "any" if value in {None, ""} else code(str(value))


def file_table(files: Sequence[Json]) -> str:
    """List the files with what to check them by."""
    rows = [(code(f["path"]), f"{f['rows']:,}", f"{f['size']:,}", code(f["sha256"])) for f in files]
    return table(("File", "Rows", "Bytes", "sha256"), rows)


def usage(card: Card) -> str:
    """Show how to load the version."""
    return f"""\
`UNDERSTUDY_URL` is the address of the Understudy that froze it, `UNDERSTUDY_KEY` a key of the
project that may download.

```sh
export HF_ENDPOINT="$UNDERSTUDY_URL" HF_TOKEN="$UNDERSTUDY_KEY"
```

```python
from datasets import load_dataset

rows = load_dataset("{card.repository}", revision="v{card.number}")
```

`prompt` and `completion` are what trl's `SFTTrainer` trains on, the answer alone; `messages` is
both in one. `weight` says how often training should see a row.
"""
