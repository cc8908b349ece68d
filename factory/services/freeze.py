"""Freezing: examples as they are now become an immutable, numbered dataset version."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import Max
from more_itertools import chunked

from factory.digest import canonical_json, digest_of
from factory.errors import InvalidInput
from factory.models import Dataset, DatasetEntry, DatasetVersion, Example, Workload
from factory.models.example import Provenance, Split
from factory.storage import open_store

BATCH = 1000
# A number can be trusted only where a person stands behind the answer it is measured against.
TRUSTED = {Provenance.RELABELED_BY_HUMAN, Provenance.UPLOADED}


def freeze(workload: Workload, *, name: str = "main", user: Any = None) -> DatasetVersion:
    """Freeze a workload's usable examples; the same content again is the same version.

    Test rows count only where a person gave their target; how many were left out for that is kept
    in the version's counts. `InvalidInput` where a split that training needs would be empty.
    """
    with tempfile.TemporaryDirectory() as folder, transaction.atomic():
        Dataset.objects.get_or_create(workload=workload, name=name)
        dataset = Dataset.objects.select_for_update().get(workload=workload, name=name)
        path = Path(folder) / "rows.jsonl"
        digest, counts = _write_rows(workload, path)
        if known := dataset.versions.filter(digest=digest).first():
            return known
        for split in (Split.TRAIN, Split.VALIDATION):
            if not counts[split]:
                raise InvalidInput(f"no {split} rows: label or import more examples first")
        blob = open_store(settings.STORAGE_URL).put(path)
        latest = dataset.versions.aggregate(top=Max("number"))["top"] or 0
        version = DatasetVersion.objects.create(
            dataset=dataset,
            number=latest + 1,
            digest=digest,
            counts=counts,
            file_sha256=blob.sha256,
            file_bytes=blob.size,
            created_by=user,
        )
        # From the file, not from the table again: what is frozen is what was written and hashed.
        with path.open("rb") as file:
            entries = (_entry(version, at, orjson.loads(line)) for at, line in enumerate(file))
            for batch in chunked(entries, BATCH):
                DatasetEntry.objects.bulk_create(batch)
        return version


def entry_digest(example: Example) -> str:
    """Return the identity of a row: its input, its target and its split."""
    return digest_of([example.digest, example.target, example.split])


def _usable(workload: Workload) -> Iterator[Example]:
    rows = workload.examples.exclude(target=None).exclude(status=Example.Status.DISCARDED)
    for example in rows.order_by("id").iterator(BATCH):
        if example.split != Split.TEST or example.provenance in TRUSTED:
            yield example


def _write_rows(workload: Workload, path: Path) -> tuple[str, dict[str, Any]]:
    splits: Counter[str] = Counter(dict.fromkeys(Split.values, 0))
    provenances: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    digests: list[str] = []
    with path.open("wb") as file:
        for example in _usable(workload):
            splits[example.split] += 1
            provenances[example.provenance] += 1
            if workload.labels:
                labels[cast("str", example.target)] += 1
            digests.append(entry_digest(example))
            file.write(canonical_json(row_of(example)) + b"\n")
    untrusted = workload.examples.filter(split=Split.TEST).exclude(target=None)
    untrusted = untrusted.exclude(status=Example.Status.DISCARDED).exclude(provenance__in=TRUSTED)
    counts = {
        **splits,
        "provenance": dict(provenances),
        "labels": dict(labels),
        "untrusted_test_rows_left_out": untrusted.count(),
    }
    return digest_of(digests), counts


def row_of(example: Example) -> dict[str, Any]:
    """Return a row as a version's file holds it: OpenAI's chat format, and where it came from."""
    return {
        "id": example.pk,
        "split": example.split,
        "provenance": example.provenance,
        "digest": entry_digest(example),
        "messages": [*example.messages, {"role": "assistant", "content": example.target}],
    }


def _entry(version: DatasetVersion, position: int, row: dict[str, Any]) -> DatasetEntry:
    return DatasetEntry(
        version=version,
        position=position,
        example_id=row["id"],
        split=row["split"],
        target=row["messages"][-1]["content"],
        provenance=row["provenance"],
        digest=row["digest"],
    )
