"""Content identity: the same content has the same name, on every machine and for ever."""

import hashlib
import json


def canonical_json(value: object) -> bytes:
    """Return RFC 8259 JSON with sorted keys and no spaces, UTF-8.

    `ValueError` for NaN and infinities, which JSON cannot say.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_of(value: object) -> str:
    """Return the sha256 (64 hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
