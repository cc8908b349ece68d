"""Each kind of answer has an editor: by keyboard, by thumb, with what changed on the screen."""

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from factory.models import Example, Project, Workload
from factory.services.projects import create_workload
from labeling.models import Label, LabelJob, Review, Teacher
from labeling.services.review import queue_review
from tests.browser.conftest import NewVisitor, Screen
from tests.browser.test_review import card, press_and_wait
from tests.conftest import MakeExample, ticket_messages

ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "customer": {"type": "string", "description": "as they sign"},
        "city": {"type": "string"},
        "order_number": {"type": "integer"},
        "weight_kg": {"type": ["number", "null"]},
        "carrier": {"enum": ["post", "courier", "pick-up"]},
        "gift": {"type": "boolean"},
        "lines": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"sku": {"type": "string"}, "count": {"type": "integer"}},
                "required": ["sku"],
            },
        },
    },
    "required": ["customer", "city", "lines"],
}
ORDERED = (
    '{"city": "Oslo", "customer": "Jo Berg", "order_number": 12345678901234567890, '
    '"weight_kg": 1.5, "carrier": "post", "lines": [{"sku": "LAMP-7", "count": 2}, '
    '{"sku": "KETTLE-1"}], "note": "ring twice"}'
)
ASKED = (
    "Hello, please send two LAMP-7 and one KETTLE-1 to Bergen, not to Oslo.\n"
    "The order is 12345678901234567890. It weighs 1.5 kg. Ring twice. Jo Berg"
)
LETTER = "Dear Jo,\nthe lamp was sent to Oslo on Monday. It comes on Friday.\nYours, the shop"
TOPICS = ["refund", "invoice", "delay", "damage", "praise"]
TOPIC_SET = {"type": "array", "items": {"type": "string", "enum": TOPICS}, "uniqueItems": True}
CITIES = [f"city-{number}" for number in range(1, 31)]

MakeQueue = Callable[..., Workload]


@pytest.fixture
def make_queue(transactional_db: None, project: Project, make_example: MakeExample) -> MakeQueue:
    """Make a workload whose review queue holds these answers."""

    def make(
        schema: Any, *answers: str | None, slug: str = "orders", kind: str = "extraction",
        asked: str = ASKED,
    ) -> Workload:  # fmt: skip
        made = create_workload(project, slug=slug, kind=kind, output_schema=schema)
        for number, answer in enumerate(answers):
            text = f"{asked}\n({number})" if len(answers) > 1 else asked
            make_example(text, answer, workload=made, split="test")
        queue_review(made, suspicious=0)
        return made

    return make


@pytest.fixture
def bob_sees(bob: User, new_visitor: NewVisitor) -> Callable[[Workload], Page]:
    return lambda workload: new_visitor("bob").open(f"/acme/{workload.slug}/review/")


BobSees = Callable[[Workload], Page]


def part(page: Page, name: str) -> Any:
    return card(page).locator(f'[data-name="{name}"]').first


def saved(page: Page) -> tuple[str, str]:
    expect(page.locator("#sync")).to_have_text("All saved.")
    review = Review.objects.latest("created_at")
    return review.decision, review.output


def teacher_says(workload: Workload, output: str) -> None:
    upstream = workload.project.upstreams.create(name="up", base_url="http://127.0.0.1:9/v1")
    teacher = Teacher.objects.create(
        project=workload.project, name="oracle", upstream=upstream, model="m"
    )
    job = LabelJob.objects.create(workload=workload, teacher=teacher, votes=3, budget_usd=1)
    Label.objects.bulk_create(
        Label(job=job, example=example, output=output, confidence=2 / 3, status="unsure",
              votes={output: 2, "x": 1})
        for example in workload.examples.all()
    )  # fmt: skip


