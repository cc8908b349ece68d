"""The rival of benchmarks/redaction.py: presidio's pattern recognizers, in its own environment.

Reads one JSON text a line; prints one JSON list of finds (start, end, kind, score) a line, then
the seconds of one core. All its recognizers of the kinds measured are on, also those that are off
by default; spaCy only splits words (no language model).
"""

import json
import sys
import time

import spacy
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, predefined_recognizers
from presidio_analyzer.nlp_engine import SpacyNlpEngine

KINDS = {
    "EMAIL_ADDRESS": "EMAIL", "PHONE_NUMBER": "PHONE", "CREDIT_CARD": "CARD", "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP",
}  # fmt: skip
GENERAL = ["Email", "CreditCard", "Iban", "Ip"]
IDS = [
    "UsSsn", "Nhs", "UkNino", "EsNif", "EsNie", "ItFiscalCode", "PlPesel", "InAadhaar", "InPan",
    "SePersonnummer", "DeTaxId",
]  # fmt: skip
REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "SE", "PL", "BR", "IN")


def analyzer() -> AnalyzerEngine:
    """Make an analyzer with every recognizer of the kinds measured."""
    registry = RecognizerRegistry(supported_languages=["en"])
    for name in [*GENERAL, *IDS]:
        recognizer = getattr(predefined_recognizers, f"{name}Recognizer")
        registry.add_recognizer(recognizer(supported_language="en"))
    phones = predefined_recognizers.PhoneRecognizer(supported_regions=REGIONS)
    registry.add_recognizer(phones)
    words_only = SpacyNlpEngine()
    words_only.nlp = {"en": spacy.blank("en")}
    return AnalyzerEngine(registry=registry, nlp_engine=words_only, supported_languages=["en"])


def main() -> None:
    """Answer every line."""
    engine = analyzer()
    given = [json.loads(line) for line in sys.stdin]
    started = time.process_time()
    found = [engine.analyze(text, language="en") for text in given]
    seconds = time.process_time() - started
    for results in found:
        print(
            json.dumps(
                [
                    (r.start, r.end, KINDS.get(r.entity_type, "NATIONAL_ID"), r.score)
                    for r in results
                ]
            )
        )
    print(seconds)


if __name__ == "__main__":
    main()
