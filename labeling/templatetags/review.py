"""How the review page shows texts that nobody vouches for, and which editor corrects them."""

import json
import re
from typing import Any

from django import template
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from factory.models import Workload
from labeling.editors import Part, choices_of, editor_of, form_of

register = template.Library()

# Control characters but tab and newline, and those that turn the direction of what follows.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)

KEYS = [
    ("accept", "a", "accept the answer as it is, or save what you changed", ""),
    ("edit", "e", "edit the answer", "text json"),
    ("find", "/", "type the start of a label; Enter takes the first", "label labels"),
    ("take", "t", "take the teacher's answer instead", "labels text json"),
    ("raw", "r", "show the answer as JSON, and back", "json"),
    ("reject", "x", "reject: the example is unusable; then its reason", ""),
    ("flag", "f", "flag: a lead should look at it", ""),
    ("skip", "s", "skip: later, or somebody else", ""),
    ("note", "n", "write a note with the decision", ""),
    ("undo", "u", "undo your last decision", ""),
    ("help", "?", "show these keys", ""),
]

REASONS = {
    "reject": [
        "not understandable",
        "not this job",
        "personal data",
        "a duplicate",
        "broken input",
    ],
    "flag": ["unsure", "the guideline says nothing", "two answers are right", "a new kind of case"],
}


@register.filter
def reasons(decision: str) -> list[str]:
    """Return what a reviewer can give as the reason of a decision."""
    return REASONS[decision]


@register.filter
def visible(value: Any) -> SafeString:
    """Write a text with its unseen characters named, so that none of them moves another."""
    escaped = str(conditional_escape("" if value is None else value))
    named = UNSEEN.sub(lambda found: _named(found.group()), escaped)
    return mark_safe(named)  # noqa: S308  # escaped above; what is put in is ours


def _named(character: str) -> SafeString:
    return format_html('<span class="unseen">U+{}</span>', f"{ord(character):04X}")


@register.filter
def listed(target: str) -> str:
    """Write a set of labels for people; what is no set stays as it is."""
    try:
        names = json.loads(target)
    except ValueError:
        return target
    return ", ".join(map(str, names)) or "none of them" if isinstance(names, list) else target


@register.filter
def editor(workload: Workload) -> str:
    """Name the editor of a workload's answers."""
    return editor_of(workload.output_schema, is_json=workload.kind == Workload.Kind.EXTRACTION)


@register.filter
def choices(workload: Workload) -> list[str]:
    """Return the labels that an answer is made of: one of them, or any number."""
    return workload.labels or choices_of(workload.output_schema)


@register.filter
def form(workload: Workload) -> Part:
    """Return the form of a workload's answers."""
    return form_of(workload.output_schema)


@register.filter
def keys(workload: Workload) -> list[tuple[str, str, str]]:
    """Return the actions that a workload's review knows: their names, preset keys, and words."""
    kind = editor(workload)
    return [
        (name, key, does) for name, key, does, kinds in KEYS if not kinds or kind in kinds.split()
    ]
