"""Pages of judges. Each view starts at a gate."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from factory.decorators import signed_in, user_of
from factory.forms import errors_in
from factory.models import Membership, Workload
from factory.selectors import role_of, workload_for_user
from factory.services import jobs
from factory.views.pages import form_page
from labeling.forms import JudgeForm
from labeling.selectors import judge as selectors
from labeling.selectors.label_sets import label_sets_of
from labeling.services.judge import start_judging

Role = Membership.Role


@signed_in("GET", "POST")
def new_judge(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Let a model check one set, or choose between two."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    form = JudgeForm(found.project, label_sets_of(found), request.POST or None)
    if form.is_valid():
        with errors_in(form):
            job = start_judging(found, **form.cleaned_data, user=user_of(request))
            return redirect("judge", project, workload, job.pk)
    return form_page(
        request, form, title="New judge", button="Start",
        project=found.project, workload=found, note="labeling/_judge_note.html",
    )  # fmt: skip


@signed_in("GET")
def judge(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Show a judge: what it said, how often it agrees with people, and its verdicts."""
    found = workload_for_user(request.user, project, workload)
    return render(request, "labeling/judge.html", _context(request, found, job))


@signed_in("GET")
def judge_live(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Show the part of a judge's page that moves."""
    found = workload_for_user(request.user, project, workload)
    return render(request, "labeling/_judge.html", _context(request, found, job))


@signed_in("POST")
def cancel_judge(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Stop a judge; its verdicts stay."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    jobs.cancel(selectors.judging_of(found, job))
    return redirect("judge", project, workload, job)


def _context(request: HttpRequest, workload: Workload, job_id: int) -> dict[str, object]:
    job = selectors.judging_of(workload, job_id)
    outcome = request.GET.get("outcome", "")
    return {
        "project": workload.project,
        "workload": workload,
        "role": role_of(request.user, workload.project),
        "job": job,
        "summary": selectors.judge_summary(job),
        "outcome": outcome,
        "verdicts": selectors.verdicts_of(job, outcome),
    }
