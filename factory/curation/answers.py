"""Which answers of production teach nothing: none, half ones, refusals, ones of another format."""

import re
from http import HTTPStatus

from factory.answers import BrokenAnswer, check_output
from factory.messages import Json, first_choice, object_of, string_of

WHOLE = {"", "stop"}  # how an answer ends that is all there
TOOL_CALLS = {"tool_calls", "function_call"}  # a student that only writes text cannot learn these
FILTERED = "content_filter"
LONGEST_REFUSAL = 400  # characters; a longer text that begins so usually goes on to answer

# How models refuse, in the languages that they do it in; only at the beginning of an answer.
_CANNOT = r"(?:can(?:['’]?t|not)|won['’]?t|am (?:not able|unable)|['’]m (?:not able|unable))"
_DO = r"help|assist|comply|fulfil|provide|answer|discuss|create|generate|do that|engage|continue"
_BEGINNINGS = (
    rf"(?:i['’]?m|i am|we['’]?re) (?:very |really |so )?sorry,? (?:but )?(?:i|we) ?{_CANNOT}",
    rf"(?:sorry|unfortunately|apologies|i apologi[sz]e),? (?:but )?(?:i|we) ?{_CANNOT}",
    rf"i ?{_CANNOT} (?:to )?(?:{_DO})",
    rf"i must decline to (?:{_DO})",
    r"as an? (?:ai|artificial intelligence|(?:large )?language model)\b",
    r"es tut mir (?:sehr )?leid,? (?:aber )?(?:ich|dabei|das)",
    r"(?:je suis )?d[ée]sol[ée]e?,? (?:mais )?je ne (?:peux|suis)",
    r"lo siento,? (?:pero )?no puedo",
    r"(?:mi dispiace|spiacente),? (?:ma )?non posso",
    r"(?:sinto muito|desculpe),? (?:mas )?n[ãa]o posso",
)
_REFUSAL = re.compile(rf"\W*(?:{'|'.join(_BEGINNINGS)})", re.IGNORECASE)


def is_refusal(text: str) -> bool:
    """Tell whether an answer is nothing but a refusal, by how it begins and how short it is."""
    return len(text) <= LONGEST_REFUSAL and _REFUSAL.match(text) is not None


def unusable(status_code: int, finish_reason: str, response: Json | None, text: str) -> str:
    """Say why an answer teaches nothing, empty where it may: not what it says, but how it came."""
    message = object_of(first_choice(response).get("message"))
    if status_code != HTTPStatus.OK:
        return "error"
    if finish_reason in TOOL_CALLS or message.get("tool_calls"):
        return "tool_call"
    if finish_reason == FILTERED or string_of(message.get("refusal")).strip():
        return "refused"
    if not text:
        return "empty"
    return "" if finish_reason in WHOLE else "truncated"


def misformed(text: str, schema: Json | None) -> str:
    """Say what of its format an answer breaks: "off_label", "off_schema" or nothing."""
    try:
        check_output(text, schema)
    except BrokenAnswer:
        return "off_label" if (schema or {}).get("type") == "string" else "off_schema"
    return ""
