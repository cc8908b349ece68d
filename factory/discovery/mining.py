"""What a sample of prompts has in common: constant runs, and who shares them.

Template mining as log parsers do it, for whole prompts. Drain compares lines of equal length, so a
slot of any length defeats it; here prompts that share frequent n-grams belong together (Logram) and
their longest common runs are the constant part (Spell).
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import cached_property
from itertools import groupby

from factory.messages import Json, text_of

# Marks within a prompt's text; `plain` takes them out of what comes from outside.
ROLE, START, END, CUT, VALUE, SLOT = "\x01", "\x02", "\x03", "\x04", "\x1a", "\x05"
HEAD, TAIL = 16_000, 8_000  # characters kept of each channel: hostile text costs no more than this
MAX_TOKENS = 2_000  # of a prompt that mining looks at
SHINGLE = 4  # tokens; natural texts seldom share as many by chance
SUPPORT = 8  # different prompts that must share a constant part before it is one
MIN_WEIGHT, FULL_WEIGHT = 4, 24  # shingles: fewer are chance, more say nothing further
MIN_PROSE = 12  # tokens of a constant part that a person might also just say
MAX_REFUSED = 8  # sets offered in vain at one look
MAX_COMPARED = 32  # prompts that a constant part is made from
MAX_RANKED = 256  # sets weighed at one look
MIN_RUN = 3  # tokens between two slots; shorter runs are chance

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_BLANKS, _LINES = re.compile(r"[^\S\n]+"), re.compile(r"\s*\n\s*")
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?"
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"  # written without spaces: a token a character
_NAMED = rf"(?<![^\W{_CJK}])(?=[^\W\d{_CJK}]*\d)[^\W{_CJK}]+"  # any word with a digit
_UNIT = (
    r"(?:\[[A-Z]+_\d+\]"  # what redaction left
    rf"|{_NAMED}(?:[-./:,+](?=[^\W\d{_CJK}]*\d)[^\W{_CJK}]+|-[0-9a-f]{{4,}}\b)*"
    r"|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"
    rf"|\b{_MONTH}(?=[ ,]+\d)|(?<=\d )\b{_MONTH})"
)
VOLATILE = re.compile(rf"{_UNIT}(?:[ ,]{{1,2}}{_UNIT})*")
TOKEN = re.compile(rf"\x01[a-z]+\n|\n| ?(?:[{_CJK}]|[^\W{_CJK}]+|[^\w\s])")
_ASSISTANT = re.compile(r"\x01assistant\n[^\x01]*")
_HEAD = re.compile(r"^(?:\x01user\n)?[^\n:.!?]{8,60}:(?=\s)")
_MARKS = frozenset((START, END, CUT, SLOT, VALUE, f" {VALUE}"))
_STRUCTURE = frozenset("\n:<>#\"'`{}[]|=*“”«»")  # what templates set off their slots with

Parts = tuple[str, ...]  # constant runs in order; a slot lies between two
Runs = list[list[str]]  # the same in tokens
Sample = tuple[list[str], list[str]]  # a prompt's slot values: the instructions', the turns'


class Prompt:
    """A call's messages as two channels of normalised text: instructions, and the turns."""

    def __init__(self, messages: list[Json]) -> None:
        first = next(
            (i for i, m in enumerate(messages) if m.get("role") not in {"system", "developer"}),
            len(messages),
        )
        self._system, self._turns = messages[:first], messages[first:]
        self._again: set[int] = set()

    @cached_property
    def system_source(self) -> str:
        """The system's (or developer's) text as it came."""
        return "\n".join(text_of(turn.get("content")) for turn in self._system)

    @cached_property
    def system(self) -> str:
        """The instruction channel, masked."""
        return masked(self.plain_system)

    @cached_property
    def turns(self) -> str:
        """The channel of all other turns, masked."""
        return masked(self.plain_turns)

    @cached_property
    def plain_system(self) -> str:
        """The instruction channel before masking."""
        return framed(plain(self.system_source))

    @cached_property
    def plain_turns(self) -> str:
        """The channel of all other turns, before masking."""
        text = "".join(
            f"{ROLE}{role_name(turn.get('role'))}\n{plain(text_of(turn.get('content')))}"
            for turn in self._turns
        )
        return framed(shortened(text))

    def settled(self) -> "Prompt":
        """Return the prompt without the messages it came from."""
        kept = Prompt([])
        kept.system, kept.turns, kept.openings = self.system, self.turns, self.openings
        return kept

    @cached_property
    def said(self) -> int:
        """A hash of what was sent, images and numbers too, good within this process."""
        return hash(repr((self._system, self._turns)))

    def is_said_again(self, other: "Prompt") -> bool:
        """Note a prompt that reads the same when masked; tell whether it is the one that suffices.

        What varies may be an image, a number, a date; a call that is merely sent again is no other.
        """
        if len(self._again) >= SUPPORT:
            return False
        self._again.add(other.said)
        return len(self._again) == SUPPORT

    def channels(self) -> tuple[str, str]:
        """Both channels, masked."""
        return self.system, self.turns

    @cached_property
    def name(self) -> int:
        """A hash of the whole prompt, good within this process."""
        return hash(self.channels())

    @cached_property
    def openings(self) -> frozenset[int]:
        """The names that the earlier calls of this conversation had, were it a growing one."""
        answers = re.finditer(f"{ROLE}assistant\n", self.turns)
        earlier = (self.turns[: match.start()] + END for match in answers)
        return frozenset(hash((self.system, turns)) for turns in earlier)


