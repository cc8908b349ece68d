"""Personal data and keys are found by form and by checksum, and nothing else is."""

import json
import time

import pytest

from factory.redaction.redact import Redactor

CARD = "4111 1111 1111 1111"  # the schemes' own test numbers
# The key of Azure's storage emulator, the same for everyone.
AZURE = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
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
        ("o'brien@example.ie", "EMAIL"),
        ("de89370400440532013000", "IBAN"),
        ("219-46-0321", "NATIONAL_ID"),  # US
        ("QQ 12 34 56 C".replace("QQ", "AB"), "NATIONAL_ID"),  # UK National Insurance
        ("36 574 261 809", "NATIONAL_ID"),  # DE, the Finanzamt's own example
        ("2 95 10 99 126 111 93", "NATIONAL_ID"),  # FR
        ("54362315K", "NATIONAL_ID"),  # ES
        ("X-2482300-W", "NATIONAL_ID"),
        ("RCCMNL83S18D969H", "NATIONAL_ID"),  # IT
        ("880320-0016", "NATIONAL_ID"),  # SE
        ("44051401359", "NATIONAL_ID"),  # PL
        ("390.533.447-05", "NATIONAL_ID"),  # BR
        ("2341 2341 2346", "NATIONAL_ID"),  # IN Aadhaar
        ("ACUPA7085R", "NATIONAL_ID"),  # IN PAN
        ("192.168.0.17", "IP"),
        ("::ffff:192.0.2.128", "IP"),
        ("2001:db8::8a2e:370:7334", "IP"),
        ("+49 30 1234567", "PHONE"),
        ("+49 (0)30 1234567", "PHONE"),
        ("+14155550123", "PHONE"),
        ("0044 20 7946 0958", "PHONE"),
        ("(415) 555-0123", "PHONE"),
        ("1-800-555-0123", "PHONE"),
        ("030/12345678", "PHONE"),
        ("06 12 34 56 78", "PHONE"),
        ("512 345 678", "PHONE"),
        ("98765 43210", "PHONE"),
        ("11 91234-5678", "PHONE"),
        ("+1-415-555-0123x204", "PHONE"),
        ("06.12.34.56.78", "PHONE"),
        ("sk-proj-abcDEF123456ghiJKL7890", "SECRET"),
        ("us_" + "a1B2" * 10, "SECRET"),
        ("hf_" + "a1B2" * 9, "SECRET"),
        ("ghp_" + "a1B2" * 9, "SECRET"),
        ("sk_live_a1b2c3d4e5f6a1b2c3", "SECRET"),
        ("xoxb-1234567890-abcdefghij", "SECRET"),
        ("AKIAIOSFODNN7EXAMPLE", "SECRET"),
        ("glpat-a1B2c3D4e5F6g7H8i9J0", "SECRET"),
        ("sk-ant-api03-" + "a1B2_-" * 15, "SECRET"),
        ("AIza" + "a1B2_" * 7, "SECRET"),
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
        "npm i react@18.2.0 logo@2x.png, clone git@github.com:acme/app.git",
        "order number 219460321 and Bestellung 36574261809",
        "tracking 1Z999AA10123456784, EAN 4006381333931, ISBN 978-3-16-148410-0",
        "at 52.520008, 13.404954 since 1714567890, or 1714567890123 in ms",
        "total 512 345 678 EUR, population 512 345 678",
        "x[::2], face::detect, std::vector, version 10.1.2.3, section 3.2.1.4",
        "commit 7f9c2ba4e88f827d616045507605853ed73b8093 of 20240501123045",
        "sk-learn-is-a-machine-learning-library and glpat-is-its-prefix-you-know",
        "tokenizer: meta-llama/Llama-3.1-8B-Instruct, max_tokens: 40961024",
        "password: required, token=os.environ['TOKEN'], api_key=${API_KEY}",
        "postgres://app:${PASSWORD}@db/app, secret: **********",
        "an IBAN has up to 34 characters; a BSN has 9 digits",
        "room 555-0123",
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BSN 123456782", "BSN [NATIONAL_ID_1]"),
        ("my SSN is 219460321", "my SSN is [NATIONAL_ID_1]"),
        ("NHS number: 9434765870", "NHS number: [NATIONAL_ID_1]"),
        ("personnummer 8803200016", "personnummer [NATIONAL_ID_1]"),
        ("Aadhaar 234123412346", "Aadhaar [NATIONAL_ID_1]"),
        ("call 9876543210", "call [PHONE_1]"),
        ("Telefon: 1234567", "Telefon: [PHONE_1]"),
        ("tel:+49-30-1234567", "tel:[PHONE_1]"),
        ("api_key=8f14e45fceea167a5a36dedd4bea2543", "api_key=[SECRET_1]"),
        ('"client_secret": "dGhpcyBpcyBhIHNlY3JldA09"', '"client_secret": "[SECRET_1]"'),
        ("Authorization: Bearer a1b2c3d4e5f6g7h8", "Authorization: Bearer [SECRET_1]"),
        ("postgres://app:s3cr3t@db.acme.io/app", "postgres://app:[SECRET_1]@db.acme.io/app"),
        ("password is hunter2!", "password is [SECRET_1]"),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "aws_secret_access_key = [SECRET_1]",
        ),
        (
            f"AccountName=devstoreaccount1;AccountKey={AZURE};E=x",
            "AccountName=devstoreaccount1;AccountKey=[SECRET_1];E=x",
        ),
    ],
)
def test_what_a_value_is_called_says_what_it_is(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize("text", ["123456782", "219460321", "9434765870", "234123412346"])
def test_digits_that_could_be_anything_stay_where_nobody_says_what_they_are(text: str) -> None:
    assert redacted(f"it is {text}, thanks") == f"it is {text}, thanks"


def test_an_answer_is_understood_by_the_question_before_it() -> None:
    turns = [{"content": "What is your BSN?"}, {"content": "123456782"}]
    assert Redactor().value(turns)[1] == {"content": "[NATIONAL_ID_1]"}


def test_a_value_is_understood_by_its_key() -> None:
    given = {
        "bsn": "123456782",
        "phone": ["9876543210"],
        "password": "hunter2!",
        "card": 5500005555555559,
        "seed": 219460321,
    }
    assert Redactor().value(given) == {
        "bsn": "[NATIONAL_ID_1]",
        "phone": ["[PHONE_1]"],
        "password": "[SECRET_1]",
        "card": "[CARD_1]",
        "seed": 219460321,
    }


def test_json_in_a_string_stays_json_and_stays_as_it_was_written() -> None:
    given = (
        '{"to":  "Joe@x.org", "body": "hi\\nJoe@x.org\\u0021", "n": 1.50, "card": 5500005555555559}'
    )
    answer = redacted(given)
    assert answer == (
        '{"to":  "[EMAIL_1]", "body": "hi\\n[EMAIL_1]!", "n": 1.50, "card": "[CARD_1]"}'
    )
    assert json.loads(answer)["body"] == "hi\n[EMAIL_1]!"


def test_json_in_json_in_a_string_is_read_to_the_bottom() -> None:
    given = json.dumps(
        {"arguments": json.dumps({"note": "call\n+49 30 1234567", "bsn": 123456782})}
    )
    inner = json.loads(json.loads(redacted(given))["arguments"])
    assert inner == {"note": "call\n[PHONE_1]", "bsn": "[NATIONAL_ID_1]"}


def test_a_value_after_an_escaped_line_break_is_found_in_text_that_is_no_json() -> None:
    said = r"Arguments: {\"body\": \"hi\nJoe@x.org\n030/12345678\n10.0.0.7"
    assert redacted(said) == r"Arguments: {\"body\": \"hi\n[EMAIL_1]\n[PHONE_1]\n[IP_1]"


EVERY_KIND = (
    f"joe@x.org {IBAN} {CARD} +49 30 1234567 10.0.0.1 {'us_' + 'a1' * 20} BSN 123456782 "
    "https://joe@x.org:s3cr3t@x.org api_key=8f14e45fceea167a5a36dedd4bea2543 password: hunter2! "
)


def test_redacting_twice_changes_nothing_more() -> None:
    once = redacted(EVERY_KIND)
    again = Redactor()
    assert again.text(once) == once
    assert again.counts == {}


def test_placeholders_that_were_there_keep_their_numbers() -> None:
    redactor = Redactor()
    turns = redactor.value(["ann@x.org", "I am [EMAIL_2], write to joe@x.org"])
    assert turns == ["[EMAIL_3]", "I am [EMAIL_2], write to [EMAIL_4]"]
    assert redactor.counts == {"EMAIL": 2}


def test_half_a_character_does_not_stop_it() -> None:
    assert redacted("\ud83d joe@x.org") == "\ud83d [EMAIL_1]"


HOSTILE = [
    "1 ", "1111 ", "DE89 ", "AB12", "a.b@", "a@b.-", "-eyJ", "eyJaaaaaaaa.", "sk-", "1:", "1::",
    "(1", "030 1", "1.1.1.", "555 555 5555 ", "order 123456789 ", "bsn 123456782 ", "token: ",
    "token=a1B2c3", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n" + "A" * 20,
    "://a:b@", "\\u0040", "AKIAIOSFODNN7EXAMPLE ", "a1@b.co ", "[EMAIL_1] ", "{", '{"a": ',
    "4111 1111 1111 1111 ",
]  # fmt: skip


def seconds_for(text: str) -> float:
    started = time.process_time()
    redacted(text)
    return time.process_time() - started


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_grows_no_faster_than_a_hostile_text(unit: str) -> None:
    size = 16_000
    short = min(seconds_for(unit * (size // len(unit))) for _ in range(3))
    long = min(seconds_for(unit * (4 * size // len(unit))) for _ in range(2))
    assert long < 8 * max(short, 0.02)  # four times the text: 4 if linear, 16 if quadratic


@pytest.mark.parametrize("unit", HOSTILE)
def test_what_stands_after_a_hostile_text_is_found(unit: str) -> None:
    assert redacted(unit * (16_000 // len(unit)) + "\n\njoe@example.com\n").endswith("]\n")
