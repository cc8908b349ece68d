"""When two inputs are the same: exactly, or but for what does not matter."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import orjson

from factory.digest import digest_of
from factory.messages import Json, text_of, variable_text
from factory.redaction.redact import PLACEHOLDER


def input_digest(messages: list[Json]) -> str:
    """Return the digest of an input: texts Unicode-composed and trimmed, all else as it came.

    Two requests with the same digest are exact duplicates.
    """
    turns = [{**m, "content": _comparable(m.get("content"))} for m in messages]
    if all(type(value) is str for turn in turns for value in turn.values()):
        # What follows, of texts alone, in a third of the time.
        return hashlib.sha256(orjson.dumps(turns, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return digest_of(turns)


def group_key(messages: list[Json]) -> str:
    """Return the name of the group an input shares a split with.

    Inputs whose variable parts differ only in case, punctuation, spacing or numbers are one group,
    so that no near copy of a training row is ever tested on.
    """
    return name_of(words_of(variable_text(messages)))


def words_of(text: str) -> list[str]:
    """Return a text's words without case, with every number and placeholder as "0"."""
    plain = PLACEHOLDER.sub(" 0 ", unicodedata.normalize("NFKC", text))
    return re.findall(r"\w+", re.sub(r"\d+", " 0 ", plain.casefold()))


def name_of(words: Sequence[str]) -> str:
    """Return the name of all texts with the same words."""
    return digest_of(" ".join(words))


def _comparable(content: object) -> object:
    if isinstance(content, str):
        return unicodedata.normalize("NFC", content).strip()
    # Parts that are no text (an image, a sound) stay as they are: what they show is not seen here.
    parts = content if isinstance(content, list) else []
    if any(not isinstance(part, dict) or part.get("type") != "text" for part in parts):
        return content
    return unicodedata.normalize("NFC", text_of(content)).strip()
