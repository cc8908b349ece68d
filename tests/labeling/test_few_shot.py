"""Shots are near, diverse, and never from the row's own group."""

from labeling.few_shot import NearestShots, Reviewed


def reviewed(number: int, text: str, target: str, group: str = "") -> Reviewed:
    messages = [{"role": "user", "content": text}]
    return Reviewed(number, messages, target, group or f"g{number}", kind=target)


POOL = [
    reviewed(1, "refund my card payment", "billing"),
    reviewed(2, "refund my card payment now", "billing"),
    reviewed(3, "refund my card payment for a parcel that was late", "delivery"),
    reviewed(4, "my password is wrong", "login"),
    reviewed(5, "refund my card payment twice", "billing", group="asked"),
]
ASKED = [{"role": "user", "content": "please refund my card payment"}]


def targets(chooser: NearestShots, example_id: int = 99) -> list[str]:
    return [shot.target for shot in chooser.shots(example_id, ASKED)]


def test_the_nearest_come_last_and_other_answers_come_too() -> None:
    assert targets(NearestShots(POOL, {}, 2)) == ["delivery", "billing"]


def test_a_rows_own_group_is_never_shown_to_it() -> None:
    chooser = NearestShots(POOL, {99: "asked"}, 5)
    shown = [shot.messages[0]["content"] for shot in chooser.shots(99, ASKED)]
    assert "refund my card payment twice" not in shown
    assert len(shown) == 4


def test_a_row_is_never_shown_itself() -> None:
    shown = [shot.messages[0]["content"] for shot in NearestShots(POOL, {}, 5).shots(1, ASKED)]
    assert "refund my card payment" not in shown


def test_without_a_reviewed_example_there_is_no_shot() -> None:
    assert NearestShots([], {}, 3).shots(1, ASKED) == []
