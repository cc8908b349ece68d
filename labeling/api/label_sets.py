"""The JSON API of label sets: listed, compared, combined, applied, undone."""

from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from factory.api.base import JobOut, job_out, project_of
from factory.intervals import Share
from factory.selectors import workload_in_project
from labeling.models import Application, LabelSet
from labeling.selectors import label_sets as selectors
from labeling.services import label_sets as services

router = Router(tags=["label sets"])


class SetOut(Schema):
    """A set of answers to a workload's inputs, by its key."""

    key: str
    name: str
    kind: str
    rows: int
    may_train: bool


class ShareOut(Schema):
    """A share with its 95 % interval; null where there are no rows."""

    value: float | None
    low: float
    high: float
    n: int


class FieldOut(Schema):
    """How often a field of JSON answers is the same."""

    path: str
    agreement: ShareOut
    kappa: float | None


class CellOut(Schema):
    """How many rows have one answer in the first set and the other in the second."""

    first: str
    second: str
    count: int


class ComparisonOut(Schema):
    """Two sets over the rows that both answer; `field` names the matrix of a JSON workload."""

    first: str
    second: str
    agreement: ShareOut
    near: ShareOut | None
    kappa: float | None
    fields: list[FieldOut]
    field: str
    matrix: list[CellOut]


class CommitteeIn(Schema):
    """Which sets to combine, and how."""

    name: str = Field(min_length=1, max_length=120)
    members: list[str] = Field(min_length=2, max_length=9)
    method: str = "dawid_skene"


class LabelSetOut(JobOut):
    """A stored set, and how far its making is."""

    key: str
    name: str
    rows: int
    recipe: dict[str, Any]


class CellIn(Schema):
    """One cell of a comparison: the source's answer and the other set's."""

    first: str
    second: str
    field: str = ""


class ApplyIn(Schema):
    """Which answers become targets: all, those that another set agrees with, or a cell's."""

    source: str
    scope: str = "all"
    other: str = ""
    cell: CellIn | None = None
    at_least: float = Field(0.0, ge=0.0, le=1.0)


class ApplicationOut(JobOut):
    """An act that made a set's answers targets, or undid one."""

    source: str
    scope: str
    rows: int
    undoes: int | None


def share_out(share: Share) -> dict[str, Any]:
    """Return a share as `ShareOut` shows it."""
    return {"value": share.value, "low": share.low, "high": share.high, "n": share.n}


@router.get("/workloads/{workload}/label-sets", response=list[SetOut])
def get_label_sets(request: HttpRequest, workload: str) -> Any:
    """List a workload's label sets."""
    return selectors.label_sets_of(workload_in_project(project_of(request), workload))


@router.get("/workloads/{workload}/label-sets/compare", response=ComparisonOut)
def get_comparison(
    request: HttpRequest, workload: str, first: str, second: str, field: str = ""
) -> dict[str, Any]:
    """Compare two label sets."""
    found = workload_in_project(project_of(request), workload)
    one, other = selectors.set_of(found, first), selectors.set_of(found, second)
    compared = selectors.compare_sets(found, one.key, other.key, field)
    rows = compared.matrix.rows if compared.matrix else ()
    return {
        "first": one.key,
        "second": other.key,
        "agreement": share_out(compared.agreement),
        "near": compared.near and share_out(compared.near),
        "kappa": compared.kappa,
        "fields": [
            {"path": one.path, "agreement": share_out(one.agreement), "kappa": one.kappa}
            for one in compared.fields
        ],
        "field": compared.field,
        "matrix": [cell for row in rows for cell in row if cell.count],
    }


@router.post("/workloads/{workload}/label-sets/committees", response=LabelSetOut)
def post_committee(request: HttpRequest, workload: str, body: CommitteeIn) -> dict[str, Any]:
    """Combine several label sets into one."""
    found = workload_in_project(project_of(request), workload)
    return _label_set_out(services.start_committee(found, **body.dict()))


@router.get("/label-sets/{number}", response=LabelSetOut)
def get_label_set(request: HttpRequest, number: int) -> dict[str, Any]:
    """Watch a stored label set."""
    return _label_set_out(selectors.set_in_project(project_of(request), number))


@router.post("/workloads/{workload}/label-sets/apply", response=ApplicationOut)
def post_application(request: HttpRequest, workload: str, body: ApplyIn) -> dict[str, Any]:
    """Make a label set's answers targets; what people decided stays."""
    found = workload_in_project(project_of(request), workload)
    return _application_out(services.start_application(found, **body.dict()))


@router.get("/label-sets/acts/{act}", response=ApplicationOut)
def get_application(request: HttpRequest, act: int) -> dict[str, Any]:
    """Watch an act."""
    return _application_out(selectors.application_in_project(project_of(request), act))


@router.post("/label-sets/acts/{act}/undo", response=ApplicationOut)
def post_undo(request: HttpRequest, act: int) -> dict[str, Any]:
    """Undo an act."""
    found = selectors.application_in_project(project_of(request), act)
    return _application_out(services.start_undo(found))


def _label_set_out(found: LabelSet) -> dict[str, Any]:
    figures = {name: getattr(found, name) for name in ("name", "rows", "recipe")}
    return {**job_out(found), **figures, "key": f"set-{found.pk}"}


def _application_out(act: Application) -> dict[str, Any]:
    figures = {name: getattr(act, name) for name in ("source", "scope", "rows")}
    return {**job_out(act), **figures, "undoes": act.undoes_id}
