"""Calls by month: found by their time, dropped by the month, never lost for lack of a month."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection

from factory.capture.partitions import call_id, first_id, month_after, month_in, month_of
from factory.models import CallPayload, CapturedCall, Project
from factory.services.capture import record_calls
from factory.services.partitions import drop_partition, months_present
from tests.conftest import MakeCall, call_record

NOON = datetime(2026, 5, 3, 12, 0, 0, 250_000, tzinfo=UTC)


def test_an_id_is_a_uuid7_of_the_calls_own_time() -> None:
    made = call_id(NOON, "1 req-a")
    assert (made.version, made.variant) == (7, UUID(int=0x2 << 62).variant)
    assert made.int >> 80 == NOON.timestamp() * 1000
    assert made == call_id(NOON, "1 req-a") != call_id(NOON, "1 req-b")


def test_bounds_part_the_ids_of_two_moments() -> None:
    before, after = (call_id(NOON + timedelta(milliseconds=n), "x") for n in (-1, 0))
    assert before < first_id(NOON) <= after


@pytest.mark.parametrize(
    ("month", "months", "expected"),
    [
        (date(2026, 12, 1), 1, date(2027, 1, 1)),
        (date(2026, 1, 1), -1, date(2025, 12, 1)),
        (date(2026, 5, 1), -36, date(2023, 5, 1)),
    ],
)
def test_months_are_counted_over_the_year(month: date, months: int, expected: date) -> None:
    assert month_after(month, months) == expected


def test_a_partitions_name_tells_its_month() -> None:
    assert month_in("factory_capturedcall_2026_05") == date(2026, 5, 1)
    assert month_in("factory_capturedcall_other") is None


def partitions_of(call: CapturedCall) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tableoid::regclass::text FROM factory_capturedcall WHERE id = %s UNION "
            "SELECT tableoid::regclass::text FROM factory_callpayload WHERE call_id = %s",
            [call.pk, call.pk],
        )
        return {name for (name,) in cursor.fetchall()}


@pytest.mark.django_db
def test_a_call_is_kept_with_its_month(make_call: MakeCall) -> None:
    assert partitions_of(make_call("late")) == {
        "factory_capturedcall_2026_05", "factory_callpayload_2026_05",
    }  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize(
    "when", [datetime(1990, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)]
)
def test_a_time_that_makes_no_sense_makes_no_partition(project: Project, when: datetime) -> None:
    record = call_record("odd", request_id="odd")
    before = months_present()
    record_calls(project, [type(record)(**{**record.__dict__, "created_at": when})], "import")
    call = project.calls.get()
    assert partitions_of(call) == {"factory_capturedcall_other", "factory_callpayload_other"}
    assert months_present() == before
    assert call.messages[-1]["content"] == "odd"


@pytest.mark.django_db
def test_rows_that_came_before_their_partition_move_into_it(project: Project) -> None:
    this = month_of(datetime.now(UTC))
    early = datetime(this.year, this.month, 1, 12, tzinfo=UTC)
    record = call_record("early", request_id="early")
    moved = type(record)(**{**record.__dict__, "created_at": early})
    drop_partition(this)
    record_calls(project, [moved], "import")
    assert partitions_of(project.calls.get()) == {
        f"factory_capturedcall_{this:%Y_%m}", f"factory_callpayload_{this:%Y_%m}",
    }  # fmt: skip


@pytest.mark.django_db
def test_dropping_a_month_takes_its_calls_and_texts_and_no_others(
    project: Project, make_call: MakeCall
) -> None:
    gone, stays = make_call("may"), make_call("june", minutes=45_000)
    drop_partition(date(2026, 5, 1))
    assert list(project.calls.values_list("pk", flat=True)) == [stays.pk]
    assert not CallPayload.objects.filter(pk=gone.pk).exists()
    assert date(2026, 5, 1) not in months_present()
