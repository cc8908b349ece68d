"""A lead settles by keyboard; the queue's parts and what waits for a lead, at each screen."""

from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from factory.models import Example, Workload
from labeling.models import ReviewItem
from labeling.selectors.queue import QueueFilter
from labeling.services.queue import save_view, set_policy
from labeling.services.review import decide, next_item, queue_review
from tests.browser.conftest import NewVisitor, Screen
from tests.browser.world import HOSTILE
from tests.conftest import MakeExample

ADJUDICATE = "/acme/tickets/review/adjudicate/"


@pytest.fixture
def disputed(
    transactional_db: None, workload: Workload, alice: User, bob: User, make_example: MakeExample
) -> ReviewItem:
    """Let Alice and Bob disagree about one row, and Bob flag another."""
    for text in ("my parcel is late and I was charged twice", HOSTILE, "cannot sign in"):
        make_example(text, "billing", split="test")
    set_policy(workload, wanted=2)
    queue_review(workload, suspicious=0)
    first = next_item(workload, bob)
    assert first is not None
    why = "The parcel comes first."
    decide(first, bob, review_id=uuid4(), decision="edit", output="delivery", note=why)
    assert next_item(workload, alice) == first
    decide(first, alice, review_id=uuid4(), decision="accept")
    second = next_item(workload, bob)
    assert second is not None
    decide(second, bob, review_id=uuid4(), decision="flag", reason="unsure", note=HOSTILE)
    save_view(workload, bob, name="late parcels", only=QueueFilter(text="parcel"))
    return first


def test_a_digit_takes_a_version_and_a_letter_gives_a_flagged_item_back(
    disputed: ReviewItem, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor("alice")
    page = visitor.open(f"{ADJUDICATE}?item={disputed.pk}")
    expect(page.locator(".version")).to_have_count(2)
    expect(page.locator(".version button").first).to_be_focused()
    page.keyboard.press("2")
    expect(page.locator("#adjudicate .chip").first).to_have_text("flagged")
    assert Example.objects.get(pk=disputed.example_id).target == "delivery"
    page.keyboard.press("e")
    expect(page.locator("#output")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    expect(page.get_by_text("Nothing waits for a lead.")).to_be_visible()
    assert visitor.dialogs == []
    assert visitor.complaints == []


def test_a_queue_and_what_waits_for_a_lead_fit_each_screen(
    disputed: ReviewItem, screen: Screen
) -> None:
    pages = {
        "adjudicate": f"{ADJUDICATE}?item={disputed.pk}",
        "adjudicate-flagged": ADJUDICATE + f"?item={disputed.pk + 10}",
        "queue-form": "/acme/tickets/review/queue/",
        "assign": "/acme/tickets/review/assign/",
        "review-part": "/acme/tickets/review/?part=&text=sign",
    }
    for name, address in pages.items():
        screen.open(address)
        screen.photograph(name)
    assert screen.visitor.dialogs == []
    assert screen.visitor.complaints == []
