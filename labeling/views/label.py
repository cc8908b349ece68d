"""Pages of labelling. Each view starts at a gate."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from factory.charts import bars
from factory.decorators import signed_in
from factory.errors import Conflict, InvalidInput
from factory.forms import errors_in
from factory.models import Membership, Workload
from factory.selectors import workload_for_user
from factory.views.pages import form_page
from labeling.forms import (
    GuidelineForm,
    LabelJobForm,
    LimitsForm,
    ResumeForm,
    TeacherForm,
)
from labeling.models import LabelJob
from labeling.selectors import label as selectors
from labeling.services import label

Role = Membership.Role


@signed_in("GET")
def label_jobs(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """List a workload's label jobs, its teachers and its guideline."""
    found = workload_for_user(request.user, project, workload)
    shown = {
        "project": found.project,
        "workload": found,
        "jobs": selectors.label_jobs_of(found),
        "priced": [(one, label.price_of(one)) for one in selectors.teachers_of(found.project)],
        "guideline": selectors.latest_guideline(found),
    }
    return render(request, "labeling/label_jobs.html", shown)


@signed_in("GET", "POST")
def new_label_job(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Start a label job, after its price was shown."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    form = LabelJobForm(found.project, request.POST or None)
    if form.is_valid():
        with errors_in(form):
            job = label.start_label_job(found, **form.cleaned_data, user=request.user)
            return redirect("label_job", project, workload, job.pk)
    shown = {
        "project": found.project,
        "workload": found,
        "form": form,
        "teachers": selectors.teachers_of(found.project),
    }
    status = 422 if form.is_bound else 200
    return render(request, "labeling/new_label_job.html", shown, status=status)


@signed_in("GET")
def label_estimate(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Say what a label job would take; an empty choice takes the first teacher, asked thrice."""
    found = workload_for_user(request.user, project, workload)
    form = LabelJobForm(found.project, request.GET)
    form.is_valid()
    teachers = selectors.teachers_of(found.project)
    teacher = form.cleaned_data.get("teacher") or (teachers[0] if teachers else None)
    shown: dict[str, object] = {"project": found.project, "workload": found}
    if teacher is not None:
        given = form.cleaned_data
        names = ("mode", "rationale", "few_shot", "applies")
        asked: dict[str, Any] = {name: given[name] for name in names if name in given}
        asked["votes"] = given.get("votes") or 3
        try:
            shown["estimate"] = label.estimate_label_job(found, teacher=teacher, **asked)
        except InvalidInput as error:
            shown["problem"] = error.message
    return render(request, "labeling/_estimate.html", {**shown, "teacher": teacher})


@signed_in("GET")
def label_job(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Show a label job: how far, how sure, how dear."""
    found = workload_for_user(request.user, project, workload)
    shown = label_job_context(found, selectors.label_job_of(found, job))
    return render(request, "labeling/label_job.html", shown)


@signed_in("GET")
def label_job_live(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Show the part of a label job's page that moves."""
    found = workload_for_user(request.user, project, workload)
    shown = label_job_context(found, selectors.label_job_of(found, job))
    return render(request, "labeling/_label_job.html", shown)


@signed_in("POST")
def cancel_label_job(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Stop a label job; what it labelled stays."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    label.cancel_label_job(selectors.label_job_of(found, job))
    return redirect("label_job", project, workload, job)


@signed_in("POST")
def pause_label_job(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Stop a label job until it is resumed."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    label.pause_label_job(selectors.label_job_of(found, job))
    return redirect("label_job", project, workload, job)


@signed_in("POST")
def resume_label_job(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Let a paused label job go on, with more budget or in spite of its smoke run."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    form = ResumeForm(request.POST)
    if form.is_valid():
        try:
            label.resume_label_job(selectors.label_job_of(found, job), **form.cleaned_data)
        except (InvalidInput, Conflict) as error:
            messages.error(request, error.message)
    else:
        messages.error(request, "That is not a budget.")
    return redirect("label_job", project, workload, job)


@signed_in("GET", "POST")
def new_teacher(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Name a model of an upstream as a teacher."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    form = TeacherForm(found.project, request.POST or None)
    if form.is_valid():
        with errors_in(form):
            label.create_priced_teacher(found.project, **form.cleaned_data)
            return redirect("new_label_job", project, workload)
    return form_page(
        request, form, title="New teacher", button="Save the teacher",
        project=found.project, workload=found,
    )  # fmt: skip


@signed_in("GET", "POST")
def change_teacher(request: HttpRequest, project: str, workload: str, teacher: int) -> HttpResponse:
    """Change a teacher's limits and terms; what it is asked by stays."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    changed = selectors.teacher_of(found.project, teacher)
    form = LimitsForm(request.POST or None, initial=vars(changed))
    if form.is_valid():
        with errors_in(form):
            label.change_teacher(changed, **form.cleaned_data)
            return redirect("label_jobs", project, workload)
    return form_page(
        request, form, title=f"Limits and terms of {changed.name}", button="Save",
        project=found.project, workload=found,
    )  # fmt: skip


@signed_in("GET", "POST")
def guideline(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Write the guideline's next version."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    latest = selectors.latest_guideline(found)
    text = latest.text if latest else found.instruction
    form = GuidelineForm(request.POST or None, initial={"text": text})
    if form.is_valid():
        saved = label.save_guideline(found, text=form.cleaned_data["text"])
        messages.success(request, f"Guideline {saved.number} counts from now on.")
        return redirect("label_jobs", project, workload)
    return form_page(
        request, form, title="Guideline", button="Save", project=found.project, workload=found
    )


def label_job_context(workload: Workload, job: LabelJob) -> dict[str, object]:
    """Gather what a label job's page and its moving part show."""
    summary = selectors.label_job_summary(job)
    tenths = {f"{n * 10} to {n * 10 + 10} %": count for n, count in enumerate(summary.histogram)}
    return {
        "project": workload.project,
        "workload": workload,
        "job": job,
        "summary": summary,
        "histogram": bars(tenths),
        "is_over_budget": summary.spent_usd >= job.budget_usd,
        "budget": float(job.budget_usd),
        "batches": list(job.batches.order_by("pk")),
        "needs_nevertheless": job.status == job.Status.PAUSED and job.smoke.get("passed") is False,
    }
