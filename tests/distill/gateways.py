"""What the gateway has kept, as the database has it."""

import threading
import time

from django.conf import settings

from factory.models import CapturedCall
from factory.services.ship import ship_once


def kept() -> list[CapturedCall]:
    """Ship what is in the spool and return all calls, the oldest first."""
    ship_once(settings.SPOOL_DIR)
    found = CapturedCall.objects.select_related("payload__dictionary")
    return list(found.order_by("id"))


def kept_soon(count: int = 1) -> list[CapturedCall]:
    """Return all calls once there are `count`: those of an app that left are written after it."""
    end = time.monotonic() + 60
    while len(calls := kept()) < count and time.monotonic() < end:
        threading.Event().wait(0.05)
    return calls
