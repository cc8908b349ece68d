"""The words of calls, beside the rows that come in: indexing costs more than capturing."""

from collections.abc import Sequence

from django.db import connection

from factory.messages import text_of
from factory.models import CallText, CapturedCall

MAX_CHARACTERS = 20_000  # of one call; a tsvector holds a megabyte, and nobody searches that far

INSERT_TEXT = (
    f"INSERT INTO {CallText._meta.db_table} (call_id, document) "
    "VALUES (%s, array_to_tsvector(ARRAY[%s]) || to_tsvector('simple', %s)) ON CONFLICT DO NOTHING"
)


def index_calls(calls: Sequence[CapturedCall]) -> None:
    """Make calls findable by the words of their question and answer."""
    rows = [
        (call.pk, CallText.project_word(call.project_id), searched_text(call)) for call in calls
    ]
    with connection.cursor() as cursor:
        cursor.executemany(INSERT_TEXT, rows)


def searched_text(call: CapturedCall) -> str:
    """Return what is searched of a call: all but the system's part, which thousands share."""
    turns = [m for m in call.messages if m.get("role") not in {"system", "developer"}]
    texts = [*(text_of(turn.get("content")) for turn in turns), call.output, call.request_id]
    return "\n".join(texts)[:MAX_CHARACTERS]
