"""Pages of imports: files come in redacted, one job each; what was refused is told and named."""

import csv

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from factory import selectors
from factory.decorators import signed_in, wants_json
from factory.errors import InvalidInput
from factory.formats.known import FORMATS
from factory.formats.refusals import numbers_in
from factory.models import ImportJob, Membership, Project
from factory.selectors import project_for_user
from factory.services import jobs
from factory.services.uploads import RedactedFile, RedactingHandler

Role = Membership.Role
SHOWN_PROBLEMS = 20
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would calculate


@csrf_exempt  # Django's check reads the form: not before the form's files have their reader
@signed_in("GET", "POST")
def new_import(request: HttpRequest, project: str) -> HttpResponse:
    """Take log files in."""
    found = project_for_user(request.user, project, Role.LEAD)
    handler = RedactingHandler(found)
    request.upload_handlers = [handler]
    return _new_import(request, found, handler)


@csrf_protect
def _new_import(request: HttpRequest, project: Project, handler: RedactingHandler) -> HttpResponse:
    if request.method != "POST":
        return _form(request, project, [])
    files = handler.files(request.FILES, "file")
    if wants_json(request):
        return JsonResponse({"url": _started(request, files)})
    problems = [f"{file.upload.filename}: {file.error.message}" for file in files if file.error]
    if problems or not files:
        return _form(request, project, problems or ["Choose a file."])
    started = [file.upload.start(request.user) for file in files]
    if len(started) == 1:
        return redirect("import", project.slug, started[0].pk)
    return redirect("project", project.slug)


def _started(request: HttpRequest, files: list[RedactedFile]) -> str:
    """Start the one file that a script sends, and return its page."""
    if len(files) != 1:
        raise InvalidInput("One `file` at a time.", param="file")
    if files[0].error:
        raise files[0].error
    job = files[0].upload.start(request.user)
    return reverse("import", args=[job.project.slug, job.pk])


def _form(request: HttpRequest, project: Project, problems: list[str]) -> HttpResponse:
    shown = {
        "project": project,
        "formats": FORMATS,
        "problems": problems,
        "limit_bytes": settings.MAX_IMPORT_BYTES,
    }
    return render(request, "factory/new_import.html", shown, status=422 if problems else 200)


@signed_in("GET")
def import_page(request: HttpRequest, project: str, job: int) -> HttpResponse:
    """Show an import's progress, and what came of it."""
    return _import(request, "factory/import.html", project, job)


@signed_in("GET")
def import_live(request: HttpRequest, project: str, job: int) -> HttpResponse:
    """Show the part of an import's page that moves."""
    return _import(request, "factory/_import.html", project, job)


def _import(request: HttpRequest, template: str, project: str, job: int) -> HttpResponse:
    found = project_for_user(request.user, project)
    shown = selectors.import_of_project(found, job)
    context = {
        "project": found,
        "job": shown,
        "counts": shown.counts or shown.progress,
        "problems": shown.counts.get("problems", [])[:SHOWN_PROBLEMS],
        "seconds_left": _seconds_left(shown),
    }
    return render(request, template, context)


def _seconds_left(job: ImportJob) -> float | None:
    """Estimate by what was done so far; None before there is anything to go by."""
    done, total = job.progress.get("done"), job.progress.get("total")
    if job.status != ImportJob.Status.RUNNING or not done or not total or job.started_at is None:
        return None
    passed = (timezone.now() - job.started_at).total_seconds()
    return passed * float(total - done) / float(done)


@signed_in("GET")
def import_refused(request: HttpRequest, project: str, job: int) -> HttpResponse:
    """Give the numbers of the refused lines, with the reason where it was kept."""
    found = project_for_user(request.user, project)
    shown = selectors.import_of_project(found, job)
    name = f'attachment; filename="import-{shown.pk}-refused.csv"'
    answer = HttpResponse(
        content_type="text/csv; charset=utf-8", headers={"Content-Disposition": name}
    )
    reasons = {problem["line"]: problem["message"] for problem in shown.counts.get("problems", [])}
    rows = csv.writer(answer)
    rows.writerow(["line", "reason"])
    for number in numbers_in(shown.counts.get("refused_lines", "")):
        reason = reasons.get(number, "")
        rows.writerow([number, f"'{reason}" if reason.startswith(FORMULA) else reason])
    return answer


@signed_in("POST")
def cancel_import(request: HttpRequest, project: str, job: int) -> HttpResponse:
    """Stop an import; what came in stays."""
    found = project_for_user(request.user, project, Role.LEAD)
    jobs.cancel(selectors.import_of_project(found, job))
    return redirect("import", project, job)
