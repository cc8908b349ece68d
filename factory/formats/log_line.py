"""Our own log line: `id`, `started_at`, `request` and `response` as the app saw them."""

from datetime import datetime

from factory.messages import CallRecord, Json, record_from_log


def matches(line: Json) -> bool:
    """Say whether a line holds a request."""
    return "request" in line


def read(line: Json, _at: datetime) -> list[CallRecord]:
    """Read one call."""
    return [record_from_log(line)]
