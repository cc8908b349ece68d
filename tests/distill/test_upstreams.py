"""A failing upstream is left alone for a moment, and failing calls are not multiplied."""

import pytest

from distill.routing import Target
from distill.upstreams import (
    CALLS_PER_RETRY,
    FAILURES_TO_OPEN,
    OPEN_SECONDS,
    PAUSE_SECONDS,
    Breaker,
    RetryBudget,
    State,
    Upstreams,
    retry_pause,
)


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        assert breaker.admit()
        breaker.failed()
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_does_not() -> None:
    breaker = Breaker()
    for _ in range(3 * FAILURES_TO_OPEN):
        breaker.failed()
        breaker.succeeded()
    assert breaker.state is State.CLOSED
    assert opened().state is State.OPEN
    assert not opened().admit()
    assert 0 < opened().wait_seconds() <= OPEN_SECONDS


def test_after_a_while_one_call_may_try_and_its_fate_decides() -> None:
    breaker = opened()
    breaker.tried_at -= OPEN_SECONDS
    assert breaker.state is State.HALF_OPEN
    assert [breaker.admit() for _ in range(3)] == [True, False, False]
    breaker.failed()
    assert not breaker.admit()
    breaker.tried_at -= OPEN_SECONDS
    assert breaker.admit()
    breaker.succeeded()
    assert (breaker.state, breaker.failures) == (State.CLOSED, 0)


def test_an_answer_that_has_begun_lets_others_in_but_one_failure_shuts_again() -> None:
    breaker = opened()
    breaker.answers()
    assert breaker.admit()
    breaker.failed()
    assert breaker.state is State.OPEN


def test_retries_are_a_tenth_of_the_calls_and_hardly_saved_up() -> None:
    budget = RetryBudget()
    assert not budget.withdraw()
    taken = 0
    for _ in range(100):
        budget.deposit()
        taken += budget.withdraw()
    assert taken == 100 // CALLS_PER_RETRY
    for _ in range(10_000):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(1000)) == 10


@pytest.mark.parametrize(
    ("status", "headers", "pause"),
    [
        (503, {}, PAUSE_SECONDS),
        (502, {"retry-after": "0.5"}, 0.5),
        (504, {"retry-after": "2"}, None),
        (503, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        (503, {"x-should-retry": "false"}, None),
        (429, {}, None),
        (429, {"retry-after": "1"}, 1.0),
        (429, {"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        (429, {"retry-after": "-1"}, None),
        (429, {"retry-after": "nan"}, None),
        (500, {}, None),
        (200, {"retry-after": "1"}, None),
    ],
)
def test_what_a_moment_may_heal_is_tried_again(
    status: int, headers: dict[str, str], pause: float | None
) -> None:
    assert retry_pause(status, lambda name: headers.get(name.decode(), "")) == pause


def test_a_new_address_begins_with_a_clean_slate() -> None:
    upstreams = Upstreams()
    old = Target("http://old/v1", "k", None, "prod", upstream=7)
    upstreams.health(old).breaker.failed()
    assert upstreams.health(old).breaker.failures == 1
    moved = Target("http://new/v1", "k", None, "prod", upstream=7)
    assert upstreams.health(moved).breaker.failures == 0


def test_a_key_is_not_shown() -> None:
    assert "sk-secret" not in repr(Target("http://a/v1", "sk-secret", None, "prod"))
