"""Pages of the loop, runs, evaluations and model versions. Each view starts at a gate."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from distill.forms import AliasForm, PublishForm, RunForm
from distill.models import Alias
from distill.selectors.loop import loop_of
from distill.selectors.runs import (
    checks_of,
    evaluation_of_workload,
    evaluation_page,
    run_of_workload,
    run_page,
    runs_of,
)
from distill.selectors.versions import models_page, shipped_file, version_in_project
from distill.services import publish as publishing
from distill.services import train
from distill.services.label_sets import write_student_set
from factory.decorators import signed_in, user_of
from factory.errors import Conflict, InvalidInput
from factory.forms import errors_in
from factory.models import Membership, Workload
from factory.selectors import erased_rows, role_of, wordings, workload_for_user
from factory.services import jobs

Role = Membership.Role


# --- the loop -------------------------------------------------------------------------------------
@signed_in("GET")
def workload(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Draw a workload's loop, and say what to do next."""
    found = workload_for_user(request.user, project, workload)
    context = {**loop_context(request, found), "wordings": wordings(found)}
    return render(request, "distill/workload.html", context)


@signed_in("GET")
def loop(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Draw the part of the workload's page that moves."""
    found = workload_for_user(request.user, project, workload)
    return render(request, "distill/_loop.html", loop_context(request, found))


# --- runs -----------------------------------------------------------------------------------------
@signed_in("GET")
def runs(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """List a workload's runs."""
    found = workload_for_user(request.user, project, workload)
    shown = {"project": found.project, "workload": found, "runs": runs_of(found)}
    return render(request, "distill/runs.html", shown)


@signed_in("GET", "POST")
def new_run(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Start a run."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    asked = request.GET.get("version", "")
    initial = {"version": int(asked)} if asked.isascii() and asked.isdecimal() else {}
    form = RunForm(found, request.POST or None, initial=initial)
    if form.is_valid():
        data = form.cleaned_data
        with errors_in(form):
            run = train.start_run(
                found,
                data["version"],
                base_model=data["base_model"],
                teacher=data["teacher"],
                overrides=form.overrides(),
                user=request.user,
            )
            return redirect("run", project, workload, run.pk)
    shown = {"project": found.project, "workload": found, "form": form}
    return render(request, "distill/new_run.html", shown, status=422 if form.is_bound else 200)


@signed_in("GET")
def run(request: HttpRequest, project: str, workload: str, run: int) -> HttpResponse:
    """Show a run: its curve, its parameters, what became of it."""
    found = workload_for_user(request.user, project, workload)
    return render(request, "distill/run.html", run_context(request, found, run))


@signed_in("GET")
def run_live(request: HttpRequest, project: str, workload: str, run: int) -> HttpResponse:
    """Show the part of a run's page that moves."""
    found = workload_for_user(request.user, project, workload)
    return render(request, "distill/_run.html", run_context(request, found, run))


@signed_in("POST")
def cancel_run(request: HttpRequest, project: str, workload: str, run: int) -> HttpResponse:
    """Stop a run."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    jobs.cancel(run_of_workload(found, run))
    return redirect("run", project, workload, run)


@signed_in("POST")
def publish(request: HttpRequest, project: str, workload: str, run: int) -> HttpResponse:
    """Publish a run's files as the next model version."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    form = PublishForm(request.POST)
    reason = form.cleaned_data["override_reason"] if form.is_valid() else ""
    shown = run_of_workload(found, run)
    try:
        version = publishing.publish(shown, user=user_of(request), override_reason=reason)
    except (Conflict, InvalidInput) as error:
        messages.error(request, f"Not published. {error.message}")
        return redirect("run", project, workload, run)
    return redirect("model", project, workload, version.number)


# --- evaluations ----------------------------------------------------------------------------------
@signed_in("GET")
def evaluation(request: HttpRequest, project: str, workload: str, evaluation: int) -> HttpResponse:
    """Show what a subject got right and wrong, beside the others."""
    found = workload_for_user(request.user, project, workload)
    shown = evaluation_of_workload(found, evaluation)
    start = request.GET.get("wrong", "0")
    page = evaluation_page(shown, int(start) if start.isdecimal() else 0)
    role = role_of(request.user, found.project)
    context = {"project": found.project, "workload": found, "evaluation": shown, "page": page}
    return render(request, "distill/evaluation.html", {**context, "role": role})


# --- model versions -------------------------------------------------------------------------------
@signed_in("GET")
def models(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """List a workload's model versions, and where the aliases point."""
    found = workload_for_user(request.user, project, workload)
    page = models_page(found)
    role = role_of(request.user, found.project)
    shown = {"project": found.project, "workload": found, "page": page, "role": role}
    return render(request, "distill/models.html", shown)


@signed_in("GET")
def model(request: HttpRequest, project: str, workload: str, number: int) -> HttpResponse:
    """Show a model version: its card, its files, how to get them."""
    found = workload_for_user(request.user, project, workload)
    version = version_in_project(found, number)
    files = list(version.files.order_by("path"))
    shown = {
        "project": found.project,
        "workload": found,
        "version": version,
        "files": files,
        "gguf": shipped_file(version, files),
        "erased": erased_rows([version.run.dataset_version]).get(version.run.dataset_version_id),
        "checks": checks_of(version.evaluation),
        "aliases": models_page(found).aliases,
        "role": role_of(request.user, found.project),
        "origin": f"{request.scheme}://{request.get_host()}",
    }
    return render(request, "distill/model.html", shown)


@signed_in("POST")
def move_alias(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Move an alias, provided that it still points where the page showed it."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    form = AliasForm(request.POST)
    if not form.is_valid():
        raise InvalidInput("This form is damaged: reload the page and try again.")
    data = form.cleaned_data
    to = version_in_project(found, data["to"])
    expected = version_in_project(found, data["expected"]) if data["expected"] else None
    user = user_of(request)
    try:
        publishing.move_alias(found, name=data["name"], to=to, expected=expected, user=user)
        messages.success(request, f"{data['name']} is v{to.number} now.")
    except (Conflict, InvalidInput) as error:
        messages.error(request, f"Not moved: {error.message}.")
    return redirect("models", project, workload)


@signed_in("POST")
def roll_back(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Put production back on the version that it had before."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    try:
        alias = publishing.rollback(found, user_of(request))
        messages.success(request, f"{Alias.Name.PRODUCTION} is v{alias.version.number} again.")
    except Conflict as error:
        messages.error(request, f"Not moved: {error.message}.")
    return redirect("models", project, workload)


@signed_in("POST")
def student_set(request: HttpRequest, project: str, workload: str, evaluation: int) -> HttpResponse:
    """Lay a student's answers beside the other label sets: to compare them, or to fill its gaps."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    made = write_student_set(evaluation_of_workload(found, evaluation), user_of(request))
    if request.POST.get("next") == "gaps":
        drafted = reverse("new_augmentation", args=[project, workload])
        return redirect(f"{drafted}?gaps=set-{made.pk}")
    compared = reverse("compare_sets", args=[project, workload])
    return redirect(f"{compared}?first=set-{made.pk}&second=people")


# --- what several views share ---------------------------------------------------------------------
def loop_context(request: HttpRequest, workload: Workload) -> dict[str, object]:
    """Gather what a workload's page and its moving part show."""
    return {
        "project": workload.project,
        "workload": workload,
        "loop": loop_of(workload),
        "role": role_of(request.user, workload.project),
    }


def run_context(request: HttpRequest, workload: Workload, run_id: int) -> dict[str, object]:
    """Gather what a run's page and its moving part show."""
    run = run_of_workload(workload, run_id)
    page = run_page(run)
    return {
        "project": workload.project,
        "workload": workload,
        "run": run,
        "erased": erased_rows([run.dataset_version]).get(run.dataset_version_id),
        "page": page,
        "checks": checks_of(page.shipped),
        "form": PublishForm(),
        "role": role_of(request.user, workload.project),
    }
