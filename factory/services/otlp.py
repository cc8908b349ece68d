"""Calls out of traces: written at once where a span tells all, else held until the rest has come.

What is held is redacted before it is written, like everything else.
"""

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from factory.errors import InvalidInput, Unavailable
from factory.formats.genai import Pieces
from factory.formats.otlp import Batch
from factory.messages import CallRecord, Json
from factory.models import CallKey, CapturedCall, HeldSpan, Project
from factory.redaction.redact import Policy, Redactor
from factory.redaction.seen import HashedPlaceholders
from factory.services.capture import record_calls
from factory.services.twins import kept_by_gateway

logger = logging.getLogger(__name__)

# A span ends its call: what the log says of it follows within one export. Messages that come first
# wait as long as a call can take.
EVENTS_FOLLOW = timedelta(minutes=2)
SPAN_FOLLOWS = timedelta(hours=1)
MAX_HELD = 100_000  # of one project; its exporters are asked to come again later
BATCH = 500
PERSONAL = ("attributes", "error", "metadata")  # what of a span may say something of a person


def take_batch(project: Project, batch: Batch) -> Counter[str]:
    """Keep what an export tells of calls; return what became of it, by outcome.

    Idempotent: a part that comes twice tells nothing new. What cannot be read is rejected in the
    batch; spans that are no calls to a model are ignored.
    """
    parts, counts = _parts_of(batch)
    known = set(
        CallKey.objects.filter(project=project, request_id__in=list(parts)).values_list(
            "request_id", flat=True
        )
    )
    counts["known"] = len(known)
    fresh = {ids: pieces for ids, pieces in parts.items() if ids not in known}
    held = set(
        HeldSpan.objects.filter(project=project, request_id__in=list(fresh)).values_list(
            "request_id", flat=True
        )
    )
    records, partial = [], []
    for ids, pieces in fresh.items():
        try:
            is_whole = ids not in held and pieces.is_whole
            record = pieces.call() if is_whole else None
        except InvalidInput as error:
            batch.reject(error.message)
            continue
        if record is None:
            partial.append(pieces)
        else:
            records.append(record)
    counts["new"] = _record(project, records)
    if partial:
        _join(project, partial, batch, counts)
    return +counts


def settle_held() -> None:
    """Write the calls that nothing more will come of; drop those that never said anything."""
    now = timezone.now()
    due = Q(span__isnull=False, first_at__lt=now - EVENTS_FOLLOW)
    due |= Q(first_at__lt=now - SPAN_FOLLOWS)
    while rows := list(HeldSpan.objects.filter(due).order_by("first_at")[:BATCH]):
        for project in Project.objects.filter(pk__in={row.project_id for row in rows}):
            _settle(project, [row.pk for row in rows if row.project_id == project.pk])


def _parts_of(batch: Batch) -> tuple[dict[str, Pieces], Counter[str]]:
    parts: dict[str, Pieces] = {}
    counts: Counter[str] = Counter()
    for span in batch.spans:
        if span.is_call:
            parts.setdefault(span.ids, Pieces(span.ids)).span = span.as_json()
        else:
            counts["ignored"] += 1
    for event in batch.events:
        if event.name.startswith("gen_ai."):
            parts.setdefault(event.ids, Pieces(event.ids)).events.append(event.as_json())
        else:
            counts["ignored"] += 1
    return parts, counts


@transaction.atomic
def _join(project: Project, partial: list[Pieces], batch: Batch, counts: Counter[str]) -> None:
    """Add parts to those that are held, and write the calls that are whole now."""
    if HeldSpan.objects.filter(project=project).count() >= MAX_HELD:
        raise Unavailable("Too many spans wait for their messages; try again later.")
    by_ids = {pieces.ids: pieces for pieces in partial}
    rows = [HeldSpan(project=project, request_id=ids) for ids in sorted(by_ids)]
    HeldSpan.objects.bulk_create(rows, ignore_conflicts=True)
    locked = HeldSpan.objects.select_for_update().order_by("request_id")
    whole: list[HeldSpan] = []
    for row in locked.filter(project=project, request_id__in=list(by_ids)):
        _add(row, by_ids[row.request_id])
        try:
            is_whole = _pieces(row).is_whole
        except InvalidInput as error:
            batch.reject(error.message)
            row.delete()
            continue
        if is_whole:
            whole.append(row)
        else:
            row.save(update_fields=["span", "events", "placeholders"])
            counts["held"] += 1
    counts["new"] += _write(project, whole)


def _add(row: HeldSpan, pieces: Pieces) -> None:
    """Redact new parts as the others of their call were, and put them beside those."""
    redactor = Redactor(Policy.from_json(row.project.redaction))
    seen = HashedPlaceholders(settings.ENCRYPTION_KEY, row.placeholders)
    redactor.seen = seen
    known = {(event["name"], event["at"]) for event in row.events}
    new = [event for event in pieces.events if (event["name"], event["at"]) not in known]
    redactor.value([row.span, row.events])  # new placeholders are numbered after these
    row.events = [*row.events, *_redacted(redactor, new)]
    if row.span is None and pieces.span is not None:
        said = {name: redactor.value(pieces.span[name]) for name in PERSONAL}
        row.span = {**pieces.span, **said, "events": _redacted(redactor, pieces.span["events"])}
    row.placeholders = seen.as_rows()


def _redacted(redactor: Redactor, events: list[Json]) -> list[Json]:
    return [{**event, "body": redactor.value(event["body"])} for event in events]


def _pieces(row: HeldSpan) -> Pieces:
    return Pieces(row.request_id, row.span, row.events)


@transaction.atomic
def _settle(project: Project, ids: list[int]) -> None:
    locked = HeldSpan.objects.select_for_update(skip_locked=True).filter(pk__in=ids)
    rows = list(locked.order_by("request_id"))
    new = _write(project, rows)
    logger.info("project=%s held=%s settled, calls=%s", project.pk, len(rows), new)


def _write(project: Project, rows: Iterable[HeldSpan]) -> int:
    records: list[CallRecord] = []
    silent = 0
    for row in rows:
        try:
            record = _pieces(row).call()
        except InvalidInput as error:
            logger.warning("request=%s cannot be read: %s", row.request_id, error.message)
            record = None
        if record is None:
            silent += 1
        else:
            counts = Counter(kind for kind, _, _ in row.placeholders)
            records.append(dataclasses.replace(record, redactions=dict(counts)))
        row.delete()
    if silent:
        logger.warning(
            "project=%s spans=%s came without messages: is their capture switched on?",
            project.pk, silent,
        )  # fmt: skip
    return _record(project, records)


def _record(project: Project, records: list[CallRecord]) -> int:
    """Write calls, but for those that the gateway has seen too."""
    twins = kept_by_gateway(project, records)
    fresh = [record for record in records if record.request_id not in twins]
    return record_calls(project, fresh, CapturedCall.Source.OTLP)
