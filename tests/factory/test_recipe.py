"""What a recipe selects: the same for ever, no row in two splits, no group across splits."""

import random
from collections import defaultdict
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.curation.balance import Policy
from factory.datasets.recipe import CHOICES, Recipe, recipe_from_json
from factory.datasets.selection import TRUSTED, Candidate, copies_of, select
from factory.errors import InvalidInput

DAY = date(2026, 5, 1)
SPLITS = ["train", "validation", "test"]
LABELS = ["billing", "delivery", "login"]


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), unique=True).map(tuple)


recipes = st.builds(
    Recipe,
    provenances=some(CHOICES["provenances"]),
    statuses=some(CHOICES["statuses"]),
    origins=some(CHOICES["origins"]),
    min_confidence=st.floats(0, 1),
    since=st.none() | st.dates(DAY, DAY + timedelta(days=9)),
    until=st.none() | st.dates(DAY, DAY + timedelta(days=9)),
    synthetic_share=st.floats(0, 1),
    is_for_training=st.booleans(),
    balance=st.builds(
        Policy,
        mode=st.sampled_from(["none", "cap", "undersample", "oversample", "weight"]),
        cap=st.integers(1, 20),
        most=st.integers(1, 5),
    ),
    seed=st.integers(0, 2**32 - 1),
)
rows = st.lists(
    st.builds(
        Candidate,
        id=st.integers(1, 10**6),
        digest=st.integers(0, 10**6).map(str),
        group=st.integers(0, 12).map(str),
        split=st.sampled_from(SPLITS),
        label=st.sampled_from(LABELS),
        provenance=st.sampled_from(CHOICES["provenances"]),
        status=st.sampled_from(CHOICES["statuses"]),
        origin=st.sampled_from(CHOICES["origins"]),
        came=st.dates(DAY, DAY + timedelta(days=9)),
        may_train=st.booleans(),
        confidence=st.none() | st.floats(0, 1),
    ),
    unique_by=lambda row: row.id,
    max_size=60,
)


@given(recipes)
def test_a_recipe_survives_its_json_and_keeps_its_digest(recipe: Recipe) -> None:
    again = recipe_from_json(recipe.as_json())
    assert again.as_json() == recipe.as_json()
    assert again.digest == recipe.digest


@given(recipes, st.randoms(use_true_random=False))
def test_the_order_in_which_choices_were_made_is_no_part_of_a_recipe(
    recipe: Recipe, chance: random.Random
) -> None:
    shuffled: dict[str, Any] = dict(recipe.as_json())
    for name in CHOICES:
        chance.shuffle(shuffled[name])
    items = list(shuffled.items())
    chance.shuffle(items)
    assert recipe_from_json(dict(items)).digest == recipe.digest


@settings(max_examples=300)
@given(rows, recipes)
def test_the_same_recipe_over_the_same_rows_selects_the_same(
    candidates: list[Candidate], recipe: Recipe
) -> None:
    again = recipe_from_json(recipe.as_json())
    assert select(candidates, recipe) == select(list(candidates), again)


@settings(max_examples=300)
@given(rows, recipes)
def test_no_group_is_in_two_splits_and_every_row_is_accounted_for(
    candidates: list[Candidate], recipe: Recipe
) -> None:
    selection = select(candidates, recipe)
    by_id = {row.id: row for row in candidates}
    splits = defaultdict(set)
    for row in selection.weights:
        splits[by_id[row].group].add(by_id[row].split)
    assert all(len(found) == 1 for found in splits.values())
    assert len(selection.weights) + selection.left_out.total() == len(candidates)


@settings(max_examples=300)
@given(rows, recipes)
def test_what_is_held_out_is_real_trusted_and_as_it_came(
    candidates: list[Candidate], recipe: Recipe
) -> None:
    selection = select(candidates, recipe)
    for row in candidates:
        if row.id not in selection.weights or row.split == "train":
            continue
        assert row.origin != "synthetic"
        assert selection.weights[row.id] == 1.0
        assert row.split != "test" or row.provenance in TRUSTED


@settings(max_examples=300)
@given(rows, recipes.map(lambda recipe: Recipe(synthetic_share=recipe.synthetic_share)))
def test_synthetic_rows_stay_within_their_share(
    candidates: list[Candidate], recipe: Recipe
) -> None:
    taken = select(candidates, recipe).weights
    training = [row for row in candidates if row.id in taken and row.split == "train"]
    made = sum(row.origin == "synthetic" for row in training)
    assert made <= recipe.synthetic_share * len(training) + 1e-6


@given(rows)
def test_rows_whose_terms_forbid_training_stay_out(candidates: list[Candidate]) -> None:
    taken = select(candidates, Recipe()).weights
    assert all(row.may_train for row in candidates if row.id in taken)
    measured = select(candidates, Recipe(is_for_training=False))
    assert "terms that forbid training" not in measured.left_out


@given(st.floats(0, 5), st.integers())
def test_copies_are_the_weight_and_a_fraction_is_drawn(weight: float, n: int) -> None:
    assert int(weight) <= copies_of(weight, str(n)) <= int(weight) + 1


def test_fractions_come_to_the_weight_on_the_whole() -> None:
    assert sum(copies_of(1.25, str(n)) for n in range(4000)) == pytest.approx(5000, rel=0.02)


@pytest.mark.parametrize(
    ("given_recipe", "param"),
    [
        ([], "recipe"),
        ({"provenance": ["teacher"]}, "recipe"),
        ({"provenances": ["nobody"]}, "provenances"),
        ({"provenances": "teacher"}, "provenances"),
        ({"synthetic_share": 1.5}, "synthetic_share"),
        ({"min_confidence": True}, "min_confidence"),
        ({"since": "yesterday"}, "since"),
        ({"is_for_training": "yes"}, "is_for_training"),
        ({"prompt": "rhyme"}, "prompt"),
        ({"seed": -1}, "seed"),
        ({"balance": {"mode": "guess"}}, "mode"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(given_recipe: Any, param: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        recipe_from_json(given_recipe)
    assert refused.value.param == param
