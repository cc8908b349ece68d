"""Freezing: examples as they are now become an immutable, numbered dataset version.

First the files are made, streamed, without a lock; then one short transaction writes the rows, and
only if every example is still there. What is frozen is what was written and hashed.
"""

import hashlib
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from sys import intern
from typing import Any

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import Max
from more_itertools import chunked

from factory.curation.contamination import Item, contamination
from factory.datasets.card import CARD_FILE, RECIPE_FILE, Card, card_text
from factory.datasets.recipe import INSTRUCTION_ONLY, Recipe, recipe_from_json
from factory.datasets.selection import Candidate, Selection, select
from factory.datasets.shards import Shard, write_shards
from factory.digest import canonical_json, digest_of
from factory.errors import Conflict, InvalidInput
from factory.messages import Json, variable_text
from factory.models import Dataset, DatasetEntry, DatasetVersion, Example, FreezeJob, Workload
from factory.models.example import Split
from factory.redaction.redact import Policy
from factory.services import jobs
from factory.storage import BlobStore, file_sha256, open_store

BATCH = 1000
NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
IN_REQUEST = 2000  # examples that are frozen while somebody waits; more are a job's

OnProgress = Callable[[str, int], None]


@dataclass(frozen=True)
class Known:
    """What the labelling knows of a workload's rows, which this package cannot ask for itself."""

    confidences: Callable[[], Mapping[int, float]] = dict  # of the teacher's votes, by example
    rationales: Callable[[Sequence[int]], Mapping[int, str]] = lambda _: {}
    facts: Callable[[], Json] = dict  # for the card: teachers and terms, spend, the audit


@dataclass
class Build:
    """A version in files, before it has a number."""

    recipe: Recipe
    rows: Path
    shards: list[Shard]
    digest: str
    counts: Json
    funnel: list[list[Any]]
    contamination: Json
    ids: list[int] = field(default_factory=list)


# --- freezing -------------------------------------------------------------------------------------
def freeze(
    workload: Workload,
    *,
    name: str = "main",
    user: Any = None,
    recipe: Recipe | None = None,
    known: Known = Known(),
    on_progress: OnProgress = lambda _phase, _done: None,
) -> DatasetVersion:
    """Freeze what a recipe selects (the dataset's own by default); the same again is the same.

    `InvalidInput` where a split that training needs would be empty, `Conflict` where rows were
    erased meanwhile.
    """
    dataset = workload.datasets.filter(name=name).first()
    asked = recipe or recipe_from_json(dataset.recipe if dataset else {})
    with tempfile.TemporaryDirectory() as folder:
        build = build_files(
            workload, checked_recipe(workload, asked), Path(folder), known, on_progress
        )
        for split in (Split.TRAIN, Split.VALIDATION):
            if not build.counts[split]:
                raise InvalidInput(f"no {split} rows: label or import more examples first")
        on_progress("writing the version", len(build.ids))
        with transaction.atomic():
            return _keep(workload, name, build, known.facts(), user)


def start_freeze(workload: Workload, *, name: str, recipe: Recipe, user: Any = None) -> FreezeJob:
    """Enqueue a freeze; its job knows how far it is."""
    recipe = checked_recipe(workload, recipe)
    check_name(workload, name)
    return jobs.enqueue(
        FreezeJob(workload=workload, name=name, recipe=recipe.as_json(), created_by=user)
    )


def preview(workload: Workload, recipe: Recipe, known: Known = Known()) -> Json:
    """Return what a recipe would freeze now: counts and funnel, without writing anything."""
    recipe = checked_recipe(workload, recipe)
    confidences = known.confidences() if recipe.min_confidence else {}
    columns = [name for name in FIELDS if name != "messages"]
    rows = _labelled(workload).only(*columns).iterator(BATCH)
    candidates = [_candidate(workload, row, confidences) for row in rows]
    selection = select(candidates, recipe)
    taken = [row for row in candidates if row.id in selection.weights]
    return {"counts": _counts(taken, selection), "funnel": _funnel(workload, taken, selection)}


def checked_recipe(workload: Workload, recipe: Recipe) -> Recipe:
    """Return the recipe with the text that it depends on; `InvalidInput` where it cannot work."""
    if recipe.balance.mode != "none" and not workload.labels:
        raise InvalidInput(
            "only labels can be balanced, and these answers are none", param="balance"
        )
    if recipe.prompt != INSTRUCTION_ONLY:
        return replace(recipe, instruction="")
    if not (recipe.instruction or workload.instruction):
        raise InvalidInput("the workload has no instruction to ask with", param="prompt")
    return recipe if recipe.instruction else replace(recipe, instruction=workload.instruction)


