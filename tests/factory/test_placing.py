"""Placing: no tie across splits, no group across splits, and nothing that is placed ever moves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.curation.near_duplicates import grams_of, jaccard, sketches
from factory.curation.placing import Cluster, Ground, Known, Limits, Placed, Row, Tie, place
from factory.curation.splits import Dealer
from factory.dedupe import name_of, words_of

LIMITS = Limits(reach=0.4, largest=500)


def dealer(**dealt: int) -> Dealer:
    return Dealer("w", validation=0.2, test=0.3, dealt=dealt)


def a_row(text: str, *ties: Tie, label: str = "") -> Row:
    words = words_of(text)
    return Row(name_of(words), label, grams_of(words), ties)


# --- single cases ---------------------------------------------------------------------------------
def test_a_near_copy_joins_the_cluster_and_the_split_of_what_it_is_near_to() -> None:
    known = Known(7, "c", "g", "validation")
    (placed,) = place([a_row("a b c", Tie(known, 0.8))], Ground(), dealer(), LIMITS)
    assert (placed.cluster, placed.group, placed.split) == ("c", "g", "validation")


def test_a_row_near_to_rows_of_two_splits_stays_out() -> None:
    ties = Tie(Known(1, "c", "g", "train"), 0.9), Tie(Known(2, "d", "h", "test"), 0.7)
    (placed,) = place([a_row("a b c", *ties)], Ground(), dealer(), LIMITS)
    assert placed.split == ""
    assert placed.nearest == ties[0]


def test_only_the_row_between_stays_out_of_a_chain_from_one_split_to_another() -> None:
    rows = [
        a_row("one", Tie(Known(1, "c", "g", "train"), 0.7)),
        a_row("two", Tie(0, 0.7)),
        a_row("three", Tie(1, 0.7), Tie(Known(2, "d", "h", "test"), 0.7)),
    ]
    assert [p.split for p in place(rows, Ground(), dealer(), LIMITS)].count("") == 1


def test_what_only_a_row_between_ties_to_the_rest_gets_a_split_of_its_own() -> None:
    known = Tie(Known(1, "c", "g", "train"), 0.9), Tie(Known(2, "d", "h", "test"), 0.9)
    rows = [a_row("between", *known), a_row("beyond", Tie(0, 0.7))]
    between, beyond = place(rows, Ground(), dealer(), LIMITS)
    assert between.split == ""
    assert beyond.split


def test_a_cluster_takes_nothing_that_is_too_far_from_its_first_row() -> None:
    chain = ["a b c d e f", "c d e f g h", "e f g h i j", "g h i j k l"]
    rows = [a_row(text, *([Tie(at - 1, 0.6)] if at else [])) for at, text in enumerate(chain)]
    placed = place(rows, Ground(), dealer(), LIMITS)
    assert len({p.split for p in placed}) == 1
    assert len({p.cluster for p in placed}) > 1
    assert "reach" in {p.apart for p in placed}


def test_a_full_group_takes_nothing_more_but_still_gives_its_split() -> None:
    rows = [
        a_row(f"same words {word}", *([Tie(0, 0.9)] if at else []))
        for at, word in enumerate("abcdef")
    ]
    placed = place(rows, Ground(), dealer(), Limits(reach=0.0, largest=4))
    sizes = [sum(p.group == group for p in placed) for group in {p.group for p in placed}]
    assert max(sizes) == 4
    assert len({p.split for p in placed}) == 1


def test_groups_that_a_new_row_ties_together_become_one() -> None:
    first, second = Known(1, "c", "g", "train"), Known(2, "d", "h", "train")
    ground = Ground(sizes={"g": 3, "h": 1})
    (placed,) = place([a_row("x", Tie(first, 0.9), Tie(second, None))], ground, dealer(), LIMITS)
    assert (placed.cluster, placed.group, ground.merged) == ("c", "g", {"h": "g"})
    assert ground.sizes["g"] == 5


def test_rows_tied_to_nothing_take_the_split_that_is_asked_for() -> None:
    placed = place([a_row(f"t {n}") for n in "abcdef"], Ground(), dealer(), LIMITS, asked="test")
    assert {p.split for p in placed} == {"test"}


# --- for any data ---------------------------------------------------------------------------------
WORDS = st.sampled_from(["card", "lost", "order", "late", "refund", "please", "where", "is", "my"])
TEXTS = st.lists(st.lists(WORDS, min_size=1, max_size=7).map(" ".join), max_size=40)


class World:
    """What was placed so far, and how new rows are compared with all of it."""

    def __init__(self) -> None:
        self.dealer = dealer()
        self.placed: list[tuple[Row, Placed]] = []
        self.sizes: dict[str, int] = {}

    def add(self, texts: list[str]) -> None:
        rows: list[Row] = []
        for text in texts:
            row = a_row(text)
            rows.append(a_row(text, *self._ties(row, rows), label=text[0]))
        ground = Ground(sizes=dict(self.sizes))
        for row, where in self.placed:
            if where.split:
                ground.clusters.setdefault(where.cluster, Cluster(row.grams))
        for row, where in zip(rows, place(rows, ground, self.dealer, Limits(0.4, 6)), strict=True):
            self.placed.append((row, where))
        for _, where in self.placed:
            where.group = ground.now(where.group)
        self.sizes = {}
        for _, where in self.placed:
            self.sizes[where.group] = self.sizes.get(where.group, 0) + bool(where.split)

    def _ties(self, row: Row, batch: list[Row]) -> list[Tie]:
        near = [
            Tie(Known(at, where.cluster, where.group, where.split), alike)
            for at, (other, where) in enumerate(self.placed)
            if where.split and (alike := jaccard(row.grams, other.grams)) >= 0.6
        ]
        here = [
            Tie(at, alike)
            for at, other in enumerate(batch)
            if (alike := jaccard(row.grams, other.grams)) >= 0.6
        ]
        return [*near, *here]


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, max_size=5))
def test_nothing_leaks_and_nothing_moves_whatever_comes(batches: list[list[str]]) -> None:
    world = World()
    for batch in batches:
        before = [where.split for _, where in world.placed]
        world.add(batch)
        assert [where.split for _, where in world.placed][: len(before)] == before
    kept = [(row, where) for row, where in world.placed if where.split]
    of_group: dict[str, set[str]] = {}
    for _, where in kept:
        of_group.setdefault(where.group, set()).add(where.split)
    assert all(len(found) == 1 for found in of_group.values())
    for at, (row, where) in enumerate(kept):
        for other, there in kept[:at]:
            if jaccard(row.grams, other.grams) >= 0.6:
                assert where.split == there.split


@given(st.integers(1, 400), st.sampled_from([0.05, 0.1, 0.25]), st.sampled_from([0.1, 0.3]))
def test_each_label_gets_its_shares(groups: int, validation: float, test: float) -> None:
    dealt = Dealer("w", validation=validation, test=test, dealt={})
    for label in ("a", "b"):
        splits = [dealt.deal(label) for _ in range(groups)]
        assert abs(splits.count("test") - test * groups) <= 3
        assert abs(splits.count("validation") - validation * groups) <= 3


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(0, 60))
def test_dealing_goes_on_where_it_ended(labels: list[str], cut: int) -> None:
    whole, first = dealer(), dealer()
    straight = [whole.deal(label) for label in labels]
    begun = [first.deal(label) for label in labels[:cut]]
    second = dealer(**first.dealt)
    assert begun + [second.deal(label) for label in labels[cut:]] == straight


# --- sketches -------------------------------------------------------------------------------------
def test_near_texts_share_a_band_and_other_texts_do_not() -> None:
    said = "my card has not arrived yet although i ordered it two weeks ago, where is it?"
    near = "hi, my card has not arrived yet although i ordered it two weeks ago, where is it?"
    other = "please close my account and send the rest of the money to my other bank"
    one, two, three = sketches([words_of(text) for text in (said, near, other)])
    assert set(one.keys) & set(two.keys)
    assert not set(one.keys) & set(three.keys)
    assert jaccard(one.grams, two.grams) > 0.9
    assert jaccard(one.grams, three.grams) < 0.15


def test_the_keys_of_two_workloads_never_meet() -> None:
    words = [words_of("the same text in two workloads")]
    (one,), (two,) = sketches(words, salt=1), sketches(words, salt=2)
    assert one.grams == two.grams
    assert not set(one.keys) & set(two.keys)


@pytest.mark.parametrize("text", ["", "!!! ...", "\n"])
def test_a_text_without_words_is_near_to_nothing(text: str) -> None:
    (sketch,) = sketches([words_of(text)])
    assert sketch.keys == ()
    assert jaccard(sketch.grams, sketch.grams) == 0.0
