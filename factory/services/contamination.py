"""The contamination report of a workload: training rows against what it is tested on."""

from collections.abc import Iterator

from django.db.models import QuerySet
from django.utils import timezone

from factory.curation.contamination import Item, contamination
from factory.curation.variable import Templates
from factory.messages import Json
from factory.models import Curation, DatasetEntry, Example
from factory.models.example import Split

BATCH = 500
GROWN = 0.01  # of the rows: with less that is new, the last report still holds
FROZEN = "frozen test sets"


def keep_report(curation: Curation, templates: Templates) -> None:
    """Measure a workload anew where it has grown since it was measured."""
    rows = _usable(curation).count()
    last = curation.contamination.get("rows", 0)
    if not rows or abs(rows - last) < max(1, GROWN * last):
        return
    curation.contamination = {**report_of(curation, templates), "rows": rows}
    curation.save(update_fields=["contamination"])


def report_of(curation: Curation, templates: Templates) -> Json:
    """Compare the training rows with the held-out ones, and with all test rows ever frozen."""
    rows = _usable(curation)
    held_out = {
        str(split): list(_items(rows.filter(split=split), templates))
        for split in (Split.VALIDATION, Split.TEST)
    }
    versions = DatasetEntry.objects.filter(
        version__dataset__workload=curation.workload_id, split=Split.TEST
    )
    frozen = Example.objects.filter(pk__in=versions.values("example"))
    held_out[FROZEN] = list(_items(frozen, templates))
    filled = {name: items for name, items in held_out.items() if items}
    measured = contamination(_items(rows.filter(split=Split.TRAIN), templates), filled)
    return {**measured, "at": timezone.now().isoformat()}


def _usable(curation: Curation) -> QuerySet[Example]:
    rows = curation.workload.examples.exclude(split="")
    return rows.exclude(status=Example.Status.DISCARDED)


def _items(rows: QuerySet[Example], templates: Templates) -> Iterator[Item]:
    for pk, messages, group in (
        rows.order_by("id").values_list("pk", "messages", "group").iterator(BATCH)
    ):
        yield Item(pk, templates.text(messages), group)
