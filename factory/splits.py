"""Leak-proof splits: a row's split follows from its group alone, so near copies stay together."""

import hashlib


def split_of(group: str, *, salt: str, validation: float, test: float) -> str:
    """Return "train", "validation" or "test" for a group.

    `validation` and `test` are shares from 0 to 1. The group's hash is a point in [0, 1): test
    takes the low end, validation the next part.
    """
    digest = hashlib.sha256(f"{salt}:{group}".encode()).digest()
    point = int.from_bytes(digest[:8]) / 2**64
    if point < test:
        return "test"
    return "validation" if point < test + validation else "train"
