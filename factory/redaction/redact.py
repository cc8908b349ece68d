"""Personal data and secrets out, typed placeholders in, before anything is written.

The same value gets the same placeholder within one call (`[EMAIL_1]` ... `[EMAIL_2]`), so a
redacted example still trains. What was redacted before stays as it is: twice gives the same.
"""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
import re2

from factory.errors import InvalidInput
from factory.messages import CallRecord, Json
from factory.redaction.candidates import Detector, Span, Topics, compiled, encodable
from factory.redaction.detectors import DETECTORS, KINDS, TOPICS
from factory.redaction.people import find_names, name_analyzer

PLACEHOLDER = re.compile(r"\[[A-Z]+(?:_[A-Z]+)*_\d{1,9}\]")
PATTERN_NAME = re.compile(r"[A-Z]+(?:_[A-Z]+)*")
MAX_TERMS, MAX_PATTERNS, MAX_LENGTH, MAX_NAME = 1000, 50, 300, 40
ROUNDS = 3  # what is taken out can free its neighbour; no honest text needs more
TIMES = {"created", "created_at"}  # Unix seconds of every answer, which look like phone numbers
SHORTEST_NUMBER = 10**7  # no number below it is personal by itself
NUMBERS = {"IBAN", "CARD", "PHONE", "NATIONAL_ID"}  # the same however they are grouped
# A JSON text's strings (those before a colon are keys) and numbers.
JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"(?:\s*+:)?|-?\d[\d.eE+-]*', re.DOTALL)


@dataclass(frozen=True)
class Policy:
    """What a project has taken out of its calls."""

    kinds: frozenset[str] = frozenset(KINDS)
    names: bool = False
    terms: tuple[str, ...] = ()  # literal, in any case, as whole words
    patterns: tuple[tuple[str, str], ...] = ()  # (placeholder's name, RE2 syntax)

    @classmethod
    def from_json(cls, value: object) -> "Policy":
        """Read what `as_json` wrote, absent keys as the default; `InvalidInput` names the wrong."""
        if not isinstance(value, dict):
            raise InvalidInput("A redaction policy is an object", param="redaction")
        if unknown := sorted(map(str, value.keys() - {"kinds", "names", "terms", "patterns"})):
            raise InvalidInput(f"A redaction policy has no {unknown[0]!r}", param=unknown[0])
        names = value.get("names", False)
        if not isinstance(names, bool):
            raise InvalidInput("names is true or false", param="names")
        kinds = frozenset(_texts("kinds", value.get("kinds", list(KINDS)), len(KINDS)))
        if foreign := sorted(kinds - set(KINDS)):
            raise InvalidInput(
                f"No kind {foreign[0]!r}; there are {', '.join(KINDS)}", param="kinds"
            )
        terms = tuple(_texts("terms", value.get("terms", []), MAX_TERMS))
        return cls(kinds, names, terms, _checked_patterns(value.get("patterns", {})))

    def as_json(self) -> Json:
        """Return the policy as JSON holds it."""
        return {
            "kinds": [kind for kind in KINDS if kind in self.kinds],
            "names": self.names,
            "terms": list(self.terms),
            "patterns": dict(self.patterns),
        }


EVERYTHING = Policy()


def check_policy(policy: Policy) -> None:
    """Refuse, when a policy is saved, what this installation cannot do (`InvalidInput`)."""
    if policy.names:
        name_analyzer()


def parts_of(placeholder: str) -> tuple[str, int]:
    """Return the kind and the number in `[EMAIL_1]`."""
    kind, _, number = placeholder[1:-1].rpartition("_")
    return kind, int(number)


def redacted(record: CallRecord, policy: Policy) -> CallRecord:
    """Return the call redacted, with its counts; one that was redacted before, as it is."""
    if record.redactions is not None:
        return record
    redactor = Redactor(policy)
    parts = [record.request, record.response, record.metadata]
    request, response, metadata = redactor.value(parts)
    return dataclasses.replace(
        record, request=request, response=response, metadata=metadata, redactions=redactor.counts
    )


