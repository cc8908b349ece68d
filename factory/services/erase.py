"""Erasure, as far as this package's own rows and files go: calls, examples, dataset versions.

What is made of them later is reached by the last package, which runs the job: it may look at all.
Calls go first. From then on the job's row holds the ids of what is still to go, so whoever takes
over from a killed worker goes on by them.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, models, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from more_itertools import chunked

from factory import vault
from factory.capture.partitions import first_id
from factory.erasure import ErasureReport, Sought
from factory.errors import Conflict, InvalidInput
from factory.formats.intake import MAX_STORED_BYTES, lines_of
from factory.models import (
    CallKey,
    CapturedCall,
    Dataset,
    DatasetEntry,
    DatasetVersion,
    ErasedRows,
    Erasure,
    Example,
    ExampleImport,
    Feedback,
    HeldSpan,
    Job,
    Project,
    Workload,
)
from factory.models.frozen import thawed
from factory.redaction.redact import Policy, Redactor
from factory.services import jobs
from factory.services.dictionaries import dictionaries_with_text_of
from factory.services.versions import rewrite_without
from factory.storage import BlobStore, open_store

BATCH = 500
FINAL = [Job.Status.SUCCEEDED, Job.Status.FAILED, Job.Status.CANCELLED]
# A call that its gateway could not deliver in time is still expected this long after an erasure.
LATE = timedelta(days=7)
LATE_CALLS = timedelta(days=31)  # how old such a call can be
REHEARSED = timedelta(days=1)  # how long a rehearsal may be confirmed

# A call's key stays as its tombstone: with the call's id, which nobody else can have, and a hash in
# place of the request id. A copy that still waits in a spool finds its id taken.
TOMBSTONE = r"^erased:[0-9a-f]{64}$"
BURY = f"""
UPDATE {CallKey._meta.db_table} SET request_id = 'erased:' ||
    encode(sha256(convert_to(project_id || ' ' || request_id, 'UTF8')), 'hex')
