"""How keys, tokens and passwords look, and what tells them from words."""

import math
import re
from collections import Counter
from itertools import pairwise

from factory.redaction.candidates import START, Candidate, Detector

TOKEN = re.compile(
    START + r"""(?:
    sk-[\w-]{20,200}                          # OpenAI, Anthropic and those who copied them
    |[spr]k_(?:live|test)_\w{16,200}|whsec_[\w+/=]{24,100}             # Stripe
    |(?:us|hf|npm|gsk|r8|dop_v1|shp(?:at|ss|ca|pa)|lin_api|gh[opsru]|github_pat)_\w{30,255}
    |(?:glpat|gldt|glrt|glptt|glcbt|glsoat|pplx|xai|ya29\.|GOCSPX)-?[\w.-]{20,255}
    |xox[abeoprs]-[\w-]{10,255}|xapp-[\w-]{20,255}|T\w{8,12}/B\w{8,12}/\w{20,30}   # Slack
    |AIza[\w-]{35}|A(?:KI|SI)A[0-9A-Z]{16}\b                           # Google, AWS
    |SG\.[\w-]{16,32}\.[\w-]{30,60}|SK[0-9a-f]{32}\b              # SendGrid, Twilio
    |dapi[0-9a-f]{32}                                                  # Databricks
    |pypi-AgE[\w-]{50,255}|\d{8,10}:AA[\w-]{33}                        # PyPI, Telegram
    |(?<!-)eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]{8,}+                         # JSON Web Tokens
    )""",
    re.VERBOSE,
)  # fmt: skip
PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,24}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:[^-]|-(?!----)){0,20000}+-----END [A-Z ]{0,24}PRIVATE KEY(?: BLOCK)?-----"
    r"|(?:(?:\s|\\[rn])*+[A-Za-z0-9+/=]{16,100}+)*+)"  # cut off: only what looks like its lines
)
CREDENTIAL_NAME = (
    r"(?:(?:api|access|secret|private|auth|encryption|signing|master|account|storage|shared|client"
    r"|subscription|consumer|webhook|service|app|admin|license|deploy)[ _-]?(?:key|secret|token)"
    r"|token|secret|passw(?:or)?d|passphrase|pwd|credentials?)"
)
LINK = r"""(?:['"\\]{1,2}\]?)?\s{0,4}(?::=?|=>?|\bis\b)\s{0,4}['"\\]{0,2}"""
ASSIGNED = re.compile(
    rf"(?i){CREDENTIAL_NAME}(?:[_-]\w{{1,20}}|s|\d{{1,3}})?{LINK}"
    r"(?:(?:Bearer|Basic|Token)\s)?(?P<value>[^\s\"'\\,;<>\[\]{}()&|`]{6,512})(?![(\[])"
)
AUTHORIZATION = re.compile(
    r"(?i)\b(?:bearer|basic|authorization: token) (?P<value>[\w.~+/=-]{12,4000})"
)
AWS_SECRET = re.compile(
    r"A[KS]IA[0-9A-Z]{16}[\s,:;\"'|]{1,6}(?P<value>[A-Za-z0-9+/]{40})(?![\w+/=])"
)
URL_PASSWORD = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@\"'<>]{0,64}:"
    r"(?P<value>[^\s/\"'\[<{][^\s/\"'<>]{0,127})@"
)
REFERENCE = re.compile(  # code or a template that names the secret without holding it
    r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+$|\$[{(]|\$[A-Z_]+$|%[({]|[*xX.•…]+$|\[|<"
)


def always(_: Candidate) -> bool:
    """Hold of every find: its form says it all."""
    return True


def token(candidate: Candidate) -> bool:
    """Tell a token from words with hyphens or underscores."""
    value = candidate.value
    return any(map(str.isdigit, value)) or value.isupper() or case_changes(value) >= 5


def entropy(text: str) -> float:
    """Return a text's Shannon entropy in bits per character."""
    shares = (times / len(text) for times in Counter(text).values())
    return -sum(share * math.log2(share) for share in shares)


def case_changes(text: str) -> int:
    """Count how often letters side by side differ in case: at every second of random letters."""
    return sum(a.isupper() != b.isupper() for a, b in pairwise(text) if a.isalpha() and b.isalpha())


def looks_random(text: str) -> bool:
    """Tell a generated key from words, a number or a path."""
    if len(text) < 16 or entropy(text) < 2.8:
        return False
    classes = [str.islower, str.isupper, str.isdigit]
    kinds = sum(any(map(of_class, text)) for of_class in classes)
    words = re.split(r"[^A-Za-z0-9]", text)
    return (
        (kinds == 3 and entropy(text) > 3.3)
        or case_changes(text) > len(text) / 3
        or any(len(word) >= 10 and not word.isdigit() and not word.isalpha() for word in words)
    )


def secret_value(candidate: Candidate) -> bool:
    """Hold of what stands after a secret's name and is not a word, a number or a reference."""
    value = candidate.value.rstrip(".!?")
    if REFERENCE.match(value) or value.isdigit():
        return False
    if re.search(r"(?i)(?:passw|passphrase|pwd)", candidate.before):
        return not value.isalpha() and any(map(str.isalnum, value))
    return looks_random(value)


def url_password(candidate: Candidate) -> bool:
    """Hold of a password in a URL that is not a variable's name."""
    return REFERENCE.match(candidate.value) is None


NAMED = rf"(?i){CREDENTIAL_NAME}[^\s:=]*\s*(?::|=|is\b)\s*\S*"
CREDENTIALS = [
    Detector("SECRET", r"(?s)-----BEGIN.*", PRIVATE_KEY, always),
    Detector("SECRET", r"A[KS]IA[0-9A-Z]{16}", AWS_SECRET, token, reach=60),
    Detector(
        "SECRET",
        r"(?:sk-|k_(?:live|test)_|whsec_|(?:us|hf|npm|gsk|r8|v1|shp..|api|gh.|pat)_\w{22}"
        r"|gl\w{2,4}-|pplx-|xai-|ya29\.|GOCSPX|xox.-|xapp-|T\w{8,12}/B|AIza|A[KS]IA|SG\.|SK[0-9a-f]{32}"
        r"|dapi[0-9a-f]{32}|pypi-|:AA[\w-]{33}|eyJ)[\w./+=-]*",
        TOKEN,
        token,
    ),
    Detector("SECRET", NAMED, ASSIGNED, secret_value),
    Detector("SECRET", r"(?i)(?:bearer|basic|token) [\w.~+/=-]{12,}", AUTHORIZATION, token),
    Detector("SECRET", r"://[^\s/@]*:[^\s/]+@", URL_PASSWORD, url_password, reach=100),
]
