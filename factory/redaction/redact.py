"""Personal data and secrets out, typed placeholders in, before anything is written.

The same value gets the same placeholder within one call (`[EMAIL_1]` ... `[EMAIL_2]`), so a
redacted example still trains. What was redacted before stays as it is: twice gives the same.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
import re2

from factory.errors import InvalidInput
from factory.messages import CallRecord, Json
from factory.redaction.candidates import Detector, Span, Topics, compiled, encodable
from factory.redaction.clean import CleanTexts, Named, Signs
from factory.redaction.detectors import DETECTORS, KINDS, NUMBER, TOPICS
from factory.redaction.files import put_back, set_aside
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
    redactor = Redactor(policy, clean_texts(policy))
    parts = [record.request, record.response, record.metadata]
    request, response, metadata = redactor.value(parts)
    changed = {"request": request, "response": response, "metadata": metadata}
    return CallRecord(**{**record.__dict__, **changed, "redactions": redactor.counts})


@lru_cache(maxsize=8)
def clean_texts(_policy: Policy) -> CleanTexts:
    """Return this process's memory of the texts that a policy takes nothing out of."""
    return CleanTexts()


class Redactor:
    """Redacts the parts of one call consistently; `counts` says how many values of each type.

    `clean` is what calls of the same policy remember of one another: never another policy's.
    """

    def __init__(self, policy: Policy = EVERYTHING, clean: CleanTexts | None = None) -> None:
        self.policy = policy
        self.clean = CleanTexts() if clean is None else clean
        self.seen: dict[tuple[str, str], str] = {}
        self.last: defaultdict[str, int] = defaultdict(int)  # the highest number of each kind
        self.topics: frozenset[str] = frozenset()
        self.custom = _custom_patterns(policy)
        self.always_looks = policy.names or bool(self.custom)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many distinct values of each type were taken out."""
        return dict(Counter(kind for kind, _ in self.seen)) if self.seen else {}

    def text(self, text: str) -> str:
        """Return the text with each found value replaced by its placeholder."""
        return str(self.value(text))

    def value(self, value: Any) -> Any:
        """Return any JSON value with all its strings redacted (keys stay: they are structure).

        A number that is personal (a card's in a tool call) becomes its placeholder, a string.
        """
        known = self.clean.young
        # Nearly all is remembered and tells nothing, so nothing more is asked of it.
        telling = [
            (named, signs)
            for named in _texts_in(value, "", [])
            if (signs := known.get(named) or self._signs(named)) is not NOTHING
        ]
        for _, signs in telling:
            self.topics |= signs.topics
            for kind, number in signs.placeholders:
                self.last[kind] = max(self.last[kind], number)
        doubtful = {named: signs for named, signs in telling if not self._is_clean(signs)}
        cleaned = {named: self._text(named, signs) for named, signs in doubtful.items()}
        changed = {named: text for named, text in cleaned.items() if text != named[1]}
        return _with(changed, value, "") if changed else value

    def _signs(self, named: Named) -> Signs:
        signs = self.clean.get(named)
        if signs is None:
            key, text = named
            signs = _look(_called(key, set_aside(text, key)[0]))
            if self.always_looks:
                signs = signs.clean_in(None)
            elif signs.clean_among is not None:
                self.clean.add(named, signs)
        return signs

    def _is_clean(self, signs: Signs) -> bool:
        # What is clean in a call of many topics is clean in one of fewer.
        return signs.clean_among is not None and self.topics <= signs.clean_among

    def _text(self, named: Named, signs: Signs) -> str:
        if self._is_clean(signs):
            return named[1]
        key, text = named
        topics = self.topics
        bare, files = set_aside(text, key)
        if bare.lstrip()[:1] in {"{", "["} and _is_json(bare):
            cleaned = self._json(bare)
        else:
            cleaned = self._plain(bare, key, signs)
        cleaned = put_back(cleaned, files)
        if cleaned == text and self.topics == topics:
            self.clean.add(named, signs.clean_in(topics))
        return cleaned

    def _plain(self, text: str, key: str, signs: Signs) -> str:
        # What a value is called is part of what it is: {"bsn": "..."} reads as `bsn: ...`.
        whole = _called(key, text)
        start = len(whole) - len(text)
        for _ in range(ROUNDS):
            before, whole = whole, self._round(whole, start, signs)
            if whole == before:
                break
            signs = _look(whole)
        return whole[start:]

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
            clean = self._text((key, value), self._signs((key, value)))
            return written if clean == value else json.dumps(clean, ensure_ascii="\\u" in written)

        return JSON_TOKEN.sub(token, text)

    def _round(self, text: str, start: int, signs: Signs) -> str:
        self.topics |= signs.topics
        topics = Topics(signs.topics, self.topics)
        for detector in signs.detectors:
            if detector.kind in self.policy.kinds:
                spans = detector.finds(text, start, topics)
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
SIGNS: list[Detector | str] = [*DETECTORS, *TOPICS, ESCAPE, NUMBER]


def _telltales() -> re2.Set:
    telltales = re2.Set.SearchSet()
    for sign in SIGNS:
        telltales.Add(sign.telltale if isinstance(sign, Detector) else f"(?i){sign}")
    telltales.Compile()
    return telltales


TELLTALES = _telltales()
ANY = frozenset(sign for sign in SIGNS if isinstance(sign, str))
NOTHING = Signs(clean_among=ANY)


def _look(text: str) -> Signs:
    """Look at a text once: which detectors are worth running, and what it speaks of."""
    found = tuple(sorted(TELLTALES.Match(text.encode("utf-8", "replace")) or ()))
    signs = _told_by(found) if found else NOTHING
    placeholders = tuple(map(parts_of, PLACEHOLDER.findall(text))) if "[" in text else ()
    if placeholders:
        signs = Signs(signs.detectors, signs.topics, placeholders, signs.clean_among)
    return signs


@lru_cache(maxsize=4096)
def _told_by(found: tuple[int, ...]) -> Signs:
    signs = [SIGNS[n] for n in found]
    topics = frozenset(sign for sign in signs if isinstance(sign, str))
    if ESCAPE in topics:
        return Signs(tuple(DETECTORS), topics)
    detectors = (sign for sign in signs if isinstance(sign, Detector))
    telling = tuple(d for d in detectors if NUMBER in topics or not d.is_number)
    topics -= {NUMBER}
    if not telling and not topics:
        return NOTHING
    return Signs(telling, topics, clean_among=None if telling else ANY)


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


def _texts_in(value: Any, key: str, found: list[Named]) -> list[Named]:
    if isinstance(value, str):
        found.append((key, value))
    elif isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, str):  # as most are: a turn of recursion less
                found.append((name, item))
            else:
                _texts_in(item, name, found)
    elif isinstance(value, list):
        for item in value:
            _texts_in(item, key, found)
    elif _is_long(value, key):
        found.append((key, str(value)))
    return found


def _with(changed: dict[Named, str], value: Any, key: str) -> Any:
    if isinstance(value, str):
        return changed.get((key, value), value)
    if isinstance(value, list):
        return [_with(changed, item, key) for item in value]
    if isinstance(value, dict):
        return {name: _with(changed, item, name) for name, item in value.items()}
    return changed.get((key, str(value)), value) if _is_long(value, key) else value


def _is_long(value: object, key: str) -> bool:
    return isinstance(value, int) and value >= SHORTEST_NUMBER and key not in TIMES


def _called(key: str, text: str) -> str:
    return f"{key}: {text}" if key else text


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