WHERE call_id = ANY(%s) AND request_id !~ '{TOMBSTONE}'
"""


# --- starting -------------------------------------------------------------------------------------
@transaction.atomic
def start_erasure(
    project: Project,
    sought: Sought,
    *,
    reason: str,
    user: User | None = None,
    asked_by: str = "",
    is_rehearsal: bool = False,
) -> Erasure:
    """Enqueue the erasure of a subject, or its rehearsal, which only reports what would go."""
    job = _new(project, sought.kind, reason, user, asked_by)
    if sought.is_in(job.reason):
        message = "The reason is kept for ever: do not repeat in it what is to be forgotten"
        raise InvalidInput(message, param="reason")
    job.sought = vault.encrypt(sought.as_text(), settings.ENCRYPTION_KEY)
    job.is_rehearsal = is_rehearsal
    return jobs.enqueue(job)


@transaction.atomic
def confirm(rehearsal: Erasure, *, user: User | None = None, asked_by: str = "") -> Erasure:
    """Do what was rehearsed. It is looked for anew: what came since goes as well."""
    rehearsal = Erasure.objects.select_for_update(of=("self",)).get(pk=rehearsal.pk)
    if not rehearsal.is_rehearsal or rehearsal.status != Job.Status.SUCCEEDED:
        raise Conflict("Only a rehearsal that has ended can be confirmed.")
    if not rehearsal.sought:
        raise Conflict("This rehearsal was confirmed, or is too old: rehearse again.")
    job = _new(rehearsal.project, rehearsal.kind, rehearsal.reason, user, asked_by)
    job.sought = rehearsal.sought
    Erasure.objects.filter(pk=rehearsal.pk).update(sought="")
    return jobs.enqueue(job)


@transaction.atomic
def erase_calls(
    project: Project,
    call_ids: Iterable[UUID],
    *,
    reason: str,
    user: User | None = None,
    asked_by: str = "",
) -> ErasureReport:
    """Erase named calls at once, and enqueue the erasure of all that was made of them.

    Returns what went already; ids that are no calls of this project are passed over, and where
    none is left there is nothing to do. The job's row gets the whole report.
    """
    ids = list(project.calls.filter(pk__in=list(call_ids)).values_list("pk", flat=True))
    if not ids:
        return ErasureReport()
    job = _new(project, Erasure.Kind.CALLS, reason, user, asked_by)
    job.targets = {"calls": [str(call) for call in ids]}
    for batch in chunked(ids, BATCH):
        _take_out(job, batch)
    jobs.enqueue(job)
    report = ErasureReport.from_json(job.report)
    report.erasure = job.pk
    return report


def _new(project: Project, kind: str, reason: str, user: User | None, asked_by: str) -> Erasure:
    if not reason.strip():
        raise InvalidInput("An erasure needs a reason", param="reason")
    name = asked_by or (user.get_username() if user else "the command line")
    fields = {"reason": reason.strip()[:500], "asked_by": name, "created_by": user}
    return Erasure(project=project, kind=kind, **fields)


# --- finding --------------------------------------------------------------------------------------
def sought_of(job: Erasure) -> Sought | None:
    """Return what an erasure looks for; None where its calls are named."""
    if not job.sought:
        return None
    return Sought.from_text(vault.decrypt(job.sought, settings.ENCRYPTION_KEY))


def calls_with(
    project: Project,
    sought: Sought,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    on_page: Callable[[int], None] = lambda _: None,
) -> list[UUID]:
    """Return the ids of a subject's calls; for a value, every text of every call is looked at.

    The search index would be quicker, and miss what it does not hold: instructions, tool calls,
    metadata, long texts' ends, and calls that have only just come.
    """
    calls = project.calls.order_by("id")
    if since:
        calls = calls.filter(pk__gte=first_id(since))
    if until:
        calls = calls.filter(pk__lt=first_id(until))
    if sought.kind == "metadata":
        matching = calls.filter(metadata__contains={sought.key: sought.value})
        return list(matching.values_list("pk", flat=True))
    found: list[UUID] = []
    looked_at, page = 0, _page_of_calls(calls)
    while page:
        found += [call.pk for call in page if sought.is_in(_texts_of(call))]
        looked_at += len(page)
        on_page(looked_at)
        page = _page_of_calls(calls.filter(pk__gt=page[-1].pk))
    return found


def _page_of_calls(calls: QuerySet[CapturedCall]) -> list[CapturedCall]:
    return list(calls.select_related("payload").prefetch_related("feedback")[:BATCH])


def _texts_of(call: CapturedCall) -> list[Any]:
    names = [call.request_id, call.trace_id, call.response_id]
    return [call.body, call.metadata, names, [said.value for said in call.feedback.all()]]


def examples_with(project: Project, sought: Sought) -> set[int]:
    """Return the examples whose texts hold the value, wherever they came from."""
    if sought.kind != "value":
        return set()
    rows = Example.objects.filter(workload__project=project).only("messages", "target")
    return {
        row.pk for row in rows.order_by("id").iterator(BATCH) if sought.is_in(row.messages)
        or sought.is_in(row.target)
    }  # fmt: skip


def with_descendants(examples: Collection[int]) -> set[int]:
    """Return the examples and all that were made of them."""
    known, new = set(examples), set(examples)
    while new:
        children = Example.objects.filter(parent__in=new).values_list("pk", flat=True)
        new = set(children) - known
        known |= new
    return known


def examples_of(job: Erasure) -> set[int]:
    """Return the examples that are to go: those known by now, with their descendants."""
    made = Example.objects.filter(call__in=job.targets.get("calls", []))
    return with_descendants({*job.targets.get("examples", []), *made.values_list("pk", flat=True)})


def set_targets(job: Erasure, calls: Iterable[UUID], examples: Iterable[int]) -> None:
    """Keep what was found: a later attempt need not find what is gone by then."""
    found = {*job.targets.get("calls", []), *map(str, calls)}
    known = {*job.targets.get("examples", []), *examples}
    job.targets = {**job.targets, "calls": sorted(found), "examples": sorted(known)}
    with jobs.fenced(job):
        keep(job)


def keep(job: Erasure) -> None:
    """Write a job's targets and report; inside `fenced`, with the effects that they tell of."""
    Erasure.objects.filter(pk=job.pk).update(targets=job.targets, report=job.report)


# --- calls ----------------------------------------------------------------------------------------
def remove_calls(job: Erasure, on_batch: Callable[[int], None]) -> None:
    """Delete the job's calls, in batches; what was made of them is noted in the same breath."""
    done = 0
    for batch in chunked(job.targets["calls"], BATCH):
        with jobs.fenced(job):
            _take_out(job, [UUID(call) for call in batch])
            keep(job)
        done += len(batch)
        on_batch(done)


