"""Pages of label sets: side by side, combined, and made targets. Each view starts at a gate."""

from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from factory.decorators import signed_in, user_of
from factory.errors import InvalidInput, NotFound
from factory.forms import errors_in
from factory.models import Membership, Workload
from factory.selectors import role_of, workload_for_user
from factory.services import jobs
from factory.views.pages import form_page
from labeling.forms import ApplyForm, CommitteeForm
from labeling.selectors import label_sets as selectors
from labeling.selectors.judge import judgings_of
from labeling.services import label_sets as services

Role = Membership.Role
LISTED = 12  # sets whose agreement is counted on the list


@signed_in("GET")
def label_sets(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """List a workload's sets, each beside people's answers, and the acts that applied some."""
    found = workload_for_user(request.user, project, workload)
    sets = selectors.label_sets_of(found)
    acts = selectors.applications_of(found)
    stored = [one.job for one in sets if one.job is not None]
    reference = selectors.PEOPLE if sets[1].rows else selectors.PRODUCTION
    shown = {
        "project": found.project,
        "workload": found,
        "role": role_of(request.user, found.project),
        "sets": [
            (one, selectors.agreement_with(found, one.key, reference) if one.rows else None)
            for one in sets[:LISTED]
        ],
        "reference": selectors.set_of(found, reference),
        "acts": acts,
        "judges": judgings_of(found),
        "is_busy": any(not job.is_final for job in (*acts, *stored)),
    }
    template = "labeling/_label_sets.html" if request.htmx else "labeling/label_sets.html"  # type: ignore[attr-defined]  # by the middleware
    return render(request, template, shown)


@signed_in("GET")
def compare_sets(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Show how far two sets agree, and the rows of a cell, the disagreements first."""
    found = workload_for_user(request.user, project, workload)
    asked = {name: request.GET.get(name, "") for name in ("first", "second", "field", "at")}
    first, second = asked["first"] or selectors.PRODUCTION, asked["second"] or selectors.CURRENT
    cell = _cell(request)
    sets = selectors.label_sets_of(found)
    comparison = selectors.compare_sets(found, first, second, asked["field"])
    field = comparison.field
    shown = {
        "project": found.project,
        "workload": found,
        "role": role_of(request.user, found.project),
        "sets": sets,
        "first": selectors.set_of(found, first),
        "second": selectors.set_of(found, second),
        "comparison": comparison,
        "cell": cell,
        "page": selectors.compared_rows(
            found, first, second, cell=cell, field=field if cell else "", at=asked["at"]
        ),
        "here": _query(first=first, second=second, field=asked["field"]),
    }
    return render(request, "labeling/compare_sets.html", shown)


def _cell(request: HttpRequest) -> tuple[str, str] | None:
    if "row" in request.GET and "column" in request.GET:
        return request.GET["row"], request.GET["column"]
    return None


def _query(**values: str) -> str:
    return urlencode({name: value for name, value in values.items() if value})


@signed_in("POST")
def apply_set(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Make a set's answers the targets of rows."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    form = ApplyForm(request.POST)
    if not form.is_valid():
        name, problems = next(iter(form.errors.items()))
        raise InvalidInput(f"{name}: {problems[0]}", param=name)
    act = services.start_application(found, **form.options(), user=user_of(request))
    return redirect("application", project, workload, act.pk)


@signed_in("GET")
def application(request: HttpRequest, project: str, workload: str, act: int) -> HttpResponse:
    """Show an act: how far it is, how many rows it changed, and how many are still so."""
    found = workload_for_user(request.user, project, workload)
    return render(request, "labeling/application.html", _act_context(request, found, act))


@signed_in("GET")
def application_live(request: HttpRequest, project: str, workload: str, act: int) -> HttpResponse:
    """Show the part of an act's page that moves."""
    found = workload_for_user(request.user, project, workload)
    return render(request, "labeling/_application.html", _act_context(request, found, act))


def _act_context(request: HttpRequest, workload: Workload, act: int) -> dict[str, object]:
    found = selectors.application_of(workload, act)
    return {
        "project": workload.project,
        "workload": workload,
        "role": role_of(request.user, workload.project),
        "act": found,
        "standing": services.applied_rows(found) if found.is_final else None,
        "undone_by": selectors.undone_by(found),
    }


@signed_in("POST")
def undo_application(request: HttpRequest, project: str, workload: str, act: int) -> HttpResponse:
    """Take an act back."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    undo = services.start_undo(selectors.application_of(found, act), user_of(request))
    return redirect("application", project, workload, undo.pk)


@signed_in("POST")
def cancel_application(request: HttpRequest, project: str, workload: str, act: int) -> HttpResponse:
    """Stop an act; what it changed stays until it is undone."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    jobs.cancel(selectors.application_of(found, act))
    return redirect("application", project, workload, act)


@signed_in("GET", "POST")
def new_committee(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Combine several sets into one."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    sets = [one for one in selectors.label_sets_of(found) if one.key != selectors.CURRENT]
    form = CommitteeForm(sets, request.POST or None)
    if form.is_valid():
        with errors_in(form):
            services.start_committee(found, **form.cleaned_data, user=request.user)
            return redirect("label_sets", project, workload)
    return form_page(
        request, form, title="New committee", button="Combine",
        project=found.project, workload=found, note="labeling/_committee_note.html",
    )  # fmt: skip


@signed_in("POST")
def delete_set(request: HttpRequest, project: str, workload: str, number: int) -> HttpResponse:
    """Delete a stored set; what was applied of it stays."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    stored = found.label_sets.filter(pk=number).first()
    if stored is None:
        raise NotFound("There is no such label set, or it is not yours to see.")
    services.delete_label_set(stored)
    messages.success(request, f"Deleted: {stored.name}.")
    return redirect("label_sets", project, workload)
