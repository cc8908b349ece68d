"""Webhooks as Standard Webhooks has them (standardwebhooks.com): events, signatures, patience.

A body names things by their ids and addresses and holds no text of anybody's: who may read more
asks for it with a key.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Any

import orjson

SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with
SECRET_BYTES = 32
PING = "ping"
EVENTS = {
    "review.item_ready": "rows wait for a person's review",
    "review.item_reviewed": "a person decided a row",
    "version.published": "a student's version can be downloaded",
    "alias.moved": "an alias leads to another version",
}
# Seconds before each further attempt; two days in all, as the specification proposes.
BACKOFF = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000)


def new_secret() -> str:
    """Return a fresh secret in the form that the specification's libraries take."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def body_of(event: str, at: datetime, data: dict[str, Any]) -> bytes:
    """Return what is sent of an event."""
    return orjson.dumps({"type": event, "timestamp": at, "data": data})


def signed_headers(secret: str, name: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the headers by which a receiver knows the sender, and a copy of an old message.

    The signature is HMAC-SHA256 over "id.timestamp.body", with the secret's decoded bytes.
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    moment = str(int(at.timestamp()))
    signed = hmac.new(key, f"{name}.{moment}.".encode() + body, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


def wait_after(attempts: int) -> int | None:
    """Return the seconds until the next attempt, None where there is none."""
    return BACKOFF[attempts - 1] if 0 < attempts <= len(BACKOFF) else None
