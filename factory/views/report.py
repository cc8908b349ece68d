"""Pages that say whether a prompt or a workload is worth a student."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from factory.decorators import signed_in
from factory.forms import AssumptionsForm, errors_in
from factory.models import Membership, Project, Workload
from factory.prices import CATALOGUE, CATALOGUE_DAY, CATALOGUE_VERSION
from factory.selectors import group_of_project, project_for_user, role_of, workload_for_user
from factory.services import report as reports
from factory.services.report import Subject

Role = Membership.Role


@signed_in("GET", "POST")
def prompt_report(request: HttpRequest, project: str, group: int) -> HttpResponse:
    """Show a prompt's report; POST measures it anew."""
    role = Role.LEAD if request.method == "POST" else Role.VIEWER
    found = project_for_user(request.user, project, role)
    subject = group_of_project(found, group)
    if request.method == "POST":
        reports.start_report(subject, request.user)
        return redirect("prompt_report", project, group)
    return _page(request, found, subject)


@signed_in("GET", "POST")
def workload_report(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Show a workload's report; POST measures it anew."""
    role = Role.LEAD if request.method == "POST" else Role.VIEWER
    subject = workload_for_user(request.user, project, workload, role)
    if request.method == "POST":
        reports.start_report(subject, request.user)
        return redirect("report", project, workload)
    return _page(request, subject.project, subject)


@signed_in("GET")
def prompt_report_live(request: HttpRequest, project: str, group: int) -> HttpResponse:
    """Show how far a prompt's measurement is."""
    return _live(request, group_of_project(project_for_user(request.user, project), group))


@signed_in("GET")
def workload_report_live(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Show how far a workload's measurement is."""
    return _live(request, workload_for_user(request.user, project, workload))


@signed_in("GET", "POST")
def opportunities(request: HttpRequest, project: str) -> HttpResponse:
    """Rank what could be distilled; POST measures what was not measured yet."""
    role = Role.LEAD if request.method == "POST" else Role.VIEWER
    found = project_for_user(request.user, project, role)
    ranked = reports.opportunities(found)
    if request.method == "POST":
        for waiting in ranked:
            if waiting.report is None:
                reports.start_report(waiting.subject, request.user)
        return redirect("opportunities", project)
    context = {
        "project": found,
        "ranked": ranked,
        "is_busy": any(each.job and not each.job.is_final for each in ranked),
        "role": role_of(request.user, found),
    }
    template = "factory/_opportunities.html" if request.htmx else "factory/opportunities.html"  # type: ignore[attr-defined]  # by the middleware
    return render(request, template, context)


@signed_in("GET", "POST")
def assumptions(request: HttpRequest, project: str) -> HttpResponse:
    """Change what the project's reports take for granted."""
    role = Role.LEAD if request.method == "POST" else Role.VIEWER
    found = project_for_user(request.user, project, role)
    form = AssumptionsForm(request.POST or None, initial=reports.assumed_in(found))
    if form.is_valid():
        with errors_in(form):
            reports.change_assumptions(found, form.cleaned_data)
            messages.success(request, "Saved: all reports of this project follow.")
            return redirect("opportunities", project)
    context = {"project": found, "form": form, "role": role_of(request.user, found)}
    status = 422 if form.is_bound and form.errors else 200
    return render(request, "factory/assumptions.html", context, status=status)


def _page(request: HttpRequest, project: Project, subject: Subject) -> HttpResponse:
    measured = reports.measured_report(subject)
    values = reports.assumed_in(project)
    context = {
        **_names(subject),
        "project": project,
        "job": reports.newest_report(subject),
        "measured": measured,
        "report": reports.judged(measured, values),
        "role": role_of(request.user, project),
        "catalogue": f"{CATALOGUE} {CATALOGUE_VERSION} of {CATALOGUE_DAY:%-d %B %Y}",
    }
    return render(request, "factory/report.html", context)


def _live(request: HttpRequest, subject: Subject) -> HttpResponse:
    job = reports.newest_report(subject)
    context = {**_names(subject), "project": subject.project, "job": job}
    response = render(request, "factory/_report_job.html", context)
    if job is None or job.is_final:
        response["HX-Refresh"] = "true"  # the page has something new to show
    return response


def _names(subject: Subject) -> dict[str, object]:
    return {"workload": subject} if isinstance(subject, Workload) else {"group": subject}
