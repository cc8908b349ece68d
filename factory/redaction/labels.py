"""What a number is called beside it decides what it may be: an order's, an amount, a phone's.

Each looks at the few characters beside a number; the cheap question comes first, as a page of
numbers asks it thousands of times.
"""

import re

# Stems, with which German and Swedish compound; then whole words.
OTHER = re.compile(
    r"""(?ix)\b(?:
    (?:order|bestell|commande|pedido|ordine|zam[oó]wieni|invoice|rechnung|facture|fa[ct]?tura|fattura
    |factuur|faktur|track|sendung|suivi|seguimiento|spedizione|zending|przesy|rastreio|shipment|parcel
    |serial|version|release|article|artikel|product|created|request|session|transaction|account
    |booking|reserv|policy|contract|amount|total|price|balance|revenue|population|duration|kunden
    |commit|section|chapter|betrag|summe|montant|importe?|bedrag|belopp|kwot|valor)\w{0,14}
    |(?:paket|ticket|case|ref|sku|ean|gtin|upc|isbn|issn|imei|iccid|ver|build|batch|lot|part|item
    |time|epoch|ts|trace|txn|port|pid|size|bytes|sum|lat|lon|lng|seed|hash|clause|v)s?(?:_\w{1,12})?
    |customer(?=[ _-]))
    (?:[ _-](?:no|nr|num|number|id|ref|code))?(?:\s(?:is|was|of))?$"""
)
PHONE = re.compile(
    r"""(?ix)(?:phone|t[eé]l(?:\b|[eé]f|eph)|mobil|m[oó]vil|\bmob\b|\bcell(?:\b|ul)|celul|handy|\bfax
    |sms\b|whats\s?app|\bcall|\bdial|\bring\b|reach|contact|kontakt|contato|msisdn|hotline|helpline
    |anruf|\brufen|erreich|portable|appel|joindre|llam[ae]|chiam|\bbel(?:\b|len)|bereik|zadzwo|\bkom\.
    |lig(?:ue|ar)|text\sme|trova|localiz|n[åa]r\s(?:mig|oss))\D{0,24}$"""
)
VERSION = re.compile(
    r"(?i)(?:\b(?:version|ver|v|release|build|firmware|section|chapter|clause|oid|sdk|python|java"
    r"|chrome|firefox|safari|opera)|§)[\s.:=\"']{0,3}$"
)
CURRENCY = r"[€$£¥₹%]|\b(?:EUR|USD|GBP|CHF|SEK|NOK|DKK|PLN|BRL|INR|CAD|AUD|JPY|Rs|kr|zł)"
MONEY_BEFORE = re.compile(rf"(?i)(?:{CURRENCY})\.?\s?$")
MONEY_AFTER = re.compile(rf"(?i)\s?(?:{CURRENCY})\b|[€$£%₹]|[.,]\d\d?\b")
DIALLED = re.compile(r"(?:\+|\b00)[\d ./()-]{0,9}$")
SIGNS = " \t\r\n._:#=\"'\\/-"  # between a label and what it is a label of
TO_LAST_DIGIT = re.compile(r".*[\d\n]", re.DOTALL)


def is_called_other(before: str) -> bool:
    """Tell an order's, a version's or another thing's number by its label or a `#`."""
    label = before.rstrip(SIGNS)
    if "#" in before[len(label) :]:
        return True
    return label[-1:].isalpha() and OTHER.search(label) is not None


def is_called_phone(before: str) -> bool:
    """Tell a phone number by a word that stands before it, with no other number between."""
    digit = TO_LAST_DIGIT.match(before)
    words = before[digit.end() :] if digit else before
    return len(words) > 2 and PHONE.search(words) is not None


def is_called_version(before: str) -> bool:
    """Tell a version or a section from an address."""
    return VERSION.search(before[-12:]) is not None


def is_money(before: str, after: str) -> bool:
    """Tell an amount by the currency beside it, or by its decimals."""
    return bool(MONEY_AFTER.match(after) or MONEY_BEFORE.search(before[-6:]))


def is_dialled(before: str) -> bool:
    """Tell the rest of a number that began with `+` or `00`."""
    return DIALLED.search(before[-12:]) is not None
