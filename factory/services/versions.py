"""Dataset versions after they were frozen: found, compared, branched, checked, withdrawn."""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import Concat

from factory.datasets.difference import Difference, Line, difference
from factory.datasets.recipe import Recipe, recipe_from_json
from factory.datasets.shards import write_shards
from factory.errors import Conflict, InvalidInput, NotFound
from factory.messages import variable_text
from factory.models import Dataset, DatasetVersion, ExampleImport, FreezeJob, Project, Workload
from factory.models.frozen import thawed
from factory.selectors import dataset_version_of, one
from factory.services.freeze import (
    check_name,
    checked_recipe,
    differing_files,
    read_rows,
    rebuild_files,
    set_files,
    split_counts,
    stored_file,
)
from factory.storage import open_store

BATCH = 1000
SHOWN = 10
COMPARED = 50


# --- finding --------------------------------------------------------------------------------------
def dataset_in_project(project: Project, repository: str) -> Dataset:
    """Return the dataset that hub clients know as `<workload>-<dataset>`."""
    datasets = Dataset.objects.filter(workload__project=project)
    name = Concat("workload__slug", Value("-"), "name")
    found = datasets.alias(repository=name).filter(repository=repository)
    return one(found.select_related("workload__project"), "dataset")


def versions_with_files(dataset: Dataset) -> list[DatasetVersion]:
    """Return a dataset's versions that clients can download, the oldest first."""
    return list(dataset.versions.exclude(commit="").order_by("number"))


def version_of_dataset(dataset: Dataset, revision: str) -> DatasetVersion:
    """Return the version at `v3`, at a commit, or at `main` or `HEAD`, which are the newest."""
    versions = dataset.versions.exclude(commit="").order_by("-number")
    if re.fullmatch(r"v[1-9][0-9]{0,8}", revision):
        versions = versions.filter(number=int(revision[1:]))
    elif re.fullmatch(r"[0-9a-f]{40}", revision):
        versions = versions.filter(commit=revision)
    elif revision not in {"main", "HEAD"}:
        versions = versions.none()
    version = versions.first()
    if version is None:
        raise NotFound("There is no such version of this dataset.")
    return version


def version_named(workload: Workload, name: str) -> DatasetVersion:
    """Return the version that a person names as `main:1`."""
    dataset, _, number = name.rpartition(":")
    if not dataset or not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise InvalidInput("a version is named as in main:1", param="from")
    return dataset_version_of(workload, dataset, int(number))


def file_of(version: DatasetVersion, path: str) -> dict[str, Any]:
    """Return what is known of one of a version's files."""
    file: dict[str, Any] | None = next((f for f in version.files if f["path"] == path), None)
    if file is None:
        raise NotFound("There is no such file in this version, or it is not yours to see.")
    return file


def versions_with_file(sha256: str) -> QuerySet[DatasetVersion]:
    """Return the versions of all projects that have a file of these bytes."""
    return DatasetVersion.objects.filter(files__contains=[{"sha256": sha256}])


def freeze_job_of(workload: Workload, job_id: int) -> FreezeJob:
    """Return one of a workload's freezes."""
    found = workload.freeze_jobs.filter(pk=job_id)
    return one(found.select_related("version__dataset", "created_by"), "freeze")


def freezing(workload: Workload) -> list[FreezeJob]:
    """Return the newest freezes, the newest first."""
    found = workload.freeze_jobs.select_related("version__dataset", "created_by")
    return list(found.order_by("-id")[:SHOWN])


def example_import_of(workload: Workload, job_id: int) -> ExampleImport:
    """Return one of a workload's imports of examples."""
    return one(workload.example_imports.filter(pk=job_id), "import")


def others(version: DatasetVersion) -> list[DatasetVersion]:
    """Return the workload's other versions, which this one can be compared with; newest first."""
    found = DatasetVersion.objects.filter(dataset__workload=version.dataset.workload_id)
    return list(found.exclude(pk=version.pk).select_related("dataset").order_by("-id")[:COMPARED])


