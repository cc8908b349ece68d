"""The page that says where labels are doubtful, and what more of them would be worth."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from factory.decorators import signed_in
from factory.models import Membership
from factory.selectors import role_of, workload_for_user
from factory.services import jobs
from labeling.selectors.insight import insight_of, insight_run_of, suspicious_rows
from labeling.services.insight import start_insight

Role = Membership.Role


@signed_in("GET", "POST")
def insight(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Show what is known of the labels; POST judges them anew."""
    role = Role.LEAD if request.method == "POST" else Role.VIEWER
    found = workload_for_user(request.user, project, workload, role)
    if request.method == "POST":
        start_insight(found, user=request.user)
        return redirect("insight", project, workload)
    after = request.GET.get("after", "")
    shown = {
        "project": found.project,
        "workload": found,
        "role": role_of(request.user, found.project),
        "insight": insight_of(found),
        "rows": suspicious_rows(found, int(after) if after.isascii() and after.isdecimal() else 0),
    }
    return render(request, "labeling/insight.html", shown)


@signed_in("GET")
def insight_live(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Show how far the judgement is; the page is loaded anew once it has something new to show."""
    found = workload_for_user(request.user, project, workload)
    job = insight_run_of(found)
    shown = {"project": found.project, "workload": found, "job": job}
    response = render(request, "labeling/_insight_job.html", shown)
    if job is None or job.is_final:
        response["HX-Refresh"] = "true"
    return response


@signed_in("POST")
def cancel_insight(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Stop the judgement; what it wrote stays."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    job = insight_run_of(found)
    if job is not None:
        jobs.cancel(job)
    return redirect("insight", project, workload)
