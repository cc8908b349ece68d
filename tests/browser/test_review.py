"""Reviewing by keyboard, in a browser, through a network that fails."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from factory.models import Example, Workload
from factory.services.projects import create_workload
from labeling.models import Review
from labeling.services.review import queue_review
from tests.browser.conftest import NewVisitor, Visitor
from tests.browser.world import HOSTILE
from tests.conftest import MakeExample

REVIEW = "/acme/tickets/review/"


@pytest.fixture
def queue(transactional_db: None, make_example: MakeExample, workload: Workload) -> list[Example]:
    texts = ["my parcel is late", "please refund me", "cannot sign in", HOSTILE, "wrong invoice"]
    made = [make_example(text, "billing", split="test") for text in texts]
    queue_review(workload, suspicious=0)
    return made


@pytest.fixture
def bob_at(queue: list[Example], bob: User, new_visitor: NewVisitor) -> Visitor:
    visitor = new_visitor("bob")
    visitor.open(REVIEW)
    return visitor


def card(page: Page) -> Any:
    return page.locator(".card:visible")


def item_on_screen(page: Page) -> str:
    return str(card(page).get_attribute("data-item"))


def press_and_wait(page: Page, key: str) -> None:
    """Press a key, and wait until the server has taken what it meant."""
    with page.expect_response(lambda response: response.request.method == "POST"):
        page.keyboard.press(key)


def decisions() -> list[tuple[str, str]]:
    return list(Review.objects.order_by("created_at").values_list("decision", "output"))


def test_three_items_are_decided_and_one_is_undone_without_a_mouse(bob_at: Visitor) -> None:
    page = bob_at.page
    first = item_on_screen(page)
    press_and_wait(page, "a")
    second = item_on_screen(page)
    press_and_wait(page, "2")
    page.keyboard.press("x")
    press_and_wait(page, "3")
    expect(page.locator("#sync")).to_have_text("All saved.")
    assert decisions() == [("accept", "billing"), ("edit", "delivery"), ("reject", "")]
    fourth = item_on_screen(page)
    assert len({first, second, fourth}) == 3
    press_and_wait(page, "u")
    expect(page.locator("#said")).to_have_text("Undone. The example is back.")
    assert item_on_screen(page) not in {first, second, fourth}
    assert decisions()[-1] == ("undo", "")
    assert not Example.objects.filter(status="discarded").exists()
    assert bob_at.complaints == []


def test_the_next_card_is_there_before_the_server_has_answered(bob_at: Visitor) -> None:
    page = bob_at.page
    first = item_on_screen(page)
    held: list[Any] = []
    page.route("**/decide/", lambda route: held.append(route))  # noqa: PLW0108  # a builtin is refused
    page.keyboard.press("a")
    expect(card(page)).not_to_have_attribute("data-item", first)
    assert decisions() == []
    page.wait_for_function("document.querySelectorAll('.card:not([hidden])').length === 1")
    held[0].continue_()
    expect(page.locator("#sync")).to_have_text("All saved.")
    assert decisions() == [("accept", "billing")]


def test_a_label_is_found_by_the_start_of_its_name(bob_at: Visitor) -> None:
    page = bob_at.page
    page.keyboard.press("/")
    page.keyboard.type("lo")
    press_and_wait(page, "Enter")
    expect(page.locator("#sync")).to_have_text("All saved.")
    assert decisions() == [("edit", "login")]


def test_hostile_text_is_shown_as_text_and_runs_nothing(bob_at: Visitor) -> None:
    page = bob_at.page
    seen = []
    for _ in range(5):
        seen.append(card(page).inner_text())
        press_and_wait(page, "a")
    assert any(HOSTILE in text for text in seen)
    expect(page.locator("#empty")).to_be_visible()
    assert bob_at.dialogs == []
    assert bob_at.complaints == []


def test_a_decision_survives_a_lost_network_and_a_reload_and_counts_once(bob_at: Visitor) -> None:
    page = bob_at.page
    first = item_on_screen(page)
    page.route("**/decide/", lambda route: route.abort())
    page.keyboard.press("a")
    expect(page.locator("#sync")).to_contain_text("1 not saved yet")
    kept = page.evaluate("Object.values(localStorage)")
    assert [json.loads(entry)["item"] for entry in kept] == [first]
    page.unroute("**/decide/")
    page.reload()
    expect(page.locator("#sync")).to_have_text("All saved.")
    assert item_on_screen(page) != first
    assert decisions() == [("accept", "billing")]
    assert page.evaluate("Object.values(localStorage)") == []


def test_a_decision_whose_answer_was_lost_is_sent_again_and_counts_once(bob_at: Visitor) -> None:
    page = bob_at.page
    lost: list[int] = []

    def lose_the_first_answer(route: Any) -> None:
        response = route.fetch()
        lost.append(response.status)
        route.abort() if len(lost) == 1 else route.fulfill(response=response)

    page.route("**/decide/", lose_the_first_answer)
    page.keyboard.press("a")
    expect(page.locator("#sync")).to_have_text("All saved.")
    assert lost == [200, 200]
    assert decisions() == [("accept", "billing")]


def test_signing_out_elsewhere_loses_no_decision(bob_at: Visitor) -> None:
    page = bob_at.page
    bob_at.context.clear_cookies(name="sessionid")
    page.keyboard.press("a")
    expect(page.locator("#sync")).to_contain_text("you were signed out")
    bob_at.sign_in("bob")
    bob_at.open(REVIEW)
    expect(page.locator("#sync")).to_have_text("All saved.")
    assert decisions() == [("accept", "billing")]


def test_keys_mean_nothing_while_a_note_is_written_or_the_help_is_open(bob_at: Visitor) -> None:
    page = bob_at.page
    first = item_on_screen(page)
    page.keyboard.press("n")
    page.keyboard.type("axs 2")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    assert item_on_screen(page) == first
    press_and_wait(page, "a")
    expect(page.locator("#sync")).to_have_text("All saved.")
    assert Review.objects.get().note == "axs 2"


def test_two_reviewers_never_see_the_same_item(
    bob_at: Visitor, alice: User, new_visitor: NewVisitor
) -> None:
    items: Callable[[Page], set[str]] = lambda page: set(  # noqa: E731
        page.evaluate("[...document.querySelectorAll('.card')].map((card) => card.dataset.item)")
    )
    other = new_visitor("alice").open(REVIEW)
    assert len(items(bob_at.page)) == len(items(other)) == 2
    assert items(bob_at.page).isdisjoint(items(other))


def test_json_that_breaks_the_schema_comes_back_with_the_reason(
    workload: Workload, bob: User, make_example: MakeExample, new_visitor: NewVisitor
) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    orders = create_workload(
        workload.project, slug="orders", kind="extraction", output_schema=schema
    )
    make_example("ship it to Oslo", '{"city": "Oslo"}', split="test", workload=orders)
    queue_review(orders, suspicious=0)
    page = new_visitor("bob").open("/acme/orders/review/")
    page.keyboard.press("r")
    page.keyboard.press("e")
    editor = card(page).get_by_label("Answer, as JSON")
    assert json.loads(editor.input_value()) == {"city": "Oslo"}
    editor.fill('{"town": "Bergen"}')
    press_and_wait(page, "Control+Enter")
    expect(card(page).locator("[data-problem]")).to_contain_text("'city' is a required property")
    expect(editor).to_be_focused()
    assert decisions() == []
    editor.fill('{"city": "Bergen"}')
    press_and_wait(page, "Control+Enter")
    expect(page.locator("#sync")).to_have_text("All saved.")
    assert decisions() == [("edit", '{"city": "Bergen"}')]


def test_on_a_phone_every_decision_is_within_reach_of_a_thumb(
    queue: list[Example], bob: User, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor("bob", viewport={"width": 390, "height": 700}, has_touch=True)
    page = visitor.open(REVIEW)
    for name in ("Accept", "Reject", "Flag", "Skip", "Undo"):
        box = card(page).get_by_role("button", name=name).bounding_box()
        assert box is not None
        assert box["height"] >= 40
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] + box["height"] <= 700
    with page.expect_response("**/decide/"):
        card(page).get_by_role("button", name="delivery").tap()
    expect(page.locator("#sync")).to_have_text("All saved.")
    assert decisions() == [("edit", "delivery")]