# --- JSON -----------------------------------------------------------------------------------------
def test_a_form_changes_what_was_changed_and_nothing_else(
    make_queue: MakeQueue, bob_sees: BobSees
) -> None:
    page = bob_sees(make_queue(ORDER, ORDERED))
    part(page, "city").locator("textarea").fill("Bergen")
    expect(part(page, "city").locator("del")).to_have_text("Oslo")
    expect(part(page, "city").locator("ins")).to_have_text("Bergen")
    press_and_wait(page, "Control+Enter")
    assert saved(page) == ("edit", ORDERED.replace('"Oslo"', '"Bergen"'))


def test_a_form_that_is_right_is_accepted_by_one_key(
    make_queue: MakeQueue, bob_sees: BobSees
) -> None:
    page = bob_sees(make_queue(ORDER, ORDERED))
    press_and_wait(page, "a")
    assert saved(page) == ("accept", ORDERED)


def test_missing_null_and_given_are_three_things(make_queue: MakeQueue, bob_sees: BobSees) -> None:
    page = bob_sees(make_queue(ORDER, ORDERED))
    part(page, "weight_kg").get_by_label("State of weight kg").select_option("null")
    part(page, "carrier").get_by_label("State of carrier").select_option("missing")
    part(page, "gift").get_by_text("no").click()
    part(page, "note").get_by_role("button", name="Remove note").click()
    card(page).locator('[data-do="accept"]').click()
    decision, output = saved(page)
    assert decision == "edit"
    answer = json.loads(output)
    assert (answer["weight_kg"], answer["gift"]) == (None, False)
    assert "carrier" not in answer
    assert "note" not in answer


def test_rows_of_a_list_are_added_and_removed(make_queue: MakeQueue, bob_sees: BobSees) -> None:
    page = bob_sees(make_queue(ORDER, ORDERED))
    lines = part(page, "lines")
    lines.get_by_role("button", name="Remove this one").first.click()
    lines.get_by_role("button", name="Add to lines").click()
    page.keyboard.type("TENT-9")
    press_and_wait(page, "Control+Enter")
    assert json.loads(saved(page)[1])["lines"] == [{"sku": "KETTLE-1"}, {"sku": "TENT-9"}]


def test_a_list_is_restored_as_it_was(make_queue: MakeQueue, bob_sees: BobSees) -> None:
    page = bob_sees(make_queue(ORDER, ORDERED))
    lines = part(page, "lines")
    lines.get_by_role("button", name="Remove this one").first.click()
    lines.get_by_role("button", name="Take back the change of lines").click()
    press_and_wait(page, "a")
    assert saved(page) == ("accept", ORDERED)


def test_enter_accepts_a_field_and_goes_to_the_next(
    make_queue: MakeQueue, bob_sees: BobSees
) -> None:
    page = bob_sees(make_queue(ORDER, ORDERED))
    page.keyboard.press("e")
    expect(part(page, "city").locator("textarea")).to_be_focused()
    page.keyboard.press("Enter")
    expect(part(page, "customer").locator("textarea")).to_be_focused()
    page.keyboard.press("Enter")
    expect(card(page).locator("[data-checked]")).to_have_text("2 of 11 checked")


def test_a_digit_picks_a_choice_that_has_the_focus(
    make_queue: MakeQueue, bob_sees: BobSees
) -> None:
    page = bob_sees(make_queue(ORDER, ORDERED))
    part(page, "carrier").locator("input").first.focus()
    page.keyboard.press("2")
    press_and_wait(page, "Control+Enter")
    assert json.loads(saved(page)[1])["carrier"] == "courier"


def test_values_are_painted_where_they_stand_in_the_text(
    make_queue: MakeQueue, bob_sees: BobSees
) -> None:
    page = bob_sees(make_queue(ORDER, ORDERED))
    painted = "[...CSS.highlights.get('{}')].map((range) => range.toString()).sort()"
    assert page.evaluate(painted.format("source")) == [
        "1.5", "12345678901234567890", "Jo Berg", "KETTLE-1", "LAMP-7", "Oslo", "Ring twice",
    ]  # fmt: skip
    part(page, "city").locator("textarea").fill("bergen")
    page.wait_for_function(f"{painted.format('source-here')}.join() === 'Bergen'")
    part(page, "city").locator("textarea").fill("Narvik")
    expect(part(page, "city")).to_have_attribute("data-absent", "")


