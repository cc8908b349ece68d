"""`manage.py ship_calls`: move calls from the local spool into the database, until told to stop."""

import logging
import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from factory.embedded import claim
from factory.errors import Unavailable
from factory.management.arguments import errors_told
from factory.services.ship import ship_once

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0  # while the database is away


class Command(BaseCommand):
    help = "Move captured calls from the local spool into the database."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="ship what is there, then end")

    def handle(self, *_args: Any, once: bool, **_options: Any) -> None:
        with errors_told(), claim(settings.SPOOL_DIR / "shipper.lock"):
            if once:
                self.stdout.write(f"new calls: {ship_once(settings.SPOOL_DIR)}")
            else:
                ship_until_stopped()


def ship_until_stopped() -> None:
    """Ship again and again until SIGTERM or SIGINT; what is left then waits in the spool."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    pause = PAUSE_SECONDS
    while not stop.wait(pause):
        try:
            if shipped := ship_once(settings.SPOOL_DIR):
                logger.debug("calls=%s shipped", shipped)
            pause = PAUSE_SECONDS
        except Unavailable as error:
            if pause == PAUSE_SECONDS:
                logger.warning("%s", error)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            connection.close()  # the next round opens a new one
