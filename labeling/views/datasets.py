"""Pages that make dataset versions: the recipe and what it would freeze, the freezing, exports."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render

from factory.datasets.recipe import Recipe, recipe_from_json
from factory.decorators import download, signed_in
from factory.errors import Conflict, InvalidInput
from factory.forms import RecipeForm, errors_in
from factory.models import Membership, Workload
from factory.selectors import dataset_version_of, workload_for_user
from factory.services import jobs, versions
from labeling.services.exports import open_export
from labeling.services.release import release_or_start, release_preview

Role = Membership.Role


@signed_in("GET", "POST")
def new_version(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Write a recipe, see what it would freeze, and freeze it."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    name = request.GET.get("dataset", "main")
    recipe = versions.recipe_of(found, name)
    initial = {**RecipeForm.initial_of(recipe), "name": name}
    form = RecipeForm(request.POST or None, initial=initial)
    if form.is_valid():
        with errors_in(form):
            return _frozen(request, found, form.cleaned_data["name"], form.recipe())
    shown = {"project": found.project, "workload": found, "form": form}
    status = 422 if form.is_bound else 200
    return render(request, "labeling/new_version.html", shown, status=status)


@signed_in("GET")
def version_preview(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Count what a recipe would freeze now."""
    found = workload_for_user(request.user, project, workload)
    form = RecipeForm(request.GET)
    shown: dict[str, object] = {"project": found.project, "workload": found}
    try:
        if form.is_valid():
            shown |= release_preview(found, form.recipe())
        else:
            shown["problem"] = "The form has something to mend first."
    except InvalidInput as error:
        shown["problem"] = error.message
    return render(request, "labeling/_version_preview.html", shown)


@signed_in("POST")
def freeze_dataset(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Freeze the examples as they are now, by the recipe that the dataset has."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    name = request.POST.get("dataset", "main")
    try:
        return _frozen(request, found, name, versions.recipe_of(found, name))
    except (InvalidInput, Conflict) as error:
        messages.error(request, f"Not frozen: {error.message}.")
        return redirect("datasets", project, workload)


def _frozen(request: HttpRequest, workload: Workload, name: str, recipe: Recipe) -> HttpResponse:
    """Freeze at once, or where there is much to freeze start a job; show what came of it."""
    version, job = release_or_start(workload, name=name, recipe=recipe, user=request.user)
    project = workload.project.slug
    if version is None:
        assert job is not None
        return redirect("freeze_job", project, workload.slug, job.pk)
    return redirect("dataset_version", project, workload.slug, name, version.number)


@signed_in("GET")
def freeze_job(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Show how far a freeze is."""
    found = workload_for_user(request.user, project, workload)
    shown = versions.freeze_job_of(found, job)
    context = {"project": found.project, "workload": found, "job": shown}
    return render(request, "labeling/freeze_job.html", context)


@signed_in("GET")
def freeze_job_live(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Show the part of a freeze's page that moves."""
    found = workload_for_user(request.user, project, workload)
    shown = versions.freeze_job_of(found, job)
    context = {"project": found.project, "workload": found, "job": shown}
    return render(request, "labeling/_freeze_job.html", context)


@signed_in("POST")
def cancel_freeze(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Stop a freeze; nothing of it stays."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    jobs.cancel(versions.freeze_job_of(found, job))
    return redirect("freeze_job", project, workload, job)


@signed_in("GET", "POST")
def branch_dataset(
    request: HttpRequest, project: str, workload: str, name: str, number: int
) -> HttpResponse:
    """Begin a dataset of another name from a version's recipe, changed."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    version = dataset_version_of(found, name, number)
    recipe = recipe_from_json(version.recipe)
    initial = {**RecipeForm.initial_of(recipe), "name": ""}
    form = RecipeForm(request.POST or None, initial=initial)
    if form.is_valid():
        with errors_in(form):
            made = versions.branch(version, name=form.cleaned_data["name"], recipe=form.recipe())
            return _frozen(request, found, made.name, form.recipe())
    shown = {"project": found.project, "workload": found, "form": form, "version": version}
    status = 422 if form.is_bound else 200
    return render(request, "labeling/new_version.html", shown, status=status)


@signed_in("GET")
def dataset_export(
    request: HttpRequest, project: str, workload: str, name: str, number: int
) -> StreamingHttpResponse:
    """Send a version's rows in another trainer's form; who may only look may not take them."""
    found = workload_for_user(request.user, project, workload, Role.REVIEWER)
    version = dataset_version_of(found, name, number)
    export = open_export(version, request.GET.get("form", ""), request.GET.get("split", ""))
    return download(export.chunks, size=export.size, filename=export.filename, kind=export.kind)
