"""The JSON API of capture and curate."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema

from factory.api.base import project_of
from factory.api.feedback import FeedbackOut, feedback_out
from factory.models import CapturedCall
from factory.selectors import (
    CallFilter,
    call_of_project,
    calls_by_reference,
    calls_page,
    workload_in_project,
)

router = Router(tags=["capture and curate"])


class CallOut(Schema):
    """A captured call, without its texts."""

    id: str
    request_id: str
    workload: str | None
    request_model: str
    response_model: str
    status_code: int
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_ms: int | None
    cost_usd: float | None
    metadata: dict[str, str]
    created_at: datetime


class CallDetail(CallOut):
    """A captured call with its texts, redacted as it was stored."""

    messages: list[dict[str, Any]]
    response: dict[str, Any] | None
    feedback: list[FeedbackOut]


class CallPage(Schema):
    """A page of calls, the newest first; `next` goes into `at`."""

    data: list[CallOut]
    next: str | None


class WorkloadOut(Schema):
    """A workload."""

    slug: str
    kind: str
    metric: str
    instruction: str
    labels: list[str]


def call_out(call: CapturedCall) -> dict[str, Any]:
    """Return a call as `CallOut` shows it."""
    fields = {name: getattr(call, name) for name in CallOut.model_fields}
    return {**fields, "id": str(call.pk), "workload": call.workload and call.workload.slug}


@router.get("/calls", response=CallPage)
def list_calls(request: HttpRequest, at: str = "") -> dict[str, Any]:
    """List calls, the newest first."""
    page = calls_page(project_of(request), only=CallFilter(), at=at)
    return {"data": [call_out(call) for call in page.rows], "next": page.next or None}


@router.get("/calls/{request_id}", response=CallDetail)
def get_call(request: HttpRequest, request_id: str) -> dict[str, Any]:
    """Get one call by its request id, or by the answer's own id."""
    project = project_of(request)
    found = calls_by_reference(project, [request_id]).get(request_id)
    call = call_of_project(project, found)
    feedback = [feedback_out(row) for row in call.feedback.order_by("id")]
    texts = {"messages": call.messages, "response": call.response}
    return {**call_out(call), **texts, "feedback": feedback}


@router.get("/workloads", response=list[WorkloadOut])
def list_workloads(request: HttpRequest) -> list[Any]:
    """List the project's workloads."""
    return list(project_of(request).workloads.order_by("slug"))


@router.get("/workloads/{workload}", response=WorkloadOut)
def get_workload(request: HttpRequest, workload: str) -> Any:
    """Get one workload."""
    return workload_in_project(project_of(request), workload)
