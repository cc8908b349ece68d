"""Pages of projects, calls and examples. Each view starts at a gate."""

from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from factory import selectors
from factory.decorators import error_response, signed_in, unreadable, user_of
from factory.errors import Forbidden, NotFound, UnderstudyError
from factory.forms import (
    CallFilterForm,
    ExampleFilterForm,
    KeyForm,
    LabelSetForm,
    MemberForm,
    ProjectForm,
    UpstreamForm,
    WorkloadForm,
    errors_in,
)
from factory.models import Membership
from factory.selectors import CallFilter, project_for_user, workload_for_user
from factory.services import curate, feedback, keys, projects

Role = Membership.Role


# --- the site -------------------------------------------------------------------------------------
def healthz(_request: HttpRequest) -> HttpResponse:
    """Say that the process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(_request: HttpRequest) -> HttpResponse:
    """Say whether requests can be served: 503 while the database is away.

    Calls that could not be kept are told of too; requests are served all the same.
    """
    connection.ensure_connection()
    lines = ["ok", *map(sentence, selectors.recent_losses())]
    return HttpResponse("".join(f"{line}\n" for line in lines), content_type="text/plain")


def sentence(loss: selectors.RecentLoss) -> str:
    """Say a loss in plain text."""
    first, last = (at.strftime("%Y-%m-%d %H:%M UTC") for at in (loss.first_at, loss.last_at))
    when = f"from {first} to {last}" if first != last else f"at {first}"
    calls = "1 call" if loss.count == 1 else f"{loss.count} calls"
    return f"{calls} not kept whole {when}: {loss.reason}. {loss.advice}".strip()


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django could not read."""
    return error_response(request, unreadable(exception))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001
    """Answer a request that Django refused."""
    return error_response(request, Forbidden("This is not allowed."))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001
    """Answer for an address that no page has."""
    return error_response(request, NotFound("There is no page at this address."))


def broken(request: HttpRequest) -> HttpResponse:
    """Answer for an error of ours; the log has it."""
    return error_response(request, UnderstudyError("Something broke on our side. It was logged."))


@signed_in("GET")
def home(request: HttpRequest) -> HttpResponse:
    """List the projects of the person who is signed in."""
    projects, losses = selectors.home_projects(request.user), selectors.losses_for(request.user)
    return render(request, "factory/home.html", {"projects": projects, "losses": losses})


@signed_in("GET", "POST")
def new_project(request: HttpRequest) -> HttpResponse:
    """Make a project, where the person may."""
    if not request.user.has_perm("factory.add_project"):
        raise Forbidden("Only an administrator may make projects.")
    form = ProjectForm(request.POST or None)
    if form.is_valid():
        with errors_in(form):
            made = projects.create_project(**form.cleaned_data, owner=user_of(request))
            return redirect("project", made.slug)
    return form_page(request, form, title="New project", button="Make the project")


# --- a project ------------------------------------------------------------------------------------
@signed_in("GET")
def project(request: HttpRequest, project: str) -> HttpResponse:
    """Show a project: its workloads, and what feeds them."""
    found = project_for_user(request.user, project)
    page = selectors.project_page(found, request.user)
    losses = selectors.recent_losses() if page.role == Role.OWNER else []
    context = {"project": found, "page": page, "losses": losses}
    return render(request, "factory/project.html", context)


@signed_in("GET", "POST")
def new_workload(request: HttpRequest, project: str) -> HttpResponse:
    """Make a workload by hand."""
    found = project_for_user(request.user, project, Role.LEAD)
    form = WorkloadForm(request.POST or None)
    if form.is_valid():
        with errors_in(form):
            made = projects.create_workload(found, **form.cleaned_data)
            return redirect("workload", found.slug, made.slug)
    return form_page(request, form, title="New workload", button="Make the workload", project=found)


@never_cache
@signed_in("GET", "POST")
def new_key(request: HttpRequest, project: str) -> HttpResponse:
    """Make a key and show it, this once."""
    found = project_for_user(request.user, project, Role.OWNER)
    form = KeyForm(request.POST or None)
    if form.is_valid():
        with errors_in(form):
            key, raw = keys.create_key(found, **form.cleaned_data)
            made = {"project": found, "key": key, "raw": raw}
            return render(request, "factory/key.html", made)
    return form_page(request, form, title="New API key", button="Make the key", project=found)


@signed_in("POST")
def revoke_key(request: HttpRequest, project: str, key: int) -> HttpResponse:
    """End a key."""
    found = project_for_user(request.user, project, Role.OWNER)
    keys.revoke_key(selectors.key_of_project(found, key))
    messages.success(request, "The key is revoked: the next request with it is refused.")
    return redirect("project", project)


