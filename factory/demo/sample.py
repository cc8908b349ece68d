"""A sample of production traffic for the demo: a support desk's tickets with their right queue.

Every ticket is made up. It is noisy on purpose: typos, aborted sentences, signatures, personal
data (checksums hold, numbers come from test and drama ranges), repeats, and tickets that mention
two queues. The same seed gives the same tickets on every machine.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

LEXICON: dict[str, Any] = tomllib.loads(
    Path(__file__).with_name("sample_lexicon.toml").read_text(encoding="utf-8")
)
QUEUES = tuple(sorted(LEXICON["queues"]))
INSTRUCTION: str = LEXICON["instruction"]

EXACT_DUPLICATE_SHARE = 0.05
NEAR_DUPLICATE_SHARE = 0.08
TWO_ASKS_SHARE = 0.065
FIRST_CALL_AT = 1_790_000_000

_SLOTS: dict[str, list[str]] = LEXICON["slots"]
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"[a-z]{5,}", re.IGNORECASE)
_REPEATABLE = 400
_LONG = 80


@dataclass(frozen=True)
class Ticket:
    """What the customer wrote, the queue it belongs in, another queue it mentions (or "")."""

    text: str
    gold: str
    mentions: str


@dataclass(frozen=True)
class SampleCall:
    """One call of the production app: the OpenAI request body and what only its author knows.

    `kind` is plain, two_asks, near_duplicate or exact_duplicate; `repeats` is the id of the call
    that a duplicate repeats.
    """

    id: str
    started_at: int
    request: dict[str, Any]
    gold: str
    kind: str
    repeats: str | None
    metadata: dict[str, str]

    @property
    def text(self) -> str:
        """The user's message."""
        content: str = self.request["messages"][-1]["content"]
        return content


def generate(count: int, seed: int, model: str = "frontier-large") -> Iterator[SampleCall]:
    """`count` calls in the order they came in; a longer run of a seed starts with the shorter."""
    random = Random(seed)  # noqa: S311 -- must repeat, guards nothing
    started_at = FIRST_CALL_AT
    recent: list[tuple[str, Ticket]] = []
    for _ in range(count):
        started_at += random.randint(1, 90)
        ticket, kind, repeats = _next_ticket(random, recent)
        call_id = f"chatcmpl-{random.getrandbits(96):024x}"
        recent = [*recent[-_REPEATABLE:], (call_id, ticket)]
        yield SampleCall(
            id=call_id,
            started_at=started_at,
            request=chat_request(ticket.text, model),
            gold=ticket.gold,
            kind=kind,
            repeats=repeats,
            metadata={
                "app": "helpdesk",
                "env": "production",
                "channel": random.choice(("email", "chat", "form")),
            },
        )


def chat_request(text: str, model: str) -> dict[str, Any]:
    """The body that the production app sends for one ticket."""
    return {
        "model": model,
        "temperature": 0,
        "messages": [
            {"role": "system", "content": INSTRUCTION},
            {"role": "user", "content": text},
        ],
    }


def vocabulary_text(lines: int = 6000, seed: int = 20_260_101) -> Iterator[str]:
    """Support-desk lines to build a tokenizer from: tickets of another seed, and every queue name.

    The instruction, the chat roles and the JSON form of the answers are in it too, so that what a
    student reads and writes is short in tokens.
    """
    yield "system user assistant"
    for index, call in enumerate(generate(lines, seed)):
        yield call.text
        yield f'{call.gold} {{"label": "{call.gold}"}}' if index % 4 == 0 else call.gold
        if index % 50 == 0:
            yield INSTRUCTION


def luhn_digit(digits: str) -> int:
    """The check digit that makes `digits` plus it pass the Luhn test of ISO/IEC 7812-1."""
    doubled = (int(d) * (2 if i % 2 == 0 else 1) for i, d in enumerate(reversed(digits)))
    return -sum(sum(divmod(d, 10)) for d in doubled) % 10


def iban_check(country: str, account: str) -> str:
    """The two check digits of ISO 13616 for an account number in this country."""
    rotated = f"{account}{country}00"
    return f"{98 - int(''.join(str(int(c, 36)) for c in rotated)) % 97:02d}"


