"""People's names, found by presidio where it is installed together with a language model.

They have no fixed form, so only a model finds them: tens of milliseconds a text, where everything
else that is redacted takes microseconds. It is a choice of a project's policy.
"""

from functools import cache
from importlib import import_module
from typing import Any

from factory.errors import InvalidInput

NOT_INSTALLED = (
    "Names need presidio and a spaCy model in this environment: pip install presidio-analyzer, "
    "then python -m spacy download en_core_web_sm (or another language's model)"
)


@cache
def name_analyzer() -> Any:
    """Load presidio with each language's model, once; `InvalidInput` says what is missing."""
    try:
        presidio = import_module("presidio_analyzer")
        engines = import_module("presidio_analyzer.nlp_engine")
        models = import_module("spacy.util").get_installed_models()
    except ImportError as error:
        raise InvalidInput(NOT_INSTALLED, param="names") from error
    if not models:
        raise InvalidInput(NOT_INSTALLED, param="names")
    by_language = {model[:2]: model for model in sorted(models)}
    named = [{"lang_code": code, "model_name": model} for code, model in by_language.items()]
    configuration = {"nlp_engine_name": "spacy", "models": named}
    engine = engines.NlpEngineProvider(nlp_configuration=configuration).create_engine()
    return presidio.AnalyzerEngine(nlp_engine=engine, supported_languages=list(by_language))


def find_names(text: str) -> list[tuple[int, int]]:
    """Return where people's names stand, in order and without overlap."""
    analyzer = name_analyzer()
    found = [
        (result.start, result.end)
        for language in analyzer.supported_languages
        for result in analyzer.analyze(text, entities=["PERSON"], language=language)
    ]
    spans: list[tuple[int, int]] = []
    for start, end in sorted(found, key=lambda span: (span[0], -span[1])):
        if not spans or start >= spans[-1][1]:
            spans.append((start, end))
    return spans
