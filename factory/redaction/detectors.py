"""How personal data looks, kind by kind, and the checks that tell it from what looks alike."""

import ipaddress
import re
import string

from stdnum import iban, luhn

from factory.redaction.candidates import NUMBER_END, NUMBER_START, START, Candidate, Detector
from factory.redaction.credentials import CREDENTIALS
from factory.redaction.labels import (
    is_called_other,
    is_called_phone,
    is_called_version,
    is_dialled,
    is_money,
)
from factory.redaction.national_ids import NATIONAL_IDS, NationalId

# Numbers with check digits.

CARD_NETWORKS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}"
    r"|35\d{14,17}|6\d{15,18}|5[0678]\d{14,17}|8[12]\d{14}|9792\d{12}"
)


def luhn_valid(text: str) -> bool:
    """Check a card number's network, length and check digit (ISO/IEC 7812-1, annex B)."""
    digits = re.sub(r"\D", "", text)
    return CARD_NETWORKS.fullmatch(digits) is not None and luhn.is_valid(digits)


def iban_valid(text: str) -> bool:
    """Check an IBAN's checksum and its country's form (ISO 13616)."""
    plain = re.sub("[ -]", "", text.upper())
    sums = int((plain[4:] + plain[:4]).translate(IBAN_DIGITS)) % 97 == 1
    return sums and iban.is_valid(plain, check_country=False)


IBAN_DIGITS = {ord(letter): str(int(letter, 36)) for letter in string.ascii_uppercase}


def account(candidate: Candidate) -> bool:
    """Hold of an IBAN."""
    return iban_valid(candidate.value)


def card(candidate: Candidate) -> bool:
    """Hold of a card number, unless an unbroken one is called something else."""
    return luhn_valid(candidate.value) and not is_plain_other(candidate)


def is_plain_other(candidate: Candidate) -> bool:
    """Tell unbroken digits that are called something else; grouped ones say what they are."""
    return candidate.value.isdigit() and is_called_other(candidate.before)


def national_id(candidate: Candidate) -> bool:
    """Hold of a number that is valid in one of its forms and is not called something else."""
    value, before = candidate.value, candidate.before
    rows = [row for row, form in FORMS if form.fullmatch(value) and row.valid(value)]
    if not rows or any(map(str.isalpha, value)):
        return bool(rows)
    if is_plain_other(candidate) or is_money(before, candidate.after) or is_dialled(before):
        return False
    return any(is_meant(row, candidate) for row in rows)


def is_meant(row: NationalId, candidate: Candidate) -> bool:
    """Tell whether valid digits are this id: its topic decides, else that nobody says phone."""
    if row.topic:
        topics = candidate.topics.of_text if row.near else candidate.topics.of_call
        return row.topic in topics
    return not is_called_phone(candidate.before)


FORMS = [(row, re.compile(row.written, re.IGNORECASE)) for row in NATIONAL_IDS]
NATIONAL_ID = re.compile(
    NUMBER_START + "(?:" + "|".join(dict.fromkeys(row.written for row in NATIONAL_IDS)) + ")"
    + NUMBER_END,
    re.IGNORECASE,
)  # fmt: skip


# Addresses on the net.


def ip_valid(text: str) -> bool:
    """Check an address of either family; a bare `::` is C++, not an address."""
    try:
        return bool(int(ipaddress.ip_address(text)))
    except ValueError:
        return False


def ip(candidate: Candidate) -> bool:
    """Hold of an address that is not called a version."""
    return ip_valid(candidate.value) and not is_called_version(candidate.before)


# Phones.

DATE = re.compile(
    r"(?:\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)\d\d|(?:19|20)\d\d[-./ ]?\d\d[-./ ]?\d\d)(?!\d)"
)
GAP = r"[ \u00a0.\-\u2011\u2013/]"
EXTENSION = r"(?:\s?(?:x|ext\.?|\#)\s?\d{1,6})?"
SHAPES = rf"""(?:
    \+\d{{8,15}}(?![\d(]|{GAP}[\d(])
    |(?:\+|00(?=[1-9]))\s?\(?\d[\d ()\u00a0.\-/]{{5,19}}\d               # international
    |\(0?\d{{2,5}}\){GAP}{{0,2}}\d{{2,5}}(?:{GAP}?\d{{2,5}}){{1,3}}      # area in brackets
    |0[1-9]\d{{0,4}}[ ()./\u00a0-]{{1,3}}\d[\d .\u00a0-]{{3,12}}\d       # area after a 0
    |0[1-9]\d{{7,9}}
    |(?:1{GAP})?\d{{3}}(?P<a>[ .-])\d{{3}}(?P=a)\d{{4}}(?!(?P=a)\d)  # North America, Italy
    |[4-9]\d\d(?P<b>[ -])\d{{3}}(?P=b)\d{{3}}(?!(?P=b)\d)            # Spain, Poland
    |[5-9]\d\d(?P<c>[ -])\d\d(?P=c)\d\d(?P=c)\d\d(?!(?P=c)\d)
    |[1-9]\d[ ]\d{{3}}[ ]\d\d[ ]\d\d
    |[6-9]\d{{4}}[ -]\d{{5}}                                             # India
    |[1-9]\d[ ]9?\d{{4}}-\d{{4}}                                         # Brazil
    |3\d\d[ .-]\d{{6,7}}                                                 # Italy
    )"""
