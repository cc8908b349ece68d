"""How many requests are in flight, and what an endpoint's headers ask for."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from labeling.confidence import probability_of
from labeling.pace import ANSWERS_PER_PLACE, Pace, rest_asked, wait_asked


def test_a_burst_of_429_takes_a_quarter_of_the_room_once() -> None:
    async def go() -> Pace:
        pace = Pace(64)
        for _ in range(50):
            pace.refused(None)
        return pace

    pace = asyncio.run(go())
    assert (int(pace.room), pace.busy) == (48, 50)


def test_answers_give_the_room_back_one_by_one_and_no_more_than_all() -> None:
    async def go() -> list[int]:
        pace, rooms = Pace(8), []
        pace.refused(None)
        for _ in range(4):
            rooms.append(int(pace.room))
            for _ in range(ANSWERS_PER_PLACE):
                pace.answered()
        return rooms

    assert asyncio.run(go()) == [6, 7, 8, 8]


def test_no_more_are_in_flight_than_there_is_room() -> None:
    async def go() -> int:
        pace, most = Pace(5), 0

        async def member() -> None:
            nonlocal most
            async with pace.slot():
                most = max(most, pace.in_flight)
                await asyncio.sleep(0)

        await asyncio.gather(*(member() for _ in range(100)))
        assert pace.in_flight == 0
        return most

    assert asyncio.run(go()) == 5


def test_while_it_is_closed_nobody_begins_and_then_everybody_does() -> None:
    async def go() -> float:
        pace, loop = Pace(3), asyncio.get_running_loop()
        pace.close_for(0.2)
        began, started = [], loop.time()

        async def member() -> None:
            async with pace.slot():
                began.append(loop.time() - started)

        await asyncio.gather(*(member() for _ in range(9)))
        assert len(began) == 9
        return min(began)

    assert asyncio.run(go()) >= 0.19


def test_opening_ends_every_wait() -> None:
    async def go() -> bool:
        pace = Pace(1)
        pace.close_for(3600)

        async def member() -> bool:
            async with pace.slot():
                return True

        waiting = asyncio.create_task(member())
        await asyncio.sleep(0)
        pace.open()
        return await asyncio.wait_for(waiting, 5)

    assert asyncio.run(go())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
    ],
)
def test_retry_after_is_read_in_all_its_forms(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert wait_asked(headers) == seconds


def test_a_date_to_retry_after_is_read() -> None:
    at = datetime.now(UTC) + timedelta(seconds=60)
    assert wait_asked({"retry-after": format_datetime(at)}) == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "1s"}, 0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-tokens": "99", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "100", "x-ratelimit-reset-tokens": "120ms"}, 0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2.5"}, 2.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "later"}, 0),
    ],
)
def test_the_rest_that_an_endpoint_asks_for_is_read(
    headers: dict[str, str], seconds: float
) -> None:
    assert rest_asked(headers, tokens=100) == pytest.approx(seconds)


def test_the_probability_is_that_of_the_answers_own_tokens() -> None:
    tokens = [
        ('{"', -1.0),
        ("answer", -1.0),
        ('": "', -1.0),
        ("bill", -0.1),
        ("ing", -0.2),
        ('"}', 0),
    ]
    assert probability_of("billing", tokens) == pytest.approx(0.7408, abs=1e-4)
    assert probability_of("x", [("x", 0.0)]) == 1.0
    assert probability_of("x", []) is None
