"""Dictionaries that payloads are packed with: trained when they pay, replaced whole.

A dictionary is made of pieces of calls, word for word. So a project has one at a time, and none is
kept that holds what was erased.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

import orjson
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from factory.capture.payloads import train_dictionary
from factory.erasure import own_text_in
from factory.models import CallPayload, PayloadDictionary, Project
from factory.models.call import packer_of
from factory.selectors import call_total

FIRST_CALLS = 500  # a dictionary of fewer is worth little
GROWTH = 10  # times as many calls as the last one stood for, and the traffic is another
SAMPLES = 2000
OTHERS = 200  # calls that show which of a text's words are everybody's
BATCH = 500
# A writer that chose the former dictionary has long ended by then.
SUPERSEDED = timedelta(hours=1)
# Where the calls that are left are too few to train on: what every payload begins and ends with.
PLAIN = (
    b'{"messages":[{"role":"system","content":""},{"role":"user","content":""}],"response":{"id":"",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":0,"completion_tokens":0}},"request_params":{},"tools":null}'
)
REPACK = (
    f"UPDATE {CallPayload._meta.db_table} SET body = %s, dictionary_id = %s "
    "WHERE call_id = %s AND dictionary_id IS NOT DISTINCT FROM %s"
)


def is_due(project: Project) -> bool:
    """Tell whether a project's calls ask for a dictionary: they have none, or outgrew it."""
    latest = project.payload_dictionaries.order_by("-id").first()
    needed = GROWTH * latest.sample_count if latest else FIRST_CALLS
    return call_total(project.tallies.all()) >= needed


@transaction.atomic
def train_payload_dictionary(project: Project, *, needed: bool = False) -> PayloadDictionary | None:
    """Train a dictionary on the newest calls if one is due; None where none is, or none helps.

    New calls use it from now on. With `needed`, one is made whatever there is to train on.
    """
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # one trainer at a time
    if not needed and not is_due(project):
        return None
    newest = project.calls.order_by("-id").select_related("payload")[:SAMPLES]
    body = train_dictionary([call.body for call in newest])
    if body is None and not needed:
        return None
    total = max(FIRST_CALLS, call_total(project.tallies.all()))
    return PayloadDictionary.objects.create(project=project, body=body or PLAIN, sample_count=total)


def repack(project: Project, on_batch: Callable[[], None] = lambda: None) -> int:
    """Pack every payload of a project with its newest dictionary; return how many were not."""
    newest = project.payload_dictionaries.order_by("-id").first()
    if newest is None:
        return 0
    packer, total = packer_of(newest.pk), 0
    others = CallPayload.objects.filter(call__project=project).order_by("call_id")
    others = others.filter(Q(dictionary=None) | ~Q(dictionary=newest.pk))
    page = list(others[:BATCH])
    while page:
        rows = [
            (packer.pack(row.read()), newest.pk, row.call_id, row.dictionary_id) for row in page
        ]
        with connection.cursor() as cursor:
            cursor.executemany(REPACK, rows)
        total += len(page)
        on_batch()
        page = list(others.filter(call_id__gt=page[-1].call_id)[:BATCH])
    return total


def tend_dictionaries() -> None:
    """Train what is due, and leave each project one dictionary: the newest."""
    for project in Project.objects.all():
        made = train_payload_dictionary(project)
        if made is not None or project.payload_dictionaries.count() > 1:
            repack(project)
            _drop_superseded(project)


def _drop_superseded(project: Project) -> None:
    newest = project.payload_dictionaries.order_by("-id")[0]
    if newest.created_at < timezone.now() - SUPERSEDED:
        project.payload_dictionaries.exclude(pk=newest.pk).delete()


def dictionaries_with_text_of(project: Project, calls: Sequence[UUID]) -> set[int]:
    """Return the project's dictionaries that hold text which only these calls said."""
    dictionaries = list(project.payload_dictionaries.all())
    if not dictionaries:
        return set()
    payloads = CallPayload.objects.filter(call__project=project)
    own = [orjson.dumps(row.read()) for row in payloads.filter(call__in=calls)]
    rest = payloads.exclude(call__in=calls).order_by("-call_id")[:OTHERS]
    others = [orjson.dumps(row.read()) for row in rest]
    return {d.pk for d in dictionaries if own_text_in(bytes(d.body), own, others)}
