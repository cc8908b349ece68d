"""A dataset version is what was frozen, for ever, and its name is its content."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection

from factory.errors import InvalidInput
from factory.formats.intake import lines_of
from factory.models import Dataset, DatasetVersion, Example, Project, Workload
from factory.services.freeze import freeze
from factory.services.projects import create_workload
from factory.storage import open_store
from tests.conftest import LABELS, MakeExample

pytestmark = pytest.mark.django_db


@pytest.fixture
def examples(make_example: MakeExample) -> list[Example]:
    """Six rows to train on, two to validate on, and three test rows, of which one is trusted."""
    things = ("lamp", "kettle", "desk", "tent", "oven", "radio")
    made = [make_example(f"train {thing}", LABELS[n % 3]) for n, thing in enumerate(things)]
    made += [make_example(f"validation {thing}", split="validation") for thing in things[:2]]
    made += [make_example(f"test {thing}", split="test") for thing in things[:2]]
    made.append(make_example("test sofa", split="test", provenance="relabeled_by_human"))
    return made


def rows_of(version: DatasetVersion) -> list[dict[str, Any]]:
    chunks = open_store(settings.STORAGE_URL).read(version.file_sha256)
    return [orjson.loads(line) for line in lines_of(chunks)]


def test_the_same_content_is_the_same_version(
    workload: Workload, examples: list[Example], alice: User
) -> None:
    first, again = freeze(workload, user=alice), freeze(workload)
    assert first == again
    assert (first.number, first.created_by) == (1, alice)


@pytest.mark.parametrize(
    "change",
    [
        {"target": "login"},
        {"split": "validation"},
        {"status": "discarded"},
        {"target": None},
    ],
)
def test_any_change_is_a_new_version_and_the_old_one_stays(
    workload: Workload, examples: list[Example], change: dict[str, Any]
) -> None:
    first = freeze(workload)
    before = rows_of(first), list(first.entries.values())
    Example.objects.filter(pk=examples[0].pk).update(**change)
    second = freeze(workload)
    assert (second.number, second.digest != first.digest) == (2, True)
    first.refresh_from_db()
    assert (rows_of(first), list(first.entries.values())) == before


@pytest.mark.django_db(transaction=True)
def test_two_people_who_freeze_at_once_get_one_version(
    workload: Workload, examples: list[Example]
) -> None:
    freeze(workload)
    Example.objects.filter(pk=examples[0].pk).update(target="login")
    start = threading.Barrier(2)

    def work() -> int:
        start.wait()
        try:
            return freeze(workload).pk
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(work) for _ in range(2))
        assert first.result() == second.result()


def test_going_back_is_the_old_version_again(workload: Workload, examples: list[Example]) -> None:
    first = freeze(workload)
    Example.objects.filter(pk=examples[0].pk).update(target="login")
    assert freeze(workload) != first
    Example.objects.filter(pk=examples[0].pk).update(target=examples[0].target)
    assert freeze(workload) == first


def test_the_entries_are_the_files_rows(workload: Workload, examples: list[Example]) -> None:
    version = freeze(workload)
    kept = [
        (e.example_id, e.split, e.target, e.provenance, e.digest)
        for e in version.entries.order_by("position")
    ]
    rows = rows_of(version)
    assert kept == [
        (row["id"], row["split"], row["messages"][-1]["content"], row["provenance"], row["digest"])
        for row in rows
    ]
    assert list(version.entries.order_by("position").values_list("position", flat=True)) == list(
        range(len(rows))
    )
    assert version.file_bytes == open_store(settings.STORAGE_URL).size(version.file_sha256)


def test_a_row_is_a_chat_that_ends_with_its_target(
    workload: Workload, examples: list[Example]
) -> None:
    row = rows_of(freeze(workload))[0]
    assert row["messages"] == [
        *examples[0].messages,
        {"role": "assistant", "content": examples[0].target},
    ]


def test_test_rows_without_a_persons_target_are_left_out_and_counted(
    workload: Workload, examples: list[Example]
) -> None:
    version = freeze(workload)
    labels = {"billing": 2, "delivery": 2, "login": 2}
    assert version.counts == {
        "train": 6,
        "validation": 2,
        "test": 1,
        "provenance": {"teacher": 8, "relabeled_by_human": 1},
        "origins": {"request_log": 9},
        "labels": {"billing": 5, "delivery": 2, "login": 2},
        "labels_by_split": {"train": labels, "validation": {"billing": 2}, "test": {"billing": 1}},
        "synthetic_share": 0.0,
        "trained_rows": 6.0,
        "untrusted_test_rows_left_out": 2,
    }
    assert version.funnel == [
        ["examples", 11],
        ["test rows that no person answered", 2],
        ["frozen", 9],
    ]
    assert Counter(row["split"] for row in rows_of(version)) == {
        "train": 6,
        "validation": 2,
        "test": 1,
    }


def test_rows_without_a_target_and_discarded_rows_are_not_frozen(
    workload: Workload, examples: list[Example], make_example: MakeExample
) -> None:
    first = freeze(workload)
    make_example("no target", None)
    make_example("thrown away", status="discarded")
    make_example("untrusted and thrown away", split="test", status="discarded")
    assert freeze(workload) == first


def test_an_empty_answer_is_a_target(
    workload: Workload, examples: list[Example], make_example: MakeExample
) -> None:
    make_example("say nothing", "")
    assert freeze(workload).counts["train"] == 7


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_that_training_needs_may_not_be_empty(
    workload: Workload, examples: list[Example], split: str
) -> None:
    Example.objects.filter(split=split).delete()
    with pytest.raises(InvalidInput, match=split):
        freeze(workload)
    assert not Dataset.objects.exists()


def test_datasets_are_numbered_each_for_itself(workload: Workload, examples: list[Example]) -> None:
    freeze(workload)
    Example.objects.filter(pk=examples[0].pk).update(target="login")
    assert freeze(workload).number == 2
    assert freeze(workload, name="trial").number == 1


def test_another_workloads_rows_stay_out(
    project: Project, workload: Workload, examples: list[Example], make_example: MakeExample
) -> None:
    first = freeze(workload)
    other = create_workload(project, slug="other", kind=Workload.Kind.GENERATION)
    make_example("elsewhere", workload=other)
    assert freeze(workload) == first
