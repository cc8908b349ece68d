"""Pages of label and review. Each view starts at a gate."""

from dataclasses import dataclass

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string

from factory.charts import bars
from factory.decorators import signed_in, user_of
from factory.errors import InvalidInput
from factory.forms import errors_in
from factory.models import Membership, Workload
from factory.selectors import example_counts, role_of, workload_for_user
from factory.services import jobs
from factory.views.pages import form_page
from labeling import selectors
from labeling.forms import (
    DecisionForm,
    GuidelineForm,
    HeldForm,
    LabelJobForm,
    QueueForm,
    TeacherForm,
)
from labeling.models import Label, LabelJob, Review, ReviewItem
from labeling.services import label
from labeling.services import review as reviews

Role = Membership.Role
HAND = 2  # cards in a browser: the one on screen, and the next, so that nobody waits for it


# --- label ----------------------------------------------------------------------------------------
@signed_in("GET")
def label_jobs(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """List a workload's label jobs, its teachers and its guideline."""
    found = workload_for_user(request.user, project, workload)
    shown = {
        "project": found.project,
        "workload": found,
        "jobs": selectors.label_jobs_of(found),
        "teachers": selectors.teachers_of(found.project),
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
        votes = form.cleaned_data.get("votes") or 3
        try:
            shown["estimate"] = label.estimate_label_job(found, teacher=teacher, votes=votes)
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
    jobs.cancel(selectors.label_job_of(found, job))
    return redirect("label_job", project, workload, job)


@signed_in("GET", "POST")
def new_teacher(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Name a model of an upstream as a teacher."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    form = TeacherForm(found.project, request.POST or None)
    if form.is_valid():
        with errors_in(form):
            label.create_teacher(found.project, **form.cleaned_data)
            return redirect("new_label_job", project, workload)
    return form_page(
        request, form, title="New teacher", button="Save the teacher",
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


# --- review ---------------------------------------------------------------------------------------
@signed_in("GET")
def review(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Deal the first cards; the rest comes with each decision."""
    found = workload_for_user(request.user, project, workload)
    user = user_of(request)
    role = role_of(user, found.project)
    shown = {
        "project": found.project,
        "workload": found,
        "role": role,
        "cards": [] if role == Role.VIEWER else deal(found, user),
        "guideline": selectors.latest_guideline(found),
        "progress": selectors.review_progress(found, user),
        "counts": example_counts(found),
    }
    return render(request, "labeling/review.html", shown)


@signed_in("POST")
def decide(request: HttpRequest, project: str, workload: str) -> JsonResponse:
    """Take one decision and deal the next card: one request for both."""
    found = workload_for_user(request.user, project, workload, Role.REVIEWER)
    form = DecisionForm(request.POST)
    if not form.is_valid():
        name, problems = next(iter(form.errors.items()))
        raise InvalidInput(f"{name}: {problems[0]}", param=name)
    data, user = form.cleaned_data, user_of(request)
    item = selectors.review_item_of(found, data.pop("item"))
    reviews.decide(item, user, **{**data, "seconds": data["seconds"] or 0.0})
    return hand(request, found, user)


@signed_in("POST")
def undo(request: HttpRequest, project: str, workload: str) -> JsonResponse:
    """Take the last decision back, and its card with it."""
    found = workload_for_user(request.user, project, workload, Role.REVIEWER)
    form = DecisionForm(request.POST)
    form.is_valid()
    if "review_id" not in form.cleaned_data:
        raise InvalidInput("review_id must be a UUID", param="review_id")
    user = user_of(request)
    undone = reviews.undo(found, user, review_id=form.cleaned_data["review_id"])
    return hand(request, found, user, undone)


@signed_in("POST")
def deal_more(request: HttpRequest, project: str, workload: str) -> JsonResponse:
    """Deal a card to a browser that has none."""
    found = workload_for_user(request.user, project, workload, Role.REVIEWER)
    return hand(request, found, user_of(request))


@signed_in("GET", "POST")
def queue_review(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Fill the review queue."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    form = QueueForm(request.POST or None)
    if form.is_valid():
        counts = reviews.queue_review(found, suspicious=form.cleaned_data["suspicious"])
        said = f"{counts['audit']:,} test rows and {counts['suspicious']:,} suspicious ones"
        messages.success(request, f"New in the queue: {said}.")
        return redirect("review", project, workload)
    return form_page(
        request, form, title="Fill the review queue", button="Fill",
        project=found.project, workload=found, note="labeling/_queue_note.html",
    )  # fmt: skip


# --- what several views share ---------------------------------------------------------------------
@dataclass(frozen=True)
class Card:
    """An item as a reviewer sees it."""

    item: ReviewItem
    label: Label | None


def deal(workload: Workload, user: User, held: tuple[int, ...] = ()) -> list[Card]:
    """Lease items until the reviewer holds a hand of them."""
    cards: list[Card] = []
    while len(held) < HAND and (item := reviews.next_item(workload, user, skip=held)):
        cards.append(Card(item, selectors.label_of_item(item)))
        held = (*held, item.pk)
    return cards


def hand(
    request: HttpRequest, workload: Workload, user: User, undone: Review | None = None
) -> JsonResponse:
    """Answer the review page: the card taken back, new cards, and the progress."""
    form = HeldForm(request.POST)
    held = form.cleaned_data["held"] if form.is_valid() else ()
    cards = [] if undone else deal(workload, user, held)
    if undone is not None:
        item = selectors.review_item_of(workload, undone.item_id)
        cards = [Card(item, selectors.label_of_item(item))]
    context = {"workload": workload, "project": workload.project}
    progress = {"progress": selectors.review_progress(workload, user), **context}
    return JsonResponse(
        {
            "undone": undone is not None,
            "cards": [
                render_to_string("labeling/_card.html", {"card": card, **context}, request)
                for card in cards
            ],
            "progress": render_to_string("labeling/_progress.html", progress, request),
        }
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
    }
