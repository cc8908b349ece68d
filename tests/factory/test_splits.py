"""A group's split follows from its name alone."""

from collections import Counter

from factory.splits import split_of

GROUPS = [f"group-{n}" for n in range(10_000)]


def splits(**shares: float) -> dict[str, str]:
    given = {"validation": 0.1, "test": 0.2, **shares}
    return {group: split_of(group, salt="w", **given) for group in GROUPS}


def test_the_shares_are_kept() -> None:
    counts = Counter(splits().values())
    assert abs(counts["test"] - 2000) < 200  # five standard deviations
    assert abs(counts["validation"] - 1000) < 150


def test_a_larger_test_share_moves_nothing_out_of_test() -> None:
    before, after = splits(test=0.1), splits(test=0.3)
    tested = {group for group in GROUPS if before[group] == "test"}
    assert tested
    assert all(after[group] == "test" for group in tested)


def test_workloads_split_the_same_groups_differently() -> None:
    other = [split_of(group, salt="v", validation=0.1, test=0.2) for group in GROUPS]
    assert other != list(splits().values())


def test_a_share_of_nothing_is_empty_and_of_all_is_full() -> None:
    assert set(splits(validation=0.0, test=0.0).values()) == {"train"}
    assert set(splits(validation=0.0, test=1.0).values()) == {"test"}
