"""Suspicion finds planted errors early, and copes with whatever a label set looks like."""

import json
from random import Random

import pytest

from factory.folds import FOLDS
from labeling.suspicion import Row, suspicions

WORDS = {
    "billing": ["invoice", "charge", "refund", "payment", "receipt", "amount", "price", "bank"],
    "delivery": [
        "parcel",
        "courier",
        "late",
        "shipping",
        "address",
        "package",
        "arrived",
        "driver",
    ],
    "login": ["password", "account", "locked", "code", "reset", "sign", "user", "email"],
}
FILLERS = [
    "please",
    "the",
    "my",
    "a",
    "today",
    "again",
    "since",
    "i",
    "cannot",
    "about",
    "hello",
    "help",
]
SCHEMA = {"type": "string", "enum": sorted(WORDS)}


def tickets(n: int, wrong: float = 0.0) -> tuple[list[Row], list[bool]]:
    random = Random(7)
    rows, planted = [], []
    for number in range(n):
        label = random.choice(sorted(WORDS))
        text = " ".join(random.sample(WORDS[label], 3) + random.sample(FILLERS, 4))
        is_wrong = random.random() < wrong
        given = random.choice([other for other in sorted(WORDS) if other != label])
        rows.append(Row(text=text, output=given if is_wrong else label, group=f"g{number}"))
        planted.append(is_wrong)
    return rows, planted


def found_in_top(scores: list[float], planted: list[bool], share: float) -> float:
    order = sorted(range(len(scores)), key=lambda at: -scores[at])
    return sum(planted[at] for at in order[: int(len(order) * share)]) / sum(planted)


def test_planted_wrong_labels_come_first() -> None:
    rows, planted = tickets(400, wrong=0.1)
    scores = suspicions(rows, SCHEMA)
    assert all(0.0 <= score <= 1.0 for score in scores)
    assert found_in_top(scores, planted, 0.15) > 0.9


def test_copies_of_one_wrong_row_do_not_vouch_for_each_other() -> None:
    rows, _ = tickets(200)
    copies = [Row("password reset code account", "billing", "one-group")] * 30
    alone = suspicions([*rows, copies[0]], SCHEMA)[-1]
    together = suspicions([*rows, *copies], SCHEMA)[-1]
    assert alone > 0.7
    assert together > 0.7


def test_labels_of_one_or_two_rows_are_scored_like_any_other() -> None:
    rows, _ = tickets(60)
    schema = {"type": "string", "enum": [*WORDS, "rare", "twice"]}
    odd = [Row("quantum", "rare", "r"), Row("violin", "twice", "t1"), Row("cello", "twice", "t2")]
    assert len(suspicions([*rows, *odd], schema)) == 63


@pytest.mark.parametrize("n", [0, 1, 2, FOLDS])
def test_a_handful_of_rows_is_scored(n: int) -> None:
    rows, _ = tickets(n)
    assert len(suspicions(rows, SCHEMA)) == n


def test_one_label_for_everything_raises_no_suspicion() -> None:
    rows = [Row(f"ticket {n}", "login", f"g{n}") for n in range(20)]
    assert suspicions(rows, SCHEMA) == [0.0] * 20


def test_a_broken_answer_and_a_doubtful_vote_are_suspicious_whatever_the_text_says() -> None:
    rows, _ = tickets(60)
    rows += [
        Row("invoice charge refund", "Billing!!", "x"),
        Row("?", "login", "y", confidence=1 / 3),
    ]
    *_, broken, doubtful = suspicions(rows, SCHEMA)
    assert broken == 1.0
    assert doubtful >= 2 / 3


def test_a_wrong_intent_in_json_stands_out_from_its_neighbours() -> None:
    random, rows, planted = Random(3), [], []
    for number in range(200):
        kind = random.choice(["play", "book"])
        name = f"name{number}"
        text = f"{kind} {name} please " + " ".join(random.sample(FILLERS, 2))
        is_wrong = number % 20 == 0
        intent = {"play": "book", "book": "play"}[kind] if is_wrong else kind
        output = json.dumps({"intent": f"{intent}_it", "slots": {"name": name}})
        rows.append(Row(text, output, f"g{number}"))
        planted.append(is_wrong)
    assert found_in_top(suspicions(rows, {"type": "object"}), planted, 0.1) > 0.8


def test_texts_without_a_word_are_no_reason_to_fail() -> None:
    rows = [Row("?!", "billing", "a"), Row("...", "login", "b"), Row("", "login", "c")]
    assert len(suspicions(rows, SCHEMA)) == 3
    assert len(suspicions(rows, None)) == 3
