"""What a report measures and reckons, against cases worked by hand."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from math import sqrt
from typing import Any

import numpy as np
import pytest

from factory.dedupe import input_digest
from factory.discovery.discover import Kind
from factory.folds import folds_of
from factory.intervals import wilson
from factory.suitability.baseline import Point, Row, coverage_at, coverage_curve, linear_baseline
from factory.suitability.consistency import (
    Consistency,
    Repeated,
    agreement,
    consistency_of,
    words_f1,
)
from factory.suitability.inputs import constant_share, histogram, prefix_share, words_known
from factory.suitability.measures import Profile, is_usable, profile_of
from factory.suitability.sampled import Sampled
from factory.suitability.tiers import tier_of

LABELS = Kind("classification", {"type": "string", "enum": ["billing", "delivery"]}, "exact_match")
OBJECTS = Kind("extraction", {"type": "object"}, "json_fields")
TEXT = Kind("generation", None, "exact_match")
INSTRUCTION = (
    "You route the tickets of a shop. Answer with the name of exactly one queue and nothing else, "
    "billing or delivery. When a ticket asks for both, name the queue that it asks for first."
)
START = datetime(2026, 10, 1, tzinfo=UTC)
WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in ("lun", "rit", "mos", "zep")]


def call(text: str, output: str, *, system: str = INSTRUCTION, **fields: Any) -> Sampled:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    made = Sampled(
        template=1, messages=messages, params={}, output=output, digest=input_digest(messages),
        status_code=200, finish_reason="stop", is_partial=False, has_called_tools=False,
        prompt_tokens=100, completion_tokens=20, reasoning_tokens=0, latency_ms=500, redactions={},
    )  # fmt: skip
    return replace(made, **fields)


def tickets(count: int = 400) -> list[Sampled]:
    rng = random.Random(1)
    themes = {
        "billing": ["invoice", "charged", "refund"],
        "delivery": ["parcel", "courier", "late"],
    }
    made = []
    for at in range(count):
        label = rng.choice(["billing", "delivery"])
        noise = " ".join(rng.sample(WORDS, 4))
        made.append(call(f"{rng.choice(themes[label])} {noise} {at % 7}", label))
    return made


def profile(**changes: Any) -> Profile:
    return replace(profile_of(tickets(), LABELS), **changes)


# --- consistency ----------------------------------------------------------------------------------
def test_each_repeat_is_compared_with_the_time_before() -> None:
    share = agreement(
        [("a", "x"), ("b", "y"), ("a", "x"), ("a", "z"), ("b", "y")], "classification"
    )
    assert (share.count, share.n) == (2, 3)


def test_json_answers_agree_whatever_the_order_of_their_keys() -> None:
    answers = [("a", '{"b": 1, "c": 2}'), ("a", '{"c":2,"b":1}'), ("a", '{"b": 1')]
    share = agreement(answers, "extraction")
    assert (share.count, share.n) == (1, 2)


def test_texts_agree_when_they_share_most_of_their_words() -> None:
    assert words_f1("the parcel is late today", "the parcel is late again") == pytest.approx(0.8)
    asked = [("a", "the parcel is late today"), ("a", "The parcel is late again."), ("a", "No.")]
    share = agreement(asked, "generation")
    assert (share.count, share.n) == (1, 2)


def test_near_repeats_differ_in_case_and_punctuation_but_not_in_numbers() -> None:
    def asked(text: str, output: str) -> Repeated:
        messages = [{"role": "user", "content": text}]
        return Repeated(input_digest(messages), messages, output)

    calls = [asked("Rate it 4!", "4"), asked("rate it 4", "4"), asked("rate it 5", "5")]
    found = consistency_of([*calls, calls[0]], "classification")
    assert (found.near.count, found.near.n) == (2, 2)
    assert (found.identical.n, found.repeats.count, found.repeats.n) == (1, 1, 4)


def test_no_student_agrees_more_than_the_root_of_the_self_agreement() -> None:
    near = wilson(81, 100)
    assert Consistency(near, near, near).ceiling == pytest.approx(0.9)
    # A model that answers x in 90 of 100 cases and y in 10 agrees with itself on 0.82: a student
    # that always says x agrees on 0.9, which the bound allows.
    assert sqrt(0.9**2 + 0.1**2) >= 0.9


# --- the linear baseline --------------------------------------------------------------------------
def test_the_curve_counts_the_surest_first() -> None:
    hits, sureness = np.array([True, False, True, True]), np.array([0.9, 0.5, 0.8, 0.7])
    curve = coverage_curve(hits, sureness)
    assert curve == [Point(0.25, 1.0), Point(0.5, 1.0), Point(0.75, 1.0), Point(1.0, 0.75)]
    assert coverage_at(curve, 0.9) == 0.75
    assert coverage_at([Point(1.0, 0.5)], 0.9) == 0.0


def test_near_copies_never_fall_into_two_folds() -> None:
    rows = [Row(f"t{at}", "x" if at % 3 else "y", f"g{at // 4}") for at in range(200)]
    labels = np.array([row.label == "x" for row in rows], dtype=np.intp)
    folds = folds_of([row.group for row in rows], labels)
    assert all(len({folds[at] for at in range(g, g + 4)}) == 1 for g in range(0, 200, 4))
    assert set(folds) == {0, 1, 2, 3, 4}


def test_labels_that_the_words_tell_are_learnt_and_random_ones_are_not() -> None:
    rng = random.Random(4)
    told = [
        Row(f"{w} {rng.choice(WORDS)}", w, str(at)) for at, w in enumerate(["red", "blue"] * 100)
    ]
    drawn = [Row(row.text, rng.choice("xy"), row.group) for row in told]
    learnt, guessed = linear_baseline(told), linear_baseline(drawn)
    assert learnt is not None
    assert guessed is not None
    assert (learnt.accuracy.value, learnt.majority.value) == (1.0, 0.5)
    assert guessed.accuracy.low < 0.5 < guessed.accuracy.high + 0.1
    assert linear_baseline(told[:20]) is None


# --- measures -------------------------------------------------------------------------------------
def test_the_constant_share_is_that_of_the_words_in_runs_that_nearly_all_hold() -> None:
    prompts = [
        f"one two three four five six {w} {v}" for w, v in zip(WORDS, WORDS[::-1], strict=True)
    ]
    assert constant_share(prompts) == pytest.approx(6 / 8)
    assert constant_share(WORDS) == 0.0


def test_the_prefix_is_what_a_prompt_has_in_common_with_the_one_before() -> None:
    assert prefix_share(["aaaab", "aaaac", "aaaad"]) == pytest.approx(0.8)
    assert prefix_share(["alone"]) == 0.0


def test_words_are_known_when_older_inputs_held_them() -> None:
    assert words_known([*["a b"] * 8, "a c", "b d"]) == pytest.approx(0.5)


def test_a_histogram_holds_every_value_once_in_round_bins() -> None:
    bins = histogram([3, 48, 52, 99, 100])
    assert sum(each.count for each in bins) == 5
    assert {each.high - each.low for each in bins} == {10}
    assert bins[0].low == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"is_partial": True}, {"finish_reason": "length"}, {"has_called_tools": True},
        {"output": "neither of them"}, {"output": ""},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
    ],
)  # fmt: skip
def test_what_a_student_cannot_learn_from_is_not_usable(changes: dict[str, Any]) -> None:
    whole = call("where is it", "delivery")
    assert is_usable(whole, LABELS)
    assert not is_usable(replace(whole, **changes), LABELS)


def test_failed_calls_are_counted_and_not_measured() -> None:
    calls = [*tickets(60), *[call("x", "", status_code=500)] * 20]
    found = profile_of(calls, LABELS)
    assert (found.answered.count, found.usable.count, found.sampled) == (60, 60, 80)


def test_json_fields_are_closed_copied_or_free() -> None:
    calls = [
        call(
            f"send it to {WORDS[at % 90 % 60]}{at} please",
            f'{{"act": "{"send" if at % 2 else "hold"}", "to": "{WORDS[at % 90 % 60]}{at}", '
            f'"note": "mind {at * 7919} well"}}',
        )
        for at in range(120)
    ]
    fields = {f.path: f for f in profile_of(calls, OBJECTS).answers.fields}
    assert {path: field.values for path, field in fields.items()} == {
        "act": "closed", "to": "copied", "note": "free",
    }  # fmt: skip
    assert fields["act"].different == 2


def test_redactions_set_the_privacy_class() -> None:
    plain, mail, key = tickets(3)
    mail, key = replace(mail, redactions={"EMAIL": 2}), replace(key, redactions={"SECRET": 1})
    assert profile_of([plain], LABELS).privacy.level == "nothing found"
    assert profile_of([plain, mail], LABELS).privacy.level == "personal data"
    found = profile_of([plain, mail, key], LABELS).privacy
    assert (found.level, found.calls.count, found.kinds) == (
        "secrets",
        2,
        {"EMAIL": 2, "SECRET": 1},
    )


# --- tiers ----------------------------------------------------------------------------------------
def test_labels_that_the_words_tell_are_tier_1() -> None:
    tier = tier_of(profile())
    assert tier.number == 1
    assert "one of 2 labels" in tier.reasons[0]


def test_labels_that_no_word_tells_are_tier_3() -> None:
    rng = random.Random(9)
    calls = [replace(c, output=rng.choice(["billing", "delivery"])) for c in tickets(400)]
    assert tier_of(profile_of(calls, LABELS)).number == 3


def test_answers_that_call_tools_are_tier_3() -> None:
    calls = [replace(c, has_called_tools=at % 2 == 0) for at, c in enumerate(tickets(200))]
    tier = tier_of(profile_of(calls, LABELS))
    assert tier.number == 3
    assert "50%" in tier.reasons[0]


def test_hidden_reasoning_is_tier_3() -> None:
    calls = [replace(c, reasoning_tokens=15) for c in tickets(200)]
    assert tier_of(profile_of(calls, LABELS)).number == 3


def test_text_about_one_instruction_is_tier_2() -> None:
    rng = random.Random(2)
    system = INSTRUCTION.replace("name of exactly one queue", "a short and friendly reply")
    calls = [
        call(
            f"{c.messages[1]['content']}",
            f"Thank you for writing to us about {rng.choice(WORDS)}. We look into it today.",
            system=system,
        )
        for c in tickets(200)
    ]
    tier = tier_of(profile_of(calls, TEXT))
    assert tier.number == 2
    assert tier.reasons


def test_text_without_an_instruction_is_tier_4() -> None:
    rng = random.Random(3)
    calls = [
        call(" ".join(rng.sample(WORDS, 8)), " ".join(rng.sample(WORDS, 30)), system="")
        for _ in range(200)
    ]
    assert tier_of(profile_of(calls, TEXT)).number == 4
