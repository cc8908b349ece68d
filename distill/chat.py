"""Chat text as a student reads it: one Unicode form, and no control token smuggled in by a user."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

_THINKING = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)


def clean_messages(
    messages: Iterable[Mapping[str, object]], special_tokens: Iterable[str]
) -> list[dict[str, object]]:
    """Return copies with NFC text in which no special token of the model survives.

    Hugging Face tokenizers normalise and llama.cpp does not, and both read `<|im_end|>` inside a
    user's text as a control token; so training, evaluation and serving clean the same way.
    """
    specials = [token for token in special_tokens if token]
    return [
        {name: _clean(value, specials) if name == "content" else value for name, value in m.items()}
        for m in messages
    ]


def answer_of(output: str) -> str:
    """Return what an app sees of a model's output: a leading thinking block is dropped."""
    return _THINKING.sub("", output).strip()


def _clean(content: object, specials: list[str]) -> object:
    if isinstance(content, str):
        text = unicodedata.normalize("NFC", content)
        for token in specials:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text
    if isinstance(content, list):
        return [
            {**part, "text": _clean(part["text"], specials)}
            if isinstance(part, dict) and isinstance(part.get("text"), str)
            else part
            for part in content
        ]
    return content
