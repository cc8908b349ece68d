"""Learning curves rise with the rows, forecasts widen, and the stop rule fires in time."""

import hashlib
from random import Random

from labeling.curves import Yield, is_exhausted, learning_curve, worth_of_corrections, yields
from labeling.suspicion import Row, nobody

LABELS = [f"l{n}" for n in range(6)]
SCHEMA = {"type": "string", "enum": LABELS}
VOCABULARY = {
    label: [hashlib.sha256(f"{label}{k}".encode()).hexdigest()[:7] for k in range(150)]
    for label in LABELS
}


def rows(count: int, wrong: float = 0.0, seed: int = 1) -> list[Row]:
    random = Random(seed)
    made = []
    for number in range(count):
        label = random.choice(LABELS)
        words = random.sample(VOCABULARY[label], 3) + [f"filler{random.randrange(50)}"] * 2
        given = random.choice(LABELS) if random.random() < wrong else label
        made.append(Row(" ".join(words), given, f"{seed}-{number}"))
    return made


def test_the_curve_rises_and_says_what_more_labels_are_worth() -> None:
    curve = learning_curve(rows(400), rows(300, seed=2), SCHEMA, nobody)
    assert curve is not None
    first, *_, last = curve.measured
    assert last.value > first.value + 0.1
    assert last.low < last.value < last.high
    assert curve.more.low <= curve.more.value <= curve.more.high
    assert curve.more.value > 0.0
    truth = learning_curve(rows(1400), rows(300, seed=2), SCHEMA, nobody)
    assert truth is not None
    gained = truth.measured[-1].value - last.value
    assert curve.more.low - 0.05 <= gained <= curve.more.high + 0.05


def test_too_few_rows_or_free_texts_have_no_curve() -> None:
    assert learning_curve(rows(30), rows(300), SCHEMA, nobody) is None
    assert learning_curve(rows(300), rows(30), SCHEMA, nobody) is None
    assert learning_curve(rows(300), rows(300), None, nobody) is None


def test_corrections_are_worth_what_they_add() -> None:
    now = rows(400)
    before = [
        Row(row.text, "l0" if at % 3 else row.output, row.group) for at, row in enumerate(now)
    ]
    worth = worth_of_corrections(before, now, rows(300, seed=2), SCHEMA)
    assert worth is not None
    assert worth.low > 0.0
    same = worth_of_corrections(now, now, rows(300, seed=2), SCHEMA)
    assert same is not None
    assert same.value == same.low == same.high == 0.0


def test_decisions_are_cut_into_batches_and_the_last_one_decides() -> None:
    decisions = [True] * 40 + [False] * 10 + [True] * 2 + [False] * 58
    batches = yields(decisions)
    assert batches == [Yield(50, 40), Yield(60, 2)]
    assert is_exhausted(batches, base_rate=0.05)
    assert not is_exhausted(batches, base_rate=0.02)
    assert not is_exhausted(batches, base_rate=None)
    assert not is_exhausted(yields([False] * 10), base_rate=0.5)