def recipe_of(workload: Workload, name: str) -> Recipe:
    """Return what a dataset's next version is made of; the default where there is none yet."""
    dataset = workload.datasets.filter(name=name).first()
    return recipe_from_json(dataset.recipe if dataset else {})


def questions_of(workload: Workload, examples: Sequence[int]) -> dict[int, str]:
    """Return what examples ask, for a page that names them."""
    rows = workload.examples.filter(pk__in=examples).only("workload", "messages")
    return {row.pk: variable_text(row.messages) for row in rows}


# --- comparing and branching ----------------------------------------------------------------------
def diff(before: DatasetVersion, after: DatasetVersion) -> Difference:
    """Return what changed from one version of a workload to another."""
    labels = bool(after.dataset.workload.labels)
    return difference(_lines(before), _lines(after), with_labels=labels)


def _lines(version: DatasetVersion) -> Iterator[Line]:
    rows = version.entries.order_by("example_id")
    found = rows.values_list("example_id", "split", "target", "weight")
    return (Line(*row) for row in found.iterator(BATCH))


@transaction.atomic
def branch(version: DatasetVersion, *, name: str, recipe: Recipe) -> Dataset:
    """Begin a dataset of another name from a version, with a recipe of its own."""
    workload = version.dataset.workload
    recipe = checked_recipe(workload, recipe)
    check_name(workload, name)
    made, is_new = Dataset.objects.get_or_create(
        workload=workload,
        name=name,
        defaults={"branched_from": version, "recipe": recipe.as_json()},
    )
    if not is_new:
        raise Conflict(f"there is a dataset {name} already", param="name")
    return made


@transaction.atomic
def change_recipe(dataset: Dataset, recipe: Recipe) -> None:
    """Say what a dataset's next version is made of; versions that are frozen stay."""
    recipe = checked_recipe(dataset.workload, recipe)
    Dataset.objects.filter(pk=dataset.pk).update(recipe=recipe.as_json())


# --- checking and withdrawing ---------------------------------------------------------------------
def damaged_files(version: DatasetVersion) -> list[str]:
    """Name the files that are not what the version's rows and recipe make, or are not stored."""
    store = open_store(settings.STORAGE_URL)
    bad = set(differing_files(version))
    stored = [("rows.jsonl", version.file_sha256, version.file_bytes)]
    stored += [(file["path"], file["sha256"], file["size"]) for file in version.files]
    for path, sha256, size in stored:
        try:
            is_whole = store.size(sha256) == size
        except NotFound:
            is_whole = False
        if not is_whole:
            bad.add(path)
    return sorted(bad)


def restore_files(version: DatasetVersion) -> None:
    """Put a version's files into the store again; `Conflict` where they are not the same bytes."""
    if differing := differing_files(version):
        raise Conflict(f"{', '.join(differing)} would not be the same bytes: nothing was restored")
    store = open_store(settings.STORAGE_URL)
    with tempfile.TemporaryDirectory() as folder:
        rows, shards = rebuild_files(version, Path(folder))
        store.put(rows)
        for shard in shards:
            store.put(shard.file)
        set_files(version, store, [file for file in version.files if "rows" in file])


def rewrite_without(version: DatasetVersion, write_rows: Callable[[Path], None]) -> set[str]:
    """Replace a version's files by ones without erased rows; return the former blobs.

    Inside the erasure's transaction, after the entries went. `write_rows` writes the JSON lines
    that stay. The card stays as it is: it counts, and shows no row.
    """
    store = open_store(settings.STORAGE_URL)
    data = [file for file in version.files if "rows" in file]
    former = {version.file_sha256, *(file["sha256"] for file in data)}
    with tempfile.TemporaryDirectory() as folder, thawed():
        path = Path(folder) / "rows.jsonl"
        try:
            write_rows(path)
        except NotFound:  # nothing is left of the file, so nothing of the rows either
            return former
        version.file_sha256, version.file_bytes = store.put(path)
        if version.files:
            shards = write_shards(Path(folder), read_rows(path), split_counts(path))
            set_files(version, store, [stored_file(store, shard) for shard in shards])
        version.save(update_fields=["file_sha256", "file_bytes", "files", "commit"])
    return former
