"""The JSON API of prompts: what was discovered in the traffic, and whose calls it is."""

from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from factory.api.base import project_of
from factory.models import CallGroup
from factory.selectors import group_of_project, prompts_of, twins, workload_in_project
from factory.services.discover import accept_group, attach_group, detach_group, ignore_group

router = Router(tags=["capture and curate"])


class PromptOut(Schema):
    """Calls that share a prompt; `{slot}` is what varies in it, `{#}` a date, number or id."""

    id: int
    text: str
    state: Literal["proposed", "ignored", "joined"]
    workload: str | None
    calls: int
    first_seen: datetime
    last_seen: datetime


class TwinOut(Schema):
    """A workload, and the share of a prompt's words that are those of its nearest wording."""

    workload: str
    share: float


class PromptDetailOut(PromptOut):
    """A prompt with the project's workloads, the nearest first; none once it has joined one."""

    nearest: list[TwinOut]


class AcceptIn(Schema):
    """What the workload is called; made of the prompt's words where nothing is said."""

    slug: str = Field("", max_length=48)


class JoinIn(Schema):
    """Which workload the prompt is a wording of."""

    workload: str


class TakenOut(PromptOut):
    """The prompt, and how many examples were discarded with it."""

    discarded: int


def prompt_out(group: CallGroup) -> dict[str, Any]:
    """Return a prompt as `PromptOut` shows it."""
    return {
        "id": group.pk,
        "text": group.skeleton["text"],
        "state": "joined" if group.workload else "ignored" if group.is_ignored else "proposed",
        "workload": group.workload and group.workload.slug,
        "calls": group.call_count,
        "first_seen": group.first_seen,
        "last_seen": group.last_seen,
    }


@router.get("/prompts", response=list[PromptOut])
def list_prompts(request: HttpRequest) -> list[dict[str, Any]]:
    """List the prompts that were discovered, the one with the most calls first."""
    return [prompt_out(group) for group in prompts_of(project_of(request))]


@router.get("/prompts/{prompt}", response=PromptDetailOut)
def get_prompt(request: HttpRequest, prompt: int) -> dict[str, Any]:
    """Get a prompt, and the workloads that it could be another wording of."""
    group = group_of_project(project_of(request), prompt)
    found = [] if group.workload else twins(group)
    nearest = [{"workload": twin.workload.slug, "share": twin.share} for twin in found]
    return {**prompt_out(group), "nearest": nearest}


@router.post("/prompts/{prompt}/accept", response=PromptOut)
def accept_prompt(request: HttpRequest, prompt: int, body: AcceptIn) -> dict[str, Any]:
    """Make a workload of a prompt: its calls, past and to come, are the workload's."""
    group = group_of_project(project_of(request), prompt)
    accept_group(group, slug=body.slug)
    group.refresh_from_db()
    return prompt_out(group)


@router.post("/prompts/{prompt}/ignore", response=PromptOut)
def ignore_prompt(request: HttpRequest, prompt: int) -> dict[str, Any]:
    """Do not propose a prompt again."""
    group = group_of_project(project_of(request), prompt)
    ignore_group(group)
    return prompt_out(group)


@router.post("/prompts/{prompt}/join", response=PromptOut)
def join_prompt(request: HttpRequest, prompt: int, body: JoinIn) -> dict[str, Any]:
    """Let a prompt be another wording of a workload's: its calls are the workload's."""
    project = project_of(request)
    group = group_of_project(project, prompt)
    attach_group(group, workload_in_project(project, body.workload))
    return prompt_out(group)


@router.post("/prompts/{prompt}/take-out", response=TakenOut)
def take_out_prompt(request: HttpRequest, prompt: int) -> dict[str, Any]:
    """Take a prompt out of its workload. Examples of its calls are discarded until it is back."""
    group = group_of_project(project_of(request), prompt)
    gone = detach_group(group)
    return {**prompt_out(group), "discarded": gone}
