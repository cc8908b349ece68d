"""Personal data and secrets out, typed placeholders in, before anything is written.

The same value gets the same placeholder within one call (`[EMAIL_1]` ... `[EMAIL_2]`), so a
redacted example still trains.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any


def luhn_valid(text: str) -> bool:
    """Check a card number's check digit (ISO/IEC 7812-1, annex B)."""
    digits = [int(char) for char in text if char.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban_valid(text: str) -> bool:
    """Check an IBAN's checksum (ISO 13616, mod 97)."""
    plain = re.sub(r"\s", "", text).upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def phone_valid(text: str) -> bool:
    """Tell a phone number from an order number: enough digits, written as people write phones."""
    digits = sum(char.isdigit() for char in text)
    return 8 <= digits <= 15 and (text.startswith(("+", "00", "(")) or bool(re.search(r"\d[ .-]", text)))


def always(_: str) -> bool:
    """Accept whatever the pattern found."""
    return True


# In this order: a key may hold digits that look like a phone, a card's digits like one too.
DETECTORS: list[tuple[str, re.Pattern[str], Callable[[str], bool]]] = [
    (
        "SECRET",
        re.compile(
            r"\b(?:sk|pk|rk|hf|ghp|gho|xox[abpr]|us)[-_][A-Za-z0-9_-]{16,}"
            r"|\bAKIA[0-9A-Z]{16}\b|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"
        ),
        always,
    ),
    ("EMAIL", re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+\b"), always),
    ("IBAN", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b"), iban_valid),
    ("CARD", re.compile(r"\b\d(?:[ -]?\d){12,18}\b"), luhn_valid),
    ("IP", re.compile(r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b"), always),
    ("PHONE", re.compile(r"(?:\+|\b00|\(|\b)\d[\d ().-]{6,18}\d\b"), phone_valid),
]


class Redactor:
    """Redacts the parts of one call consistently; `counts` says how many values of each type."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], str] = {}

    @property
    def counts(self) -> dict[str, int]:
        """Return how many distinct values of each type were taken out."""
        return dict(Counter(kind for kind, _ in self.seen))

    def text(self, text: str) -> str:
        """Return the text with each found value replaced by its placeholder."""
        for kind, pattern, valid in DETECTORS:
            text = pattern.sub(lambda m, k=kind, v=valid: self._placeholder(k, m[0], v), text)  # type: ignore[misc]
        return text

    def value(self, value: Any) -> Any:
        """Return any JSON value with all its strings redacted (keys stay: they are structure)."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in value.items()}
        return value

    def _placeholder(self, kind: str, found: str, valid: Callable[[str], bool]) -> str:
        if not valid(found):
            return found
        plain = re.sub(r"[\s-]", "", found).lower()
        if (kind, plain) not in self.seen:
            number = sum(known == kind for known, _ in self.seen) + 1
            self.seen[kind, plain] = f"[{kind}_{number}]"
        return self.seen[kind, plain]
