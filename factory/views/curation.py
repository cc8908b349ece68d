"""Pages of curation: runs, a workload's funnel, its recipe, and undoing a step."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from factory.curation.funnel import REASONS
from factory.decorators import signed_in, user_of
from factory.errors import Conflict
from factory.forms import CurationForm, errors_in
from factory.models import Membership
from factory.selectors import project_for_user, role_of, workload_for_user
from factory.services import curation, jobs
from factory.services.curate import set_split_shares

Role = Membership.Role
CURATED = {"example": "new examples", "waiting": "of prompts that are no workload yet", **REASONS}


@signed_in("POST")
def curate_calls(request: HttpRequest, project: str) -> HttpResponse:
    """Start a run over all of a project's new calls."""
    found = project_for_user(request.user, project, Role.LEAD)
    run = curation.start_curation(found, user=user_of(request))
    return redirect("curation_run", project, run.pk)


@signed_in("GET")
def curation_run(request: HttpRequest, project: str, curate: int) -> HttpResponse:
    """Show how far a run is, and what became of the calls."""
    found = project_for_user(request.user, project)
    shown = curation.run_of_project(found, curate)
    counts = [(CURATED.get(name, name), n) for name, n in shown.counts.items() if n]
    context = {
        "project": found,
        "run": shown,
        "counts": counts,
        "workloads": found.workloads.order_by("slug"),
        "role": role_of(request.user, found),
    }
    is_part = bool(request.htmx)  # type: ignore[attr-defined]  # by the middleware
    template = "factory/_curation_run.html" if is_part else "factory/curation_run.html"
    return render(request, template, context)


@signed_in("POST")
def cancel_curation(request: HttpRequest, project: str, curate: int) -> HttpResponse:
    """Stop a run; what it has done stays."""
    found = project_for_user(request.user, project, Role.LEAD)
    jobs.cancel(curation.run_of_project(found, curate))
    return redirect("curation_run", project, curate)


@signed_in("GET", "POST")
def curation_page(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Show a workload's funnel; POST starts a run over its new calls."""
    role = Role.LEAD if request.method == "POST" else Role.VIEWER
    found = workload_for_user(request.user, project, workload, role)
    if request.method == "POST":
        curation.start_curation(found.project, found, user_of(request))
        return redirect("curation", project, workload)
    asked = request.GET.get("run", "")
    page = curation.curation_page(found, int(asked) if asked.isdecimal() else None)
    context = {
        "project": found.project,
        "workload": found,
        "page": page,
        "role": role_of(request.user, found.project),
    }
    is_part = bool(request.htmx)  # type: ignore[attr-defined]  # by the middleware
    template = "factory/_curation_job.html" if is_part else "factory/curation.html"
    response = render(request, template, context)
    if is_part and not page.is_busy:
        response["HX-Refresh"] = "true"  # the page has something new to show
    return response


@signed_in("GET", "POST")
def curation_recipe(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Change a workload's recipe; it holds for the calls to come."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    recipe = curation.recipe_of(found)
    form = CurationForm(request.POST or None, initial=CurationForm.initial_of(recipe, found))
    if form.is_valid():
        with errors_in(form):
            curation.save_recipe(found, form.recipe())
            set_split_shares(found, **form.shares())
            messages.success(request, "Saved: it holds for the calls to come.")
            return redirect("curation", project, workload)
    context = {"project": found.project, "workload": found, "form": form}
    status = 422 if form.is_bound and form.errors else 200
    return render(request, "factory/curation_recipe.html", context, status=status)


@signed_in("POST")
def undo_step(request: HttpRequest, project: str, workload: str, step: int) -> HttpResponse:
    """Take back what a step discarded."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    try:
        curation.start_undo(curation.step_of_workload(found, step), user_of(request))
    except Conflict as error:
        messages.error(request, error.message)
    return redirect("curation", project, workload)
