"""How the demo's fake models answer: rules that read the text, and mistakes at a stated rate.

The rules know the phrases of the sample's lexicon, not the tickets: they correct typos, let every
phrase vote for the queues it is used in, and listen less to sentences that only mention a thing.
"""

import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from random import Random

from factory.demo.sample import LEXICON, QUEUES, expand, generate

_EXPANSIONS = 60
_LONGEST_PHRASE = 3
_SHORTEST_CORRECTED = 4
_NO_QUEUE = ""
_AROUND = (
    "greetings", "fillers", "personal", "urgency", "off_topic", "signatures", "frames",
    "mention_frames",
)  # fmt: skip

_ASIDE = re.compile(rf"\b(?:{'|'.join(LEXICON['aside_marks'])})\b")
_ASIDE_WEIGHT = 0.15

_SENTENCE_END = re.compile(r"[.!?\n]+")
_WORD = re.compile(r"[a-z][a-z']*|\d+")
_ADDRESS = re.compile(r"\S+@\S+")

# Mistakes are drawn so that votes can tell: most fall on tickets that the rules doubt, and a
# ticket that a model tends to get wrong comes out wrong most times, not every time.
_DOUBTFUL = 0.3
_DOUBTFUL_SHARE_OF_MISTAKES = 0.75
_STICKINESS = 0.7
_CALIBRATION_CALLS = 4000
_CALIBRATION_SEED = 31_415


@dataclass(frozen=True)
class Reading:
    """What the rules make of a ticket; `doubt` is the runner-up's evidence over the winner's."""

    queue: str
    runner_up: str
    doubt: float


class QueueRules:
    """Routes a ticket by its words. It has never seen a gold label."""

    def __init__(self) -> None:
        random = Random(0)  # noqa: S311 -- picks phrases, guards nothing
        spoken = {
            queue: _said(chain.from_iterable(spec["intents"].values()), random)
            for queue, spec in LEXICON["queues"].items()
        }
        spoken[_NO_QUEUE] = _said(chain.from_iterable(LEXICON[part] for part in _AROUND), random)
        self._known = Counter(word for said in spoken.values() for s in said for word in s)
        self._near: dict[str, set[str]] = defaultdict(set)
        for word in self._known:
            if len(word) >= _SHORTEST_CORRECTED:
                for form in _one_letter_less(word):
                    self._near[form].add(word)
        users: dict[str, set[str]] = defaultdict(set)
        for queue, said in spoken.items():
            for sentence in said:
                for phrase in _phrases(sentence):
                    users[phrase].add(queue)
        self._votes = {phrase: _vote(phrase, queues) for phrase, queues in users.items()}

    def read(self, text: str) -> Reading:
        """Route one ticket."""
        said = dict.fromkeys(QUEUES, 0.0)
        meant = dict.fromkeys(QUEUES, 0.0)
        for sentence in _SENTENCE_END.split(_ADDRESS.sub(" ", text.lower())):
            words = [self._corrected(word) for word in _words(sentence)]
            weight = _ASIDE_WEIGHT if _ASIDE.search(" ".join(words)) else 1.0
            for phrase in _phrases(words):
                strength, queues = self._votes.get(phrase, (0.0, frozenset()))
                for queue in queues:
                    said[queue] += strength
                    meant[queue] += strength * weight
        queue = max(QUEUES, key=lambda name: meant[name])
        runner_up = max((q for q in QUEUES if q != queue), key=lambda name: said[name])
        doubt = min(1.0, said[runner_up] / said[queue]) if said[queue] else 1.0
        if not said[runner_up]:
            runner_up = LEXICON["queues"][queue]["confused_with"]
        return Reading(queue, runner_up, doubt)

    def _corrected(self, word: str) -> str:
        """The known word within one slip of the finger (SymSpell's deletion index), else `word`."""
        if word in self._known or len(word) < _SHORTEST_CORRECTED:
            return word
        near = {known for form in _one_letter_less(word) for known in self._near.get(form, ())}
        return max(near, key=lambda known: (self._known[known], known), default=word)


