"""The sample reads like a support desk's real traffic, and says exactly what it is."""

import re
from collections import Counter
from difflib import SequenceMatcher
from itertools import islice

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from factory.demo.sample import (
    EXACT_DUPLICATE_SHARE,
    NEAR_DUPLICATE_SHARE,
    QUEUES,
    SampleCall,
    generate,
    vocabulary_text,
)
from factory.redaction.detectors import iban_valid, luhn_valid

CARD = re.compile(r"\b(?:4242|4000|5555)([ -]?)\d{4}\1\d{4}\1\d{4}\b")
IBAN = re.compile(r"\b[A-Z]{2}\d{2} ?[A-Z0-9]{4} ?\d[\d ]+\d\b")


@pytest.fixture(scope="module")
def calls() -> list[SampleCall]:
    return list(generate(4000, seed=1))


def distinct(count: int, seed: int) -> list[SampleCall]:
    """The first `count` calls that repeat no other."""
    fresh = (c for c in generate(2 * count, seed) if c.repeats is None)
    return list(islice({c.text: c for c in fresh}.values(), count))


def test_a_seed_gives_the_same_calls_again_and_a_longer_run_starts_with_the_shorter() -> None:
    assert list(generate(300, seed=7)) == list(generate(500, seed=7))[:300]
    assert [c.text for c in generate(50, seed=7)] != [c.text for c in generate(50, seed=8)]


def test_the_request_is_what_an_app_sends(calls: list[SampleCall]) -> None:
    request = next(generate(1, seed=1, model="gpt-4o")).request
    assert request["model"] == "gpt-4o"
    assert [m["role"] for m in request["messages"]] == ["system", "user"]
    assert len(QUEUES) >= 10
    assert len({c.id for c in calls}) == len(calls)


def test_queues_are_skewed_and_none_is_missing(calls: list[SampleCall]) -> None:
    counts = Counter(c.gold for c in calls)
    assert set(counts) == set(QUEUES)
    assert max(counts.values()) > 2.5 * min(counts.values()) > 0.03 * len(calls)


def test_exact_duplicates_repeat_a_call_word_for_word(calls: list[SampleCall]) -> None:
    by_id = {c.id: c for c in calls}
    repeats = [c for c in calls if c.kind == "exact_duplicate"]
    assert len(repeats) / len(calls) == pytest.approx(EXACT_DUPLICATE_SHARE, abs=0.015)
    assert all(c.text == by_id[str(c.repeats)].text for c in repeats)
    # Two customers may write the same few words, but rarely.
    assert 1 - len({c.text for c in calls}) / len(calls) < EXACT_DUPLICATE_SHARE + 0.02


def test_near_duplicates_differ_a_little_and_keep_their_queue(calls: list[SampleCall]) -> None:
    by_id = {c.id: c for c in calls}
    pairs = [(c, by_id[str(c.repeats)]) for c in calls if c.kind == "near_duplicate"]
    assert len(pairs) / len(calls) == pytest.approx(NEAR_DUPLICATE_SHARE, abs=0.015)
    assert all(c.text != first.text and c.gold == first.gold for c, first in pairs)
    likeness = [SequenceMatcher(None, c.text.lower(), o.text.lower()).ratio() for c, o in pairs]
    assert sum(ratio > 0.8 for ratio in likeness) / len(pairs) > 0.95


def test_personal_data_is_there_and_its_checksums_hold(calls: list[SampleCall]) -> None:
    untouched = [c.text for c in calls if c.kind == "plain"]
    cards = [m[0] for text in untouched for m in CARD.finditer(text)]
    ibans = [m[0] for text in untouched for m in IBAN.finditer(text)]
    assert len(cards) > 50
    assert len(ibans) > 50
    # A message cut off mid-way can end in the middle of a number.
    assert sum(map(luhn_valid, cards)) > 0.97 * len(cards)
    assert sum(map(iban_valid, ibans)) > 0.97 * len(ibans)
    assert sum("@" in text for text in untouched) > 0.08 * len(untouched)


def test_a_linear_model_finds_it_doable_but_not_trivial() -> None:
    scores = []
    for seed in (1, 2, 3):
        rows = distinct(2300, seed)
        train, test = rows[:1300], rows[1300:]
        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=20)
        )
        model.fit([c.text for c in train], [c.gold for c in train])
        scores.append(model.score([c.text for c in test], [c.gold for c in test]))
    assert 0.93 < sum(scores) / len(scores) < 0.975


def test_tickets_with_two_asks_are_the_hard_ones() -> None:
    rows = distinct(2600, seed=4)
    train, test = rows[:1300], rows[1300:]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=20))
    model.fit([c.text for c in train], [c.gold for c in train])
    missed = Counter(
        c.kind
        for c, said in zip(test, model.predict([c.text for c in test]), strict=True)
        if said != c.gold
    )
    seen = Counter(c.kind for c in test)
    assert missed["two_asks"] / seen["two_asks"] > 4 * missed["plain"] / seen["plain"]


def test_vocabulary_text_holds_the_answers_and_none_of_the_traffic(
    calls: list[SampleCall],
) -> None:
    lines = list(vocabulary_text(500))
    assert lines == list(vocabulary_text(500))
    assert set(QUEUES) <= set(lines)
    longer = {c.text for c in calls if len(c.text) > 60}
    assert not longer & set(lines)
