"""Pages of review. Each view starts at a gate."""

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from factory.decorators import signed_in, user_of
from factory.errors import InvalidInput
from factory.models import Membership, Workload
from factory.selectors import example_counts, role_of, workload_for_user
from labeling.forms import DecisionForm, HeldForm, QueueFilterForm
from labeling.models import Label, Review, ReviewItem
from labeling.selectors import label as label_selectors
from labeling.selectors import review as selectors
from labeling.selectors.queue import (
    EVERYTHING,
    QueueFilter,
    filter_from,
    saved_views,
    view_of,
    why_empty,
)
from labeling.services import review as reviews

Role = Membership.Role
HAND = 2  # cards in a browser: the one on screen, and the next, so that nobody waits for it


@signed_in("GET")
def review(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Deal the first cards; the rest comes with each decision."""
    found = workload_for_user(request.user, project, workload)
    user = user_of(request)
    role = role_of(user, found.project)
    _choose_part(request, found, user)
    only = part_of(request, found)
    cards = [] if role == Role.VIEWER else deal(found, user, only=only)
    shown = {
        "project": found.project,
        "workload": found,
        "role": role,
        "cards": cards,
        "why": None if cards else why_empty(found, user, only),
        "only": only.said(),
        "part": QueueFilterForm(found, initial=only.said()),
        "views": saved_views(found),
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


@signed_in("POST")
def heartbeat(request: HttpRequest, project: str, workload: str) -> JsonResponse:
    """Keep the cards that a page shows; answer which are still its reviewer's."""
    found = workload_for_user(request.user, project, workload, Role.REVIEWER)
    return JsonResponse({"held": reviews.heartbeat(found, user_of(request), held_by(request))})


@signed_in("POST")
def release(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Take the cards of a page that is left back."""
    found = workload_for_user(request.user, project, workload, Role.REVIEWER)
    reviews.release(found, user_of(request), held_by(request), is_leaving=True)
    return HttpResponse(status=204)


def held_by(request: HttpRequest) -> tuple[int, ...]:
    """Return the items that a page says it holds."""
    form = HeldForm(request.POST)
    return form.cleaned_data["held"] if form.is_valid() else ()


def part_of(request: HttpRequest, workload: Workload) -> QueueFilter:
    """Return the part of the queue that this browser looks at."""
    return filter_from(request.session.get(f"review:{workload.pk}", {}))


def _choose_part(request: HttpRequest, workload: Workload, user: User) -> None:
    """Keep what the address asks for; cards of another part go back to the queue."""
    asked = request.GET
    if "view" in asked:
        only = view_of(workload, asked["view"])
    elif "part" in asked:
        only = QueueFilterForm(workload, asked).only()
    else:
        return
    if only != part_of(request, workload):
        request.session[f"review:{workload.pk}"] = only.said()
        reviews.release(workload, user)


@dataclass(frozen=True)
class Card:
    """An item as a reviewer sees it."""

    item: ReviewItem
    label: Label | None


def deal(
    workload: Workload,
    user: User,
    held: tuple[int, ...] = (),
    only: QueueFilter = EVERYTHING,
) -> list[Card]:
    """Lease items until the reviewer holds a hand of them."""
    cards: list[Card] = []
    while len(held) < HAND and (item := reviews.next_item(workload, user, skip=held, only=only)):
        cards.append(Card(item, selectors.label_of_item(item)))
        held = (*held, item.pk)
    return cards


def hand(
    request: HttpRequest, workload: Workload, user: User, undone: Review | None = None
) -> JsonResponse:
    """Answer the review page: the card taken back, new cards, and the progress.

    With nothing to show, the progress says where the rest of the queue is.
    """
    held, only = held_by(request), part_of(request, workload)
    if undone is None:
        cards = deal(workload, user, held, only)
    else:
        cards = _taken_back(workload, user, undone)
    context = {"workload": workload, "project": workload.project}
    progress = {
        "progress": selectors.review_progress(workload, user),
        "why": None if cards or held else why_empty(workload, user, only),
        "only": only.said(),
        **context,
    }
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


def _taken_back(workload: Workload, user: User, undone: Review) -> list[Card]:
    """Return the card of an undone decision, unless it waits for a lead now."""
    item = selectors.review_item_of(workload, undone.item_id)
    if not item.leases.filter(reviewer=user).exists():
        return []
    return [Card(reviews.card_of(item, user), selectors.label_of_item(item))]