def check_name(workload: Workload, name: str) -> None:
    """Refuse a name that no address can have, or whose repository another workload has."""
    if not NAME.fullmatch(name) or len(name) > 48:
        said = "a dataset's name is of lower-case letters and digits, joined by single '-' or '_'"
        raise InvalidInput(said, param="name")
    others = Dataset.objects.filter(workload__project=workload.project_id)
    for slug, other in others.exclude(workload=workload).values_list("workload__slug", "name"):
        if f"{slug}-{other}" == f"{workload.slug}-{name}":
            raise Conflict(f"the repository {slug}-{other} is taken: choose another name")


# --- files ----------------------------------------------------------------------------------------
# With the workload: its manager asks each row for it, by a query of its own where it is deferred.
FIELDS = (
    "id", "workload", "messages", "target", "provenance", "origin", "status", "split", "group",
    "digest", "created_at", "may_train",
)  # fmt: skip


def _labelled(workload: Workload) -> Any:
    rows = workload.examples.exclude(target=None).exclude(status=Example.Status.DISCARDED)
    return rows.order_by("id")


def build_files(
    workload: Workload, recipe: Recipe, folder: Path, known: Known, on_progress: OnProgress
) -> Build:
    """Write the rows that a recipe selects into a folder; one query reads them, so they agree."""
    confidences = known.confidences() if recipe.min_confidence else {}
    candidates: list[Candidate] = []
    with (folder / "candidates.jsonl").open("wb") as file:
        for batch in chunked(_labelled(workload).only(*FIELDS).iterator(BATCH), BATCH):
            said = known.rationales([example.pk for example in batch])
            for example in batch:
                candidates.append(_candidate(workload, example, confidences))
                file.write(orjson.dumps(_read(example, said)) + b"\n")
            on_progress("reading the examples", len(candidates))
    selection = select(candidates, recipe)
    taken = [row for row in candidates if row.id in selection.weights]
    _write_rows(folder, recipe, selection, on_progress)
    counts = _counts(taken, selection)
    rows = folder / "rows.jsonl"
    on_progress("writing Parquet", len(taken))
    shards = write_shards(folder, read_rows(rows), {s: counts[s] for s in Split.values})
    on_progress("comparing the splits", len(taken))
    return Build(
        recipe=recipe,
        rows=rows,
        shards=shards,
        digest=digest_of([row["digest"] for row in read_rows(rows)]),
        counts=counts,
        funnel=_funnel(workload, taken, selection),
        contamination=_contamination(workload, rows),
        ids=[row.id for row in taken],
    )


def _candidate(workload: Workload, example: Example, confidences: Mapping[int, float]) -> Candidate:
    return Candidate(
        id=example.pk,
        digest=example.digest,
        group=example.group,
        split=intern(example.split),
        label=intern(example.target or "") if workload.labels else "",
        provenance=intern(example.provenance),
        status=intern(example.status),
        origin=intern(example.origin),
        came=example.created_at.date(),
        may_train=example.may_train,
        confidence=confidences.get(example.pk),
    )


def _read(example: Example, rationales: Mapping[int, str]) -> Json:
    """Return what a row is made of, before its weight is known."""
    return {
        "id": example.pk,
        "split": example.split,
        "provenance": example.provenance,
        "origin": example.origin,
        "source": example.digest,
        "may_train": example.may_train,
        "rationale": rationales.get(example.pk, ""),
        "target": example.target,
        "prompt": example.messages,
    }


def _write_rows(
    folder: Path, recipe: Recipe, selection: Selection, on_progress: OnProgress
) -> None:
    done = 0
    with (folder / "rows.jsonl").open("wb") as file:
        for read in read_rows(folder / "candidates.jsonl"):
            weight = selection.weights.get(read["id"])
            if weight is not None:
                file.write(canonical_json(row_of(read, weight, recipe)) + b"\n")
                done += 1
                if done % BATCH == 0:
                    on_progress("writing rows", done)


def _contamination(workload: Workload, rows: Path) -> Json:
    """Compare what is trained on with what is held out, here and in earlier versions."""
    held_out: dict[str, list[Item]] = {Split.VALIDATION: [], Split.TEST: []}
    for row in read_rows(rows):
        if row["split"] in held_out:
            held_out[row["split"]].append(_item(row["id"], row["messages"][:-1]))
    now = {item.id for item in held_out[Split.TEST]}
    if earlier := [item for item in _tested_before(workload) if item.id not in now]:
        held_out["earlier tests"] = earlier
    training = (row for row in read_rows(rows) if row["split"] == Split.TRAIN)
    return contamination((_item(row["id"], row["messages"][:-1]) for row in training), held_out)


def _tested_before(workload: Workload) -> Iterator[Item]:
    tested = DatasetEntry.objects.filter(version__dataset__workload=workload, split=Split.TEST)
    examples = Example.objects.filter(pk__in=tested.values("example")).order_by("id")
    for example in examples.only("messages").iterator(BATCH):
        yield _item(example.pk, example.messages)


