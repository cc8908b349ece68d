"""Pages of augmentation. Each view starts at a gate."""

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from factory.decorators import signed_in, user_of
from factory.errors import Conflict, InvalidInput
from factory.forms import errors_in
from factory.models import Membership, Workload
from factory.selectors import role_of, workload_for_user
from labeling.forms import AugmentForm, ResumeForm
from labeling.models import Draft, LabelJob, Seed
from labeling.selectors import augment as selectors
from labeling.selectors.label import teachers_of
from labeling.selectors.label_sets import label_sets_of
from labeling.services import augment
from labeling.services import label as jobs

Role = Membership.Role


@signed_in("GET")
def augmentations(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """List a workload's augmentations, and how much of what is trained on is made up."""
    found = workload_for_user(request.user, project, workload)
    shown = {
        "project": found.project,
        "workload": found,
        "role": role_of(request.user, found.project),
        "jobs": selectors.augmentations_of(found),
        "synthetic": selectors.synthetic_share(found),
    }
    return render(request, "labeling/augmentations.html", shown)


@signed_in("GET", "POST")
def new_augmentation(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Start an augmentation, after its price was shown."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    form = _form(found, request.POST or None, gaps=request.GET.get("gaps", ""))
    if form.is_valid():
        with errors_in(form):
            job = augment.start_augmentation(found, **form.cleaned_data, user=user_of(request))
            return redirect("augmentation", project, workload, job.pk)
    shown = {
        "project": found.project,
        "workload": found,
        "form": form,
        "teachers": teachers_of(found.project),
    }
    status = 422 if form.is_bound else 200
    return render(request, "labeling/new_augmentation.html", shown, status=status)


def _form(workload: Workload, data: object, *, gaps: str = "") -> AugmentForm:
    methods = augment.methods_for(workload)
    first = {"gaps": gaps, "gap": 40, "paraphrase": 0, "rare_label": 0} if gaps else {}
    return AugmentForm(workload.project, methods, label_sets_of(workload), data, initial=first)


@signed_in("GET")
def augment_estimate(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Say what an augmentation would take."""
    found = workload_for_user(request.user, project, workload)
    form = _form(found, request.GET)
    form.is_valid()
    given = form.cleaned_data
    shown: dict[str, object] = {"project": found.project, "workload": found}
    if (teacher := given.get("teacher")) is not None:
        names = ("wanted", "per_seed", "votes", "most_share")
        asked = {name: given[name] for name in names if name in given}
        try:
            shown["estimate"] = augment.estimate_augmentation(found, teacher=teacher, **asked)
        except InvalidInput as error:
            shown["problem"] = error.message
    return render(request, "labeling/_augment_estimate.html", shown)


@signed_in("GET")
def augmentation(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Show an augmentation: what was drafted, what stayed, and why the rest did not."""
    found = workload_for_user(request.user, project, workload)
    return render(request, "labeling/augmentation.html", _context(request, found, job))


@signed_in("GET")
def augmentation_live(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Show the part of an augmentation's page that moves."""
    found = workload_for_user(request.user, project, workload)
    return render(request, "labeling/_augmentation.html", _context(request, found, job))


@signed_in("POST")
def cancel_augmentation(
    request: HttpRequest, project: str, workload: str, job: int
) -> HttpResponse:
    """Stop an augmentation for good; what it brought stays."""
    return _act(request, project, workload, job, jobs.cancel_label_job)


@signed_in("POST")
def pause_augmentation(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Stop an augmentation until it is resumed."""
    return _act(request, project, workload, job, jobs.pause_label_job)


@signed_in("POST")
def resume_augmentation(
    request: HttpRequest, project: str, workload: str, job: int
) -> HttpResponse:
    """Let a paused augmentation go on, with more budget or in spite of its smoke run."""
    form = ResumeForm(request.POST)
    given = form.cleaned_data if form.is_valid() else {}
    return _act(request, project, workload, job, lambda one: jobs.resume_label_job(one, **given))


@signed_in("POST")
def withdraw(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Discard what an augmentation brought."""
    return _act(request, project, workload, job, augment.withdraw)


@signed_in("POST")
def bring_back(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Take a withdrawal back."""
    return _act(request, project, workload, job, augment.bring_back)


def _act(
    request: HttpRequest,
    project: str,
    workload: str,
    job: int,
    act: Callable[[LabelJob], object],
) -> HttpResponse:
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    try:
        act(selectors.augmentation_of(found, job))
    except (InvalidInput, Conflict) as error:
        messages.error(request, error.message)
    return redirect("augmentation", project, workload, job)


def _context(request: HttpRequest, workload: Workload, job_id: int) -> dict[str, object]:
    job = selectors.augmentation_of(workload, job_id)
    summary = selectors.augment_summary(job)
    status, method = request.GET.get("status", ""), request.GET.get("method", "")
    is_paused = job.status == LabelJob.Status.PAUSED
    return {
        "project": workload.project,
        "workload": workload,
        "role": role_of(request.user, workload.project),
        "job": job,
        "summary": summary,
        "synthetic": selectors.synthetic_share(workload),
        "statuses": Draft.Status.choices,
        "methods": Seed.Method.choices,
        "status": status,
        "method": method,
        "drafts": selectors.drafts_of(job, status=status, method=method),
        "needs_nevertheless": is_paused and job.smoke.get("passed") is False,
    }
