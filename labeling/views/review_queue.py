"""Pages about a queue rather than a card: filling it, its parts, who gets what, a lead's word."""

from uuid import uuid4

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from factory.decorators import signed_in, user_of
from factory.errors import InvalidInput, UnderstudyError
from factory.models import Membership
from factory.selectors import workload_for_user
from factory.views.pages import form_page
from labeling.forms import (
    AdjudicationForm,
    AssignForm,
    QueueForm,
    SaveViewForm,
)
from labeling.models import AUDIT_SHARE, Review, ReviewItem
from labeling.selectors import queue as selectors
from labeling.selectors.review import review_item_of
from labeling.services import queue as queues
from labeling.services import review as reviews
from labeling.services.insight import start_insight
from labeling.views.review import part_of

Role = Membership.Role
Decision = Review.Decision


@signed_in("GET", "POST")
def queue_review(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Judge the labels, and fill the review queue by what is found."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    policy = selectors.policy_of(found)
    form = QueueForm(
        request.POST or None,
        initial={
            "wanted": policy.wanted,
            "probe_share": policy.probe_share,
            "lease_minutes": policy.lease_seconds / 60,
        },
    )
    if form.is_valid():
        share = form.cleaned_data["audit_share"]
        queues.set_policy(found, **form.policy())
        start_insight(
            found,
            to_review=form.cleaned_data["suspicious"],
            audit_share=AUDIT_SHARE if share is None else share,
            user=request.user,
        )
        return redirect("insight", project, workload)
    return form_page(
        request, form, title="Fill the review queue", button="Fill",
        project=found.project, workload=found, note="labeling/_queue_note.html",
    )  # fmt: skip


@signed_in("GET", "POST")
def assign(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Give the part of the queue that is on screen to people."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    people = queues.reviewers_of(found)
    form = AssignForm(people, request.POST or None)
    if request.method == "POST" and form.is_valid():
        chosen = [user for user in people if user.username in form.cleaned_data["people"]]
        try:
            counts = queues.assign(found, chosen, only=part_of(request, found))
        except InvalidInput as error:
            form.add_error("people", error.message)
        else:
            said = ", ".join(f"{name} {count:,}" for name, count in counts.items())
            messages.success(request, f"Assigned: {said}." if said else "Everybody's again.")
            return redirect("review", project, workload)
    return form_page(
        request, form, title="Assign the queue", button="Assign",
        project=found.project, workload=found, note="labeling/_assign_note.html",
        only=part_of(request, found).said(),
    )  # fmt: skip


@signed_in("POST")
def save_view(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Give the part of the queue that is on screen a name."""
    found = workload_for_user(request.user, project, workload, Role.REVIEWER)
    form = SaveViewForm(request.POST)
    name = form.cleaned_data["name"] if form.is_valid() else ""
    try:
        queues.save_view(found, user_of(request), name=name, only=part_of(request, found))
    except InvalidInput as error:
        messages.error(request, f"Not saved: {error.message}.")
    return redirect("review", project, workload)


@signed_in("POST")
def delete_view(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Forget a name."""
    found = workload_for_user(request.user, project, workload, Role.REVIEWER)
    queues.delete_view(found, request.POST.get("name", ""))
    return redirect("review", project, workload)


@signed_in("GET", "POST")
def adjudicate(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Show what waits for a lead, versions side by side, and take the lead's word."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    if request.method == "POST":
        return _take_word(request, project, workload)
    waiting = selectors.items_for_leads(found)
    asked = request.GET.get("item", "")
    number = int(asked) if asked.isascii() and asked.isdecimal() else 0
    item = waiting.filter(pk__gte=number).first() or waiting.first()
    shown = {
        "project": found.project,
        "workload": found,
        "item": item,
        "count": waiting.count(),
        "versions": selectors.versions_of(item) if item else [],
        "flags": selectors.standing_flags(item) if item else [],
        "review_id": uuid4(),
    }
    return render(request, "labeling/adjudicate.html", shown)


def _take_word(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    form = AdjudicationForm(request.POST)
    if not form.is_valid():
        name, problems = next(iter(form.errors.items()))
        raise InvalidInput(f"{name}: {problems[0]}", param=name)
    data, user = form.cleaned_data, user_of(request)
    item = review_item_of(found, data.pop("item"))
    key = data.pop("version")
    try:
        if key == "unflag":
            reviews.unflag(item, user, note=data["note"])
        else:
            decision, output = _chosen(item, key, data.pop("output"))
            reviews.adjudicate(item, user, decision=decision, output=output, **data)
    except UnderstudyError as error:
        messages.error(request, f"Not taken: {error.message}.")
        return redirect(f"{request.path}?item={item.pk}")
    return redirect(f"{request.path}?item={item.pk + 1}")


def _chosen(item: ReviewItem, key: str, typed: str) -> tuple[str, str]:
    """Return the decision and the output that a version's key stands for."""
    version = next((v for v in selectors.versions_of(item) if v.key == key), None)
    if version is None or key == Decision.ACCEPT:
        return key, typed
    if version.output is None:
        return Decision.REJECT, ""
    return Decision.EDIT, version.output