def _take_out(job: Erasure, ids: Sequence[UUID]) -> None:
    # A curator at work is waited for: its examples are seen here, or it no longer sees the calls.
    Project.objects.select_for_update(no_key=True).get(pk=job.project_id)
    calls = CapturedCall.objects.filter(pk__in=ids)
    targets, report = job.targets, ErasureReport.from_json(job.report)
    examples = Example.objects.filter(call__in=ids).values_list("pk", flat=True)
    dictionaries = dictionaries_with_text_of(job.project, ids)
    names = {str(call) for call in ids}
    names.update(*calls.values_list("request_id", "response_id"))
    report.counts += _remove_waiting(
        Feedback.objects.filter(project=job.project, call=None, reference__in=names - {""}),
        HeldSpan.objects.filter(project=job.project, request_id__in=names - {""}),
    )
    for name, more in (("examples", examples), ("dictionaries", dictionaries)):
        targets[name] = sorted({*targets.get(name, []), *more})
    report.counts.update(delete_calls(ids, tombstones=True))
    job.report = report.as_json()


def remove_waiting_with(project: Project, sought: Sought) -> Counter[str]:
    """Delete the feedback and parts of calls that hold the value while they wait for the rest."""
    feedback = Feedback.objects.filter(project=project, call=None)
    said = [row.pk for row in feedback.iterator(BATCH) if sought.is_in([row.reference, row.value])]
    spans = HeldSpan.objects.filter(project=project)
    held = [row.pk for row in spans.iterator(BATCH) if sought.is_in([row.span, row.events])]
    return _remove_waiting(feedback.filter(pk__in=said), spans.filter(pk__in=held))


def _remove_waiting(feedback: QuerySet[Feedback], spans: QuerySet[HeldSpan]) -> Counter[str]:
    return Counter({"feedback": feedback.delete()[0], "held spans": spans.delete()[0]})


def call_rows() -> dict[str, tuple[str, str]]:
    """Return every table that belongs to a call, by name, with the column that holds its id."""
    owned: dict[str, tuple[str, str]] = {}
    for relation in CapturedCall._meta.related_objects:
        model, column = relation.related_model, relation.field.column
        if relation.on_delete is models.CASCADE and model is not CallKey:
            owned[str(model._meta.verbose_name_plural)] = model._meta.db_table, str(column)
    return {**owned, "calls": (CapturedCall._meta.db_table, "id")}


@transaction.atomic
def delete_calls(ids: Sequence[UUID], *, tombstones: bool) -> Counter[str]:
    """Delete calls with every row that is theirs; examples stay, without their call.

    All in one transaction: who reads a call reads it whole or not at all. A tombstone keeps the
    same call from coming in again.
    """
    Example.objects.filter(call__in=ids).update(call=None)
    counts: Counter[str] = Counter()
    with connection.cursor() as cursor:
        if tombstones:
            cursor.execute(BURY, [list(ids)])
        else:
            CallKey.objects.filter(call__in=ids).delete()
        for name, (table, column) in call_rows().items():
            cursor.execute(f"DELETE FROM {table} WHERE {column} = ANY(%s)", [list(ids)])
            counts[name] += cursor.rowcount
    return +counts


# --- examples and dataset versions ----------------------------------------------------------------
def lock_data(workload_id: int) -> None:
    """Wait for builds of dataset versions, and let none begin before the transaction is over."""
    Workload.objects.select_for_update(of=("self",)).get(pk=workload_id)
    list(Dataset.objects.select_for_update(of=("self",)).filter(workload=workload_id))


def versions_with(examples: Collection[int]) -> QuerySet[DatasetVersion]:
    """Return the dataset versions that hold any of the examples."""
    held = DatasetEntry.objects.filter(example__in=examples).values("version")
    found = DatasetVersion.objects.filter(pk__in=held).order_by("pk")
    return found.select_related("dataset__workload")


def remove_examples(job: Erasure, examples: Collection[int]) -> None:
    """Delete examples, after `lock_data`; each version that held one is withdrawn.

    A version's file is written anew without the rows. What is left of them is their digests: with
    those, the version's own digest can still be verified.
    """
    report = ErasureReport.from_json(job.report)
    blobs = set(job.targets.get("blobs", []))
    for version in versions_with(examples):
        row, former = _withdraw(job, version, set(examples))
        blobs |= former
        report.versions.append(version_in_report(version, len(row.entries)))
        report.counts["dataset entries"] += len(row.entries)
    _, gone = Example.objects.filter(pk__in=examples).delete()
    report.counts["examples"] += gone.get(Example._meta.label, 0)
    job.report, job.targets = report.as_json(), {**job.targets, "blobs": sorted(blobs)}


