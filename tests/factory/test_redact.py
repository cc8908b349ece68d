"""Personal data and keys are found by form and by checksum, and nothing else is."""

import time

import pytest

from factory.redact import Redactor

CARD = "4111 1111 1111 1111"  # the schemes' own test numbers
IBAN = "DE89 3704 0044 0532 0130 00"


def redacted(text: str) -> str:
    return Redactor().text(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("joe@example.com", "EMAIL"),
        ("Ünal.Öz+tag@mail.example.co.uk", "EMAIL"),
        (CARD, "CARD"),
        ("4111-1111-1111-1111", "CARD"),
        ("5500005555555559", "CARD"),
        ("3782 822463 10005", "CARD"),
        (IBAN, "IBAN"),
        ("GB82WEST12345698765432", "IBAN"),
        ("BE68 5390 0754 7034", "IBAN"),
        ("192.168.0.17", "IP"),
        ("2001:db8::8a2e:370:7334", "IP"),
        ("+49 30 1234567", "PHONE"),
        ("+49 (0)30 1234567", "PHONE"),
        ("+14155550123", "PHONE"),
        ("0044 20 7946 0958", "PHONE"),
        ("(415) 555-0123", "PHONE"),
        ("1-800-555-0123", "PHONE"),
        ("030/12345678", "PHONE"),
        ("06 12 34 56 78", "PHONE"),
        ("06.12.34.56.78", "PHONE"),
        ("sk-proj-abcDEF123456ghiJKL7890", "SECRET"),
        ("us_" + "a1B2" * 10, "SECRET"),
        ("hf_" + "a1B2" * 9, "SECRET"),
        ("ghp_" + "a1B2" * 9, "SECRET"),
        ("sk_live_a1b2c3d4e5f6a1b2c3", "SECRET"),
        ("xoxb-1234567890-abcdefghij", "SECRET"),
        ("AKIAIOSFODNN7EXAMPLE", "SECRET"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N", "SECRET"),
    ],
)
def test_what_must_not_be_kept_is_replaced(text: str, kind: str) -> None:
    redactor = Redactor()
    assert redactor.text(f"it is {text}, thanks") == f"it is [{kind}_1], thanks"
    assert redactor.counts == {kind: 1}


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",  # a card's form, not its check digit
        "1234567890123456",
        "0000 0000 0000 0000",
        "GB82 WEST 1234 5698 7654 33",  # an IBAN's form, not its checksum
        "gpt-4o-2024-08-06",
        "2024-05-01 12:30",
        "on 01.05.2024 10:30 or 1/5/2024",
        "order 20240501-4711, invoice 123456789012",
        "EUR 1 234 567.89 and 0.123456789",
        "chatcmpl-4967479b07f83933d833b112",
        "123e4567-e89b-12d3-a456-426614174000",
        "version 1.2.3.4.5, address 999.1.1.1",
        "std::vector, a :: b, 12:30:45",
        "us-government-owned-companies-only",
        "pk_customer_order_items_index",
        "mail @ example, see a@b",
        "call 555-0123",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{CARD} 123", "[CARD_1] 123"),  # with its verification code
        (f"{CARD} 12/27", "[CARD_1] 12/27"),
        (f"12345 {CARD}", "12345 [CARD_1]"),
        ("BE68 5390 0754 7034 AMOUNT 5", "[IBAN_1] AMOUNT 5"),
    ],
)
def test_a_number_is_found_between_other_numbers(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_a_private_key_is_taken_out_whole() -> None:
    key = "-----BEGIN EC PRIVATE KEY-----\nMIIEpAIB7\nbq3x/0=\n-----END EC PRIVATE KEY-----"
    assert "MIIE" not in redacted(key)
    assert "bq3x" not in redacted(key)


def test_the_same_value_has_the_same_placeholder_in_the_whole_call() -> None:
    redactor = Redactor()
    messages = redactor.value(
        [
            {"content": f"joe@x.org, {CARD}"},
            {"content": ["Joe@X.org", "ann@x.org", CARD.replace(" ", "-")]},
        ]
    )
    assert messages == [
        {"content": "[EMAIL_1], [CARD_1]"},
        {"content": ["[EMAIL_1]", "[EMAIL_2]", "[CARD_1]"]},
    ]
    assert redactor.value({"joe@x.org": 5, "n": None}) == {"joe@x.org": 5, "n": None}
    assert redactor.counts == {"EMAIL": 2, "CARD": 1}


def test_redacting_twice_changes_nothing_more() -> None:
    once = redacted(f"joe@x.org {IBAN} {CARD} +49 30 1234567 10.0.0.1 {'us_' + 'a1' * 20}")
    assert redacted(once) == once


@pytest.mark.parametrize(
    "unit",
    ["1 ", "1111 ", "DE89 ", "AB12", "a.b@", "a.", "a@b.-", "-eyJ", "sk-", "1:", "+1/", "(1",
     "030 1", "1.1.1.", "555 555 5555 ", "-----BEGIN PRIVATE KEY-----", "\n1"],
)  # fmt: skip
def test_a_hostile_megabyte_ends(unit: str) -> None:
    started = time.process_time()
    redacted(unit * (1_000_000 // len(unit)))
    assert time.process_time() - started < 60  # a guard against hanging, no measure of speed