def expand(template: str, random: Random) -> str:
    """One sentence of the phrase grammar of `sample_lexicon`."""
    while match := _CHOICE.search(template):
        chosen = random.choice(match[1].split("|"))
        template = template[: match.start()] + chosen + template[match.end() :]
    return _SLOT.sub(lambda slot: _fill(slot[1], random), template)


def _next_ticket(
    random: Random, recent: list[tuple[str, Ticket]]
) -> tuple[Ticket, str, str | None]:
    draw = random.random()
    if recent and draw < EXACT_DUPLICATE_SHARE:
        repeats, ticket = random.choice(recent)
        return ticket, "exact_duplicate", repeats
    if recent and draw < EXACT_DUPLICATE_SHARE + NEAR_DUPLICATE_SHARE:
        repeats, ticket = random.choice(recent)
        return replace(ticket, text=_edited(ticket.text, random)), "near_duplicate", repeats
    ticket = _write_ticket(random)
    return ticket, "two_asks" if ticket.mentions else "plain", None


def _write_ticket(random: Random) -> Ticket:
    queue, ask = _ask(random)
    mentions = ""
    if _happens(TWO_ASKS_SHARE, random):
        other, aside = _ask(random)
        if other != queue:
            mentions = other
            ask = _beside(ask, other, aside, random)
    return Ticket(_noisy(_assembled(ask, random), random), queue, mentions)


def _ask(random: Random) -> tuple[str, str]:
    """A queue, and a sentence for one of its intents."""
    queues = LEXICON["queues"]
    (queue,) = random.choices(list(queues), [spec["weight"] for spec in queues.values()])
    phrases = random.choice(list(queues[queue]["intents"].values()))
    return queue, expand(random.choice(phrases), random)


def _beside(ask: str, other: str, aside: str, random: Random) -> str:
    """The ask in one ticket with another queue's business, told in full or only mentioned."""
    frames = "frames"
    if _happens(0.5, random):
        frames, aside = "mention_frames", expand(LEXICON["queues"][other]["mention"], random)
    frame = expand(random.choice(LEXICON[frames]), random)
    return frame.replace("<main>", ask).replace("<aside>", aside.rstrip("?"))


def _assembled(ask: str, random: Random) -> str:
    """The ask among the things people put around it: greeting, context, thanks, signature."""
    body = [ask]
    for kind, share in (
        ("fillers", 0.3),
        ("personal", 0.22),
        ("urgency", 0.3),
        ("off_topic", 0.07),
    ):
        if _happens(share, random):
            sentence = expand(random.choice(LEXICON[kind]), random)
            before = kind != "off_topic" and _happens(0.4, random)
            body.insert(0 if before else len(body), sentence)
    text = " ".join(_sentence(part, random) for part in body)
    if _happens(0.35, random):
        greeting = expand(random.choice(LEXICON["greetings"]), random).capitalize()
        text = greeting + random.choice(" \n") + text
    if _happens(0.28, random):
        signature = expand(random.choice(LEXICON["signatures"]), random)
        text += random.choice(" \n") + signature
    return text


def _sentence(part: str, random: Random) -> str:
    if _happens(0.75, random):
        part = part[0].upper() + part[1:]
    if part[-1] in ".!?":
        return part if _happens(0.8, random) else part[:-1]
    return part + random.choice((".", ".", ".", "", "!", ",", "..."))


def _noisy(text: str, random: Random) -> str:
    """The text as it left the keyboard: abbreviations, typos, no capitals, cut off."""
    if _happens(0.08, random):
        for word, short in LEXICON["abbreviations"].items():
            text = re.sub(rf"\b{word}\b", random.choice(short), text)
    if _happens(0.12, random):
        for _ in range(random.randint(1, 3)):
            text = _with_typo(text, random)
    if _happens(0.12, random):
        text = text.lower()
    elif _happens(0.01, random):
        text = text.upper()
    if len(text) > _LONG and _happens(0.03, random):
        text = text[: -random.randint(3, 12)]
    return text