PHONE = re.compile(rf"(?x:{NUMBER_START}{SHAPES}){EXTENSION}(?!\w|[.-]\w)")
LABELLED_PHONE = re.compile(rf"{NUMBER_START}\(?\d(?:[ ()\u00a0./-]{{0,2}}\d){{6,14}}\b")


def digits_of(text: str) -> int:
    """Count a text's digits, without an extension's."""
    return sum(map(str.isdigit, re.split(r"[x#e]", text)[0]))


def phone(candidate: Candidate) -> bool:
    """Hold of a number written as phones are that is no date and not called something else."""
    value, before = candidate.value, candidate.before
    if value[0] == "+":
        return 8 <= digits_of(value) <= 16 and not is_money("", candidate.after)
    least, most = (11, 17) if value.startswith("00") else (8, 12)
    if not least <= digits_of(value) <= most or DATE.match(value):
        return False
    other = value[0] != "(" and is_called_other(before)
    return not other and not is_money(before, candidate.after)


def labelled_phone(candidate: Candidate) -> bool:
    """Hold of any number that is called a phone's."""
    value, before = candidate.value, candidate.before
    if digits_of(value) < 7 or DATE.match(value):
        return False
    return not is_called_other(before) and not is_money(before, candidate.after)


EMAIL = re.compile(
    START + r"[^\W_][\w.+'%&~-]{0,100}@(?!\d{1,2}x\.)[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}"
    r"\.(?:xn--[\w-]{1,59}|[^\W\d_]{2,24})\b"
)


def email(candidate: Candidate) -> bool:
    """Hold of every address but the one by which git is spoken to over ssh."""
    return not (candidate.value.lower().startswith("git@") and candidate.after[:1] == ":")


IBAN = re.compile(
    rf"(?i){START}[A-Z]{{2}}\d\d(?:[ -]?[A-Z0-9]{{4}}){{2,7}}(?:[ -]?[A-Z0-9]{{1,3}})?\b"
)
# In fours, as American Express and Diners group theirs, or unbroken.
CARD = re.compile(
    rf"{NUMBER_START}(?:\d{{4}}(?:[ \u00a0.-]\d{{4}}){{3}}(?:[ -]\d{{1,3}})?"
    r"|\d{4}[ \u00a0-]\d{6}[ \u00a0-]\d{4,5}|\d{13,19})\b"
)
IPV4 = re.compile(r"(?:(?<![\w.\\])|(?<=\\[nrt]))\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
# Whole, or shortened after a first group that only an address has (`a::b` is C++).
IPV6 = re.compile(
    r"(?i)(?:(?<![\w:\\])|(?<=\\[nrt]))(?:(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}"
    r"|(?:[23][0-9a-f]{3}|f[cdef][0-9a-f]{2}|64(?=:ff9b))(?::[0-9a-f]{0,4}){1,7}"
    r"|::ffff:\d{1,3}(?:\.\d{1,3}){3})(?![\w:])"
)
DIGITS_7 = r"(?:[0-9][ \x{a0}./()\x{2011}\x{2013}-]{0,3}){6}[0-9]"
DIGITS_8 = r"(?:[0-9][ .+-]?){7}[0-9]"
ID_LETTERS = (
    r"[XYZ][ -]?[0-9]{7}|[A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b"
    r"|[A-Z]{5}[0-9]{4}[A-Z]\b|[A-Z]{6}[0-9L-V]{2}[A-EHLMPR-T][0-9L-V]{2}"
)
# Where a number may begin at all, `NUMBER_START` in RE2's syntax: not inside an id like `msg_0123`.
NUMBER = rf"(?:^|[^\w.+\\-]|\\[nrt])(?:[+(\pN]|{ID_LETTERS})"

# In this order: a key may hold digits that look like a card, a card's digits like a phone.
DETECTORS = [
    *CREDENTIALS,
    Detector("EMAIL", r"\S@\S+", EMAIL, email, reach=110),
    Detector("IBAN", r"(?i)[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11}", IBAN, account),
    Detector("CARD", r"[0-9](?:[ \x{a0}.-]?[0-9]){12}", CARD, card, is_number=True),
    Detector(
        "NATIONAL_ID", rf"(?i){DIGITS_8}|{ID_LETTERS}", NATIONAL_ID, national_id, is_number=True
    ),
    Detector("IP", r"::|(?:[0-9A-Fa-f]{1,4}:){4}", IPV6, ip),
    Detector("IP", r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]", IPV4, ip),
    Detector("PHONE", DIGITS_7, PHONE, phone, is_number=True),
    Detector(
        "PHONE", DIGITS_7, LABELLED_PHONE, labelled_phone, follows=is_called_phone, is_number=True
    ),
]
KINDS = tuple(dict.fromkeys(detector.kind for detector in DETECTORS))
TOPICS = tuple(dict.fromkeys(row.topic for row in NATIONAL_IDS if row.topic))
