"""Pages of dataset versions, of what changed between them, and of rows from outside."""

import csv

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from factory import selectors
from factory.datasets.row_forms import EXPORTS, FORMS, quoted
from factory.decorators import download, signed_in, wants_json
from factory.errors import InvalidInput
from factory.formats.refusals import numbers_in
from factory.models import Membership, Workload
from factory.models.example import Split
from factory.selectors import workload_for_user
from factory.services import example_imports, jobs, versions
from factory.services.uploads import RedactedFile, RedactingHandler
from factory.storage import open_store

Role = Membership.Role
SHOWN_PROBLEMS = 20


@signed_in("GET")
def datasets(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """List a workload's dataset versions."""
    found = workload_for_user(request.user, project, workload)
    listed = selectors.dataset_versions(found)
    shown = {
        "project": found.project,
        "workload": found,
        "versions": listed,
        "erased": selectors.erased_rows(listed),
        "counts": selectors.example_counts(found),
        "freezing": [job for job in versions.freezing(found) if job.status != "succeeded"],
        "role": selectors.role_of(request.user, found.project),
    }
    return render(request, "factory/datasets.html", shown)


@signed_in("GET")
def dataset_version(
    request: HttpRequest, project: str, workload: str, name: str, number: int
) -> HttpResponse:
    """Show a frozen version: what is in it, what was left out, and where each row came from."""
    found = workload_for_user(request.user, project, workload)
    version = selectors.dataset_version_of(found, name, number)
    shown = {
        "project": found.project,
        "workload": found,
        "version": version,
        "page": selectors.entries_page(version, request.GET.get("at", "")),
        "erased": selectors.erased_rows([version]).get(version.pk),
        "others": versions.others(version),
        "exports": EXPORTS,
        "splits": Split.values,
        "repository": f"{project}/{workload}-{name}",
        "role": selectors.role_of(request.user, found.project),
    }
    return render(request, "factory/dataset.html", shown)


@signed_in("GET")
def dataset_diff(
    request: HttpRequest, project: str, workload: str, name: str, number: int
) -> HttpResponse:
    """Show what changed from another version, `?from=main:1`, to this one; by default the last."""
    found = workload_for_user(request.user, project, workload)
    after = selectors.dataset_version_of(found, name, number)
    before = versions.version_named(found, request.GET.get("from") or f"{name}:{number - 1 or 1}")
    change = versions.diff(before, after)
    ids = [line.example for line in (*change.shown_added, *change.shown_removed)]
    ids += [each.example for each in change.shown_retargeted]
    shown = {
        "project": found.project,
        "workload": found,
        "before": before,
        "after": after,
        "change": change,
        "questions": versions.questions_of(found, ids),
    }
    return render(request, "factory/dataset_diff.html", shown)


@signed_in("GET")
def dataset_rows(
    request: HttpRequest, project: str, workload: str, name: str, number: int
) -> StreamingHttpResponse:
    """Send a version's rows; who may only look may not take them along."""
    found = workload_for_user(request.user, project, workload, Role.REVIEWER)
    version = selectors.dataset_version_of(found, name, number)
    filename = f"{found.slug}-{name}-v{number}.jsonl"
    return stored(version.file_sha256, version.file_bytes, filename, "application/jsonl")


@signed_in("GET")
def dataset_file(
    request: HttpRequest, project: str, workload: str, name: str, number: int, path: str
) -> StreamingHttpResponse:
    """Send one of a version's files."""
    found = workload_for_user(request.user, project, workload, Role.REVIEWER)
    version = selectors.dataset_version_of(found, name, number)
    file = versions.file_of(version, path)
    filename = f"{found.slug}-{name}-v{number}-{path.rpartition('/')[2]}"
    return stored(file["sha256"], file["size"], filename, "application/octet-stream")


def stored(sha256: str, size: int, filename: str, kind: str) -> StreamingHttpResponse:
    """Send a blob under a name of its own."""
    chunks = open_store(settings.STORAGE_URL).read(sha256)
    return download(chunks, size=size, filename=filename, kind=kind)


# --- rows from outside ----------------------------------------------------------------------------
@csrf_exempt  # Django's check reads the form: not before the form's files have their reader
@signed_in("GET", "POST")
def new_example_import(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Take files of training rows in."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    handler = RedactingHandler(found.project, holds="rows")
    request.upload_handlers = [handler]
    return _new_import(request, found, handler)


@csrf_protect
def _new_import(
    request: HttpRequest, workload: Workload, handler: RedactingHandler
) -> HttpResponse:
    if request.method != "POST":
        return _form(request, workload, "")
    files = handler.files(request.FILES, "file")
    try:
        job_url = _started(request, workload, files)
    except InvalidInput as error:
        if wants_json(request):
            raise
        return _form(request, workload, error.message)
    return JsonResponse({"url": job_url}) if wants_json(request) else redirect(job_url)


def _started(request: HttpRequest, workload: Workload, files: list[RedactedFile]) -> str:
    """Start the import of the one file, and return its page."""
    if len(files) != 1:
        raise InvalidInput("One `file` at a time.", param="file")
    if files[0].error:
        raise files[0].error
    job = example_imports.start_example_import(
        workload, files[0].upload, split=request.POST.get("split", ""), user=request.user
    )
    return reverse("example_import", args=[workload.project.slug, workload.slug, job.pk])


def _form(request: HttpRequest, workload: Workload, problem: str) -> HttpResponse:
    shown = {
        "project": workload.project,
        "workload": workload,
        "forms": FORMS,
        "problem": problem,
        "splits": Split.choices,
        "limit_bytes": settings.MAX_IMPORT_BYTES,
    }
    return render(request, "factory/new_example_import.html", shown, status=422 if problem else 200)


@signed_in("GET")
def example_import(request: HttpRequest, project: str, workload: str, job: int) -> HttpResponse:
    """Show how far an import of rows is, and what came of it."""
    return _import(request, "factory/example_import.html", project, workload, job)


@signed_in("GET")
def example_import_live(
    request: HttpRequest, project: str, workload: str, job: int
) -> HttpResponse:
    """Show the part of an import's page that moves."""
    return _import(request, "factory/_example_import.html", project, workload, job)


def _import(
    request: HttpRequest, template: str, project: str, workload: str, job: int
) -> HttpResponse:
    found = workload_for_user(request.user, project, workload)
    shown = versions.example_import_of(found, job)
    context = {
        "project": found.project,
        "workload": found,
        "job": shown,
        "counts": shown.counts,
        "problems": shown.counts.get("problems", [])[:SHOWN_PROBLEMS],
    }
    return render(request, template, context)


@signed_in("GET")
def example_import_refused(
    request: HttpRequest, project: str, workload: str, job: int
) -> HttpResponse:
    """Give the numbers of the refused lines, with the reason where it was kept."""
    found = workload_for_user(request.user, project, workload)
    shown = versions.example_import_of(found, job)
    name = f'attachment; filename="rows-{shown.pk}-refused.csv"'
    answer = HttpResponse(
        content_type="text/csv; charset=utf-8", headers={"Content-Disposition": name}
    )
    reasons = {problem["line"]: problem["message"] for problem in shown.counts.get("problems", [])}
    lines = csv.writer(answer)
    lines.writerow(["line", "reason"])
    for number in numbers_in(shown.counts.get("refused_lines", "")):
        lines.writerow([number, quoted(reasons.get(number, ""))])
    return answer


@signed_in("POST")
def cancel_example_import(
    request: HttpRequest, project: str, workload: str, job: int
) -> HttpResponse:
    """Stop an import of rows; what came in stays."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    jobs.cancel(versions.example_import_of(found, job))
    return redirect("example_import", project, workload, job)
