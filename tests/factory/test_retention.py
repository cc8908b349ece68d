"""Retention: calls leave when their time is over, alone or by the month; examples stay."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction

from factory.errors import InvalidInput
from factory.models import (
    CallKey,
    CallPayload,
    CallTally,
    CallText,
    CapturedCall,
    Example,
    Feedback,
    Project,
    Workload,
)
from factory.services.capture import record_calls
from factory.services.curate import curate
from factory.services.discover import attach_group, group_calls
from factory.services.partitions import months_present
from factory.services.retention import expire_calls, make_partitions, set_retention
from factory.settings import CELERY_BEAT_SCHEDULE
from tests.conftest import call_record, ticket_messages

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)


def captured(project: Project, ages: list[int], text: str = "a ticket", **fields: Any) -> None:
    """Record calls that are so many days old."""
    records = [call_record(f"{text} {age}", request_id=f"{text}-{age}", **fields) for age in ages]
    for record, age in zip(records, ages, strict=True):
        object.__setattr__(record, "created_at", NOW - timedelta(days=age))
    record_calls(project, records, CapturedCall.Source.IMPORT)


def ages(project: Project) -> list[int]:
    return sorted((NOW - call.created_at).days for call in project.calls.all())


def test_a_call_leaves_with_all_that_is_its_own(project: Project) -> None:
    captured(project, [1, 89, 91, 92])
    group_calls(project)
    old = project.calls.order_by("id").first()
    Feedback.objects.create(project=project, call=old, kind="boolean", value=True)
    assert expire_calls(NOW)
    assert ages(project) == [1, 89]
    for model in (CallKey, CallPayload, CallText):
        assert model._default_manager.count() == 2, model
    assert Feedback.objects.count() == 0


def test_each_workload_keeps_its_calls_as_long_as_it_says(
    project: Project, workload: Workload
) -> None:
    captured(project, [5, 20, 40])
    group_calls(project)
    attach_group(project.call_groups.get(), workload)
    captured(project, [5, 20, 40], "free chat")  # in no group yet
    set_retention(project, 30, workloads={workload: 10})
    assert expire_calls(NOW)["calls"] == 3
    assert sorted(project.calls.values_list("request_id", flat=True)) == [
        "a ticket-5", "free chat-20", "free chat-5",
    ]  # fmt: skip


def test_whole_months_are_dropped_once_no_rule_keeps_them(project: Project) -> None:
    captured(project, [10, 400, 430])
    months = len(months_present())
    assert expire_calls(NOW)["months"] >= 1
    assert len(months_present()) < months
    assert ages(project) == [10]
    assert CallKey.objects.count() == CallPayload.objects.count() == 1


def test_examples_and_counts_stay(project: Project, workload: Workload) -> None:
    captured(project, [100, 400])
    group_calls(project)
    attach_group(project.call_groups.get(), workload)
    curate(project)
    tallies = sum(tally.calls for tally in CallTally.objects.all())
    expire_calls(NOW)
    assert project.calls.count() == 0
    assert workload.examples.count() == 2
    assert workload.examples.filter(call=None).count() == 2
    assert sum(tally.calls for tally in CallTally.objects.all()) == tallies == 2


def test_a_second_pass_finds_nothing(project: Project) -> None:
    captured(project, [1, 200])
    assert expire_calls(NOW)
    assert expire_calls(NOW) == {}


@pytest.mark.django_db(transaction=True)
def test_two_passes_at_once_are_one(project: Project) -> None:
    captured(project, [200])
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('expire calls'))")
        found: list[object] = []

        def second() -> None:
            found.append(expire_calls(NOW))
            connection.close()

        other = threading.Thread(target=second)
        other.start()
        other.join()
        assert found == [{}]
        cursor.execute("SELECT pg_advisory_unlock(hashtext('expire calls'))")
    assert expire_calls(NOW)["calls"] + expire_calls(NOW)["months"] <= 1
    assert project.calls.count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_reader_sees_a_call_whole_or_not_at_all(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month that an export reads stays until the export is over; rows in it are never halved."""
    captured(project, [400])
    monkeypatch.setattr("factory.services.retention.LOCK_WAIT", "200ms")
    counts: list[int] = []

    def expire() -> None:
        counts.append(expire_calls(NOW)["months"])
        connection.close()

    with transaction.atomic():
        calls = project.calls.select_related("payload")
        assert [call.question for call in calls] == ["a ticket 400"]
        other = threading.Thread(target=expire)
        other.start()
        other.join()
        assert counts == [0]
    assert expire_calls(NOW)["months"] >= 1


def test_the_months_ahead_are_made(db: None) -> None:
    make_partitions()
    next_month = (NOW.replace(day=1) + timedelta(days=32)).date().replace(day=1)
    assert {NOW.date().replace(day=1), next_month} <= set(months_present())


def test_a_retention_of_nothing_or_for_ever_is_refused(project: Project, alice: User) -> None:
    for days in (0, 100_000):
        with pytest.raises(InvalidInput, match="1 to 3650 days"):
            set_retention(project, days, workloads={})


def test_the_command_tells_what_left(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    captured(project, [100])
    call_command("expire_calls")
    assert "1 calls" in capsys.readouterr().out
    call_command("expire_calls")
    assert "nothing is past its time" in capsys.readouterr().out


def test_beat_rings_for_all_of_it() -> None:
    rung = {entry["task"] for entry in CELERY_BEAT_SCHEDULE.values()}
    assert {"factory.expire_calls", "factory.tend_dictionaries"} <= rung


def test_an_example_of_a_dropped_month_is_still_there_to_train_on(
    workload: Workload, project: Project
) -> None:
    captured(project, [400])
    call = project.calls.get()
    example = Example.objects.create(
        workload=workload, call=call, origin="request_log", messages=ticket_messages("x"),
        target="billing", provenance="teacher", digest="d" * 64, group="g", split="train",
    )  # fmt: skip
    expire_calls(NOW)
    example.refresh_from_db()
    assert (example.call, example.target) == (None, "billing")
