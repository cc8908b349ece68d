"""Pictures and other files in calls: kept to the byte, whatever their base64 looks like."""

import base64
import json
import random
import time
from typing import Any

import pytest

from factory.models import CapturedCall, Project
from factory.redaction.files import FIRST, put_back, set_aside
from factory.redaction.redact import Policy, Redactor
from factory.services.capture import record_calls
from tests.conftest import call_record

# Base64 of what a file may hold: a card, an account, an AWS key, in it as plain as in a sentence.
LOOKALIKES = "AAAA/4111111111111111/DE89370400440532013000/AKIAIOSFODNN7EXAMPLE/abc+79991234567+AA"
PICTURE = f"data:image/png;base64,{LOOKALIKES}"


def noise(size: int) -> str:
    return base64.b64encode(random.Random(7).randbytes(size)).decode()


def messages(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    text = {"type": "text", "text": "Write to ann@example.org what you see"}
    return [{"role": "user", "content": [text, *parts]}]


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def test_base64_looks_like_anything() -> None:
    assert Redactor().text(LOOKALIKES) != LOOKALIKES


@pytest.mark.parametrize(
    "part",
    [
        image(PICTURE),
        image("data:image/jpeg;charset=utf-8;base64,/9j/4111111111111111=="),
        image(f"data:;base64,{noise(50_000)}"),
        {"type": "input_audio", "input_audio": {"data": noise(3000), "format": "wav"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{LOOKALIKES}"}},
        {"type": "text", "text": f"![a]({PICTURE}) and ![b]({PICTURE})"},
        {"type": "text", "text": json.dumps({"screenshot": PICTURE, "at": [1, 2]}, indent=2)},
        {"type": "text", "text": f"{chr(FIRST)}{PICTURE}{chr(FIRST + 5)}"},
    ],
)
@pytest.mark.parametrize("policy", [Policy(), Policy(terms=("Acme",), patterns=(("ANY", "A+"),))])
def test_a_file_is_kept_as_it_is_and_what_is_around_it_is_redacted(
    part: dict[str, Any], policy: Policy
) -> None:
    redactor = Redactor(policy)
    (turn,) = redactor.value(messages(part))
    assert turn["content"] == [
        {"type": "text", "text": "Write to [EMAIL_1] what you see"},
        part,
    ]
    assert redactor.counts == {"EMAIL": 1}


def test_what_stands_beside_a_file_is_found() -> None:
    text = f"ann@example.org {PICTURE} bo@example.org {PICTURE}, card 4111 1111 1111 1111"
    assert Redactor().text(text) == f"[EMAIL_1] {PICTURE} [EMAIL_2] {PICTURE}, card [CARD_1]"
    said = json.dumps({"image": PICTURE, "email": "ann@example.org"})
    assert json.loads(Redactor().text(said)) == {"image": PICTURE, "email": "[EMAIL_1]"}


def test_a_secret_that_a_file_follows_is_still_a_secret() -> None:
    key = "sk-proj-abcdefghijklmnop1234567890ABCDEFGH"
    text = Redactor().text(f"api_key={key} {PICTURE}")
    assert text == f"api_key=[SECRET_1] {PICTURE}"


def test_what_only_says_that_it_is_a_file_is_looked_at() -> None:
    for short in ({"data": "4111111111111111"}, {"file_data": "DE89370400440532013000"}):
        assert Redactor().value(short) != short
    assert Redactor().text("data:text/plain,ann@example.org") == "data:text/plain,[EMAIL_1]"


def test_a_text_with_more_marks_than_there_are_stays_as_it_is() -> None:
    text = f"base64, {chr(FIRST) * 70_000}"
    assert put_back(*set_aside(text)) == text


def test_a_large_picture_takes_as_good_as_no_time() -> None:
    url = f"data:image/png;base64,{noise(6_000_000)}"
    before = time.process_time()
    (turn,) = Redactor().value(messages(image(url)))
    assert time.process_time() - before < 1  # it took 40 s when it was looked through
    assert turn["content"][1]["image_url"]["url"] == url


@pytest.mark.django_db
def test_a_call_with_a_picture_is_stored_to_the_byte(project: Project) -> None:
    record = call_record("see above")
    record.request["messages"] = messages(image(PICTURE), image(f"data:;base64,{noise(90_000)}"))
    record_calls(project, [record], CapturedCall.Source.GATEWAY)
    call = project.calls.select_related("payload").get()
    (turn,) = call.messages
    assert turn["content"][1:] == record.request["messages"][0]["content"][1:]
    assert call.question == "Write to [EMAIL_1] what you see"
    assert call.redactions == {"EMAIL": 1}
