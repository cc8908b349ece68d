"""The JSON API: what is taken out of calls, and who is to be forgotten."""

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from factory.api.base import JobOut, job_out, project_of
from factory.erasure import Sought
from factory.errors import InvalidInput, NotFound
from factory.models import ApiKey, Erasure
from factory.redaction.redact import Policy
from factory.selectors import erasure_of_project, erasures_of
from factory.services.erase import confirm, erase_calls, start_erasure
from factory.services.privacy import save_policy

router = Router(tags=["privacy"])


class PolicyBody(Schema):
    """What is taken out of calls before they are first written."""

    kinds: list[str]
    names: bool = False
    terms: list[str] = Field(default_factory=list)
    patterns: dict[str, str] = Field(default_factory=dict)


class ErasureIn(Schema):
    """Whose calls: named ones, those with a pair of metadata, or those that hold a value."""

    calls: list[UUID] = Field(default_factory=list, max_length=10_000)
    metadata: dict[str, str] = Field(default_factory=dict, max_length=1)
    value: str = ""
    reason: str = Field(min_length=1, max_length=500)
    rehearsal: bool = True


class SpoolOut(Schema):
    """What an erasure came to in the spool of a host; `cleared_at` says since when none is left."""

    host: str
    dropped: int
    dead: int | None
    cleared_at: datetime | None


class ErasureOut(JobOut):
    """An erasure or its rehearsal; the report holds counts and ids."""

    kind: str
    is_rehearsal: bool
    reason: str
    asked_by: str
    report: dict[str, Any]
    spools: list[SpoolOut]


def erasure_out(job: Erasure) -> dict[str, Any]:
    """Return an erasure as `ErasureOut` shows it."""
    own = ("kind", "is_rehearsal", "reason", "asked_by", "report")
    spools = list(job.spools.all())
    return {**job_out(job), **{name: getattr(job, name) for name in own}, "spools": spools}


def asked_by(request: HttpRequest) -> str:
    """Name the key that asks, as the report keeps it."""
    key = cast("ApiKey", request.auth)  # type: ignore[attr-defined]
    return f"key {key.prefix}… {key.name}"


@router.get("/privacy/policy", response=PolicyBody)
def get_policy(request: HttpRequest) -> dict[str, Any]:
    """Say what is taken out of calls."""
    return Policy.from_json(project_of(request).redaction).as_json()


@router.put("/privacy/policy", response=PolicyBody)
def put_policy(request: HttpRequest, body: PolicyBody) -> dict[str, Any]:
    """Take this out of every call from now on."""
    policy = Policy.from_json(body.model_dump())
    save_policy(project_of(request), policy)
    return policy.as_json()


@router.post("/erasures", response={202: ErasureOut})
def post_erasure(request: HttpRequest, body: ErasureIn) -> tuple[int, dict[str, Any]]:
    """Start an erasure, or its rehearsal, which is what is started unless told otherwise."""
    project, who = project_of(request), asked_by(request)
    ways = [bool(body.calls), bool(body.metadata), bool(body.value)]
    if sum(ways) != 1:
        raise InvalidInput("Give one of calls, metadata and value")
    if body.calls:
        if body.rehearsal:
            raise InvalidInput("Named calls need no rehearsal: send rehearsal false", param="calls")
        report = erase_calls(project, body.calls, reason=body.reason, asked_by=who)
        if report.erasure is None:
            raise NotFound("None of these is a call of yours.")
        return 202, erasure_out(erasure_of_project(project, report.erasure))
    sought = Sought.text(body.value) if body.value else Sought.metadata(*body.metadata.popitem())
    job = start_erasure(
        project, sought, reason=body.reason, asked_by=who, is_rehearsal=body.rehearsal
    )
    return 202, erasure_out(job)


@router.get("/erasures", response=list[ErasureOut])
def list_erasures(request: HttpRequest) -> list[dict[str, Any]]:
    """List the erasures, the newest first."""
    return [erasure_out(job) for job in erasures_of(project_of(request))]


@router.get("/erasures/{erasure_id}", response=ErasureOut)
def get_erasure(request: HttpRequest, erasure_id: int) -> dict[str, Any]:
    """Read an erasure's report."""
    return erasure_out(erasure_of_project(project_of(request), erasure_id))


@router.post("/erasures/{erasure_id}/confirm", response={202: ErasureOut})
def post_confirm(request: HttpRequest, erasure_id: int) -> tuple[int, dict[str, Any]]:
    """Do what was rehearsed."""
    rehearsal = erasure_of_project(project_of(request), erasure_id)
    return 202, erasure_out(confirm(rehearsal, asked_by=asked_by(request)))
