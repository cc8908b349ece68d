"""Whether two skeletons ask for different things, or hold different values of one slot.

A workload's calls differ in values: within a sentence, after a label, as a document, as a block
that is there or not. Where a sentence of one's instructions stands in the place of another's, they
are rivals: other tasks, whose calls no student should learn as one.
"""

import re
from collections import Counter
from difflib import SequenceMatcher

from factory.discovery.mining import CUT, END, SLOT, START, VALUE, Parts, tokens_of

SAME = 0.6  # of a sentence's words: where as many are the same, the others are a value
MAX_TASK = 40  # words; what is longer is a document
TASK = {  # labels of what is asked for, and not of what it is asked about
    "task", "job", "goal", "request", "instruction", "instructions", "objective",
    "aufgabe", "auftrag", "anweisung", "tâche", "consigne", "tarea", "instrucción", "tarefa",
    "compito", "zadanie", "taak", "任务", "指令", "タスク", "指示", "작업",
}  # fmt: skip
SIGNS = 0.4  # for each word: prose has fewer
_SENTENCE = re.compile(r"[^\n.!?。!?]*(?:[\n.!?。!?]+|\Z)")
_LABEL = re.compile(r"([^\W\d_]+)[*_`\"]*:[*_`\"]*[\s*#-]*\Z")
_FIELD = re.compile(r"\s*[-*#\"]*([^\n:.?!]{1,40}):")
_SECTION = re.compile(rf"\s*(?:</?|#+ )(?!(?i:{'|'.join(sorted(TASK))})\b)\w")
_MARKS = str.maketrans(dict.fromkeys(START + END + CUT + VALUE + SLOT, " "))


def are_rivals(one: Parts, other: Parts) -> bool:
    """Tell whether a sentence of one stands where the other has another instruction."""
    a, b = _sentences(one), _sentences(other)
    for tag, i, i_end, j, j_end in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "replace":
            gone, come = "".join(a[i:i_end]), "".join(b[j:j_end])
            if _are_instructions("".join(a[:i]), gone, come):
                return True
    return False


def _are_instructions(before: str, one: str, other: str) -> bool:
    if one.startswith(SLOT) or other.startswith(SLOT) or before.rstrip(" .!?").endswith(SLOT):
        return False  # in the midst of what varies
    if _SECTION.match(one) and _SECTION.match(other):
        return False  # parts of the data
    label = _FIELD.match(one)
    if label and other.startswith(label[0]):
        before, one, other = before + label[0], one[label.end() :], other[label.end() :]
    if (said := _LABEL.search(before)) and said[1].lower() not in TASK:
        return False  # what the label says that it is
    words, others = _words(one), _words(other)
    if min(len(words), len(others)) > MAX_TASK:
        return False
    if any(_is_name(text) or _is_code(text) for text in (one, other)):
        return False
    shared = (Counter(words) & Counter(others)).total()
    return words[0] != others[0] or shared < SAME * max(len(words), len(others))


def _is_name(text: str) -> bool:
    """Tell one word, or several that all have a capital, from what is said of something."""
    words = [token.strip() for token in tokens_of(text) if token.strip().isalpha()]
    return len(words) < 2 or all(word[0].isupper() for word in words)


def _is_code(text: str) -> bool:
    """Tell code, tables and lists from prose, which has a sign for every few words."""
    tokens = [token.strip() for token in tokens_of(text.translate(_MARKS))]
    signs = sum(bool(token) and not token.isalnum() for token in tokens)
    return signs > SIGNS * len(_words(text))


def _sentences(parts: Parts) -> list[str]:
    return [found for found in _SENTENCE.findall(SLOT.join(parts)) if found]


def _words(text: str) -> list[str]:
    tokens = (token.strip().lower() for token in tokens_of(text.translate(_MARKS)))
    return [token for token in tokens if token.isalpha()]
