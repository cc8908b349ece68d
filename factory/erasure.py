"""What is looked for to be erased, what an erasure reached, and what a dictionary gives away."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import orjson

from factory.errors import InvalidInput
from factory.messages import MAX_METADATA_KEY, MAX_METADATA_VALUE, Json, object_of

MIN_VALUE, MAX_VALUE = 3, 300  # characters; a shorter value is in every text
PAIR = "Metadata is given as key=value, as in user_id=42"
CALL_TEXTS = ("request", "response", "metadata", "request_id", "trace_id")
WINDOW = 12  # bytes; what a dictionary takes of a text is longer than this


@dataclass(frozen=True)
class Sought:
    """Whose calls: those with a pair of metadata, or those whose texts hold a value."""

    kind: Literal["metadata", "value"]
    key: str = ""
    value: str = ""

    @classmethod
    def metadata(cls, key: str, value: str) -> "Sought":
        """Seek calls by one pair of their metadata."""
        if not 0 < len(key) <= MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
            raise InvalidInput(PAIR, param="metadata")
        return cls("metadata", key, value)

    @classmethod
    def pair(cls, written: str) -> "Sought":
        """Seek calls by a pair of metadata that is written `user_id=42`."""
        key, equals, value = written.partition("=")
        if not equals:
            raise InvalidInput(PAIR, param="metadata")
        return cls.metadata(key.strip(), value.strip())

    @classmethod
    def text(cls, value: str) -> "Sought":
        """Seek calls and examples by a value in their texts, in any case, as whole words."""
        value = value.strip()
        if not MIN_VALUE <= len(value) <= MAX_VALUE:
            limits = f"{MIN_VALUE} to {MAX_VALUE} characters"
            raise InvalidInput(f"The value to look for has {limits}", param="value")
        return cls("value", value=value)

    def as_text(self) -> str:
        """Return what `from_text` reads."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_text(cls, text: str) -> "Sought":
        """Read what `as_text` wrote."""
        return cls(**orjson.loads(text))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        before = r"(?<!\w)" if self.value[0].isalnum() else ""
        after = r"(?!\w)" if self.value[-1].isalnum() else ""
        return re.compile(f"{before}{re.escape(self.value.casefold())}{after}")

    def is_in_call(self, call: Json) -> bool:
        """Tell whether a call is sought, as the spool holds it (`CallRecord.as_json`)."""
        if self.kind == "metadata":
            return object_of(call.get("metadata")).get(self.key) == self.value
        return self.is_in([call.get(name) for name in CALL_TEXTS])

    def is_in(self, value: Any) -> bool:
        """Tell whether any text in a JSON value holds the value that is sought."""
        folded = self.value.casefold()
        texts = (text.casefold() for text in texts_in(value))
        return any(folded in text and self._pattern.search(text) for text in texts)


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text of a JSON value: keys, numbers, and what JSON in a string holds."""
    if isinstance(value, str):
        yield value
        if value.lstrip()[:1] in {"{", "["}:
            try:
                yield from texts_in(orjson.loads(value))
            except orjson.JSONDecodeError:
                return
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif value is not None:
        yield str(value)


@dataclass
class ErasureReport:
    """What an erasure reached, or would: counts and ids, never content.

    `versions` are dataset versions that lost rows, `runs` and `models` the students that saw them;
    `not_reached` says in sentences what no erasure here can reach.
    """

    erasure: int | None = None  # the job whose report it is; None where there was nothing to do
    counts: Counter[str] = field(default_factory=Counter)
    versions: list[Json] = field(default_factory=list)
    runs: list[Json] = field(default_factory=list)
    models: list[Json] = field(default_factory=list)
    not_reached: list[str] = field(default_factory=list)

    @classmethod
    def from_json(cls, value: Json) -> "ErasureReport":
        """Read what `as_json` wrote; an empty report of an empty object."""
        return cls(**{**value, "counts": Counter(value.get("counts", {}))})

    def as_json(self) -> Json:
        """Return the report as JSON holds it, without what was none."""
        return {**asdict(self), "counts": dict(+self.counts)}


def own_text_in(dictionary: bytes, own: Iterable[bytes], others: Sequence[bytes]) -> bool:
    """Tell whether a compression dictionary holds text of `own` that is in none of `others`.

    A dictionary is made of pieces of the texts that it was trained on, as they were.
    """
    known = set(_windows(dictionary))
    shared = {window for text in own for window in _windows(text) if window in known}
    for text in others:
        shared.difference_update(_windows(text))
    return bool(shared)


def _windows(text: bytes) -> Iterator[bytes]:
    return (text[at : at + WINDOW] for at in range(len(text) - WINDOW + 1))
