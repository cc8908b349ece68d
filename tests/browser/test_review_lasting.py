"""What must hold however long somebody reviews: nothing lost, little sent, nothing run."""

import base64
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Request, expect

from factory.models import Example, Workload
from labeling.models import Review
from labeling.services.review import queue_review
from tests.browser.conftest import NewVisitor, Visitor
from tests.browser.test_review import REVIEW, card
from tests.browser.test_review_editors import ORDER, TOPIC_SET, MakeQueue, make_queue, teacher_says
from tests.conftest import LABELS, MakeExample

__all__ = ["make_queue"]

DECISIONS = 200
OFFLINE = 20
MOST_BYTES = 78_000  # of the page and its own files, beside what every page has
MARKUP = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>", "<a href=javascript:alert(1)>x</a>",
    "</textarea><script>alert(1)</script>", "</template><script>alert(1)</script>",
    "</div></article><script>alert(1)</script>", "<style>*{display:none}</style>",
    "<link rel=stylesheet href=//evil.example>", "<base href=//evil.example>",
    "<form action=//evil.example><button>go", "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>", "<math><mtext></mtext><script>alert(1)</script></math>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>", "<object data=//evil.example>",
    '" onmouseover="alert(1)', "' autofocus onfocus='alert(1)", "`${alert(1)}`", "{{7*7}}",
    "{% load static %}", "${alert(1)}", "javascript:alert(1)", "data:text/html,<script>1</script>",
    "<!--", "-->", "<![CDATA[<script>alert(1)</script>]]>", "&lt;script&gt;", "&#60;script&#62;",
    "# heading\n[link](javascript:alert(1))", "![x](//evil.example/x.png)", "**bold** `code`",
    "```html\n<script>alert(1)</script>\n```", "| a | b |\n|---|---|", "<b>bold", "</body></html>",
    "\x1b[31mred\x1b[0m", "\x1b]8;;//evil.example\x07link\x1b]8;;\x07", "\x1b[2J\x1b[H",
    "\u202egnp.exe", "\u2066\u202ealert\u2069", "a\u200bb\u200cc\u200dd", "\u05d0\u05d1 abc \u0627",
    "\ufeffmark", "\u2028line\u2029par", "\x07bell\x08back\x7f", "\ufff9\ufffa\ufffb",
    "Z\u0351\u0352\u0353" * 20, "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0000".strip("\0"),
    "__proto__", "constructor", "toString", "{}", "[]", "null", "true", "-0", "1e999", "NaN",
    "../../etc/passwd", "'; DROP TABLE reviews; --", "%00%0d%0a", "\r\nSet-Cookie: a=b", "\\u003c",
    "\\", '"', "'", "`", "<", ">", "&", "\n", "\t", " ", "=cmd|' /C calc'!A0", "@SUM(1)",
]  # fmt: skip
PAYLOADS = [text for text in MARKUP if text.strip()]
PAYLOADS += [base64.b64encode(text.encode()).decode() for text in PAYLOADS[:10]]
PAYLOADS += [f"{text}{text.upper()}" for text in PAYLOADS[:20]]
LONG = "<script>alert(1)</script> \u202e word " * 6000  # some 200 KB


@pytest.fixture
def queue(transactional_db: None, make_example: MakeExample, workload: Workload) -> None:
    for number in range(DECISIONS):
        make_example(f"ticket {number}", LABELS[number % 3], split="test")
    queue_review(workload, suspicious=0)


@pytest.fixture
def bob_at(queue: None, bob: User, new_visitor: NewVisitor) -> Visitor:
    return new_visitor("bob")


def standing() -> list[int]:
    return list(Review.objects.exclude(decision="undo").values_list("item_id", flat=True))


def test_two_hundred_decisions_are_one_request_each_and_the_page_is_light(bob_at: Visitor) -> None:
    page = bob_at.page
    requests: list[Request] = []
    page.on("request", lambda request: requests.append(request))  # noqa: PLW0108  # a builtin is refused
    bob_at.context.new_cdp_session(page).send("Network.clearBrowserCache")
    page.goto(bob_at.site + REVIEW)
    page.wait_for_load_state("networkidle")
    own = [request.sizes() for request in requests if "review" in request.url]
    assert sum(size["responseBodySize"] + size["responseHeadersSize"] for size in own) < MOST_BYTES
    assert len(own) >= 5
    requests.clear()
    for number in range(DECISIONS):
        expect(card(page)).to_be_visible()
        page.keyboard.press("a2"[number % 2])
    expect(page.locator("#sync")).to_have_text("All saved.")
    assert len(standing()) == len(set(standing())) == DECISIONS
    sent = [request for request in requests if "heartbeat" not in request.url]  # one a minute
    assert len(sent) <= DECISIONS + 2  # and one that hears that the queue is empty
    assert bob_at.complaints == []


