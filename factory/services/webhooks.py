"""Webhooks: an event is written with the change that it tells of, and sent until it is heard."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
from asgiref.sync import async_to_sync
from celery import current_app
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerAway

from factory import outgoing, vault
from factory.errors import InvalidInput, UpstreamFailed
from factory.models import Delivery, Project, Webhook
from factory.services.jobs import in_future
from factory.webhooks import EVENTS, PING, body_of, new_secret, signed_headers, wait_after

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10
AT_ONCE = 20  # deliveries that one sender takes
CLAIMED_SECONDS = 6 * TIMEOUT_SECONDS  # a sender that dies in between leaves them for so long
KEPT = timedelta(days=30)
GONE = 410  # the receiver wants no more
TASK = "factory.send_webhooks"


# --- who is told ----------------------------------------------------------------------------------
def add_webhook(project: Project, *, url: str, events: Sequence[str]) -> tuple[Webhook, str]:
    """Tell an address of a project's events; return it with its secret, which is shown once."""
    outgoing.check_url(url, settings.PRIVATE_UPSTREAM_HOSTS, name="url")
    unknown = set(events) - set(EVENTS)
    if unknown or not events:
        raise InvalidInput(f"events are some of {', '.join(EVENTS)}", param="events")
    secret = new_secret()
    webhook = Webhook.objects.create(
        project=project,
        url=url,
        events=sorted(set(events)),
        secret_ciphertext=vault.encrypt(secret, settings.ENCRYPTION_KEY),
    )
    return webhook, secret


def remove_webhook(webhook: Webhook) -> None:
    """Tell an address nothing more, not even what waits."""
    webhook.delete()


def ping(webhook: Webhook) -> Delivery:
    """Send an event that tells of nothing, to see whether it arrives."""
    return _write([webhook], PING, {})[0]


def send_again(delivery: Delivery) -> None:
    """Try a delivery anew, with all its attempts."""
    Delivery.objects.filter(pk=delivery.pk).update(
        status=Delivery.Status.PENDING, attempts=0, due_at=Now(), error=""
    )
    transaction.on_commit(_ring)


# --- what is told ---------------------------------------------------------------------------------
def tell(project_id: int, event: str, data: dict[str, Any]) -> None:
    """Write an event for all who asked for it; call it in the transaction that changes the row."""
    asked = Webhook.objects.filter(project=project_id, is_active=True, events__contains=[event])
    if webhooks := list(asked):
        _write(webhooks, event, data)


def _write(webhooks: Sequence[Webhook], event: str, data: dict[str, Any]) -> list[Delivery]:
    now = timezone.now()
    made = Delivery.objects.bulk_create(
        Delivery(webhook=webhook, event=event, data=data, due_at=now) for webhook in webhooks
    )
    transaction.on_commit(_ring)
    return made


def _ring() -> None:
    try:
        current_app.send_task(TASK, queue="default")
    except BrokerAway:
        logger.warning("broker away, webhooks wait for the next round")


# --- sending --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Heard:
    """What came of an attempt: the receiver's status, or why there was none."""

    status: int | None
    error: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and 200 <= self.status < 300


def send_due() -> int:
    """Send what is due, all that there is; return how many attempts that were."""
    attempts = 0
    while taken := _claim():
        heard = async_to_sync(_send_all)(taken)
        for delivery, one in zip(taken, heard, strict=True):
            _note(delivery, one)
        attempts += len(taken)
    return attempts


@transaction.atomic
def _claim() -> list[Delivery]:
    due = Delivery.objects.filter(status=Delivery.Status.PENDING, due_at__lte=Now())
    due = due.select_for_update(skip_locked=True, of=("self",)).order_by("due_at")
    taken = list(due.select_related("webhook")[:AT_ONCE])
    Delivery.objects.filter(pk__in=[one.pk for one in taken]).update(
        attempts=F("attempts") + 1, due_at=in_future(CLAIMED_SECONDS)
    )
    for one in taken:
        one.attempts += 1
    return taken


async def _send_all(deliveries: Sequence[Delivery]) -> list[Heard]:
    async with outgoing.open_session(
        settings.PRIVATE_UPSTREAM_HOSTS, timeout_seconds=TIMEOUT_SECONDS, limit=AT_ONCE
    ) as session:
        return list(await asyncio.gather(*(_send(session, one) for one in deliveries)))


async def _send(session: aiohttp.ClientSession, delivery: Delivery) -> Heard:
    body = body_of(delivery.event, delivery.created_at, delivery.data)
    secret = vault.decrypt(delivery.webhook.secret_ciphertext, settings.ENCRYPTION_KEY)
    headers = signed_headers(secret, str(delivery.pk), timezone.now(), body)
    try:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            session.post(
                delivery.webhook.url, data=body, headers=headers, allow_redirects=False
            ) as response,
        ):
            return Heard(response.status)
    except TimeoutError:
        return Heard(None, f"no answer within {TIMEOUT_SECONDS} seconds")
    except (aiohttp.ClientError, OSError, UpstreamFailed) as error:
        return Heard(None, (str(error) or type(error).__name__)[:300])


def _note(delivery: Delivery, heard: Heard) -> None:
    """Write what came of an attempt; an address that is gone is told nothing more."""
    changes: dict[str, Any] = {"response_status": heard.status, "error": heard.error}
    wait = wait_after(delivery.attempts)
    if heard.is_ok:
        changes |= {"status": Delivery.Status.DELIVERED, "delivered_at": Now()}
    elif heard.status == GONE or wait is None:
        changes |= {"status": Delivery.Status.FAILED}
    else:
        changes |= {"due_at": in_future(wait)}
    if heard.status == GONE:
        Webhook.objects.filter(pk=delivery.webhook_id).update(is_active=False)
    Delivery.objects.filter(pk=delivery.pk).update(**changes)


def prune_deliveries() -> None:
    """Forget what was told a month ago."""
    Delivery.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