class Redactor:
    """Redacts the parts of one call consistently; `counts` says how many values of each type."""

    def __init__(self, policy: Policy = EVERYTHING) -> None:
        self.policy = policy
        self.seen: dict[tuple[str, str], str] = {}
        self.last: Counter[str] = Counter()  # the highest number in use, of each kind
        self.topics: set[str] = set()
        self.custom = _custom_patterns(policy)
        self.always_looks = policy.names or bool(self.custom)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many distinct values of each type were taken out."""
        return dict(Counter(kind for kind, _ in self.seen))

    def text(self, text: str) -> str:
        """Return the text with each found value replaced by its placeholder."""
        return str(self.value(text))

    def value(self, value: Any) -> Any:
        """Return any JSON value with all its strings redacted (keys stay: they are structure).

        A number that is personal (a card's in a tool call) becomes its placeholder, a string.
        """
        whole = "\n".join(_lines(value))
        for placeholder in PLACEHOLDER.findall(whole):
            kind, number = parts_of(placeholder)
            self.last[kind] = max(self.last[kind], number)
        detectors, topics = _scan(whole)
        self.topics |= topics
        return self._value(value, "") if detectors or self.always_looks else value

    def _value(self, value: Any, key: str) -> Any:
        if isinstance(value, str):
            return self._text(value, key)
        if isinstance(value, list):
            return [self._value(item, key) for item in value]
        if isinstance(value, dict):
            return {name: self._value(item, str(name)) for name, item in value.items()}
        if isinstance(value, int) and value >= SHORTEST_NUMBER and key not in TIMES:
            text = self._text(str(value), key)
            return value if text == str(value) else text
        return value

    def _text(self, text: str, key: str) -> str:
        # What a value is called is part of what it is: {"bsn": "..."} reads as `bsn: ...`.
        called = f"{key}: " if key else ""
        if not _scan(called + text)[0] and not self.always_looks:
            return text
        if text.lstrip()[:1] in {"{", "["} and _is_json(text):
            return self._json(text)
        whole = called + text
        for _ in range(ROUNDS):
            before, whole = whole, self._round(whole, len(called))
            if whole == before:
                break
        return whole[len(called) :]

    def _json(self, text: str) -> str:
        # Token by token: what is not taken out stays as it was written, to the space.
        key = ""

        def token(match: re.Match[str]) -> str:
            nonlocal key
            written = match[0]
            if written[-1] == ":":
                key = json.loads(written[:-1])
                return written
            value = json.loads(written) if written[0] == '"' else written
            clean = self._text(value, key)
            return written if clean == value else json.dumps(clean, ensure_ascii="\\u" in written)

        return JSON_TOKEN.sub(token, text)

    def _round(self, text: str, start: int) -> str:
        detectors, topics = _scan(text)
        self.topics |= topics
        for detector in detectors:
            if detector.kind in self.policy.kinds:
                spans = detector.finds(text, start, Topics(topics, frozenset(self.topics)))
                text = self._take_out(detector.kind, text, spans)
        for kind, pattern in self.custom:
            matches = [match.span() for match in pattern.finditer(encodable(text))]
            if kind == "TERM":
                matches = [span for span in matches if _is_whole(text, *span)]
            text = self._take_out(kind, text, _outside_placeholders(text, start, matches))
        if self.policy.names:
            text = self._take_out(
                "NAME", text, _outside_placeholders(text, start, find_names(text))
            )
        return text

    def _take_out(self, kind: str, text: str, spans: Iterable[Span]) -> str:
        parts: list[str] = []
        done = 0
        for begin, end in spans:
            parts += [text[done:begin], self._placeholder(kind, text[begin:end])]
            done = end
        return "".join([*parts, text[done:]])

    def _placeholder(self, kind: str, found: str) -> str:
        same = re.sub(r"[\W_]", "", found) if kind in NUMBERS else found
        named = kind, same if kind == "SECRET" else same.casefold()
        if named not in self.seen:
            self.last[kind] += 1
            self.seen[named] = f"[{kind}_{self.last[kind]}]"
        return self.seen[named]


ESCAPE = r"\\u00[2-7]"  # a character written as JSON may: it can be any sign
SIGNS: list[Detector | str] = [*DETECTORS, *TOPICS, ESCAPE]


def _telltales() -> re2.Set:
    telltales = re2.Set.SearchSet()
    for sign in SIGNS:
        telltales.Add(sign.telltale if isinstance(sign, Detector) else f"(?i){sign}")
    telltales.Compile()
    return telltales


TELLTALES = _telltales()


def _scan(text: str) -> tuple[list[Detector], frozenset[str]]:
    """Look at a text once: which detectors are worth running, and what ids it speaks of."""
    signs = [SIGNS[n] for n in sorted(TELLTALES.Match(text.encode("utf-8", "replace")) or [])]
    topics = frozenset(sign for sign in signs if isinstance(sign, str))
    found = [sign for sign in signs if isinstance(sign, Detector)]
    return DETECTORS if ESCAPE in topics else found, topics


def _outside_placeholders(text: str, start: int, spans: Iterable[Span]) -> Iterator[Span]:
    placeholders = (match.span() for match in PLACEHOLDER.finditer(text))
    taken = next(placeholders, None)
    for begin, end in spans:
        while taken and taken[1] <= begin:
            taken = next(placeholders, None)
        if begin >= start and end > begin and not (taken and taken[0] < end):
            yield begin, end


def _is_whole(text: str, begin: int, end: int) -> bool:
    joined = text[begin - 1 : begin + 1] if begin else "", text[end - 1 : end + 1]
    return not any(len(pair) == 2 and pair.isalnum() for pair in joined)


def _lines(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _lines(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _lines(item, key)
    elif isinstance(value, str) or (
        isinstance(value, int) and value >= SHORTEST_NUMBER and key not in TIMES
    ):
        yield f"{key}: {value}" if key else str(value)


def _is_json(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict | list)
    except orjson.JSONDecodeError:
        return False


def _texts(param: str, value: object, most: int) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InvalidInput(f"{param} is a list of texts", param=param)
    if len(value) > most or not all(0 < len(text.strip()) <= MAX_LENGTH for text in value):
        limits = f"at most {most}, each of 1 to {MAX_LENGTH} characters"
        raise InvalidInput(f"{param} holds {limits}", param=param)
    return value


def _checked_patterns(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise InvalidInput("patterns maps a placeholder's name to a pattern", param="patterns")
    patterns = dict(zip(value, _texts("patterns", list(value.values()), MAX_PATTERNS), strict=True))
    for name, pattern in patterns.items():
        if (
            not PATTERN_NAME.fullmatch(str(name))
            or len(name) > 40
            or name in {*KINDS, "NAME", "TERM"}
        ):
            raise InvalidInput(f"{name!r} is no name of its own like CUSTOMER_NO", param="patterns")
        if _compiled(pattern).search("") is not None:
            raise InvalidInput(f"The pattern of {name} finds nothing at all", param="patterns")
    return tuple(patterns.items())


def _compiled(pattern: str) -> Any:
    try:
        return compiled(pattern)
    except re2.error as error:
        raise InvalidInput(
            f"Not a pattern of RE2: {pattern} ({error})", param="patterns"
        ) from error


@lru_cache(maxsize=256)
def _custom_patterns(policy: Policy) -> tuple[tuple[str, Any], ...]:
    # The project's own, through RE2: whatever they are, they take linear time.
    terms = sorted(policy.terms, key=len, reverse=True)
    literal = "|".join(re2.escape(term.strip()) for term in terms)
    found = [("TERM", _compiled(rf"(?i)(?:{literal})"))] if terms else []
    return (*found, *((name, _compiled(pattern)) for name, pattern in policy.patterns))
