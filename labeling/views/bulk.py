"""Pages of bulk accept: what a cut would take, the act, its error, and the way back."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from factory.decorators import signed_in, user_of
from factory.forms import errors_in
from factory.models import Membership, Workload
from factory.selectors import role_of, workload_for_user
from factory.services import jobs
from labeling.forms import BulkForm
from labeling.selectors import bulk as selectors
from labeling.services import bulk as services

Role = Membership.Role


@signed_in("GET", "POST")
def bulk_accept(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Say what each cut would take; POST accepts what is above one."""
    role = Role.LEAD if request.method == "POST" else Role.VIEWER
    found = workload_for_user(request.user, project, workload, role)
    form = BulkForm(request.POST or None)
    if form.is_valid():
        with errors_in(form):
            act = services.start_bulk_accept(found, **form.cleaned_data, user=user_of(request))
            return redirect("bulk_act", project, workload, act.pk)
    asked = BulkForm(request.POST or request.GET)
    asked.is_valid()
    score = asked.cleaned_data.get("score") or selectors.Score.VOTES
    chosen = asked.cleaned_data.get("at_least")
    cuts = selectors.cuts_of(found, score, chosen)
    acts = selectors.bulk_accepts_of(found)
    shown = {
        "project": found.project,
        "workload": found,
        "role": role_of(request.user, found.project),
        "form": form,
        "scores": selectors.Score.choices,
        "score": score,
        "cuts": cuts,
        "most": cuts[-1].rows,
        "chosen": next((cut for cut in cuts if cut.at_least == chosen), None),
        "acts": [(act, None if act.undoes_id else selectors.audit_of(act)) for act in acts],
        "sample": (selectors.FEWEST_AUDITED, selectors.AUDIT_SHARE),
    }
    return render(request, "labeling/bulk_accept.html", shown, status=422 if form.errors else 200)


@signed_in("GET")
def bulk_act(request: HttpRequest, project: str, workload: str, accept: int) -> HttpResponse:
    """Show an act: how far it is, what it accepted, and how wrong that is."""
    found = workload_for_user(request.user, project, workload)
    return render(request, "labeling/bulk_act.html", _act_context(request, found, accept))


@signed_in("GET")
def bulk_act_live(request: HttpRequest, project: str, workload: str, accept: int) -> HttpResponse:
    """Show the part of an act's page that moves."""
    found = workload_for_user(request.user, project, workload)
    return render(request, "labeling/_bulk_act.html", _act_context(request, found, accept))


def _act_context(request: HttpRequest, workload: Workload, number: int) -> dict[str, object]:
    act = selectors.bulk_accept_of(workload, number)
    return {
        "project": workload.project,
        "workload": workload,
        "role": role_of(request.user, workload.project),
        "act": act,
        "audit": None if act.undoes_id else selectors.audit_of(act),
        "standing": selectors.standing_rows(act).count() if act.is_final else None,
        "undone_by": selectors.reverted_by(act),
    }


@signed_in("POST")
def revert_bulk_accept(
    request: HttpRequest, project: str, workload: str, accept: int
) -> HttpResponse:
    """Give all rows of an act back as they were."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    act = services.start_revert(selectors.bulk_accept_of(found, accept), user_of(request))
    return redirect("bulk_act", project, workload, act.pk)


@signed_in("POST")
def cancel_bulk_accept(
    request: HttpRequest, project: str, workload: str, accept: int
) -> HttpResponse:
    """Stop an act; what it accepted stays until it is reverted."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    jobs.cancel(selectors.bulk_accept_of(found, accept))
    return redirect("bulk_act", project, workload, accept)
