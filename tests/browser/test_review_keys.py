"""The keys of the review page: changed, remembered, and silent where they would do harm."""

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from factory.models import Example, Workload
from labeling.models import Review
from labeling.services.review import queue_review
from tests.browser.conftest import NewVisitor, Visitor
from tests.browser.test_review import REVIEW, card, decisions, item_on_screen, press_and_wait
from tests.conftest import MakeExample


@pytest.fixture
def bob_at(
    transactional_db: None,
    make_example: MakeExample,
    workload: Workload,
    bob: User,
    new_visitor: NewVisitor,
) -> Visitor:
    for number in range(5):
        make_example(f"ticket {number}", "billing", split="test")
    queue_review(workload, suspicious=0)
    visitor = new_visitor("bob")
    visitor.open(REVIEW)
    return visitor


def change(page: Page, name: str, key: str) -> None:
    page.locator("#help").click()
    page.get_by_role("button", name=f"Change the key for {name}").click()
    page.keyboard.press(key)
    page.locator("#keys").get_by_role("button", name="Close").click()


def test_a_changed_key_is_remembered_and_shown(bob_at: Visitor) -> None:
    page = bob_at.page
    change(page, "accept", "j")
    page.reload()
    expect(card(page).locator('[data-do="accept"] kbd')).to_have_text("j")
    press_and_wait(page, "j")
    expect(page.locator("#sync")).to_have_text("All saved.")
    expect(card(page).locator('[data-do="accept"] kbd')).to_have_text("j")
    page.keyboard.press("a")
    assert decisions() == [("accept", "billing")]


def test_two_actions_never_share_a_key(bob_at: Visitor) -> None:
    page = bob_at.page
    change(page, "accept", "s")
    expect(card(page).locator('[data-do="accept"] kbd')).to_have_text("s")
    expect(card(page).locator('[data-do="skip"] kbd')).to_have_text("a")
    page.locator("#help").click()
    page.get_by_role("button", name="As they were").click()
    expect(card(page).locator('[data-do="skip"] kbd')).to_have_text("s")
    assert page.evaluate("localStorage.length") == 0


@pytest.mark.parametrize("key", ["7", " ", "F4", "Control+j"])
def test_a_key_that_means_something_else_is_refused(bob_at: Visitor, key: str) -> None:
    page = bob_at.page
    page.locator("#help").click()
    page.get_by_role("button", name="Change the key for accept").click()
    page.keyboard.press(key)
    expect(page.locator("#keys [data-said]")).to_contain_text("Only a letter or a sign")
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_visible()
    expect(card(page).locator('[data-do="accept"] kbd')).to_have_text("a")


def test_keys_with_a_modifier_or_held_down_decide_nothing(bob_at: Visitor) -> None:
    page = bob_at.page
    first = item_on_screen(page)
    for chord in ("Control+a", "Alt+a", "Meta+a"):
        page.keyboard.press(chord)
    page.evaluate(
        """() => {
          const press = (more) => document.dispatchEvent(new KeyboardEvent("keydown",
            { key: "a", code: "KeyA", bubbles: true, ...more }));
          document.body.focus();
          for (const more of [{ repeat: true }, { modifierAltGraph: true }]) {
            document.body.dispatchEvent(new KeyboardEvent("keydown",
              { key: "a", code: "KeyA", bubbles: true, ...more }));
          }
        }"""
    )
    assert item_on_screen(page) == first
    press_and_wait(page, "a")
    assert Review.objects.count() == 1


def test_rejecting_asks_why_and_goes_back_by_escape(bob_at: Visitor) -> None:
    page = bob_at.page
    first = item_on_screen(page)
    page.keyboard.press("x")
    expect(card(page).locator('[data-why="reject"]')).to_be_focused()
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    assert item_on_screen(page) == first
    page.keyboard.press("x")
    with page.expect_request("**/decide/") as sent:
        page.keyboard.press("2")
    assert "reason=not+this+job" in (sent.value.post_data or "")
    expect(page.locator("#sync")).to_have_text("All saved.")
    assert Example.objects.filter(status="discarded").count() == 1


def test_a_flag_carries_its_reason(bob_at: Visitor) -> None:
    page = bob_at.page
    page.keyboard.press("f")
    with page.expect_request("**/decide/") as sent:
        page.keyboard.press("1")
    assert "decision=flag" in (sent.value.post_data or "")
    assert "reason=unsure" in (sent.value.post_data or "")