def version_in_report(version: DatasetVersion, rows: int) -> dict[str, Any]:
    """Return how a report names a dataset version."""
    dataset = version.dataset
    name = {"workload": dataset.workload.slug, "name": dataset.name, "number": version.number}
    return {**name, "rows": rows}


def _withdraw(
    job: Erasure, version: DatasetVersion, examples: set[int]
) -> tuple[ErasedRows, set[str]]:
    """Take rows out of a version; return what is left of them, and the blobs that held them."""
    former, store = version.file_sha256, open_store(settings.STORAGE_URL)
    entries = version.entries.filter(example__in=examples)
    digests = list(entries.order_by("position").values_list("position", "split", "digest"))
    with thawed():
        entries.delete()
    blobs = rewrite_without(
        version,
        lambda path: write_without(store, former, path, lambda row: row["id"] in examples),
    )
    erased = ErasedRows.objects.create(
        erasure=job, version=version, former_sha256=former, entries=[list(row) for row in digests]
    )
    return erased, blobs


def write_without(
    store: BlobStore, sha256: str, path: Path, is_erased: Callable[[dict[str, Any]], bool]
) -> None:
    """Write a stored file of JSON lines to a path, less the rows that are erased."""
    with path.open("wb") as file:
        for line in lines_of(store.read(sha256), MAX_STORED_BYTES):
            if not is_erased(orjson.loads(line)):
                file.write(line)


# --- what stays -----------------------------------------------------------------------------------
COPIES = """\
Copies that left Understudy: downloads, exports, and what teachers and upstreams were sent.
Backups of the database and of the file store: let them expire, and erase again after a restore.
Job folders of workers on other machines: remove those of the runs that are named here.
The spool of a host whose shipper does not run for a week. The others are told of with the erasure.\
"""
AS_PLACEHOLDER = (
    "Values like this one are taken out before a call is first written, and no search finds what "
    "became a placeholder. Find such a person's calls by their metadata."
)
WITHOUT_CALL = "Examples whose call had left by retention: an example has no metadata."


def sentences(job: Erasure, sought: Sought | None) -> list[str]:
    """Say what no erasure here reaches, and where a person has to look."""
    alive = job.project.import_jobs.exclude(status__in=FINAL).values_list("pk", flat=True)
    rows = ExampleImport.objects.filter(workload__project=job.project).exclude(status__in=FINAL)
    said = COPIES.splitlines()
    said += [f"Import {number} is at work: erase again when it is over." for number in alive]
    said += [f"Import of rows {one.pk} is at work: erase again when it is over." for one in rows]
    if sought is None:
        return said
    if Redactor(Policy.from_json(job.project.redaction)).text(sought.value) != sought.value:
        said.append(AS_PLACEHOLDER)
    if sought.kind == "metadata":
        return [*said, WITHOUT_CALL]
    return [*said, *_written_with(job.project, sought)]


def _written_with(project: Project, sought: Sought) -> list[str]:
    places = [("The redaction policy", project.redaction)]
    for workload in project.workloads.all():
        described = [workload.instruction, workload.output_schema]
        places.append((f"The description of {workload.slug}", described))
    places += [(f"Prompt {g.pk}", g.skeleton) for g in project.call_groups.iterator(BATCH)]
    return [held_by_hand(place) for place, text in places if sought.is_in(text)]


def held_by_hand(place: str) -> str:
    """Say that a text which a person wrote, or which is everybody's, holds what was sought."""
    return f"{place} holds it, and is not changed: see to it by hand."


# --- afterwards -----------------------------------------------------------------------------------
def erase_late_calls() -> int:
    """Erase what came in after its subject was erased; return how many calls that were.

    What was sought is kept, encrypted, for a week, for calls that a gateway had not delivered yet;
    then it is forgotten too. Calls that the subject made since are none of this erasure's.
    """
    now = timezone.now()
    total = 0
    waiting = Erasure.objects.exclude(sought="").filter(status=Job.Status.SUCCEEDED)
    for job in waiting.filter(is_rehearsal=False).select_related("project"):
        if (sought := sought_of(job)) is not None:
            since = job.created_at - LATE_CALLS
            late = calls_with(job.project, sought, since=since, until=job.created_at)
            reason = f"came in after erasure {job.pk}: {job.reason}"
            erase_calls(job.project, late, reason=reason, asked_by=job.asked_by)
            total += len(late)
    old = Q(is_rehearsal=True, created_at__lt=now - REHEARSED) | Q(
        is_rehearsal=False, finished_at__lt=now - LATE
    )
    Erasure.objects.exclude(sought="").filter(old, status__in=FINAL).update(sought="")
    return total