def test_twenty_decisions_without_a_network_are_neither_lost_nor_doubled(bob_at: Visitor) -> None:
    page, made = bob_at.open(REVIEW), 0
    while made < OFFLINE:
        bob_at.context.set_offline(True)
        while card(page).count() and made < OFFLINE:
            page.keyboard.press("a")
            made += 1
        expect(page.locator("#sync")).to_contain_text("not saved yet")
        assert page.evaluate("localStorage.length") > 0
        bob_at.context.set_offline(False)
        if made % 4 == 0:
            bob_at.context.clear_cookies(name="sessionid")
            bob_at.sign_in("bob")
            bob_at.open(REVIEW)
        elif made % 3 == 0:
            page.reload()
        expect(page.locator("#sync")).to_have_text("All saved.")
    assert len(standing()) == len(set(standing())) == OFFLINE
    assert page.evaluate("localStorage.length") == 0


def test_what_one_person_decided_is_never_sent_as_anothers(bob_at: Visitor, alice: User) -> None:
    page = bob_at.open(REVIEW)
    bob_at.context.clear_cookies(name="sessionid")
    page.keyboard.press("a")
    expect(page.locator("#sync")).to_contain_text("you were signed out")
    bob_at.sign_in("alice")
    bob_at.open(REVIEW)
    page.keyboard.press("s")
    expect(page.locator("#sync")).to_have_text("All saved.")
    assert not Review.objects.filter(decision="accept").exists()
    bob_at.context.clear_cookies(name="sessionid")
    bob_at.sign_in("bob")
    bob_at.open(REVIEW)
    expect(page.locator("#sync")).to_have_text("All saved.")
    assert Review.objects.get(decision="accept").reviewer.username == "bob"


def test_cards_are_kept_while_somebody_looks_at_them(bob_at: Visitor) -> None:
    page = bob_at.page
    page.clock.install()
    page.goto(bob_at.site + REVIEW)
    held = page.evaluate("[...document.querySelectorAll('.card')].map((card) => card.dataset.item)")
    with page.expect_response("**/review/heartbeat/") as beat:
        page.clock.fast_forward(61_000)
    assert [str(item) for item in beat.value.json()["held"]] == sorted(held, key=int)


# --- texts that nobody vouches for ----------------------------------------------------------------
def everywhere(payloads: list[str]) -> list[dict[str, Any]]:
    """Return a conversation whose every field is hostile."""
    text = "\n".join(payloads)
    call = {"id": text, "type": "function", "function": {"name": text, "arguments": text}}
    return [
        {"role": "system", "content": text, "name": payloads[0]},
        {"role": "user", "content": [{"type": "text", "text": each} for each in payloads]},
        {"role": payloads[-1], "content": text},
        {"role": "assistant", "content": text, "tool_calls": [call]},
    ]


def hostile_queue(make: MakeQueue, kind: str) -> Workload:
    """Make a queue of one editor in which each card holds every payload in every field."""
    text = "\n".join(PAYLOADS)
    answers = {
        "text": (None, "generation", text),
        "labels": (TOPIC_SET, "classification", json.dumps(PAYLOADS)),
        "json": (ORDER, "extraction", json.dumps({
            **dict(zip(PAYLOADS, reversed(PAYLOADS), strict=True)),
            "city": text, "customer": text, "carrier": text, "weight_kg": text,
            "lines": [{"sku": each} for each in PAYLOADS],
        })),
        "raw": (ORDER, "extraction", text),
        "label": ({"type": "string", "enum": PAYLOADS}, "classification", PAYLOADS[0]),
        "long": (None, "generation", LONG),
        "long json": (ORDER, "extraction", json.dumps({"city": LONG, "customer": "", "lines": []})),
    }  # fmt: skip
    schema, of, answer = answers[kind]
    workload = make(schema, answer, kind=of, slug="hostile", asked=text)
    Example.objects.filter(workload=workload).update(messages=everywhere(PAYLOADS))
    teacher_says(workload, text)
    return workload


@pytest.mark.parametrize("kind", ["text", "labels", "json", "raw", "label", "long", "long json"])
def test_hostile_answers_are_harmless_text_in_every_editor(
    make_queue: MakeQueue, bob: User, new_visitor: NewVisitor, kind: str
) -> None:
    assert len(PAYLOADS) >= 100
    visitor = new_visitor("bob")
    workload = hostile_queue(make_queue, kind)
    page = visitor.open(f"/acme/{workload.slug}/review/")
    made = page.evaluate(
        "document.querySelectorAll('.card :is(script, img, iframe, a, style)').length"
    )
    page.keyboard.press("e")
    page.keyboard.type("x")
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    page.keyboard.press("r")
    page.keyboard.press("n")
    page.keyboard.press("Escape")
    expect(card(page)).to_be_visible()
    assert made == 0
    assert "U+202E" in card(page).inner_text()
    assert visitor.dialogs == []
    assert visitor.complaints == []