@dataclass(frozen=True)
class ErrorRates:
    """How often a model errs on tickets that are plain to the rules, and on doubtful ones."""

    plain: float
    doubtful: float

    def of(self, reading: Reading) -> float:
        """The rate for one ticket."""
        return self.doubtful if reading.doubt > _DOUBTFUL else self.plain


@lru_cache(maxsize=1)
def queue_rules() -> QueueRules:
    """The rules, built once per process (a third of a second)."""
    return QueueRules()


def rates_for(overall: float) -> ErrorRates:
    """Rates that make a model err on `overall` of the sample's tickets.

    What the rules get wrong by themselves counts towards it, so that a stated 0 is not quite 0.
    """
    misread, doubtful = _shares()
    added = max(0.0, (overall - misread) / (1 - misread))
    hard = min(0.9, _DOUBTFUL_SHARE_OF_MISTAKES * added / doubtful)
    return ErrorRates(plain=(added - hard * doubtful) / (1 - doubtful), doubtful=hard)


@lru_cache(maxsize=1)
def _shares() -> tuple[float, float]:
    """The shares of the sample's tickets that the rules get wrong, and that they doubt."""
    calls = generate(_CALIBRATION_CALLS, _CALIBRATION_SEED)
    readings = [(queue_rules().read(call.text), call.gold) for call in calls]
    misread = sum(reading.queue != gold for reading, gold in readings)
    doubtful = sum(reading.doubt > _DOUBTFUL for reading, _ in readings)
    return misread / len(readings), doubtful / len(readings)


def answer(model: str, text: str, rates: ErrorRates, draw: str | None) -> str:
    """The queue that `model` answers for `text`.

    With `draw` None (temperature 0) a model always says the same; each other draw is one vote.
    """
    reading = queue_rules().read(text)
    rate = rates.of(reading)
    leans_wrong = _unit(model, text) < rate
    if draw is None:
        return reading.runner_up if leans_wrong else reading.queue
    # The two branches average to `rate`, so one vote errs as often as the settled answer.
    slips = _STICKINESS if leans_wrong else rate * (1 - _STICKINESS) / (1 - rate)
    return reading.runner_up if _unit(model, text, draw) < slips else reading.queue


def _unit(*parts: str) -> float:
    """A number in [0, 1) that is the same for the same parts on every machine."""
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _vote(phrase: str, queues: set[str]) -> tuple[float, frozenset[str]]:
    """How loudly a phrase speaks, and for whom: rarer among the queues and longer is louder."""
    strength = math.log((len(QUEUES) + 1) / len(queues)) * (1 + phrase.count(" "))
    return strength, frozenset(queues - {_NO_QUEUE})


def _said(templates: Iterable[str], random: Random) -> list[list[str]]:
    return [_words(expand(t, random)) for t in templates for _ in range(_EXPANSIONS)]


def _words(text: str) -> list[str]:
    """Lower-case words with abbreviations written out; every number becomes the word `0`."""
    words = _WORD.findall(_ADDRESS.sub(" ", text.lower()))
    return ["0" if word.isdigit() else _IN_FULL.get(word, word) for word in words]


def _phrases(words: list[str]) -> list[str]:
    """Each run of up to three words once, in a fixed order: sums of floats depend on it."""
    found = (
        " ".join(words[start : start + length])
        for length in range(1, _LONGEST_PHRASE + 1)
        for start in range(len(words) - length + 1)
    )
    return list(dict.fromkeys(found))


def _one_letter_less(word: str) -> set[str]:
    return {word, *(word[:i] + word[i + 1 :] for i in range(len(word)))}


_IN_FULL = {short: full for full, shorts in LEXICON["abbreviations"].items() for short in shorts}