def role_name(role: object) -> str:
    """Return a role fit for a mark; one name for what no API knows."""
    known = {"user", "assistant", "tool", "function", "system", "developer"}
    return role if isinstance(role, str) and role in known else "other"


def shortened(text: str) -> str:
    """Return a long text's beginning and end."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}{CUT}{text[-TAIL:]}"


def plain(text: str) -> str:
    """Return the text shortened, without control characters, its white space evened out."""
    text = shortened(_CONTROL.sub(" ", text))
    return _LINES.sub("\n", _BLANKS.sub(" ", text)).strip()


def framed(text: str) -> str:
    """Return the text between marks, which anchor the runs at its ends."""
    return f"{START}{text}{END}"


def masked(text: str) -> str:
    """Return the text with dates, versions, numbers and ids as one mark each."""
    return VOLATILE.sub(VALUE, text)


def tokens_of(text: str) -> list[str]:
    """Return words and signs, each with the space before it: joined they are the text again."""
    return TOKEN.findall(text)


def gaps(parts: Parts, text: str) -> list[tuple[int, int]] | None:
    """Return where the slots' values lie, None where the text does not follow the parts.

    A slot that the ends of the parts leave no room for is not one.
    """
    found, at = [], 0
    for part in parts:
        start = text.find(part, at)
        if start < 0:
            return None
        found.append((at, start))
        at = start + len(part)
    found.append((at, len(text)))
    first = 1 if parts and parts[0].startswith(START) else 0
    last = len(found) - 1 if parts and parts[-1].endswith(END) else len(found)
    return found[first:last]


def values(parts: Parts, text: str) -> list[str]:
    """Return the slots' values of a text that follows the parts."""
    return [text[start:end].strip(START + END) for start, end in gaps(parts, text) or []]


def size(parts: Parts) -> int:
    """Return how many tokens of wording the parts hold."""
    return sum(_wording(tokens_of(part)) for part in parts)


def constant_parts(texts: Sequence[str]) -> Parts:
    """Return the runs that the texts hold, in order (that `MAX_COMPARED` of them do)."""
    runs = [tokens_of(texts[0])]
    for text in texts[1:MAX_COMPARED]:
        runs = _common(runs, tokens_of(text))
        if not any(map(_is_kept, runs)):
            return ()
    return tuple("".join(run) for run in runs if _is_kept(run))


def common_parts(one: Parts, other: Parts) -> Parts:
    """Return the runs that both have in order; what is in one of them only becomes a slot."""
    runs = _common([tokens_of(part) for part in one], _with_slots(list(map(tokens_of, other))))
    cut = [
        list(run) for block in runs for is_slot, run in groupby(block, SLOT.__eq__) if not is_slot
    ]
    return tuple("".join(run) for run in cut if _is_kept(run))


