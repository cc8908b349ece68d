"""`manage.py ship_calls`: move calls from the local spool into the database, until told to stop."""

import logging
import signal
import threading
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from factory.embedded import claim
from factory.errors import Unavailable
from factory.management.arguments import errors_told
from factory.services import ship

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0  # while the database is away
RING_SECONDS = 3.0


class Command(BaseCommand):
    help = "Move captured calls from the local spool into the database."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="ship what is there, then end")
        parser.add_argument(
            "--retry-dead",
            action="store_true",
            help="put calls that the database refused back in line, for the shipper that runs "
            "or the next one, and end",
        )

    def handle(self, *_args: Any, once: bool, retry_dead: bool, **_options: Any) -> None:
        with errors_told():
            if retry_dead:
                self.stdout.write(f"back in line: {ship.retry_dead(settings.SPOOL_DIR)}")
                return
            with claim(settings.SPOOL_DIR / "shipper.lock"):
                if once:
                    self.stdout.write(f"new calls: {ship.ship_once(settings.SPOOL_DIR)}")
                else:
                    ship_until_stopped()


def ship_until_stopped() -> None:
    """Ship again and again until SIGTERM or SIGINT; what is left then waits in the spool."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    pause = PAUSE_SECONDS
    bell = Bell()
    while not stop.wait(pause):
        try:
            if shipped := ship.ship_once(settings.SPOOL_DIR):
                logger.debug("calls=%s shipped", shipped)
                bell.is_due = True
            pause = PAUSE_SECONDS
        except Unavailable as error:
            if pause == PAUSE_SECONDS:
                logger.warning("%s", error)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            connection.close()  # the next round opens a new one
        bell.ring()


class Bell:
    """Rings for the grouping of new calls, now and then; a broker that hangs holds up nobody."""

    def __init__(self) -> None:
        self.is_due = False
        self.rung_at = 0.0
        self.ringing: threading.Thread | None = None

    def ring(self) -> None:
        """Ring if calls came since the last time, and that was not a moment ago."""
        is_early = time.monotonic() < self.rung_at + RING_SECONDS
        if not self.is_due or is_early or (self.ringing and self.ringing.is_alive()):
            return
        self.is_due, self.rung_at = False, time.monotonic()
        self.ringing = threading.Thread(target=ship.ring_grouping, daemon=True)
        self.ringing.start()
