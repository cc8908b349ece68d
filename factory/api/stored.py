"""OpenAI's stored chat completions, over the captured calls: `client.chat.completions.list(...)`.

In OpenAI's own shapes, below `/v1` like the models themselves. What is read is what was captured,
so the key needs the scope `api`: one that only calls models reads nothing back.
"""

import re
from typing import Annotated, Any, Literal, cast

from django.http import HttpRequest
from django.urls import path
from ninja import NinjaAPI, Query, Router, Schema

from factory.api.base import KeyAuth, StrictParser, install_errors, project_of
from factory.errors import NotFound
from factory.messages import Json
from factory.models import ApiKey, CapturedCall
from factory.services.stored import (
    MAX_PAGE,
    CompletionFilter,
    completion_of_project,
    completions_page,
    delete_completion,
    set_metadata,
)

router = Router(tags=["stored chat completions"])

METADATA = re.compile(r"metadata\[(.+)\]")
PARAMETERS = (
    "temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "service_tier",
    "tool_choice", "response_format",
)  # fmt: skip


class MetadataIn(Schema):
    """What a completion's metadata becomes."""

    metadata: dict[str, Any] | None


Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Order = Literal["asc", "desc"]


def completion_out(call: CapturedCall) -> Json:
    """Return a call as a stored chat completion."""
    answer, asked = call.response or {}, call.request_params
    return {
        "service_tier": None,
        "system_fingerprint": None,
        **answer,
        "id": completion_id(call),
        "object": "chat.completion",
        "created": int(call.created_at.timestamp()),
        "model": call.response_model or call.request_model,
        "choices": answer.get("choices") or [],
        "request_id": call.request_id,
        **{name: asked.get(name, answer.get(name)) for name in PARAMETERS},
        "input_user": asked.get("user"),
        "tools": call.tools,
        "metadata": call.metadata,
    }


def completion_id(call: CapturedCall) -> str:
    """Return what a client knows the call by: the answer's id, else the request's."""
    return call.response_id or call.request_id


def messages_out(call: CapturedCall) -> list[Json]:
    """Return a completion's request messages, each with an id of its own."""
    return [
        {"name": None, **turn, **_contents(turn), "id": f"{completion_id(call)}-{at}"}
        for at, turn in enumerate(call.messages)
    ]


def _contents(turn: Json) -> Json:
    content = turn.get("content")
    if isinstance(content, list):
        return {"content": None, "content_parts": content}
    return {"content": content, "content_parts": None}


def page_out(rows: list[Json], *, has_more: bool) -> Json:
    """Return OpenAI's page of a list."""
    ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {}
    page = {"object": "list", "data": rows, "first_id": None, "last_id": None}
    return {**page, **ends, "has_more": has_more}


@router.get("/chat/completions")
def list_completions(
    request: HttpRequest,
    model: str = "",
    after: str = "",
    limit: Limit = 20,
    order: Order = "asc",
) -> Json:
    """List the project's captured chat completions, narrowed by `metadata[key]=value` pairs."""
    given = ((METADATA.fullmatch(name), value) for name, value in request.GET.items())
    only = CompletionFilter({found[1]: str(value) for found, value in given if found}, model)
    rows, has_more = completions_page(
        project_of(request), only, after=after, limit=limit, is_newest_first=order == "desc"
    )
    return page_out([completion_out(call) for call in rows], has_more=has_more)


@router.get("/chat/completions/{completion}")
def get_completion(request: HttpRequest, completion: str) -> Json:
    """Get one stored chat completion."""
    return completion_out(completion_of_project(project_of(request), completion))


@router.get("/chat/completions/{completion}/messages")
def list_messages(
    request: HttpRequest,
    completion: str,
    after: str = "",
    limit: Limit = 20,
    order: Order = "asc",
) -> Json:
    """List the messages that a stored chat completion answered."""
    rows = messages_out(completion_of_project(project_of(request), completion))
    if order == "desc":
        rows.reverse()
    if after:
        ids = [row["id"] for row in rows]
        if after not in ids:
            raise NotFound(f"Message '{after}' not found.", param="after")
        rows = rows[ids.index(after) + 1 :]
    return page_out(rows[:limit], has_more=len(rows) > limit)


@router.post("/chat/completions/{completion}")
def update_completion(request: HttpRequest, completion: str, body: MetadataIn) -> Json:
    """Replace a stored chat completion's metadata."""
    call = completion_of_project(project_of(request), completion)
    return completion_out(set_metadata(call, body.metadata))


@router.delete("/chat/completions/{completion}")
def delete(request: HttpRequest, completion: str) -> Json:
    """Erase a stored chat completion, and whatever was made of it."""
    call = completion_of_project(project_of(request), completion)
    delete_completion(call, cast("ApiKey", request.auth))  # type: ignore[attr-defined]
    return {"object": "chat.completion.deleted", "id": completion, "deleted": True}


api = NinjaAPI(
    title="Understudy: stored chat completions",
    version="1",
    urls_namespace="stored",
    auth=KeyAuth(),
    parser=StrictParser(),
    docs_url=None,
    openapi_url=None,
)
install_errors(api)
api.add_router("", router)
urlpatterns = [path("", api.urls)]
