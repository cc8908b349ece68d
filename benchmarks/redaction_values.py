"""National ids, keys and tokens for benchmarks/redaction.py, each after its published rule."""

import base64
import json
import random
import string
from collections.abc import Callable

DIGITS, ALPHANUMERIC = string.digits, string.ascii_letters + string.digits


def grouped(number: str, groups: tuple[int, ...] | list[int], separator: str) -> str:
    """Write a number in groups of these lengths."""
    parts, at = [], 0
    for length in groups:
        parts.append(number[at : at + length])
        at += length
    return separator.join(part for part in parts if part)


def birthday(r: random.Random) -> tuple[int, int, int]:
    """A date of birth."""
    return r.randint(1940, 2007), r.randint(1, 12), r.randint(1, 28)


def some(r: random.Random, count: int, of: str = DIGITS) -> str:
    """Random characters."""
    return "".join(r.choices(of, k=count))


def ssn(r: random.Random) -> str:
    """US Social Security number: no area 000, 666 or 900-999."""
    area = r.choice([n for n in range(1, 900) if n != 666])
    parts = f"{area:03d}", f"{r.randint(1, 99):02d}", f"{r.randint(1, 9999):04d}"
    return r.choice(["-", "-", " ", ""]).join(parts)


def nino(r: random.Random) -> str:
    """UK National Insurance number."""
    while (prefix := some(r, 1, "ABCEGHJKLMNOPRSTWXYZ") + some(r, 1, "ABCEGHJKLMNPRSTWXYZ")) in {
        "BG", "GB", "NK", "KN", "TN", "NT", "ZZ",
    }:  # fmt: skip
        continue
    number = prefix + some(r, 6) + r.choice("ABCD")
    return r.choice([number, grouped(number, (2, 2, 2, 2, 1), " ")])


def nhs(r: random.Random) -> str:
    """NHS number: weights 10 to 2, modulo 11."""
    while True:
        first = some(r, 9)
        check = -sum(int(d) * (10 - i) for i, d in enumerate(first)) % 11
        if check < 10 and first[0] in "4679":
            return r.choice([first + str(check), grouped(first + str(check), (3, 3, 4), " ")])


def steuer_id(r: random.Random) -> str:
    """German tax id: one digit twice among the first ten, ISO 7064 mod 11,10."""
    chosen = r.sample(DIGITS, 9)
    first = [*chosen, r.choice(chosen)]
    r.shuffle(first)
    while first[0] == "0":
        r.shuffle(first)
    product = 10
    for digit in first:
        total = (int(digit) + product) % 10 or 10
        product = 2 * total % 11
    number = "".join(first) + str((11 - product) % 10)
    return r.choice([number, grouped(number, (2, 3, 3, 3), " ")])


def nir(r: random.Random) -> str:
    """French social security number: sex, birth, place, order, key modulo 97."""
    year, month, _ = birthday(r)
    number = f"{r.choice('12')}{year % 100:02d}{month:02d}{r.randint(1, 95):02d}"
    number += f"{r.randint(1, 990):03d}{r.randint(1, 999):03d}"
    department = number[5:7]
    if department == "20":
        number = number[:5] + "75" + number[7:]
    whole = f"{number}{97 - int(number) % 97:02d}"
    return r.choice([whole, grouped(whole, (1, 2, 2, 2, 3, 3, 2), " ")])


def dni(r: random.Random) -> str:
    """Spanish national id: a letter modulo 23."""
    number = r.randint(1_000_000, 99_999_999)
    letter = "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23]
    return f"{number:08d}{r.choice(['', '', '-'])}{letter}"


def nie(r: random.Random) -> str:
    """Spanish foreigner's number."""
    prefix, number = r.randint(0, 2), r.randint(0, 9_999_999)
    letter = "TRWAGMYFPDXBNJZSQVHLCKE"[int(f"{prefix}{number:07d}") % 23]
    return f"{'XYZ'[prefix]}{number:07d}{letter}"


