"""Dataset versions for good: the database refuses changes, and files are made again bit by bit."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets as hf
import orjson
import pyarrow.parquet as pq
import pytest
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from factory.curation.balance import Policy
from factory.datasets.recipe import Recipe, recipe_from_json
from factory.datasets.shards import write_shards
from factory.errors import Conflict, InvalidInput
from factory.models import Dataset, DatasetEntry, DatasetVersion, Erasure, Example, Workload
from factory.models.frozen import thawed
from factory.services.erase import remove_examples
from factory.services.freeze import Known, build_files, freeze, preview, read_rows
from factory.services.versions import (
    branch,
    change_recipe,
    damaged_files,
    diff,
    restore_files,
    version_of_dataset,
)
from factory.storage import FolderStore, file_sha256, open_store
from tests.conftest import LABELS, MakeExample

pytestmark = pytest.mark.django_db
THINGS = ["lamp", "kettle", "desk", "tent", "oven", "radio", "sofa", "piano", "carpet", "mirror"]


@pytest.fixture(autouse=True)
def _own_store(settings: Any, tmp_path: Path) -> None:
    settings.STORAGE_URL = (tmp_path / "storage").as_uri()


@pytest.fixture
def examples(make_example: MakeExample) -> list[Example]:
    """Ten rows to train on, mostly about billing; two to validate on, two that test."""
    made = [
        make_example(f"where is my {thing}", LABELS[0 if n < 6 else n % 3])
        for n, thing in enumerate(THINGS)
    ]
    made += [make_example(f"validate the {thing}", split="validation") for thing in THINGS[:2]]
    made += [
        make_example(f"test the {thing}", split="test", provenance="relabeled_by_human")
        for thing in THINGS[:2]
    ]
    return made


def store() -> FolderStore:
    opened = open_store(settings.STORAGE_URL)
    assert isinstance(opened, FolderStore)
    return opened


def refused(change: Callable[[], Any]) -> None:
    with pytest.raises(IntegrityError, match="is frozen"), transaction.atomic():
        change()


# --- never changed --------------------------------------------------------------------------------
def test_the_database_refuses_to_change_or_delete_what_is_frozen(
    workload: Workload, examples: list[Example]
) -> None:
    version = freeze(workload)
    entries = version.entries.all()
    refused(lambda: entries.filter(position=0).update(target="login"))
    refused(lambda: entries.filter(position=0).update(split="test"))
    refused(lambda: entries.filter(position=0).delete())
    refused(lambda: DatasetVersion.objects.filter(pk=version.pk).update(digest="0" * 64))
    refused(lambda: DatasetVersion.objects.filter(pk=version.pk).update(card="fine"))
    refused(version.delete)
    with connection.cursor() as cursor, pytest.raises(IntegrityError), transaction.atomic():
        cursor.execute("UPDATE factory_datasetentry SET weight = 9")


def test_who_froze_a_version_may_be_forgotten_and_an_erasure_may_take_rows_out(
    workload: Workload, examples: list[Example], alice: Any
) -> None:
    version = freeze(workload, user=alice)
    DatasetVersion.objects.filter(pk=version.pk).update(created_by=None)
    with transaction.atomic(), thawed():
        version.entries.filter(position=0).delete()
    refused(lambda: version.entries.filter(position=1).delete())


changes = st.lists(
    st.tuples(
        st.sampled_from(["target", "discard", "provenance", "terms", "new", "recipe", "freeze"]),
        st.integers(0, 9),
        st.sampled_from(LABELS),
    ),
    min_size=1,
    max_size=6,
)


def change_something(workload: Workload, make: MakeExample, what: str, n: int, label: str) -> None:
    rows = workload.examples.filter(split="train").order_by("id")
    chosen = rows.filter(pk=rows[n % rows.count()].pk)
    if what == "target":
        chosen.update(target=label)
    elif what == "discard":
        chosen.update(status="discarded")
    elif what == "provenance":
        chosen.update(provenance="relabeled_by_model")
    elif what == "terms":
        chosen.update(may_train=False)
    elif what == "new":
        make(f"something new {label} {'x' * workload.examples.count()}", label)
    elif what == "recipe":
        dataset = workload.datasets.get()
        change_recipe(dataset, Recipe(seed=n, balance=Policy(mode="cap", cap=n + 1)))
    else:
        freeze(workload)


@hypothesis(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes)
def test_a_frozen_version_never_changes_whatever_happens_afterwards(
    workload: Workload,
    examples: list[Example],
    make_example: MakeExample,
    steps: list[tuple[str, int, str]],
) -> None:
    with transaction.atomic():
        version = freeze(workload)
        before = [*version.entries.order_by("position").values_list()]
        row = DatasetVersion.objects.filter(pk=version.pk).values().get()
        for step in steps:
            change_something(workload, make_example, *step)
        assert [*version.entries.order_by("position").values_list()] == before
        assert DatasetVersion.objects.filter(pk=version.pk).values().get() == row
        assert damaged_files(version) == []
        transaction.set_rollback(True)


# --- made again -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(balance=Policy(mode="undersample"), seed=7),
        Recipe(balance=Policy(mode="weight")),
        Recipe(prompt="instruction"),
    ],
)
def test_the_same_recipe_over_the_same_examples_is_the_same_bytes(
    workload: Workload, examples: list[Example], recipe: Recipe, tmp_path: Path
) -> None:
    version = freeze(workload, recipe=recipe)
    stored = recipe_from_json(version.recipe)
    (tmp_path / "again").mkdir()
    again = build_files(workload, stored, tmp_path / "again", Known(), lambda *_: None)
    assert (again.digest, again.counts) == (version.digest, version.counts)
    assert file_sha256(again.rows).sha256 == version.file_sha256
    made = {shard.path: file_sha256(shard.file).sha256 for shard in again.shards}
    assert made == {file["path"]: file["sha256"] for file in version.files if "rows" in file}
    assert freeze(workload, recipe=recipe) == version


def test_lost_files_are_made_again_after_the_labels_have_changed(
    workload: Workload, examples: list[Example]
) -> None:
    version = freeze(workload)
    Example.objects.update(target="login", status="discarded")
    for sha256 in [version.file_sha256, *(file["sha256"] for file in version.files)]:
        store().remove(sha256)
    assert "rows.jsonl" in damaged_files(version)
    restore_files(version)
    assert damaged_files(version) == []


def test_shards_are_cut_by_rows_and_keep_their_order(tmp_path: Path) -> None:
    chance = random.Random(3)
    rows = [
        {
            "id": n, "split": chance.choice(["train", "test"]), "provenance": "teacher",
            "origin": "upload", "source": "s", "weight": 1.0, "digest": "d",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}]},
                {"role": "assistant", "content": str(n)},
            ],
        }
        for n in range(5300)
    ]  # fmt: skip
    counts = {split: sum(row["split"] == split for row in rows) for split in ("train", "test")}
    shards = write_shards(tmp_path, iter(rows), counts, size=1500)
    assert [shard.rows for shard in shards if shard.split == "train"][:-1] == [1500]
    for split in counts:
        files = [shard.file for shard in shards if shard.split == split]
        ids = [row for file in files for row in pq.read_table(file)["id"].to_pylist()]
        assert ids == [row["id"] for row in rows if row["split"] == split]
        assert all(f"-of-{len(files):05d}.parquet" in file.name for file in files)


def test_the_files_load_as_datasets_and_hold_what_trl_trains_on(
    workload: Workload, examples: list[Example], tmp_path: Path
) -> None:
    version = freeze(workload)
    files = {}
    for file in version.files:
        if "rows" in file:
            files[file["split"]] = str(tmp_path / f"{file['split']}.parquet")
            store().fetch(file["sha256"], Path(files[file["split"]]))
    loaded = hf.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {
        "train": 10, "validation": 2, "test": 2,
    }  # fmt: skip
    row = loaded["train"][0]
    assert row["prompt"] == examples[0].messages
    assert row["completion"] == [{"role": "assistant", "content": "billing"}]
    assert row["messages"] == [*row["prompt"], *row["completion"]]
    assert (row["target"], row["origin"], row["weight"]) == ("billing", "request_log", 1.0)
    assert row["source_digest"] == examples[0].digest


def test_an_erasure_takes_rows_out_of_every_file_and_names_the_former_ones(
    workload: Workload, examples: list[Example]
) -> None:
    version = freeze(workload)
    former = {version.file_sha256} | {f["sha256"] for f in version.files if "rows" in f}
    commit = version.commit
    job = Erasure.objects.create(
        project=workload.project, kind="value", reason="asked to", asked_by="alice"
    )
    with transaction.atomic():
        remove_examples(job, [examples[0].pk])
    version.refresh_from_db()
    assert set(job.targets["blobs"]) == former
    assert version.commit != commit
    ids = [
        row
        for file in version.files
        if "rows" in file
        for row in pq.read_table(store().path(file["sha256"]))["id"].to_pylist()
    ]
    assert sorted(ids) == sorted(example.pk for example in examples[1:])
    assert damaged_files(version) == []


# --- recipes --------------------------------------------------------------------------------------
def test_balancing_is_for_training_rows_only(workload: Workload, examples: list[Example]) -> None:
    version = freeze(workload, recipe=Recipe(balance=Policy(mode="cap", cap=2)))
    train = version.counts["labels_by_split"]["train"]
    assert max(train.values()) == 2
    assert (version.counts["validation"], version.counts["test"]) == (2, 2)
    assert ["left out by the balance", 6] in version.funnel


def test_a_shortened_prompt_asks_with_the_workloads_instruction(
    workload: Workload, examples: list[Example], make_example: MakeExample
) -> None:
    long = {"role": "system", "content": "A very long prompt"}
    Example.objects.update(messages=[long, {"role": "user", "content": "?"}])
    version = freeze(workload, recipe=Recipe(prompt="instruction"))
    assert version.recipe["instruction"] == workload.instruction
    chunks = b"".join(open_store(settings.STORAGE_URL).read(version.file_sha256))
    turns = orjson.loads(chunks.splitlines()[0])["messages"]
    assert turns[0] == {"role": "system", "content": workload.instruction}
    assert turns[1] == {"role": "user", "content": "?"}


def test_a_row_that_its_teacher_was_not_sure_of_stays_out(
    workload: Workload, examples: list[Example]
) -> None:
    Example.objects.filter(pk__in=[e.pk for e in examples[:3]]).update(
        provenance="relabeled_by_model"
    )
    known = Known(confidences=lambda: {examples[0].pk: 0.9, examples[1].pk: 0.5})
    version = freeze(workload, recipe=Recipe(min_confidence=0.8), known=known)
    assert ["the teacher was less sure", 2] in version.funnel
    assert version.counts["train"] == 8


def test_a_preview_counts_what_freezing_then_freezes(
    workload: Workload, examples: list[Example]
) -> None:
    recipe = Recipe(balance=Policy(mode="undersample"), origins=("request_log",))
    shown = preview(workload, recipe)
    version = freeze(workload, recipe=recipe)
    assert (shown["counts"], shown["funnel"]) == (version.counts, version.funnel)


def test_terms_that_forbid_training_keep_rows_out_unless_it_is_only_measured(
    workload: Workload, examples: list[Example]
) -> None:
    Example.objects.filter(pk=examples[0].pk).update(may_train=False)
    version = freeze(workload)
    assert ["terms that forbid training", 1] in version.funnel
    assert not version.entries.filter(example=examples[0]).exists()
    measured = freeze(workload, recipe=replace(Recipe(), is_for_training=False))
    assert DatasetEntry.objects.get(version=measured, example=examples[0]).may_train is False


def test_only_labels_can_be_balanced(project: Any, workload: Workload) -> None:
    Workload.objects.filter(pk=workload.pk).update(output_schema=None)
    workload.refresh_from_db()
    with pytest.raises(InvalidInput, match="only labels"):
        freeze(workload, recipe=Recipe(balance=Policy(mode="cap")))


# --- lines of versions ----------------------------------------------------------------------------
def test_a_branch_begins_with_a_recipe_of_its_own_and_keeps_where_it_came_from(
    workload: Workload, examples: list[Example]
) -> None:
    version = freeze(workload)
    made = branch(version, name="balanced", recipe=Recipe(balance=Policy(mode="cap", cap=2)))
    branched = freeze(workload, name="balanced")
    assert (made.branched_from, branched.dataset) == (version, made)
    assert branched.recipe["balance"]["mode"] == "cap"
    assert branched.number == 1
    with pytest.raises(Conflict, match="already"):
        branch(version, name="balanced", recipe=Recipe())
    with pytest.raises(InvalidInput, match="name"):
        branch(version, name="Not a slug", recipe=Recipe())


def test_a_difference_names_what_came_what_went_and_what_changed(
    workload: Workload, examples: list[Example], make_example: MakeExample
) -> None:
    first = freeze(workload)
    new = make_example("a question about cords", "delivery")
    Example.objects.filter(pk=examples[0].pk).update(target="login")
    Example.objects.filter(pk=examples[1].pk).update(status="discarded")
    found = diff(first, freeze(workload))
    assert (found.added, found.removed, found.retargeted, found.same) == (1, 1, 1, 12)
    assert [line.example for line in found.shown_added] == [new.pk]
    assert [line.example for line in found.shown_removed] == [examples[1].pk]
    change = found.shown_retargeted[0]
    assert (change.before.target, change.after.target) == ("billing", "login")
    assert found.splits["train"] == (10, 10)
    assert found.labels["billing"] == (12, 10)
    assert diff(first, first).is_empty


def test_revisions_are_numbers_commits_and_the_newest(
    workload: Workload, examples: list[Example]
) -> None:
    first = freeze(workload)
    Example.objects.filter(pk=examples[0].pk).update(target="login")
    second = freeze(workload)
    dataset = Dataset.objects.get()
    assert version_of_dataset(dataset, "v1") == version_of_dataset(dataset, first.commit) == first
    assert version_of_dataset(dataset, "main") == second
    assert first.commit != second.commit


def test_the_card_counts_and_shows_no_text_of_a_row(
    workload: Workload, examples: list[Example]
) -> None:
    version = freeze(workload)
    assert version.card.startswith('---\npretty_name: "acme/tickets-main"\n')
    assert "| `billing` | 8 | 2 | 2 |" in version.card
    assert "earlier tests" not in version.card
    assert "kettle" not in version.card
    rows = read_rows(store().path(version.file_sha256))
    assert version.contamination is not None
    assert version.contamination["train_rows"] == sum(row["split"] == "train" for row in rows)
