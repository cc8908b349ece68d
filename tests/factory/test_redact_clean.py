"""Texts in which nothing was found are remembered from call to call, and change no result."""

from datetime import UTC, datetime

from factory.messages import CallRecord
from factory.redaction.clean import COST, CleanTexts, Signs
from factory.redaction.redact import Policy, Redactor, clean_texts, redacted

PROMPT = "Answer briefly. Our desk is open from 9 to 17, room 555-0123."
NO_EMAIL = Policy(kinds=frozenset({"PHONE"}))
BSN = "111222333"


def call(*texts: str) -> CallRecord:
    messages = [{"role": "user", "content": text} for text in texts]
    return CallRecord("a", datetime(2026, 9, 1, tzinfo=UTC), {"messages": messages}, None, 200)


def texts_of(record: CallRecord) -> list[str]:
    return [message["content"] for message in record.request["messages"]]


def test_what_one_policy_leaves_alone_another_still_takes_out() -> None:
    for policy, kept in [(NO_EMAIL, True), (Policy(), False), (NO_EMAIL, True)]:
        for _ in range(2):
            said = texts_of(redacted(call("I am joe@example.com"), policy))
            assert (said == ["I am joe@example.com"]) == kept


def test_a_clean_text_is_remembered_and_one_with_a_find_is_not() -> None:
    clean_texts.cache_clear()
    redacted(call(PROMPT, "I am joe@example.com"), Policy())
    remembered = clean_texts(Policy())
    assert remembered.get(("content", PROMPT))
    assert all("joe" not in text for _, text in remembered.young)


def test_a_remembered_number_is_taken_out_of_a_call_that_speaks_of_its_kind() -> None:
    known = CleanTexts()
    for spoken_of in (False, True, False, True):
        turns = ["what is your bsn?" if spoken_of else "which one?", f"it is {BSN}."]
        said = Redactor(clean=known).value(turns)
        assert said[1] == ("it is [NATIONAL_ID_1]." if spoken_of else f"it is {BSN}.")


def test_placeholders_of_a_remembered_text_keep_their_numbers() -> None:
    known = CleanTexts()
    for _ in range(2):
        said = Redactor(clean=known).value(["as [EMAIL_1] wrote", "I am joe@example.com"])
        assert said == ["as [EMAIL_1] wrote", "I am [EMAIL_2]"]


def test_what_a_value_is_called_is_remembered_with_it() -> None:
    known = CleanTexts()
    number = "14155550123"
    assert Redactor(clean=known).value({"order": number}) == {"order": number}
    assert Redactor(clean=known).value({"phone": number}) == {"phone": "[PHONE_1]"}
    assert Redactor(clean=known).value({"order": number}) == {"order": number}


def test_memory_is_bounded_and_what_is_met_again_stays() -> None:
    known = CleanTexts(most=10 * (COST + 20))
    for number in range(1000):
        known.add(("k", f"{number:019}"), Signs())
        known.add(("k", "x" * 100_000), Signs())
        assert known.get(("k", f"{0:019}"))
    assert len(known.young) + len(known.old) <= 20
    assert known.get(("k", f"{1:019}")) is None


def test_an_id_made_of_digits_is_no_number_but_one_after_a_space_is() -> None:
    assert Redactor().text("chatcmpl-000000004111111111111111") == (
        "chatcmpl-000000004111111111111111"
    )
    assert Redactor().text("chatcmpl 4111111111111111") == "chatcmpl [CARD_1]"
    assert Redactor().text(r"card:\n4111111111111111") == r"card:\n[CARD_1]"
