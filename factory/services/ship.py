"""The shipper: moves calls from the local spool into the database, each exactly once."""

import logging
from pathlib import Path
from typing import Any

from django.db import OperationalError
from more_itertools import chunked

from factory import spool
from factory.messages import record_from_json
from factory.models import CapturedCall, Project
from factory.services.capture import record_calls

logger = logging.getLogger(__name__)

BATCH = 500


def ship_once(folder: Path) -> int:
    """Ship what is in the spool now; return how many calls were new.

    A database that is away is no loss: the segments stay until it is back.
    """
    shipped = 0
    for segment in spool.segments(folder):
        try:
            shipped += _ship_segment(segment)
        except OperationalError as error:
            logger.warning("database away, the spool keeps its calls: %s", error)
            return shipped
        spool.remove_if_abandoned(segment)
    return shipped


def _ship_segment(segment: Path) -> int:
    shipped = 0
    frames = spool.read_frames(segment, spool.shipped_offset(segment))
    for batch in chunked(frames, BATCH):
        by_project: dict[int, list[dict[str, Any]]] = {}
        for record, _ in batch:
            by_project.setdefault(record["project"], []).append(record["call"])
        projects = Project.objects.in_bulk(list(by_project))
        for project_id, calls in by_project.items():
            if project_id not in projects:
                logger.warning("project=%s is gone, %s calls dropped", project_id, len(calls))
                continue
            records = [record_from_json(call) for call in calls]
            shipped += record_calls(
                projects[project_id], records, CapturedCall.Source.GATEWAY
            )
        spool.mark_shipped(segment, batch[-1][1])
    return shipped