def _item(row: int, prompt: list[Json]) -> Item:
    return Item(row, variable_text(prompt), group="")  # groups are apart by the selection


def row_of(read: Mapping[str, Any], weight: float, recipe: Recipe) -> Json:
    """Return a row as a version's file holds it: OpenAI's chat format, and where it came from."""
    prompt = prompt_of(read["prompt"], recipe)
    row = {
        "id": read["id"],
        "split": read["split"],
        "provenance": read["provenance"],
        "origin": read["origin"],
        "source": read["source"],
        "weight": float(weight),
        "may_train": read["may_train"],
        "messages": [*prompt, {"role": "assistant", "content": read["target"]}],
        **({"rationale": read["rationale"]} if read["rationale"] else {}),
    }
    return {**row, "digest": entry_digest(row, recipe)}


def entry_digest(row: Mapping[str, Any], recipe: Recipe) -> str:
    """Return the identity of a row: its input in its form, its target, its split, its weight."""
    said = [row["messages"][-1]["content"], row.get("rationale", "")]
    form = [recipe.prompt, recipe.instruction]
    return digest_of([row["source"], form, said, row["split"], row["weight"]])


def prompt_of(messages: list[Json], recipe: Recipe) -> list[Json]:
    """Return a prompt in the recipe's form."""
    if recipe.prompt != INSTRUCTION_ONLY:
        return messages
    turns = [turn for turn in messages if turn.get("role") not in {"system", "developer"}]
    return [{"role": "system", "content": recipe.instruction}, *turns]


def read_rows(path: Path) -> Iterator[Json]:
    """Yield the objects of a file of JSON lines."""
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)


# --- counts ---------------------------------------------------------------------------------------
def _counts(taken: Sequence[Candidate], selection: Selection) -> Json:
    splits = Counter(row.split for row in taken)
    training = [row for row in taken if row.split == Split.TRAIN]
    made = sum(row.origin == Example.Origin.SYNTHETIC for row in training)
    by_split = {
        split: dict(Counter(row.label for row in taken if row.split == split and row.label))
        for split in Split.values
    }
    return {
        **{split: splits[split] for split in Split.values},
        "provenance": dict(Counter(row.provenance for row in taken)),
        "origins": dict(Counter(row.origin for row in taken)),
        "labels": dict(Counter(row.label for row in taken if row.label)),
        "labels_by_split": by_split,
        "synthetic_share": made / len(training) if training else 0.0,
        "trained_rows": sum(selection.weights[row.id] for row in training),
        "untrusted_test_rows_left_out": selection.left_out["test rows that no person answered"],
    }


def _funnel(
    workload: Workload, taken: Sequence[Candidate], selection: Selection
) -> list[list[Any]]:
    """Return what was left out and why, from all examples down to the rows that are frozen."""
    examples = workload.examples
    discarded = examples.filter(status=Example.Status.DISCARDED).count()
    unanswered = examples.exclude(status=Example.Status.DISCARDED).filter(target=None).count()
    out = {"discarded": discarded, "no answer yet": unanswered, **selection.left_out}
    total = len(taken) + sum(out.values())
    gone = [[reason, count] for reason, count in out.items() if count]
    return [["examples", total], *gone, ["frozen", len(taken)]]


# --- rows of the database -------------------------------------------------------------------------
def _keep(workload: Workload, name: str, build: Build, facts: Json, user: Any) -> DatasetVersion:
    """Write a built version, unless it is there; an erasure waits for this, or this for it."""
    if not workload.datasets.filter(name=name).exists():
        check_name(workload, name)
    Dataset.objects.get_or_create(workload=workload, name=name)
    dataset = Dataset.objects.select_for_update().get(workload=workload, name=name)
    recipe = build.recipe
    if same := dataset.versions.filter(digest=build.digest, recipe_digest=recipe.digest).first():
        return same
    there = (Example.objects.filter(pk__in=ids).count() for ids in chunked(build.ids, BATCH))
    if sum(there) != len(build.ids):
        raise Conflict("examples were erased while the version was made: freeze again")
    Dataset.objects.filter(pk=dataset.pk).update(recipe=recipe.as_json())
    latest = dataset.versions.aggregate(top=Max("number"))["top"] or 0
    version = _version(workload, dataset, latest + 1, build, facts)
    version.created_by = user
    version.save(force_insert=True)
    entries = (_entry(version, at, row) for at, row in enumerate(read_rows(build.rows)))
    for batch in chunked(entries, BATCH):
        DatasetEntry.objects.bulk_create(batch)
    return version