ODD = dict(zip(DIGITS + string.ascii_uppercase, (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8,
    12, 14, 16, 10, 22, 25, 24, 23,
), strict=True))  # fmt: skip


def codice_fiscale(r: random.Random) -> str:
    """Italian tax code: consonants, birth, commune, a check letter."""
    year, month, day = birthday(r)
    day += r.choice([0, 40])
    consonants = "BCDFGLMNPRSTVZ"
    first = some(r, 6, consonants) + f"{year % 100:02d}{'ABCDEHLMPRST'[month - 1]}{day:02d}"
    first += r.choice("ABCDEFGHILM") + f"{r.randint(1, 999):03d}"
    even = sum(int(c, 36) if c.isdigit() else ord(c) - 65 for c in first[1::2])
    return first + chr(65 + (sum(ODD[c] for c in first[::2]) + even) % 26)


def bsn(r: random.Random) -> str:
    """Dutch citizen's number: the eleven test with -1 last."""
    while True:
        first = some(r, 8)
        check = sum(int(d) * (9 - i) for i, d in enumerate(first)) % 11
        if check < 10 and int(first):
            return first + str(check)


def luhn_digit(number: str) -> str:
    """The Luhn digit that completes a number."""
    total = sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(reversed(number)))
    return str(-total % 10)


