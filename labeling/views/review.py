"""Pages of review. Each view starts at a gate."""

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string

from factory.decorators import signed_in, user_of
from factory.errors import InvalidInput
from factory.models import Membership, Workload
from factory.selectors import example_counts, role_of, workload_for_user
from factory.views.pages import form_page
from labeling.forms import (
    DecisionForm,
    HeldForm,
    QueueForm,
)
from labeling.models import AUDIT_SHARE, Label, Review, ReviewItem
from labeling.selectors import label as label_selectors
from labeling.selectors import review as selectors
from labeling.services import review as reviews
from labeling.services.insight import start_insight

Role = Membership.Role
HAND = 2  # cards in a browser: the one on screen, and the next, so that nobody waits for it


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
        "guideline": label_selectors.latest_guideline(found),
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
    """Judge the labels, and fill the review queue by what is found."""
    found = workload_for_user(request.user, project, workload, Role.LEAD)
    form = QueueForm(request.POST or None)
    if form.is_valid():
        share = form.cleaned_data["audit_share"]
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
