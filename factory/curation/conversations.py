"""Which calls are of one conversation: by the name that it has, or by what was said before."""

from collections.abc import Mapping, Sequence

from factory.dedupe import input_digest
from factory.digest import digest_of
from factory.messages import Json

DEEPEST = 64  # turns looked at; a longer conversation is known by its newest ones


def conversation_of(
    metadata: Mapping[str, str], trace_id: str, *, keys: Sequence[str], traces: bool
) -> str:
    """Return the digest of a conversation's name, empty where the call carries none."""
    for key in keys:
        if value := metadata.get(key):
            return digest_of([key, value])
    return digest_of(["trace", trace_id]) if traces and trace_id else ""


def earlier_inputs(messages: Sequence[Json]) -> list[str]:
    """Return the digests of the inputs that this one extends: what was asked before each answer.

    Only an answer in between makes two inputs one conversation; a system prompt does not.
    """
    answered = [
        at
        for at, message in enumerate(messages)
        if message.get("role") == "assistant" and _asks(messages[:at])
    ]
    return [input_digest(list(messages[:at])) for at in answered[-DEEPEST:]]


def _asks(messages: Sequence[Json]) -> bool:
    return any(message.get("role") == "user" for message in messages)
