"""A project says what is taken out of its calls; a call is redacted once, in all its parts."""

from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import pytest

from factory.errors import InvalidInput
from factory.messages import CallRecord
from factory.redaction.redact import Policy, Redactor, check_policy, redacted

WHEN = datetime(2026, 5, 1, tzinfo=UTC)


def call(content: str, **other: Any) -> CallRecord:
    return CallRecord(
        request_id="r1",
        created_at=WHEN,
        request={"model": "m", "messages": [{"role": "user", "content": content}]},
        response={"choices": [{"message": {"role": "assistant", "content": "ok joe@x.org"}}]},
        status_code=200,
        metadata={"customer": "joe@x.org", "ssn": "219460321"},
        **other,
    )


def test_request_answer_and_metadata_are_redacted_alike() -> None:
    record = redacted(call("I am joe@x.org"), Policy())
    assert record.request["messages"][0]["content"] == "I am [EMAIL_1]"
    assert record.response == {
        "choices": [{"message": {"role": "assistant", "content": "ok [EMAIL_1]"}}]
    }
    assert record.metadata == {"customer": "[EMAIL_1]", "ssn": "[NATIONAL_ID_1]"}
    assert record.redactions == {"EMAIL": 1, "NATIONAL_ID": 1}


def test_a_call_that_was_redacted_comes_back_as_it_is() -> None:
    record = call("I am joe@x.org", redactions={})
    assert redacted(record, Policy()) is record


def test_only_the_kinds_of_the_policy_are_taken_out() -> None:
    policy = Policy.from_json({"kinds": ["EMAIL"]})
    assert Redactor(policy).text("joe@x.org at 10.0.0.7") == "[EMAIL_1] at 10.0.0.7"


def test_terms_are_taken_out_in_any_case_and_as_whole_words() -> None:
    policy = Policy.from_json({"terms": ["Project X", "Acme", "C++"]})
    text = "ACME and Acme's project x, not Acmeist; mail joe@acme.com about C++."
    assert Redactor(policy).text(text) == (
        "[TERM_1] and [TERM_1]'s [TERM_2], not Acmeist; mail [EMAIL_1] about [TERM_3]."
    )


def test_patterns_have_placeholders_of_their_own_and_leave_the_others_alone() -> None:
    policy = Policy.from_json({"patterns": {"CUSTOMER_NO": r"\bC-\d{6}\b", "DIGIT": r"\d"}})
    once = Redactor(policy).text("C-123456 has 7, joe@x.org too")
    assert once == "[CUSTOMER_NO_1] has [DIGIT_1], [EMAIL_1] too"
    assert Redactor(policy).text(once) == once


def test_a_pattern_that_would_hang_other_engines_takes_no_time() -> None:
    policy = Policy.from_json({"patterns": {"SLOW": r"(a+)+b"}})
    assert Redactor(policy).text("a" * 100_000) == "a" * 100_000


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ([], "redaction"),
        ({"kind": []}, "kind"),
        ({"kinds": ["MAIL"]}, "kinds"),
        ({"kinds": "EMAIL"}, "kinds"),
        ({"names": "yes"}, "names"),
        ({"terms": [""]}, "terms"),
        ({"terms": ["x" * 301]}, "terms"),
        ({"terms": [1]}, "terms"),
        ({"terms": ["x"] * 1001}, "terms"),
        ({"patterns": ["a"]}, "patterns"),
        ({"patterns": {"A": "("}}, "patterns"),
        ({"patterns": {"A": r"(?=a)"}}, "patterns"),
        ({"patterns": {"A": "x*"}}, "patterns"),
        ({"patterns": {"lower": "a"}}, "patterns"),
        ({"patterns": {"EMAIL": "a"}}, "patterns"),
        ({"patterns": {1: "a"}}, "patterns"),
    ],
)
def test_a_wrong_policy_is_refused_by_the_name_of_what_is_wrong(value: object, param: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Policy.from_json(value)
    assert refused.value.param == param


def test_a_policy_is_read_back_as_it_was_written() -> None:
    policy = Policy.from_json(
        {"kinds": ["CARD", "EMAIL"], "names": True, "terms": ["a"], "patterns": {"N": "b"}}
    )
    assert Policy.from_json(policy.as_json()) == policy
    assert Policy.from_json({}) == Policy() == Policy.from_json(Policy().as_json())


@pytest.mark.skipif(find_spec("presidio_analyzer") is not None, reason="presidio is installed")
def test_names_are_refused_where_no_model_can_find_them() -> None:
    check_policy(Policy())
    with pytest.raises(InvalidInput, match="presidio") as refused:
        check_policy(Policy(names=True))
    assert refused.value.param == "names"
