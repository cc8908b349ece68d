"""Pages of privacy: what is taken out, how long calls stay, who was forgotten."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from factory.decorators import signed_in, user_of
from factory.errors import Conflict
from factory.forms import ErasureForm, PolicyForm, RetentionForm, errors_in
from factory.messages import text_of
from factory.models import CapturedCall, Erasure, Membership, Project
from factory.redaction.placeholders import Piece, counted, pieces
from factory.redaction.redact import Policy, Redactor
from factory.selectors import (
    PrivacyPage,
    erasure_of_project,
    privacy_page,
    project_for_user,
    role_of,
)
from factory.services import erase, retention
from factory.services import privacy as policies

Role = Membership.Role


@dataclass(frozen=True)
class Preview:
    """A text after redaction, cut at its placeholders, and how many values each kind took."""

    pieces: list[Piece]
    counts: dict[str, int]


@signed_in("GET")
def privacy(request: HttpRequest, project: str) -> HttpResponse:
    """Show what is taken out of calls, how long they stay, and what was erased."""
    found = project_for_user(request.user, project)
    return shown(request, found, privacy_page(found, request.user))


@never_cache
@sensitive_post_parameters("sample")
@signed_in("POST")
def save_policy(request: HttpRequest, project: str) -> HttpResponse:
    """Take what was ticked out of every call from now on."""
    found = project_for_user(request.user, project, Role.LEAD)
    page = privacy_page(found, request.user)
    form = PolicyForm(page.newest, request.POST)
    if form.is_valid():
        with errors_in(form):
            policies.save_policy(found, form.policy())
            messages.success(request, "Saved: it holds for the next call, at every door.")
            return redirect("privacy", project)
    return shown(request, found, page, policy=form)


@never_cache
@sensitive_post_parameters("sample")
@signed_in("POST")
def preview_policy(request: HttpRequest, project: str) -> HttpResponse:
    """Show what would be taken out of a text or a call; nothing is kept of it."""
    found = project_for_user(request.user, project, Role.LEAD)
    page = privacy_page(found, request.user)
    form = PolicyForm(page.newest, request.POST)
    if form.is_valid():
        with errors_in(form):
            policy = form.policy()
            call = form.chosen()
            text = spoken(call) if call else form.cleaned_data["sample"]
            clean = Redactor(policy).text(text)
            preview = Preview(list(pieces(clean)), counted(clean))
            return shown(request, found, page, policy=form, preview=preview)
    return shown(request, found, page, policy=form)


@signed_in("POST")
def save_retention(request: HttpRequest, project: str) -> HttpResponse:
    """Say how long calls stay."""
    found = project_for_user(request.user, project, Role.LEAD)
    page = privacy_page(found, request.user)
    form = RetentionForm(found, page.workloads, request.POST)
    if form.is_valid():
        with errors_in(form):
            days = form.cleaned_data["project"]
            retention.set_retention(found, days, workloads=form.days())
            messages.success(request, "Saved: what is older leaves in the night.")
            return redirect("privacy", project)
    return shown(request, found, page, retention=form)


@sensitive_post_parameters("value", "metadata")
@signed_in("POST")
def new_erasure(request: HttpRequest, project: str) -> HttpResponse:
    """Rehearse an erasure: a person looks at what would go before it does."""
    found = project_for_user(request.user, project, Role.LEAD)
    form = ErasureForm(request.POST)
    if form.is_valid():
        with errors_in(form):
            job = erase.start_erasure(
                found,
                form.sought(),
                reason=form.cleaned_data["reason"],
                user=user_of(request),
                is_rehearsal=True,
            )
            return redirect("erasure", project, job.pk)
    return shown(request, found, privacy_page(found, request.user), erasure=form)


@signed_in("GET")
def erasure(request: HttpRequest, project: str, erasure: int) -> HttpResponse:
    """Show what an erasure reached, or would."""
    return erasure_page(request, project, erasure, "factory/erasure.html")


@signed_in("GET")
def erasure_live(request: HttpRequest, project: str, erasure: int) -> HttpResponse:
    """Show the part of an erasure's page that moves."""
    return erasure_page(request, project, erasure, "factory/_erasure.html")


@signed_in("POST")
def confirm_erasure(request: HttpRequest, project: str, erasure: int) -> HttpResponse:
    """Do what was rehearsed."""
    found = project_for_user(request.user, project, Role.LEAD)
    rehearsal = erasure_of_project(found, erasure)
    try:
        job = erase.confirm(rehearsal, user=user_of(request))
    except Conflict as error:
        messages.error(request, error.message)
        return redirect("erasure", project, erasure)
    return redirect("erasure", project, job.pk)


# --- what several views share ---------------------------------------------------------------------
def shown(
    request: HttpRequest,
    project: Project,
    page: PrivacyPage,
    *,
    policy: PolicyForm | None = None,
    preview: Preview | None = None,
    retention: RetentionForm | None = None,
    erasure: ErasureForm | None = None,
) -> HttpResponse:
    """Render the page with its forms, those that were sent as they came; 422 for what is wrong."""
    saved = PolicyForm.initial_of(Policy.from_json(project.redaction))
    forms = {
        "policy": policy or PolicyForm(page.newest, initial=saved),
        "retention": retention or RetentionForm(project, page.workloads),
        "erasure": erasure or ErasureForm(),
    }
    wrong = any(form.is_bound and form.errors for form in forms.values())
    context = {"project": project, "page": page, "preview": preview, "forms": forms}
    return render(request, "factory/privacy.html", context, status=422 if wrong else 200)


def erasure_page(request: HttpRequest, project: str, number: int, template: str) -> HttpResponse:
    """Render an erasure; what a role may do is on the page for those who may."""
    found = project_for_user(request.user, project)
    job: Erasure = erasure_of_project(found, number)
    role = role_of(request.user, found)
    can_confirm = job.is_rehearsal and job.status == "succeeded" and bool(job.sought)
    context = {"project": found, "job": job, "role": role, "can_confirm": can_confirm}
    return render(request, template, {**context, "spools": job.spools.all()})


def spoken(call: CapturedCall) -> str:
    """Return a call's turns and its answer as one text, as they are stored."""
    turns = [f"{turn['role']}: {text_of(turn.get('content'))}" for turn in call.messages]
    return "\n\n".join([*turns, f"answer: {call.output}"])
