"""Redaction on 5,000 labelled texts of 11 locales: recall, precision, throughput.

python benchmarks/redaction.py [--texts 5000] [--seed 7] [--presidio 1000] [--show 0]

Recall: labelled spans that a find of their kind covers. Precision: finds that overlap a labelled
span of their kind. Both are read off the redacted text, as it is stored. With --presidio N the
first N texts also go through presidio-analyzer's pattern recognizers (no language model), in an
environment of its own, counted the same way.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from machine import machine
from redaction_texts import LOCALES, Text, texts
from rivals import environment

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from factory.redaction.redact import NUMBERS, PLACEHOLDER, Redactor, parts_of  # noqa: E402 - after the path

PRESIDIO = "presidio-analyzer==2.2.366"
RIVAL = Path(__file__).with_name("redaction_presidio.py")
GOALS = {"recall": 0.99, "precision": 0.95}
PLAIN = (  # what most calls are: an instruction and a question, with nothing to find in them
    "You are a support assistant of an online shop. Classify the customer's message into one of: "
    "refund, delivery, complaint, account, other. Answer with the label only, in lower case. "
    "If two labels fit, choose the first. Do not explain. Examples: 'where is my parcel' is "
    "delivery; 'I was charged 2 times' is refund; 'the token expired' is account.\n"
    "Message: I bought 3 shirts in May 2024 for 59.90 EUR and only 2 came, size 42 is missing. "
) * 2

Find = tuple[int, int, str]


def main() -> None:
    """Measure and print; exit 0 when it could be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--presidio", type=int, default=0, metavar="N")
    parser.add_argument("--show", type=int, default=0, help="print so many misses and wrong finds")
    arguments = parser.parse_args()
    labelled = texts(arguments.texts, arguments.seed)
    print(f"{machine()}; {len(labelled)} texts, {len(LOCALES)} locales, seed {arguments.seed}\n")
    score = Score(labelled, [found_by_us(text.text) for text in labelled])
    score.print_tables()
    score.print_examples(arguments.show)
    if arguments.presidio:
        print_presidio(labelled[: arguments.presidio])
    print_throughput([text.text for text in labelled])
    for name, value in [("recall", score.recall()), ("precision", score.precision())]:
        met = "met" if value >= GOALS[name] else "short"
        print(f"redaction-{name} {value:.4f} goal {GOALS[name]} {met}")


def found_by_us(text: str) -> list[Find]:
    """Read the finds off the redacted text: what its placeholders stand for in the original."""
    redactor = Redactor()
    redacted = redactor.text(text)
    stands_for = {placeholder: same for (_, same), placeholder in redactor.seen.items()}
    placeholders, kept = PLACEHOLDER.findall(redacted), PLACEHOLDER.split(redacted)
    kinds = [parts_of(placeholder)[0] for placeholder in placeholders]
    pattern = literal(kept[0])
    for placeholder, kind, after in zip(placeholders, kinds, kept[1:], strict=True):
        # The redactor knows a value without its case and a number without its separators.
        between = r"[\W_]*?" if kind in NUMBERS else ""
        value = between.join(["", *map(re.escape, stands_for[placeholder])])
        pattern += f"({value})" + literal(after)
    aligned = re.fullmatch(pattern, text, re.DOTALL | re.IGNORECASE)
    if aligned is None:
        sys.exit(f"the redacted text is not the original with finds replaced:\n{text}\n{redacted}")
    return [(*aligned.span(number), kind) for number, kind in enumerate(kinds, 1)]


def literal(text: str) -> str:
    """Return a pattern for a text, where a number that became a string has got its quotes."""
    return re.sub('^"|"$', '"?', re.escape(text))


