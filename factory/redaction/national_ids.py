"""National identity, tax and health numbers: how each is written, and its check digits."""

from collections.abc import Callable
from typing import NamedTuple

from stdnum.br import cpf
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.in_ import aadhaar, pan
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.se import personnummer
from stdnum.us import ssn


class NationalId(NamedTuple):
    """One way in which a number is written.

    `topic` is for what any number could be: it counts only where the text speaks of it. `near`
    wants that just before the number, as no check digit tells it from another.
    """

    name: str
    written: str
    valid: Callable[[str], bool]
    topic: str = ""
    near: bool = False


def nino_valid(text: str) -> bool:
    """Check a UK National Insurance number's prefix (HMRC, NIM39110); it has no check digit."""
    return text[:2].upper() not in {"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"}


def ssn_valid(text: str) -> bool:
    """Check a US Social Security number's parts: some are never issued, none is checked."""
    return ssn.is_valid(text.replace(" ", "-"))


SSN, NHS, BSN = r"ssn|social.sec", r"\bnhs\b|nhs.n", r"\bbsn|burgerservice|sofi.?nummer"
PNR, UID = r"person.?n|\bpnr\b|personal.(?:id|num)|p\wrsonligt", r"aadha+r|uidai|\buid\b"

TAX_CODE = r"[A-Z]{6}[\dL-NP-V]{2}[A-EHLMPR-T][\dL-NP-V]{2}[A-Z][\dL-NP-V]{3}[A-Z]"
NINO = (
    r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?P<nino> ?)\d\d(?P=nino)\d\d(?P=nino)\d\d(?P=nino)[A-D]"
)
FOURS = r"[2-9]\d{3}(?P<gap>[ -])\d{4}(?P=gap)\d{4}(?!(?P=gap)\d{4})"

# Longer forms before shorter ones that they begin with.
NATIONAL_IDS = [
    NationalId("FR NIR", r"[1-478] \d\d \d\d \d[\dAB] \d{3} \d{3} \d\d", nir.is_valid),
    NationalId("FR NIR", r"[1-478]\d{5}[\dAB]\d{8}", nir.is_valid),
    NationalId("IT codice fiscale", TAX_CODE, codicefiscale.is_valid),
    NationalId("SE personnummer", r"(?:19|20)?\d{6}[-+]\d{4}", personnummer.is_valid),
    NationalId("SE personnummer", r"(?:19|20)?\d{10}", personnummer.is_valid, PNR),
    NationalId("DE Steuer-ID", r"[1-9]\d \d{3} \d{3} \d{3}|[1-9]\d{10}", idnr.is_valid),
    NationalId("BR CPF", r"\d{3}\.\d{3}\.\d{3}-\d\d|\d{11}", cpf.is_valid),
    NationalId("PL PESEL", r"\d{11}", pesel.is_valid),
    NationalId("IN Aadhaar", FOURS, aadhaar.is_valid),
    NationalId("IN Aadhaar", r"[2-9]\d{11}", aadhaar.is_valid, UID),
    NationalId("UK NHS", r"\d{3}(?P<dash>[ -]?)\d{3}(?P=dash)\d{4}", nhs.is_valid, NHS),
    NationalId("US SSN", r"\d{3}-\d\d-\d{4}|\d{3} \d\d \d{4}", ssn_valid),
    NationalId("US SSN", r"\d{9}", ssn_valid, SSN, near=True),
    NationalId("NL BSN", r"\d{9}|\d{4}\.\d\d\.\d{3}|\d{3} \d{3} \d{3}", bsn.is_valid, BSN),
    NationalId("ES DNI", r"\d{8}[ -]?[A-Z]|\d\d\.\d{3}\.\d{3}-?[A-Z]",
               lambda text: dni.is_valid(text.replace(".", ""))),
    NationalId("ES NIE", r"[XYZ][ -]?\d{7}[ -]?[A-Z]", nie.is_valid),
    NationalId("UK NINO", NINO, nino_valid),
    NationalId("IN PAN", r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]", pan.is_valid),
]  # fmt: skip
