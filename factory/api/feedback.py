"""The door for what apps say later about answers."""

from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from factory.api.base import SenderAuth, project_of
from factory.models import Feedback
from factory.selectors import feedback_counts, workload_in_project
from factory.services.feedback import give_feedback

router = Router(tags=["capture and curate"])


class FeedbackIn(Schema):
    """A judgement of an answer.

    `call` is the request id that came back as `x-request-id`, or the answer's own id.
    """

    call: str = Field(min_length=1, max_length=128)
    kind: Literal["boolean", "score", "comment", "demonstration"]
    value: Any
    name: str = Field("", max_length=64)


class FeedbackOut(Schema):
    """What is kept of a judgement; `is_attached` says whether its call has come."""

    id: int
    call: str
    kind: str
    name: str
    value: Any
    is_attached: bool
    created_at: datetime
    updated_at: datetime


class FeedbackCounts(Schema):
    """How much was said, by kind; the share of `true` and the mean score where there are any."""

    boolean: int
    score: int
    comment: int
    demonstration: int
    true_share: float | None
    mean_score: float | None


def feedback_out(row: Feedback) -> dict[str, Any]:
    """Return a judgement as `FeedbackOut` shows it."""
    names = ("id", "kind", "name", "value", "created_at", "updated_at")
    shown = {name: getattr(row, name) for name in names}
    return {**shown, "call": row.reference, "is_attached": row.call_id is not None}


@router.post("/feedback", response={200: FeedbackOut, 202: FeedbackOut}, auth=SenderAuth())
def post_feedback(request: HttpRequest, body: FeedbackIn) -> tuple[int, dict[str, Any]]:
    """Say what an answer was worth, or what it should have been (a demonstration).

    The same kind and name for the same call replaces what was said before, so sending again is
    safe. 202: the call has not come yet; what is said of it waits a day.
    """
    row = give_feedback(
        project_of(request),
        reference=body.call,
        kind=body.kind,
        value=body.value,
        name=body.name,
    )
    return 200 if row.call_id else 202, feedback_out(row)


@router.get("/feedback/counts", response=FeedbackCounts)
def get_feedback_counts(request: HttpRequest, workload: str = "") -> dict[str, Any]:
    """Count the feedback of the project, or of one workload."""
    project = project_of(request)
    only = workload_in_project(project, workload) if workload else None
    return feedback_counts(project, only)