def without_changes(parts: Parts, text: str) -> Parts | None:
    """Return the parts less what the text has otherwise, None where that is more than values.

    A value stands within a sentence and is a name, a number, or a single word. A sentence that
    begins otherwise, or says more, is another instruction: another workload.
    """
    before, now = _with_slots([tokens_of(part) for part in parts]), tokens_of(text)
    lost: list[str] = []
    come: list[str] = []
    for tag, i, i_end, j, j_end in SequenceMatcher(None, before, now).get_opcodes():
        if tag == "equal":
            continue
        gone, new = [t for t in before[i:i_end] if t != SLOT], now[j:j_end]
        if SLOT in before[max(i - 1, 0) : i_end + 1]:
            new = []  # a slot takes anything
        first = next((place for place in range(i, i_end) if before[place] != SLOT), i)
        if (gone or new) and _begins_sentence(before, first):
            return None
        lost += gone
        come += new
    if max(map(_plain_words, (lost, come))) > 1 or len(lost) > 10 or len(come) > 20:
        return None
    runs = _common([tokens_of(part) for part in parts], now)
    return tuple("".join(run) for run in runs if _is_kept(run))


def shingles(text: str) -> set[Hashable]:
    """Return the text's runs of `SHINGLE` tokens."""
    return _runs_of(tokens_of(text))


def clusters(samples: Sequence[Sample], accepts: Callable[[int], bool]) -> int:
    """Offer the sets of a sample's prompts that share a constant part; return who may yet.

    Sets of prompts are bit masks. The best comes first: many prompts that share much.
    """
    shared = _shared(samples, 2)
    for text, mask in _holders([system[:1] for system, _ in samples]).items():
        if text and mask.bit_count() > 1:
            shared[mask] += MIN_WEIGHT  # the same instruction, however short
    for mask in _holders(
        [_HEAD.findall(text) for _, turns in samples for text in turns[:1]]
    ).values():
        shared[mask] += MIN_WEIGHT if mask.bit_count() > 1 else 0  # as in "Translate to French: "
    promising = 0
    for mask, weight in shared.items():
        promising |= mask if weight >= MIN_WEIGHT else 0
    refused = 0
    # Many prompts with a short phrase in common must not outweigh one template's prompts.
    while refused < MAX_REFUSED and (mask := _best(shared, SUPPORT, MIN_WEIGHT, power=1.5)):
        if accepts(mask):
            promising &= ~mask
            shared = _without(shared, mask)
        else:
            refused += 1
            del shared[mask]
    return promising


def _heads(turns: list[str]) -> list[str]:
    """Return what the turns begin with where a colon ends it, as in "Translate to French: "."""
    return _HEAD.findall(turns[0]) if turns else []


def choices(slots: Sequence[list[str]], share: float, coverage: float) -> list[int]:
    """Return the prompts of each whole value, where a sample's slots take few."""
    support = max(SUPPORT, round(share * len(slots)))
    held = _holders([[tuple(texts)] if any(texts) else [] for texts in slots])
    masks = [mask for mask in held.values() if mask.bit_count() >= support]
    if len(masks) < 2 or sum(masks).bit_count() < coverage * len(slots):
        return []
    return masks


def alternatives(slots: Sequence[list[str]], share: float, coverage: float) -> list[int]:
    """Return the prompts of each of a few instructions that a sample's slots alternate between.

    Instructions differ in their words, each recurs, a prompt holds one of them, and together they
    cover the sample. Values of a slot, passages and optional blocks do not do all of that.
    """
    support = max(SUPPORT, round(share * len(slots)))
    words = [_words_of(texts) for texts in slots]
    found: dict[frozenset[str], int] = {}
    shared = _shared([(texts,) for texts in slots], support)
    while mask := _best(shared, support, 2, power=1.0):
        shared = _without(shared, mask)
        core = frozenset.intersection(*(words[place] for place in bits(mask)))
        alike = next((other for other in found if _jaccard(other, core) > 0.7), None)
        if alike is None:
            found[core] = mask
        else:  # the same words in another order, as a shuffled list has them
            found[alike & core] = found.pop(alike) | mask
    common = frozenset.intersection(*found) if found else frozenset()
    told = {core: mask for core, mask in found.items() if _is_instruction(core - common)}
    covered = sum(told.values()).bit_count()
    held = sum(core <= own for own in words for core in told)
    is_choice = len(told) > 1 and covered >= coverage * len(slots) and held <= 1.15 * len(slots)
    return list(told.values()) if is_choice else []