def test_json_and_form_show_the_same_answer(make_queue: MakeQueue, bob_sees: BobSees) -> None:
    page = bob_sees(make_queue(ORDER, ORDERED))
    raw = card(page).get_by_label("Answer, as JSON")
    page.keyboard.press("r")
    raw.fill(raw.input_value().replace("Oslo", "Bergen"))
    expect(card(page).locator("[data-changes] ins")).to_have_text("Bergen")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    expect(part(page, "city").locator("textarea")).to_have_value("Bergen")
    expect(part(page, "city").locator("del")).to_have_text("Oslo")
    press_and_wait(page, "a")
    assert saved(page) == ("edit", ORDERED.replace('"Oslo"', '"Bergen"'))


@pytest.mark.parametrize("broken", ["no JSON at all", '{"city": 7, "lines": {"sku": 1}}', "[1]"])
def test_an_answer_of_another_shape_is_shown_whole(
    make_queue: MakeQueue, bob_sees: BobSees, broken: str
) -> None:
    page = bob_sees(make_queue(ORDER, broken))
    page.keyboard.press("e")
    shown = (
        card(page)
        .locator(".answer textarea:visible")
        .evaluate_all("(areas) => areas.map((area) => area.value).join(' ')")
    )
    for word in ("JSON", "7", "sku", "1"):
        assert (word in broken) <= (word in shown)
    page.keyboard.press("Escape")
    press_and_wait(page, "a")
    expect(card(page).locator("[data-problem]")).to_be_visible()
    assert not Review.objects.exists()


# --- labels ---------------------------------------------------------------------------------------
def test_any_number_of_labels_is_set_and_sent_by_a_key_of_its_own(
    make_queue: MakeQueue, bob_sees: BobSees
) -> None:
    page = bob_sees(make_queue(TOPIC_SET, '["delay", "refund"]'))
    page.keyboard.press("3")
    page.keyboard.press("5")
    expect(card(page).locator(".current del")).to_have_text("delay")
    expect(card(page).locator(".current ins")).to_have_text("praise")
    press_and_wait(page, "a")
    assert saved(page) == ("edit", '["refund", "praise"]')


def test_digits_are_joined_where_there_are_many_labels(
    make_queue: MakeQueue, bob_sees: BobSees
) -> None:
    schema = {"type": "string", "enum": CITIES}
    page = bob_sees(make_queue(schema, "city-1", "city-1", "city-1", kind="classification"))
    page.keyboard.press("2")
    press_and_wait(page, "7")
    assert saved(page) == ("edit", "city-27")
    press_and_wait(page, "4")
    assert saved(page) == ("edit", "city-4")
    page.keyboard.press("2")
    press_and_wait(page, "Enter")
    assert saved(page) == ("edit", "city-2")


# --- text -----------------------------------------------------------------------------------------
def test_what_was_changed_in_a_text_is_always_on_the_screen(
    make_queue: MakeQueue, bob_sees: BobSees
) -> None:
    page = bob_sees(make_queue(None, LETTER, kind="generation"))
    shown = card(page).locator("[data-shown]")
    expect(shown).to_contain_text("the lamp was sent to Oslo")
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(LETTER.replace("Oslo", "Bergen").replace(" on Monday", ""))
    expect(shown.locator("del")).to_have_text(["Oslo on Monday"])
    expect(shown.locator("ins")).to_have_text(["Bergen"])
    press_and_wait(page, "Control+Enter")
    assert saved(page)[1].splitlines()[1] == "the lamp was sent to Bergen. It comes on Friday."


def test_the_teachers_other_answer_is_taken_by_one_key(
    make_queue: MakeQueue, bob_sees: BobSees
) -> None:
    workload = make_queue(None, LETTER, kind="generation")
    teacher_says(workload, LETTER.replace("Friday", "Thursday"))
    page = bob_sees(workload)
    expect(card(page).locator("[data-differs] ins")).to_have_text("Thursday")
    page.keyboard.press("t")
    press_and_wait(page, "a")
    assert saved(page) == ("edit", LETTER.replace("Friday", "Thursday"))