@signed_in("GET", "POST")
def new_member(request: HttpRequest, project: str) -> HttpResponse:
    """Give a person a role."""
    found = project_for_user(request.user, project, Role.OWNER)
    form = MemberForm(request.POST or None)
    if form.is_valid():
        person = User.objects.filter(username=form.cleaned_data["username"]).first()
        if person is None:
            form.add_error("username", "Nobody here has this name. An administrator adds people.")
        else:
            projects.add_member(found, person, form.cleaned_data["role"])
            return redirect("project", project)
    return form_page(request, form, title="Add a member", button="Add", project=found)


@signed_in("GET", "POST")
def new_upstream(request: HttpRequest, project: str) -> HttpResponse:
    """Make or change an upstream."""
    found = project_for_user(request.user, project, Role.OWNER)
    form = UpstreamForm(request.POST or None)
    if form.is_valid():
        data = form.cleaned_data
        with errors_in(form):
            saved = projects.save_upstream(
                found,
                name=data["name"],
                base_url=data["base_url"],
                key=data["key"] or None,
                is_default=data["is_default"],
                model_patterns=data["model_patterns"],
                dialect=data["dialect"],
                api_version=data["api_version"],
                prices=selectors.prices_with(found, data["name"], form.prices()),
            )
            messages.success(request, f"{saved.name} is saved.")
            return redirect("project", project)
    return form_page(request, form, title="Upstream", button="Save", project=found)


# --- calls and examples ---------------------------------------------------------------------------
@signed_in("GET")
def project_calls(request: HttpRequest, project: str) -> HttpResponse:
    """List a project's calls, whatever workload they belong to."""
    found = project_for_user(request.user, project)
    form = CallFilterForm(request.GET)
    page = selectors.calls_page(found, only=call_filter(form), at=request.GET.get("at", ""))
    models = selectors.recent_models(found)
    shown = {"project": found, "form": form, "page": page, "models": models}
    return render(request, "factory/calls.html", shown)


@signed_in("GET")
def calls(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """List a workload's calls."""
    found = workload_for_user(request.user, project, workload)
    form = CallFilterForm(request.GET)
    only, at = call_filter(form), request.GET.get("at", "")
    page = selectors.calls_page(found.project, workload=found, only=only, at=at)
    models = selectors.recent_models(found.project)
    context = {"project": found.project, "workload": found}
    shown = {**context, "form": form, "page": page, "models": models}
    return render(request, "factory/calls.html", shown)


@signed_in("GET")
def call(request: HttpRequest, project: str, call: UUID) -> HttpResponse:
    """Show one call, whole."""
    found = project_for_user(request.user, project)
    shown = selectors.call_of_project(found, call)
    said = feedback.shown_feedback(shown)
    context = {"project": found, "workload": shown.workload, "call": shown, "feedback": said}
    return render(request, "factory/call.html", context)


@signed_in("GET")
def examples(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """List a workload's examples."""
    found = workload_for_user(request.user, project, workload)
    form = ExampleFilterForm(request.GET)
    only = form.cleaned_data if form.is_valid() else {}
    page = selectors.examples_page(found, **only, at=request.GET.get("at", ""))
    counts = selectors.example_counts(found)
    shown = {"project": found.project, "workload": found, "form": form, "page": page}
    return render(request, "factory/examples.html", {**shown, "counts": counts})


@signed_in("GET", "POST")
def label_set(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Fix a workload's label set."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    form = LabelSetForm(request.POST or None, initial={"labels": "\n".join(found.labels)})
    if form.is_valid():
        with errors_in(form):
            curate.set_label_set(found, form.cleaned_data["labels"])
            messages.success(request, "The label set is fixed.")
            return redirect("workload", project, workload)
    return form_page(
        request, form, title="Label set", button="Fix the label set",
        project=found.project, workload=found,
    )  # fmt: skip


# --- what several views share ---------------------------------------------------------------------
def form_page(
    request: HttpRequest, form: forms.Form, *, title: str, button: str, **context: object
) -> HttpResponse:
    """Show a form on a page of its own, with what was wrong the last time; 422 if something was."""
    shown = {"form": form, "heading": title, "button": button, **context}
    status = 422 if form.is_bound and form.errors else 200
    return render(request, "form.html", shown, status=status)


def call_filter(form: CallFilterForm) -> CallFilter:
    """Return what was asked for; a field that makes no sense narrows nothing."""
    form.is_valid()
    return CallFilter(**form.cleaned_data)