def _happens(share: float, random: Random) -> bool:
    return random.random() < share


def _with_typo(text: str, random: Random) -> str:
    """Swap, drop, double or mistype one inner letter of one word; data such as e-mails stays."""
    words = [m for m in _WORD.finditer(text) if "@" not in text[m.start() - 1 : m.end() + 1]]
    if not words:
        return text
    word = random.choice(words)
    at = random.randrange(word.start() + 1, word.end() - 1)
    here, after = text[at], text[at + 1]
    mistyped = random.choice("aeinrst") + after
    typo = random.choice((after + here, after, here + here + after, mistyped))
    return text[:at] + typo + text[at + 2 :]


def _edited(text: str, random: Random) -> str:
    """The same ticket sent again, with the small edits of an impatient customer."""
    edits = (
        lambda: text + random.choice(("!", " ??", " Any update?", " Still waiting.", " Hello?")),
        lambda: random.choice(("Again: ", "Hi, ", "Second try: ", "Re: ")) + text,
        lambda: _with_typo(_with_typo(text, random), random),
        lambda: text.lower() if text != text.lower() else text + ".",
        lambda: text.replace(". ", ", ", 1) if ". " in text else text + " thanks",
    )
    edited = random.choice(edits)()
    return edited if edited != text else f"{text} "


def _fill(slot: str, random: Random) -> str:
    return random.choice(_SLOTS[slot]) if slot in _SLOTS else _DATA[slot](random)


def _name(random: Random) -> str:
    return f"{random.choice(_SLOTS['first'])} {random.choice(_SLOTS['last'])}"


def _email(random: Random) -> str:
    first, last = _name(random).lower().split()
    host = random.choice(("example.com", "example.org", "mail.example", "corp.example"))
    return f"{random.choice((first, first[0]))}{random.choice(('.', '_', ''))}{last}@{host}"


def _phone(random: Random) -> str:
    """A number of the ranges that regulators keep free for fiction."""
    return random.choice(
        (
            f"+1 {random.choice((212, 415, 617))}-555-01{random.randint(0, 99):02d}",
            f"+44 7700 900{random.randint(0, 999):03d}",
            f"030 23125{random.randint(0, 999):03d}",
            f"+33 1 99 00 {random.randint(10, 99)} {random.randint(10, 99)}",
        )
    )


def _card(random: Random) -> str:
    """A card number under the prefixes of the payment processors' test cards."""
    digits = random.choice(("424242", "400005", "555555")) + f"{random.randrange(10**9):09d}"
    number = f"{digits}{luhn_digit(digits)}"
    grouped = " ".join(number[i : i + 4] for i in range(0, 16, 4))
    return random.choice((number, grouped, grouped.replace(" ", "-")))


def _iban(random: Random) -> str:
    country, account = random.choice(
        (
            ("DE", f"00000000{random.randrange(10**10):010d}"),
            ("NL", f"TEST{random.randrange(10**10):010d}"),
            ("GB", f"TEST000000{random.randrange(10**8):08d}"),
        )
    )
    iban = f"{country}{iban_check(country, account)}{account}"
    return random.choice((iban, " ".join(iban[i : i + 4] for i in range(0, len(iban), 4))))


def _order(random: Random) -> str:
    number = random.randrange(100_000, 999_999)
    return random.choice((f"#{number}", f"HD-{number}", f"{number}", f"HD{number}-{number % 7}"))


_DATA: dict[str, Callable[[Random], str]] = {
    "name": _name,
    "email": _email,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "order": _order,
    "amount": lambda random: random.choice(
        (f"{random.randint(5, 400)} euro", f"${random.randint(5, 400)}.{random.randint(10, 99)}",
         f"{random.randint(5, 300)},{random.randint(10, 99)} EUR", f"£{random.randint(5, 300)}")
    ),
    "n": lambda random: str(random.randint(2, 14)),
    "percent": lambda random: str(random.choice((12, 45, 80, 99))),
    "year": lambda random: str(random.randint(2012, 2025)),
}  # fmt: skip
