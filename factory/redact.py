"""Personal data and secrets out, typed placeholders in, before anything is written.

The same value gets the same placeholder within one call (`[EMAIL_1]` ... `[EMAIL_2]`), so a
redacted example still trains. Names and postal addresses are not found: they have no fixed form.
"""

import ipaddress
import re
import string
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple


def luhn_valid(text: str) -> bool:
    """Check a card number's check digit (ISO/IEC 7812-1, annex B)."""
    digits = [int(char) for char in text if char.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban_valid(text: str) -> bool:
    """Check an IBAN's checksum (ISO 13616, mod 97)."""
    plain = text.replace(" ", "")
    return 15 <= len(plain) <= 34 and int((plain[4:] + plain[:4]).translate(IBAN_DIGITS)) % 97 == 1


def ip_valid(text: str) -> bool:
    """Check an address of either family; a bare `::` is C++, not an address."""
    try:
        return bool(int(ipaddress.ip_address(text)))
    except ValueError:
        return False


def phone_valid(text: str) -> bool:
    """Tell a phone number from a date or an amount: enough digits, and not a date first."""
    digits = sum(char.isdigit() for char in text)
    return 9 <= digits <= 15 and DATE.match(text) is None


IBAN_DIGITS = {ord(letter): str(int(letter, 36)) for letter in string.ascii_uppercase}
PLACEHOLDER = re.compile(r"\[[A-Z]+_\d+\]")
TELLTALE = re.compile(r"[\d@]")  # what is looked for holds one of these; most texts do not
DATE = re.compile(
    r"(?:\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)\d\d|(?:19|20)\d\d[-./ ]\d\d[-./ ]\d\d)\b"
)
SECRET = re.compile(
    r"\bsk-[\w-]{20,}"  # OpenAI, Anthropic and those who copied them
    r"|\b[spr]k_(?:live|test)_\w{16,}"  # Stripe
    r"|\b(?:us|hf|gh[opsru]|github_pat)_\w{30,}"  # Understudy, Hugging Face, GitHub
    r"|\bxox[abeprs]-[\w-]{16,}|\bAIza[\w-]{35}|\bA[KS]IA[0-9A-Z]{16}\b"  # Slack, Google, AWS
    r"|(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"  # JSON Web Tokens
    r"|-----BEGIN [A-Z ]{0,24}PRIVATE KEY-----[^-]*"
)
EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+\b")
IBAN = re.compile(r"\b[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
# In fours, as American Express and Diners group theirs, or unbroken.
CARD = re.compile(
    r"(?<![\w.])(?:\d{4}(?:[ -]\d{4}){3}(?:[ -]\d{1,3})?|\d{4}[ -]\d{6}[ -]\d{4,5}|\d{13,19})\b"
)
IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
IPV6 = re.compile(r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
# International (+, 00), with an area code in brackets or after a 0, or in groups of 3-3-4.
PHONE = re.compile(
    r"(?<![\w.+-])"
    r"(?:\+|00(?=[1-9])|\(|(?=0[1-9]\d{0,4}[ ()./-])|(?=(?:1[ .-])?\d{3}[ .-]\d{3}[ .-]\d{4}\b))"
    r"\d(?:\d{0,5}/\d)?[\d ().-]{5,18}\d\b"
)


class Detector(NamedTuple):
    """What a kind of value looks like, and the check that a find must pass."""

    kind: str
    pattern: re.Pattern[str]
    valid: Callable[[str], bool]


# In this order: a key may hold digits that look like a card, a card's digits like a phone.
DETECTORS = [
    Detector("SECRET", SECRET, bool),
    Detector("EMAIL", EMAIL, bool),
    Detector("IBAN", IBAN, iban_valid),
    Detector("CARD", CARD, luhn_valid),
    Detector("IP", IPV4, ip_valid),
    Detector("IP", IPV6, ip_valid),
    Detector("PHONE", PHONE, phone_valid),
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
        if TELLTALE.search(text) is None:
            return text
        for detector in DETECTORS:
            text = self._replace(detector, text)
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

    def _replace(self, detector: Detector, text: str) -> str:
        parts: list[str] = []
        done = at = 0
        while match := detector.pattern.search(text, at):
            found = _longest_valid(match[0], detector.valid)
            if found:
                parts += [text[done : match.start()], self._placeholder(detector.kind, found)]
                done = at = match.start() + len(found)
            else:
                at = match.start() + 1
        return "".join([*parts, text[done:]])

    def _placeholder(self, kind: str, found: str) -> str:
        same = kind, (re.sub(r"[\s().-]", "", found) if kind in NUMBERS else found).lower()
        if same not in self.seen:
            number = sum(known == kind for known, _ in self.seen) + 1
            self.seen[same] = f"[{kind}_{number}]"
        return self.seen[same]


NUMBERS = {"IBAN", "CARD", "PHONE"}  # the same however they are grouped


def _longest_valid(found: str, valid: Callable[[str], bool]) -> str:
    # What follows a number after a space may have been taken for a part of it (a card's CVV).
    while found and not valid(found):
        found = found.rpartition(" ")[0]
    return found
