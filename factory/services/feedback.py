"""What apps say later about answers: checked, redacted, one word per call, kind and name.

The call may still be on its way through a spool: what is said of it waits for it.
"""

import json
import math
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from factory.answers import BrokenAnswer, check_output
from factory.errors import InvalidInput, Unavailable
from factory.models import CapturedCall, Feedback, Project
from factory.redaction.redact import PLACEHOLDER, Policy, Redactor, parts_of
from factory.selectors import calls_by_reference

Kind = Feedback.Kind
MAX_COMMENT, MAX_DEMONSTRATION = 10_000, 200_000  # characters
AWAITED_FOR = timedelta(days=1)
MAX_AWAITED = 20_000  # of one project
BATCH = 500
# What a judgement names of a person is numbered apart from what its call names: whether the two
# are the same, nobody can tell any more.
NUMBERED_FROM = 1000


@transaction.atomic
def give_feedback(
    project: Project, *, reference: str, kind: str, value: Any, name: str = ""
) -> Feedback:
    """Keep what is said of the call with this request id or response id.

    The same kind and name again, for the same call, replaces what was said before: to send twice
    is safe. Without a call (yet) the row has none, and `attach_feedback` finds it within a day.
    """
    call = _call(project, reference)
    said = _redacted(project, _checked(kind, value, call))
    awaited = Feedback.objects.filter(project=project, call=None)
    same: dict[str, Any] = {"kind": kind, "name": name}
    if call is None:
        if awaited.count() >= MAX_AWAITED:
            raise Unavailable("Too much feedback waits for its calls; try again later.")
        row, _ = awaited.update_or_create(
            project=project, call=None, reference=reference, **same, defaults={"value": said}
        )
        return row
    awaited.filter(reference=reference, **same).delete()
    row, _ = Feedback.objects.update_or_create(
        project=project, call=call, **same, defaults={"value": said, "reference": reference}
    )
    return row


def attach_feedback() -> None:
    """Give feedback the calls that have come since; drop what no call came for in a day."""
    Feedback.objects.filter(call=None, created_at__lt=timezone.now() - AWAITED_FOR).delete()
    waiting = Feedback.objects.filter(call=None).order_by("project_id", "id")
    for project in Project.objects.filter(pk__in=waiting.values("project_id")):
        last = 0
        while rows := list(waiting.filter(project=project, pk__gt=last)[:BATCH]):
            _attach(rows, calls_by_reference(project, [row.reference for row in rows]))
            last = rows[-1].pk


def problem_with(feedback: Feedback, call: CapturedCall) -> str:
    """Say why a demonstration cannot be learnt from as it is; empty where it can."""
    if feedback.kind != Kind.DEMONSTRATION:
        return ""
    try:
        check_output(feedback.value, call.workload.output_schema if call.workload else None)
    except BrokenAnswer as error:
        return str(error)
    named = set(PLACEHOLDER.findall(feedback.value))
    foreign = sorted(named - set(PLACEHOLDER.findall(json.dumps(call.messages))))
    return f"names {', '.join(foreign)}, which the call does not" if foreign else ""


def shown_feedback(call: CapturedCall) -> list[tuple[Feedback, str]]:
    """Return what was said of a call, each with the problem that training would have with it."""
    return [(row, problem_with(row, call)) for row in call.feedback.order_by("id")]


def _attach(rows: Iterable[Feedback], calls: dict[str, UUID]) -> None:
    for row in rows:
        if row.reference not in calls:
            continue
        try:
            with transaction.atomic():
                _attach_one(row, calls[row.reference])
        except IntegrityError:
            continue  # the app says it again at this very moment: the next round settles it


def _attach_one(row: Feedback, call: UUID) -> None:
    other = Feedback.objects.select_for_update().filter(call=call, kind=row.kind, name=row.name)
    if other.filter(updated_at__gte=row.updated_at).exists():
        row.delete()
        return
    other.delete()
    row.call_id = call
    row.save(update_fields=["call"])


def _call(project: Project, reference: str) -> CapturedCall | None:
    found = calls_by_reference(project, [reference])
    calls = project.calls.filter(pk__in=found.values())
    return calls.select_related("group__workload").first()


def _checked(kind: str, value: Any, call: CapturedCall | None) -> Any:
    """Return a value of its kind; `InvalidInput` says what the kind takes."""
    if kind == Kind.BOOLEAN:
        if not isinstance(value, bool):
            raise InvalidInput("A boolean is true or false.", param="value")
        return value
    if kind == Kind.SCORE:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise InvalidInput("A score is a finite number.", param="value")
        return float(value)
    if kind == Kind.DEMONSTRATION:
        return _checked_demonstration(value, call)
    if not isinstance(value, str) or not 0 < len(value.strip()) <= MAX_COMMENT:
        raise InvalidInput(f"A comment is a text of 1 to {MAX_COMMENT} characters.", param="value")
    return value.strip()


def _checked_demonstration(value: Any, call: CapturedCall | None) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
    if not isinstance(text, str) or not 0 < len(text.strip()) <= MAX_DEMONSTRATION:
        limit = f"1 to {MAX_DEMONSTRATION} characters"
        raise InvalidInput(f"A demonstration is the better answer, {limit}.", param="value")
    try:
        return check_output(text, call.workload.output_schema if call and call.workload else None)
    except BrokenAnswer as error:
        raise InvalidInput(f"This is no answer of the workload: {error}", param="value") from error


def _redacted(project: Project, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    redactor = Redactor(Policy.from_json(project.redaction))
    text = redactor.text(value)
    made = set(redactor.seen.values())

    def apart(match: re.Match[str]) -> str:
        if match[0] not in made:
            return match[0]
        kind, number = parts_of(match[0])
        return f"[{kind}_{NUMBERED_FROM + number}]"

    return PLACEHOLDER.sub(apart, text)
