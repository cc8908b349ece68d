"""What varies in prompt_families_b.py: manuals, code, complaints, names, German and Japanese.

The manuals and the code are those of Python's standard library.
"""

import ast
import random
import re
import sysconfig
from datetime import date, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any


def _sources() -> list[tuple[str, ast.AST]]:
    folder = Path(sysconfig.get_path("stdlib"))
    files = [*sorted(folder.glob("*.py"))[::2], *sorted(folder.glob("email/*.py"))]
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    return [(text, ast.parse(text)) for text in texts]


def _split(sources: list[tuple[str, ast.AST]]) -> tuple[list[str], list[str]]:
    documents, functions = set(), set()
    for text, tree in sources:
        lines = text.splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                documents.add(ast.get_docstring(node) or "")
            if isinstance(node, ast.FunctionDef) and 4 <= (node.end_lineno or 0) - node.lineno < 40:
                functions.add(dedent("\n".join(lines[node.lineno - 1 : node.end_lineno])))
    return sorted(documents), sorted(functions)


DOCUMENTS, FUNCTIONS = _split(_sources())
PASSAGES = [" ".join(text.split()) for text in DOCUMENTS if 15 <= len(text.split()) <= 300]
SENTENCES = sorted(
    {
        sentence
        for passage in PASSAGES
        for sentence in re.split(r"(?<=[.!?]) ", passage)
        if 5 <= len(sentence.split()) <= 30
    }
)
WORDS = sorted({w for s in SENTENCES for w in re.findall(r"\b[a-z]{4,11}\b", s)})
LISTS = """\
Aoife, Birgit, Carlos, Dunja, Elif, Femi, Greta, Hiro, Ines, Jonas, Kwame, Lucia, Marek, Nadia
Abbott, Bauer, Conti, Dlamini, Ek, Fontaine, Gupta, Horvat, Ito, Jensen, Kaya, Lopez
Birch & Co, Pelikan, Mudlark, Orbit Sports, Casa Verde, Tinker Toys, Halden
Flex 5, Flex 20, Home Fibre 250, Home Fibre 1000, Business One
en-GB, en-US, de-DE, fr-FR, pt-BR, ja-JP, sv-SE
router, kettle, jacket, blender, headset, tent, lamp, drill, stroller, keyboard, bike, rucksack
arrived broken, never came, died after {n} days, has the wrong colour, is too loud, shows error {n}
I want my money back., Can you send another one?, What do I have to do now?, Kind regards, No rush.
I have been a customer since 20{n}., My order is {n}-{n}44., Please call me on {n}55 01{n}.
refund, exchange, delivery_status, invoice_copy, cancel, technical_issue, praise, other
explain, rewrite, shorten, check, improve, debug, critique, outline, expand
German, French, Spanish, Polish, Italian, Dutch, Brazilian Portuguese, Japanese, Korean, Turkish
Die Kundin, Der Kunde, Die Hausverwaltung, Der Vermieter, Das Büro
hat am Telefon erklärt, schreibt per E-Mail, bestreitet, bittet uns zu prüfen
dass falsch abgelesen wurde, ob Raten möglich sind, dass keine Rechnung kam, ob schon bezahlt wurde
田中さん, 営業部, 倉庫, 佐藤部長, 先方, 物流チーム, 経理, 大阪支店
納期, 見積もり, 請求書, サンプル, 契約書, 在庫, 会議, 仕様変更
が遅れてる, を確認してほしい, の件は明日まで, は無理そう, を送り直して, が足りない
full_name, e_mail, phone, years_of_experience, last_employer, skills
party_a, party_b, effective_date, term_months, governing_law, notice_period, penalty
merchant, total, currency, paid_at, vat, lines
"""
(
    PEOPLE, SURNAMES, SHOPS, PLANS, LOCALES, ITEMS, TROUBLES, WISHES, FACTS, INTENTS, VERBS,
    LANGUAGES, DE_WHO, DE_DID, DE_WHAT, JA_WHO, JA_WHAT, JA_DID, RESUME, CONTRACT, RECEIPT,
) = (line.split(", ") for line in LISTS.splitlines())  # fmt: skip


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    """Return one message."""
    return {"role": role, "content": content, **more}


def prose(draw: random.Random, least: int = 1, most: int = 4) -> str:
    """Draw sentences of manuals."""
    return " ".join(draw.sample(SENTENCES, draw.randint(least, most)))


def person(draw: random.Random) -> str:
    """Draw a name."""
    return f"{draw.choice(PEOPLE)} {draw.choice(SURNAMES)}"


def complaint(draw: random.Random) -> str:
    """Draw what a customer writes: often in the customer's own words, else with common parts."""
    if draw.random() < 0.4:
        return prose(draw, 1, 3)
    parts = [f"The {draw.choice(ITEMS)} from {draw.choice(SHOPS)} {draw.choice(TROUBLES)}."]
    parts += draw.sample(WISHES + FACTS, draw.randint(0, 3))
    if draw.random() < 0.6:
        parts.insert(draw.randrange(len(parts) + 1), prose(draw, 1, 2))
    return " ".join(parts).replace("{n}", str(draw.randint(11, 99)))


def moment(draw: random.Random) -> date:
    """Draw a day."""
    return date(2026, 2, 1) + timedelta(days=draw.randrange(200))


def ranked(draw: random.Random, things: list[str], count: int) -> list[str]:
    """Draw different things, the first ones more often."""
    chosen: dict[str, None] = {}
    while len(chosen) < count:
        chosen[things[min(int(draw.expovariate(12 / len(things))), len(things) - 1)]] = None
    return list(chosen)


def german(draw: random.Random) -> str:
    """Draw one to three German sentences."""
    count = draw.randint(1, 3)
    return " ".join(
        f"{draw.choice(DE_WHO)} {draw.choice(DE_DID)}, {draw.choice(DE_WHAT)} ({prose(draw, 0, 1)})"
        for _ in range(count)
    )


def japanese(draw: random.Random) -> str:
    """Draw two to five Japanese sentences."""
    count = draw.randint(2, 5)
    return "。".join(
        f"{draw.choice(JA_WHO)}から{draw.choice(JA_WHAT)}{draw.choice(JA_DID)}{draw.randint(2, 30)}"
        for _ in range(count)
    )
