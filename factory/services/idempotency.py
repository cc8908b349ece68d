"""Idempotency keys: a request sent again gets the answer of the first, and does nothing.

The same key with another body is refused, and so is one whose first request is still at work.
"""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from factory.errors import Conflict, InvalidInput
from factory.models import IdempotentRequest, Project
from factory.services.jobs import in_future

KEPT_FOR = timedelta(hours=24)  # at least; a key is new again after the sweep that follows
LEASE_SECONDS = 300  # then a request whose process died may be sent again
MAX_KEY = 255

Answer = dict[str, Any]


class KeyReused(Conflict):
    """The idempotency key belongs to a request that asked something else."""

    code = "idempotency_key_reused"


class StillAtWork(Conflict):
    """The first request with this key has no answer yet."""

    code = "idempotency_key_in_use"
    retryable = True


def answer_once(
    project: Project, key: str, asked: tuple[str, bytes], work: Callable[[], Answer]
) -> tuple[Answer, bool]:
    """Do some work once per key; return its answer, and whether it is an earlier request's.

    `asked` is the request's address and body. The work and the mark that it was done are one
    transaction. Work that raises leaves the key free: what failed may be tried again.
    """
    if not 0 < len(key) <= MAX_KEY or not key.isprintable():
        raise InvalidInput(f"Idempotency-Key: 1 to {MAX_KEY} printable characters")
    address, body = asked
    digest = hashlib.sha256(f"{address}\n".encode() + body).hexdigest()
    row = _claim(project, key, digest)
    if row.answer is not None:
        return row.answer, True
    try:
        with transaction.atomic():
            answer = work()
            IdempotentRequest.objects.filter(pk=row.pk).update(answer=answer)
    except BaseException:
        IdempotentRequest.objects.filter(pk=row.pk, answer__isnull=True).delete()
        raise
    return answer, False


def _claim(project: Project, key: str, digest: str) -> IdempotentRequest:
    """Return this request's row, claimed; one with an answer is an earlier request's."""
    with transaction.atomic():
        row, is_mine = IdempotentRequest.objects.select_for_update().get_or_create(
            project=project,
            key=key,
            defaults={"digest": digest, "lease_until": in_future(LEASE_SECONDS)},
        )
        if row.digest != digest:
            raise KeyReused("This Idempotency-Key was sent with another request. Use a new one.")
        if is_mine or row.answer is not None:
            return row
        abandoned = IdempotentRequest.objects.filter(pk=row.pk, lease_until__lt=Now())
        if not abandoned.update(lease_until=in_future(LEASE_SECONDS)):
            raise StillAtWork("The first request with this Idempotency-Key is still at work.")
        return row


def sweep_requests() -> None:
    """Forget the requests whose answers need not be kept any longer."""
    IdempotentRequest.objects.filter(created_at__lt=Now() - KEPT_FOR).delete()
