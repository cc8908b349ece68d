"""API keys: made once, shown once, kept as a hash."""

import hashlib
import secrets
import string
from datetime import datetime

from django.db.models.functions import Now

from factory.errors import InvalidInput
from factory.models import ApiKey, Project

ALPHABET = string.ascii_letters + string.digits


def hash_key(raw: str) -> str:
    """Return what is stored of a key. Keys are 238 random bits, so a plain sha256 is enough."""
    return hashlib.sha256(raw.encode()).hexdigest()


def create_key(
    project: Project, *, name: str, scopes: list[str], expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a key and return its row with the key itself, which is never to be had again.

    A key that opens downloads starts with `hf_`: llama.cpp sends a token only in that form.
    """
    unknown = set(scopes) - set(ApiKey.Scope.values)
    if unknown or not scopes:
        raise InvalidInput(f"scopes are some of {', '.join(ApiKey.Scope.values)}", param="scopes")
    start = "hf_" if ApiKey.Scope.DOWNLOAD in scopes else "us_"
    raw = start + "".join(secrets.choice(ALPHABET) for _ in range(40))
    key = ApiKey.objects.create(
        project=project,
        name=name,
        prefix=raw[:8],
        hash=hash_key(raw),
        scopes=sorted(scopes),
        expires_at=expires_at,
    )
    return key, raw


def revoke_key(key: ApiKey) -> None:
    """End a key; revoking twice keeps the first time."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=Now())