def test_a_difference_is_made_of_both_texts(make_queue: MakeQueue, bob_sees: BobSees) -> None:
    page = bob_sees(make_queue(None, LETTER, kind="generation"))
    wrong = page.evaluate(
        """async () => {
          const { wordDiff } = await import("/static/factory/review_diff.js");
          let seed = 7;
          const draw = (n) => { seed = (seed * 48271) % 2147483647; return seed % n; };
          const words = ["a", "b", "c", " ", "\\n", "é", "🙂", ".", "\\u202e"];
          const text = () => Array.from({ length: draw(40) }, () => words[draw(9)]).join("");
          const made = (pairs, without) => pairs
            .filter(([kind]) => kind !== without).map(([, text]) => text).join("");
          return Array.from({ length: 2000 }, () => [text(), text()]).filter(([a, b]) => {
            const pairs = wordDiff(a, b);
            return made(pairs, "new") !== a || made(pairs, "gone") !== b
              || (a === b && pairs.some(([kind]) => kind !== "same"));
          });
        }"""
    )
    assert wrong == []


# --- conversations --------------------------------------------------------------------------------
def test_turns_stand_by_their_role_whoever_speaks_twice(
    make_queue: MakeQueue, bob_sees: BobSees
) -> None:
    workload = make_queue(None, LETTER, kind="generation")
    roles = ["system", "user", "user", "assistant", "tool", "assistant", "user"]
    turns = [{"role": role, "content": f"turn {n}"} for n, role in enumerate(roles)]
    Example.objects.filter(workload=workload).update(messages=turns)
    page = bob_sees(workload)
    left = {
        turn.get_attribute("data-role"): turn.bounding_box()["x"]
        for turn in card(page).locator(".turn").all()
    }
    assert card(page).locator(".turn").count() == len(roles)
    assert left["assistant"] > left["user"] == left["system"]


# --- looks ----------------------------------------------------------------------------------------
def violations(page: Page) -> list[str]:
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run().then((results) => results.violations)")
    return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]


def editors(make: MakeQueue) -> dict[str, Workload]:
    """Make a queue for each editor."""
    made = {
        "json": make(ORDER, ORDERED, slug="orders"),
        "labels": make(TOPIC_SET, '["delay", "refund"]', slug="topics"),
        "text": make(None, LETTER, slug="letters", kind="generation"),
        "many-labels": make(
            {"type": "string", "enum": CITIES}, "city-1", slug="cities", kind="classification"
        ),
    }
    turns = [
        *ticket_messages(ASKED, "You write for the shop."),
        {"role": "assistant", "content": "Where should it go?"},
        {"role": "user", "content": "To Bergen."},
    ]
    Example.objects.filter(workload=made["text"]).update(messages=turns)
    return made


def correct_the_letter(page: Page) -> None:
    page.keyboard.press("e")
    card(page).locator("textarea").fill(LETTER.replace("Oslo", "Bergen"))


CHANGES: dict[str, Callable[[Page], None]] = {
    "json": lambda page: part(page, "city").locator("textarea").fill("Bergen"),
    "labels": lambda page: page.keyboard.press("5"),
    "text": correct_the_letter,
    "many-labels": lambda page: page.keyboard.press("x"),
}


def test_every_editor_is_accessible_and_fits_every_screen(
    make_queue: MakeQueue, screen: Screen
) -> None:
    made = editors(make_queue)
    teacher_says(made["text"], LETTER.replace("Friday", "Thursday"))
    for name, workload in made.items():
        page = screen.open(f"/acme/{workload.slug}/review/")
        assert violations(page) == [], name
        CHANGES[name](page)
        assert violations(page) == [], f"{name}, changed"
        screen.photograph(f"review-{name}")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert violations(page) == []
    screen.photograph("review-keys")
    assert screen.visitor.complaints == []