def _version(
    workload: Workload, dataset: Dataset, number: int, build: Build, facts: Json
) -> DatasetVersion:
    store = open_store(settings.STORAGE_URL)
    blob = store.put(build.rows)
    policy = Policy.from_json(workload.project.redaction)
    facts = {**facts, "redaction": {"kinds": sorted(policy.kinds), "names": policy.names}}
    data = [stored_file(store, shard) for shard in build.shards]
    version = DatasetVersion(
        dataset=dataset,
        number=number,
        digest=build.digest,
        recipe=build.recipe.as_json(),
        recipe_digest=build.recipe.digest,
        counts=build.counts,
        funnel=build.funnel,
        contamination=build.contamination,
        facts=facts,
        file_sha256=blob.sha256,
        file_bytes=blob.size,
    )
    version.card = card_text(_card(workload, version, data))
    set_files(version, store, data)
    return version


def set_files(version: DatasetVersion, store: BlobStore, data: list[Json]) -> None:
    """Give a version its files, and the commit that names them all."""
    texts = {CARD_FILE: version.card.encode(), RECIPE_FILE: canonical_json(version.recipe)}
    version.files = [*data, *(_stored_text(store, path, text) for path, text in texts.items())]
    named = {"digest": version.digest, "number": version.number, "files": version.files}
    version.commit = hashlib.sha1(canonical_json(named), usedforsecurity=False).hexdigest()


def stored_file(store: BlobStore, shard: Shard) -> Json:
    """Store one Parquet file, and describe it."""
    blob = store.put(shard.file)
    described = {"path": shard.path, "split": shard.split, "rows": shard.rows}
    return {**described, "size": blob.size, "sha256": blob.sha256}


def _stored_text(store: BlobStore, path: str, content: bytes) -> Json:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        blob = store.put(Path(file.name))
    oid = hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()
    return {"path": path, "size": blob.size, "sha256": blob.sha256, "git_oid": oid}


def _card(workload: Workload, version: DatasetVersion, data: list[Json]) -> Card:
    return Card(
        repository=repository_of(version.dataset),
        number=version.number,
        digest=version.digest,
        kind=workload.kind,
        instruction=workload.instruction,
        recipe=version.recipe,
        recipe_digest=version.recipe_digest,
        counts=version.counts,
        funnel=version.funnel,
        contamination=version.contamination,
        facts=version.facts,
        files=data,
    )


def repository_of(dataset: Dataset) -> str:
    """Return a dataset's name as hub clients ask for it."""
    workload = dataset.workload
    return f"{workload.project.slug}/{workload.slug}-{dataset.name}"


def _entry(version: DatasetVersion, position: int, row: Json) -> DatasetEntry:
    return DatasetEntry(
        version=version,
        position=position,
        example_id=row["id"],
        split=row["split"],
        target=row["messages"][-1]["content"],
        rationale=row.get("rationale", ""),
        provenance=row["provenance"],
        weight=row["weight"],
        may_train=row["may_train"],
        digest=row["digest"],
    )


# --- again ----------------------------------------------------------------------------------------
def rebuild_files(version: DatasetVersion, folder: Path) -> tuple[Path, list[Shard]]:
    """Make a version's files anew from its rows in the database; they are the same bytes."""
    recipe = recipe_from_json(version.recipe)
    path = folder / "rows.jsonl"
    with path.open("wb") as file:
        for entry in _entries(version):
            file.write(canonical_json(row_of(_read_entry(entry), entry.weight, recipe)) + b"\n")
    return path, write_shards(folder, read_rows(path), split_counts(path))


def split_counts(path: Path) -> dict[str, int]:
    """Count a file's rows by split."""
    found = Counter(row["split"] for row in read_rows(path))
    return {split: found[split] for split in Split.values}


def _entries(version: DatasetVersion) -> Iterable[DatasetEntry]:
    entries = version.entries.select_related("example").order_by("position")
    return entries.iterator(BATCH)


def _read_entry(entry: DatasetEntry) -> Json:
    return {
        "id": entry.example_id,
        "split": entry.split,
        "provenance": entry.provenance,
        "origin": entry.example.origin,
        "source": entry.example.digest,
        "may_train": entry.may_train,
        "rationale": entry.rationale,
        "target": entry.target,
        "prompt": entry.example.messages,
    }


def differing_files(version: DatasetVersion) -> list[str]:
    """Make a version's files again; return the names of those that differ from what is stored."""
    with tempfile.TemporaryDirectory() as folder:
        rows, shards = rebuild_files(version, Path(folder))
        made = {"rows.jsonl": file_sha256(rows).sha256}
        made |= {shard.path: file_sha256(shard.file).sha256 for shard in shards}
        stored = {"rows.jsonl": version.file_sha256}
        stored |= {file["path"]: file["sha256"] for file in version.files if "rows" in file}
        return sorted(
            path for path in made.keys() | stored.keys() if made.get(path) != stored.get(path)
        )