def personnummer(r: random.Random) -> str:
    """Swedish personal number: birth, serial, Luhn."""
    year, month, day = birthday(r)
    first = f"{year % 100:02d}{month:02d}{day:02d}{some(r, 3)}"
    tail = first[6:] + luhn_digit(first)
    century = r.choice(["", str(year // 100)])
    return century + first[:6] + r.choice(["-", "-", ""]) + tail


def pesel(r: random.Random) -> str:
    """Polish number: birth (2000s with month + 20), serial, weights 1 3 7 9."""
    year, month, day = birthday(r)
    first = f"{year % 100:02d}{month + (20 if year >= 2000 else 0):02d}{day:02d}{some(r, 4)}"
    weighted = (int(d) * int(w) for d, w in zip(first, "1379137913", strict=True))
    return first + str(-sum(weighted) % 10)


def cpf(r: random.Random) -> str:
    """Brazilian number: two digits modulo 11."""
    number = some(r, 9)
    for length in (10, 11):
        total = sum(int(d) * (length - i) for i, d in enumerate(number))
        number += str(total * 10 % 11 % 10)
    return r.choice([number, f"{number[:3]}.{number[3:6]}.{number[6:9]}-{number[9:]}"])


def verhoeff_digit(number: str) -> str:
    """The Verhoeff digit that completes a number (dihedral group of order 10)."""

    def product(a: int, b: int) -> int:
        if a < 5:
            return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
        return 5 + (a - b) % 5 if b < 5 else (a - b) % 5

    permutation, check = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4], 0
    for position, digit in enumerate(reversed(number), 1):
        value = int(digit)
        for _ in range(position % 8):
            value = permutation[value]
        check = product(check, value)
    return str(next(d for d in range(10) if product(check, d) == 0))


def aadhaar(r: random.Random) -> str:
    """Indian identity number: first digit 2 to 9, Verhoeff."""
    first = r.choice("23456789") + some(r, 10)
    number = first + verhoeff_digit(first)
    return grouped(number, (4, 4, 4), r.choice(["", " ", " "]))


def pan(r: random.Random) -> str:
    """Indian tax number; the fourth letter says whose (P: a person)."""
    return (
        some(r, 3, string.ascii_uppercase)
        + "P"
        + some(r, 1, string.ascii_uppercase)
        + (f"{r.randint(1, 9999):04d}" + some(r, 1, string.ascii_uppercase))
    )


NATIONAL_IDS: dict[str, Callable[[random.Random], str]] = {
    "US SSN": ssn, "UK NINO": nino, "UK NHS": nhs, "DE Steuer-ID": steuer_id, "FR NIR": nir,
    "ES DNI": dni, "ES NIE": nie, "IT codice fiscale": codice_fiscale, "NL BSN": bsn,
    "SE personnummer": personnummer, "PL PESEL": pesel, "BR CPF": cpf, "IN Aadhaar": aadhaar,
    "IN PAN": pan,
}  # fmt: skip

# Keys and tokens, after the vendors' published prefixes and lengths.


def encoded(r: random.Random, size: int) -> str:
    """Random bytes in base64."""
    return base64.b64encode(r.randbytes(size)).decode()


def url_encoded(r: random.Random, size: int) -> str:
    """Random bytes in base64url without padding."""
    return base64.urlsafe_b64encode(r.randbytes(size)).decode().rstrip("=")


def jwt(r: random.Random) -> str:
    """A JSON Web Token with a made-up signature."""
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": some(r, 8), "iat": 1_700_000_000}]
    said = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts]
    return ".".join([*said, url_encoded(r, 32)])


def private_key(r: random.Random) -> str:
    """A PEM block as `openssl` prints it."""
    name = r.choice(["RSA ", "EC ", "", "OPENSSH "])
    body = encoded(r, r.choice([121, 600]))
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN {name}PRIVATE KEY-----\n{lines}\n-----END {name}PRIVATE KEY-----"


def generic(r: random.Random) -> str:
    """A key of no known vendor: hexadecimal, alphanumeric or base64url."""
    made = [
        some(r, 32, "0123456789abcdef"),
        some(r, r.choice([24, 40]), ALPHANUMERIC),
        url_encoded(r, 30),
    ]
    return r.choice(made)


def slack(r: random.Random) -> str:
    """A bot's, a user's or an app's token."""
    bot = f"xox{r.choice('bp')}-{some(r, 12)}-{some(r, 12)}-{some(r, 24, ALPHANUMERIC)}"
    return r.choice([bot, f"xapp-1-A{some(r, 10)}-{some(r, 12)}-{some(r, 40, '0123456789abcdef')}"])


def github(r: random.Random) -> str:
    """A classic, an app's or a fine-grained token."""
    classic = f"gh{r.choice('posru')}_{some(r, 36, ALPHANUMERIC)}"
    return r.choice(
        [classic, f"github_pat_{some(r, 22, ALPHANUMERIC)}_{some(r, 59, ALPHANUMERIC)}"]
    )


def openai(r: random.Random) -> str:
    """An old or a project's key."""
    return r.choice(["sk-" + some(r, 48, ALPHANUMERIC), "sk-proj-" + url_encoded(r, 96)])


SECRETS: dict[str, Callable[[random.Random], str]] = {
    "openai": openai,
    "anthropic": lambda r: "sk-ant-api03-" + url_encoded(r, 70) + "AA",
    "github": github,
    "gitlab": lambda r: "glpat-" + some(r, 20, ALPHANUMERIC + "-_"),
    "slack": slack,
    "stripe": lambda r: r.choice(["sk_live_", "rk_live_", "sk_test_"]) + some(r, 24, ALPHANUMERIC),
    "aws_id": lambda r: r.choice(["AKIA", "ASIA"]) + some(r, 16, string.ascii_uppercase + "234567"),
    "aws_secret": lambda r: encoded(r, 30),
    "google": lambda r: "AIza" + some(r, 35, ALPHANUMERIC + "-_"),
    "huggingface": lambda r: "hf_" + some(r, 34, string.ascii_letters),
    "bearer": lambda r: url_encoded(r, 24),
    "jwt": jwt,
    "private_key": private_key,
    "password": lambda r: some(r, r.randint(8, 20), ALPHANUMERIC + "!$*-_"),
    "azure": lambda r: encoded(r, 64),
    "azure_bus": lambda r: encoded(r, 32),
    "generic": generic,
}  # fmt: skip
