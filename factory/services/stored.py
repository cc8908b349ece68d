"""Captured calls as OpenAI's stored chat completions: read by page, labelled anew, deleted."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models import Q, QuerySet
from psycopg.errors import QueryCanceled

from factory.errors import InvalidInput, NotFound
from factory.messages import checked_metadata
from factory.models import ApiKey, CapturedCall, Project
from factory.redaction.redact import Policy, Redactor
from factory.selectors import calls_by_reference
from factory.services.erase import erase_calls

MAX_PAGE = 100
PATIENCE_MS = 10_000  # of one page: what finds next to nothing in millions is refused


@dataclass(frozen=True)
class CompletionFilter:
    """What the list can be narrowed by: metadata that calls carry, and a model's name."""

    metadata: dict[str, str] = field(default_factory=dict)
    model: str = ""


def stored_completions(project: Project) -> QuerySet[CapturedCall]:
    """Return the calls that OpenAI would call stored chat completions."""
    return project.calls.filter(
        endpoint="chat/completions",
        status_code__gte=HTTPStatus.OK,
        status_code__lt=HTTPStatus.MULTIPLE_CHOICES,
    )


def completion_of_project(project: Project, completion_id: str) -> CapturedCall:
    """Return one stored completion with its texts, by the answer's id or the request's."""
    found = calls_by_reference(project, [completion_id])
    calls = stored_completions(project).filter(pk__in=found.values()).select_related("payload")
    call = calls.first()
    if call is None:
        raise NotFound(f"Chat completion '{completion_id}' not found.", param="completion_id")
    return call


@transaction.atomic
def completions_page(
    project: Project, only: CompletionFilter, *, after: str, limit: int, is_newest_first: bool
) -> tuple[list[CapturedCall], bool]:
    """Return a page of stored completions in the order of their time, and whether more follow.

    By keyset: no page is slower than another. `InvalidInput` where a filter leaves so little that
    finding it takes too long.
    """
    calls = stored_completions(project)
    if only.metadata:
        calls = calls.filter(metadata__contains=checked_metadata(only.metadata))
    if only.model:
        calls = calls.filter(Q(response_model=only.model) | Q(request_model=only.model))
    if after:
        calls = calls.filter(_beyond(project, after, is_newest_first=is_newest_first))
    order = "-id" if is_newest_first else "id"
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(PATIENCE_MS)])
    try:
        found = list(calls.order_by(order).select_related("payload")[: limit + 1])
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise InvalidInput("This finds too little in too many calls; ask for more.") from error
    return found[:limit], len(found) > limit


def set_metadata(call: CapturedCall, metadata: dict[str, Any] | None) -> CapturedCall:
    """Replace a completion's metadata; it is redacted as it was when it came."""
    checked = checked_metadata(metadata or {})
    call.metadata = Redactor(Policy.from_json(call.project.redaction)).value(checked)
    call.save(update_fields=["metadata"])
    return call


def delete_completion(call: CapturedCall, key: ApiKey) -> None:
    """Erase a completion, and with it whatever was made of it."""
    reason = "deleted as a stored chat completion"
    erase_calls(call.project, [call.pk], reason=reason, asked_by=f"key {key.prefix} {key.name}")


def _beyond(project: Project, after: str, *, is_newest_first: bool) -> Q:
    # Of several with one id, the last in this order: a client that goes on by it comes to an end.
    same = project.calls.filter(response_id=after).order_by("id" if is_newest_first else "-id")
    edge = same.values_list("pk", flat=True).first()
    edge = edge or calls_by_reference(project, [after]).get(after)
    if edge is None:
        raise NotFound(f"Chat completion '{after}' not found.", param="after")
    return Q(pk__lt=edge) if is_newest_first else Q(pk__gt=edge)