class Score:
    """Counts labelled spans and finds by type and by locale."""

    def __init__(
        self, labelled: list[Text], found: list[list[Find]], kinds: Iterable[str] = ()
    ) -> None:
        self.gold: Counter[tuple[str, str]] = Counter()
        self.hit: Counter[tuple[str, str]] = Counter()
        self.finds: Counter[tuple[str, str]] = Counter()
        self.right: Counter[tuple[str, str]] = Counter()
        self.examples: list[str] = []
        only = set(kinds)
        for text, finds in zip(labelled, found, strict=True):
            self._count(text, [find for find in finds if not only or find[2] in only], only)

    def _count(self, text: Text, finds: list[Find], only: set[str]) -> None:
        where = f"{text.locale} {text.form}"
        for start, end, kind, reported in text.spans:
            if only and kind not in only:
                continue
            covered = any(s <= start and end <= e and k == kind for s, e, k in finds)
            self.gold.update(_keys(reported, text.locale))
            self.hit.update(_keys(reported, text.locale) if covered else [])
            if not covered:
                said = text.text[max(0, start - 40) : end + 20]
                self.examples.append(
                    f"missed {reported} {text.text[start:end]!r} {where}: {said!r}"
                )
        for start, end, kind in finds:
            right = any(s < end and start < e and k == kind for s, e, k, _ in text.spans)
            self.finds.update(_keys(kind, text.locale))
            self.right.update(_keys(kind, text.locale) if right else [])
            if not right:
                said = text.text[max(0, start - 40) : end + 20]
                self.examples.append(f"wrong {kind} {where}: {said!r}")

    def recall(self, by: str = "all", name: str = "") -> float:
        """Return the share of labelled spans that were found."""
        return self.hit[by, name] / max(1, self.gold[by, name])

    def precision(self, by: str = "all", name: str = "") -> float:
        """Return the share of finds that were labelled."""
        return self.right[by, name] / max(1, self.finds[by, name])

    def print_tables(self) -> None:
        """Print recall and precision by type, by locale and over all."""
        print(f"{'':22}{'labelled':>9}{'recall':>9}{'finds':>9}{'precision':>11}")
        names = sorted({name for by, name in self.gold | self.finds if by == "type"})
        kinds = [name for name in names if " " not in name or self.finds["type", name]]
        rows = [("type", name) for name in [*kinds, *(n for n in names if n not in kinds)]]
        rows += [("locale", locale) for locale in LOCALES] + [("all", "")]
        for by, name in rows:
            gold, finds = self.gold[by, name], self.finds[by, name]
            recall = f"{self.recall(by, name):9.4f}" if gold else f"{'':9}"
            precision = f"{finds:9}{self.precision(by, name):11.4f}" if finds else ""
            print(f"{name or 'all':22}{gold or '':>9}{recall}{precision}")
        print()

    def print_examples(self, count: int) -> None:
        """Print what went wrong."""
        for example in self.examples[:count]:
            print(example)


def _keys(reported: str, locale: str) -> list[tuple[str, str]]:
    return [("type", reported), ("locale", locale), ("all", "")]


def print_presidio(labelled: list[Text]) -> None:
    """Run the rival on the same texts and print both, over the kinds that it has."""
    given = "\n".join(json.dumps(text.text) for text in labelled)
    ran = subprocess.run(
        [str(environment(PRESIDIO)), str(RIVAL)],
        input=given, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *lines, last = ran.stdout.splitlines()
    scored = [json.loads(line) for line in lines]
    rows = {"ours": [found_by_us(text.text) for text in labelled]}
    for least in (0.0, 0.4):  # its default, which keeps every guess, and a usual threshold
        rows[f"presidio, score {least}"] = [
            [(start, end, kind) for start, end, kind, score in finds if score >= least]
            for finds in scored
        ]
    print(f"{len(labelled)} texts, the kinds that presidio's patterns have ({PRESIDIO})")
    print(f"{'':22}{'recall':>9}{'precision':>11}")
    for name, found in rows.items():
        score = Score(labelled, found, ["EMAIL", "PHONE", "CARD", "IBAN", "IP", "NATIONAL_ID"])
        print(f"{name:22}{score.recall():9.4f}{score.precision():11.4f}")
    print(f"presidio: {len(labelled) / float(last):.0f} texts/s\n")


def print_throughput(given: list[str]) -> None:
    """Print how much of these texts, and of ordinary ones, is redacted in a second."""
    seconds = best_of(3, lambda: [Redactor().text(text) for text in given])
    size = sum(len(text.encode()) for text in given) / 1e6
    print(f"labelled texts: {len(given) / seconds:,.0f} texts/s, {size / seconds:.2f} MB/s")
    each = best_of(5, lambda: [Redactor().text(PLAIN) for _ in range(200)]) / 200
    print(f"ordinary text of {len(PLAIN)} characters without finds: {each * 1e6:.0f} us")


def best_of(times: int, work: Callable[[], object]) -> float:
    """Return the least seconds of one core that some work took."""
    taken = []
    for _ in range(times):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


if __name__ == "__main__":
    main()
