"""Committees: heads counted, and raters weighed by how they err."""

from random import Random

from labeling.committee import combine

LABELS = ["a", "b", "c"]


def planted(
    rates: list[float], rows: int = 600, seed: int = 3
) -> tuple[list[str], list[list[str]]]:
    random = Random(seed)
    truth = [random.choice(LABELS) for _ in range(rows)]
    votes = [
        [right if random.random() < rate else random.choice(LABELS) for rate in rates]
        for right in truth
    ]
    return truth, votes


def right_of(truth: list[str], votes: list[list[str]], method: str, labels: list[str]) -> float:
    rows = combine(votes, method, labels).rows
    return sum(
        one is not None and one.answer == t for one, t in zip(rows, truth, strict=True)
    ) / len(truth)


def test_the_majority_wins_and_the_first_member_breaks_a_tie() -> None:
    outcome = combine([["a", "b", "b"], ["c", "a", None], [None, None, None]], "majority")
    assert [one and (one.answer, round(one.confidence, 2)) for one in outcome.rows] == [
        ("b", 0.67),
        ("c", 0.5),
        None,
    ]


def test_dawid_skene_trusts_the_one_good_rater_among_poor_ones() -> None:
    truth, votes = planted([0.95, 0.2, 0.2, 0.2])
    assert right_of(truth, votes, "dawid_skene", LABELS) > 0.93
    assert right_of(truth, votes, "majority", LABELS) < 0.9
    weights = combine(votes, "dawid_skene", LABELS).weights
    assert weights[0] > max(weights[1:])


def test_a_rater_who_mixes_two_labels_up_is_read_backwards() -> None:
    random, swapped = Random(5), {"a": "b", "b": "a", "c": "c"}
    truth = [random.choice(LABELS) for _ in range(500)]
    votes = [
        [t if random.random() < 0.75 else random.choice(LABELS), swapped[t],
         t if random.random() < 0.75 else random.choice(LABELS)]
        for t in truth
    ]  # fmt: skip
    assert right_of(truth, votes, "dawid_skene", LABELS) > 0.95


def test_open_answers_are_weighed_by_how_often_each_rater_is_right() -> None:
    random = Random(9)
    truth = [f"answer {n}" for n in range(400)]
    votes = [
        [t if random.random() < rate else f"wrong {random.random()}" for rate in (0.95, 0.5, 0.5)]
        for t in truth
    ]
    assert right_of(truth, votes, "dawid_skene", []) > 0.93
    assert combine(votes, "dawid_skene").weights[0] > 0.85


def test_a_rater_who_never_answers_changes_nothing() -> None:
    truth, votes = planted([0.9, 0.9])
    silent: list[list[str | None]] = [[*row, None] for row in votes]
    with_silent = [one and one.answer for one in combine(silent, "dawid_skene", LABELS).rows]
    assert with_silent == [one and one.answer for one in combine(votes, "dawid_skene", LABELS).rows]
    assert truth
