"""The shipper: moves calls from the local spool into the database, each exactly once."""

import logging
from collections.abc import Sequence
from pathlib import Path

from django.db import DatabaseError, DataError
from more_itertools import chunked, map_reduce

from factory import spool
from factory.errors import Unavailable
from factory.messages import CallRecord, Json, record_from_json
from factory.models import CapturedCall, Project
from factory.services.capture import record_calls

logger = logging.getLogger(__name__)

BATCH = 500


def ship_once(folder: Path) -> int:
    """Ship what is in the spool now; return how many calls were new.

    `Unavailable` where the database is away; that is no loss: the segments stay until it is back.
    """
    return sum(_ship_segment(segment) for segment in spool.segments(folder))


def _ship_segment(segment: Path) -> int:
    shipped = 0
    frames = spool.read_frames(segment, spool.shipped_offset(segment))
    for batch in chunked(frames, BATCH):
        try:
            shipped += _ship_records([record for record, _ in batch])
        except DatabaseError as error:
            raise Unavailable(f"the database is away, calls stay in the spool: {error}") from error
        spool.mark_shipped(segment, batch[-1][1])
    spool.remove_if_abandoned(segment)
    return shipped


def _ship_records(records: list[Json]) -> int:
    calls = map_reduce(records, lambda r: r["project"], lambda r: record_from_json(r["call"]))
    projects = Project.objects.in_bulk(list(calls))
    for gone in calls.keys() - projects.keys():
        logger.warning("project=%s is gone, %s calls dropped", gone, len(calls[gone]))
    return sum(_record(project, calls[project.pk]) for project in projects.values())


def _record(project: Project, records: Sequence[CallRecord]) -> int:
    try:
        return record_calls(project, records, CapturedCall.Source.GATEWAY)
    except DataError as error:
        # One call that the database cannot hold must not keep the others waiting for ever.
        if len(records) > 1:
            return sum(_record(project, [record]) for record in records)
        logger.error(  # noqa: TRY400 - a traceback would tell what the call said
            "request=%s cannot be kept: %s", records[0].request_id, type(error).__name__
        )
        return 0