def bits(mask: int) -> Iterator[int]:
    """Yield the places of a mask's ones."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def is_template(turns: Parts) -> bool:
    """Tell whether what turns share is a template's, not what people say or paste alike.

    It is at the beginning or the end, and long, or set off by more than words.
    """
    tokens = [token for part in turns for token in tokens_of(part)]
    if not turns or not (turns[0].startswith(START) or turns[-1].endswith(END)):
        return False
    structured = any(token.strip(" ") in _STRUCTURE for token in tokens)
    return _wording(tokens) >= (MIN_RUN if structured else MIN_PROSE)


def without_answers(text: str) -> str:
    """Return a channel without the assistant's turns, whose phrases recur by habit."""
    return _ASSISTANT.sub("", text)


def _shared(samples: Sequence[tuple[list[str], ...]], support: int) -> Counter[int]:
    """Return, for each set of at least `support` prompts, how many shingles it shares."""
    held = _holders([_shingles_of(channels) for channels in samples])
    return Counter(mask for mask in held.values() if mask.bit_count() >= support)


def _holders(items: Sequence[Iterable[Hashable]]) -> dict[Hashable, int]:
    """Return which prompts hold each item."""
    holders: dict[Hashable, int] = {}
    for place, own in enumerate(items):
        for item in own:
            holders[item] = holders.get(item, 0) | 1 << place
    return holders


def _shingles_of(channels: tuple[list[str], ...]) -> set[Hashable]:
    items: set[Hashable] = set()
    for channel, texts in enumerate(channels):
        for place, text in enumerate(texts):
            tokens = [token for token in tokens_of(text) if token[0] != ROLE]
            if len(tokens) > MAX_TOKENS:
                tokens = [*tokens[: MAX_TOKENS * 3 // 4], CUT, *tokens[-MAX_TOKENS // 4 :]]
            if tokens:  # the slot's own ends stand for the constants around it
                framed_tokens = [f"{START}{place}", *tokens, f"{END}{place}"]
                items |= {(channel, run) for run in _runs_of(framed_tokens)}
    return items


def _runs_of(tokens: list[str]) -> set[Hashable]:
    return set(zip(*(tokens[i:] for i in range(SHINGLE)), strict=False))


def _best(shared: Counter[int], support: int, minimum: int, power: float) -> int:
    """Return the best set of prompts that share something, 0 where none shares enough."""
    fit = [mask for mask in shared if mask.bit_count() >= support]
    ranked = sorted(fit, key=lambda mask: (shared[mask] * mask.bit_count(), mask), reverse=True)
    worth = {0: (0.0, 0)}
    for mask in ranked[:MAX_RANKED]:
        weight = sum(shared[other] for other in fit if other & mask == mask)
        if weight >= minimum:
            worth[mask] = (mask.bit_count() * min(weight, FULL_WEIGHT) ** power, mask)
    return max(worth, key=worth.__getitem__)


def _without(shared: Counter[int], taken: int) -> Counter[int]:
    rest: Counter[int] = Counter()
    for mask, weight in shared.items():
        rest[mask & ~taken] += weight
    return rest


def _common(runs: Runs, tokens: list[str]) -> Runs:
    """Return the runs that are in both, in order."""
    before = _with_slots(runs)
    blocks = SequenceMatcher(None, before, tokens).get_matching_blocks()
    return [before[block.a : block.a + block.size] for block in blocks if block.size]


def _with_slots(runs: Runs) -> list[str]:
    joined: list[str] = []
    for run in runs:
        joined += [*run, SLOT]
    return joined[:-1]


def _is_kept(run: list[str]) -> bool:
    anchors = (run[0] == START) + (run[-1] == END)
    return _wording(run) >= MIN_RUN - anchors or anchors == 2


def _wording(tokens: Sequence[str]) -> int:
    return sum(token not in _MARKS and token[0] != ROLE for token in tokens)


def _plain_words(tokens: Sequence[str]) -> int:
    words = [token.strip() for token in tokens]
    return sum(word.isalpha() and len(word) > 1 and not word[0].isupper() for word in words)


def _is_instruction(words: frozenset[str]) -> bool:
    alphabetic = [word.strip() for word in words if word.strip().isalpha()]
    return len(alphabetic) > 1 and any(len(w) > 3 and not w[0].isupper() for w in alphabetic)


def _begins_sentence(tokens: list[str], place: int) -> bool:
    return place == 0 or tokens[place - 1] in {START, "\n", ".", "!", "?"}


def _words_of(texts: list[str]) -> frozenset[str]:
    return frozenset(token for text in texts for token in tokens_of(text))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(len(one | other), 1)
