"""A sample of production traffic for the demo: a support desk's tickets with their right queue.

Every ticket is made up. It is noisy on purpose: typos, aborted sentences, signatures, personal
data (checksums hold, numbers come from test and drama ranges), repeats, and tickets that mention
two queues. The same seed gives the same tickets on every machine.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from factory.sample_lexicon import (
    ABBREVIATIONS,
    FILLERS,
    FRAMES,
    GREETINGS,
    INSTRUCTION,
    INTENTS,
    MENTION_FRAMES,
    MENTIONS,
    OFF_TOPIC,
    PERSONAL,
    QUEUE_WEIGHTS,
    SIGNATURES,
    SLOTS,
    URGENCY,
)

EXACT_DUPLICATE_SHARE = 0.05
NEAR_DUPLICATE_SHARE = 0.08
TWO_ASKS_SHARE = 0.065
FIRST_CALL_AT = 1_790_000_000

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"[a-z]{5,}", re.IGNORECASE)
_REPEATABLE = 400


@dataclass(frozen=True)
class Ticket:
    """What the customer wrote, and the queue it belongs in."""

    text: str
    gold: str
    intent: str
    mentions: tuple[str, ...]


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
    """`count` calls in the order in which they came in; a longer run starts with the shorter one."""
    random = Random(seed)
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
    return -sum(d - 9 if d > 9 else d for d in doubled) % 10


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
    return ticket, "two_asks" if len(ticket.mentions) > 1 else "plain", None


def _write_ticket(random: Random) -> Ticket:
    queue, intent, ask = _ask(random)
    mentions: tuple[str, ...] = (queue,)
    if random.random() < TWO_ASKS_SHARE:
        other, _, aside = _ask(random)
        if other != queue:
            mentions = (queue, other)
            ask = _beside(ask, other, aside, random)
    return Ticket(_noisy(_assembled(ask, random), random), queue, intent, mentions)


def _beside(ask: str, other: str, aside: str, random: Random) -> str:
    """The ask in one ticket with another queue's business, told in full or mentioned in passing."""
    frames = FRAMES
    if random.random() < 0.5:
        frames, aside = MENTION_FRAMES, expand(MENTIONS[other], random)
    frame = expand(random.choice(frames), random)
    return frame.replace("{main}", ask).replace("{aside}", aside.rstrip("?"))


def _ask(random: Random) -> tuple[str, str, str]:
    """A queue, one of its intents, and a sentence for it."""
    (queue,) = random.choices(tuple(QUEUE_WEIGHTS), tuple(QUEUE_WEIGHTS.values()))
    intent = random.choice(tuple(INTENTS[queue]))
    return queue, intent, expand(random.choice(INTENTS[queue][intent]), random)


def _assembled(ask: str, random: Random) -> str:
    """The ask among the things people put around it: greeting, context, thanks, signature."""
    body = [ask]
    for phrases, share in ((FILLERS, 0.3), (PERSONAL, 0.22), (URGENCY, 0.3), (OFF_TOPIC, 0.07)):
        if random.random() < share:
            sentence = expand(random.choice(phrases), random)
            before = phrases is not OFF_TOPIC and random.random() < 0.4
            body.insert(0 if before else len(body), sentence)
    text = " ".join(_sentence(part, random) for part in body)
    if random.random() < 0.35:
        greeting = expand(GREETINGS[0], random)
        text = f"{greeting.capitalize()}{random.choice((' ', chr(10)))}{text}"
    if random.random() < 0.28:
        text = f"{text}{random.choice((' ', chr(10)))}{expand(random.choice(SIGNATURES), random)}"
    return text


def _sentence(part: str, random: Random) -> str:
    if random.random() < 0.75:
        part = part[0].upper() + part[1:]
    if part[-1] in ".!?":
        return part if random.random() < 0.8 else part[:-1]
    return part + random.choice((".", ".", ".", "", "!", ",", "..."))


def _noisy(text: str, random: Random) -> str:
    """The text as it left the keyboard: abbreviations, typos, no capitals, cut off."""
    if random.random() < 0.08:
        text = re.sub(
            r"[a-z]+",
            lambda word: (
                random.choice(ABBREVIATIONS[word[0]]) if word[0] in ABBREVIATIONS else word[0]
            ),
            text,
        )
    if random.random() < 0.12:
        for _ in range(random.randint(1, 3)):
            text = _with_typo(text, random)
    casing = random.random()
    if casing < 0.12:
        text = text.lower()
    elif casing < 0.13:
        text = text.upper()
    if random.random() < 0.03 and len(text) > 80:
        text = text[: -random.randint(3, 12)]
    return text


def _with_typo(text: str, random: Random) -> str:
    """Swap, drop, double or mistype one inner letter of one word; data such as e-mails stays."""
    words = [m for m in _WORD.finditer(text) if "@" not in text[m.start() - 1 : m.end() + 1]]
    if not words:
        return text
    word = random.choice(words)
    at = random.randrange(word.start() + 1, word.end() - 1)
    here, after = text[at], text[at + 1]
    typo = random.choice((after + here, after, here + here + after, random.choice("aeinrst") + after))
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
    if slot in SLOTS:
        return random.choice(SLOTS[slot])
    if slot in ("main", "aside"):
        return f"{{{slot}}}"
    return _DATA[slot](random)


def _name(random: Random) -> str:
    return f"{random.choice(SLOTS['first'])} {random.choice(SLOTS['last'])}"


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


_DATA = {
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
