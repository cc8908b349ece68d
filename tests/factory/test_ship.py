"""From the spool into the database: each call once, whatever is away, gone or wrong."""

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from pytest_django import Settings

from factory import tasks
from factory.capture import spool
from factory.embedded import claim
from factory.errors import Unavailable
from factory.models import CapturedCall, CaptureLoss, Project
from factory.models.call import HAS_TEXTS
from factory.models.loss import ADVICE
from factory.selectors import uncurated
from factory.services import ship
from factory.services.curate import curate
from factory.services.projects import create_project
from factory.services.ship import ship_once
from tests.conftest import call_record
from tests.factory.running import Running


def record(project: Project, text: str, **fields: Any) -> dict[str, Any]:
    return {"project": project.pk, "call": call_record(text, **fields).as_json()}


def spooled(folder: Path, *records: dict[str, Any]) -> Path:
    """Write a segment as a process that has ended leaves it."""
    writer = spool.SpoolWriter(folder)
    for one in records:
        writer.append(one)
    writer.close()
    return spool.segments(folder)[-1]


@pytest.mark.django_db
def test_what_is_shipped_twice_is_inserted_once(project: Project, tmp_path: Path) -> None:
    writer = spool.SpoolWriter(tmp_path)
    for n in range(3):
        writer.append(record(project, f"ticket {n}"))
    assert ship_once(tmp_path) == 3
    assert ship_once(tmp_path) == 0
    (segment,) = spool.segments(tmp_path)
    spool.mark_shipped(segment, 0)  # as if it was killed between insert and mark
    assert ship_once(tmp_path) == 0
    writer.append(record(project, "ticket 3"))
    writer.close()
    assert ship_once(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    assert CapturedCall.objects.filter(source="gateway").count() == 4


@pytest.mark.django_db
def test_batches_go_across_segments_and_projects(
    project: Project, alice: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship, "BATCH_CALLS", 5)
    other = create_project(slug="other", name="Other", owner=alice)
    for n in range(4):
        spooled(tmp_path, *(record(p, f"{n} {m}") for m in range(3) for p in (project, other)))
    assert ship_once(tmp_path) == 24
    assert [p.calls.count() for p in (project, other)] == [12, 12]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db
def test_a_torn_tail_of_a_dead_writer_does_not_hold_up_the_rest_and_is_counted(
    project: Project, tmp_path: Path
) -> None:
    segment = spooled(tmp_path, record(project, "whole"), record(project, "torn"))
    os.truncate(segment, segment.stat().st_size - 1)
    assert ship_once(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    loss = CaptureLoss.objects.get()
    assert (loss.host, loss.reason, loss.count) == (ship.HOST, "damaged", 1)


@pytest.mark.django_db
def test_a_flipped_bit_costs_one_call_and_is_counted(project: Project, tmp_path: Path) -> None:
    segment = spooled(tmp_path, *(record(project, f"call {n}") for n in range(3)))
    damaged = bytearray(segment.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    segment.write_bytes(damaged)
    assert ship_once(tmp_path) == 2
    assert list(tmp_path.iterdir()) == []
    assert CaptureLoss.objects.get().count == 1


@pytest.mark.django_db
def test_what_a_process_could_not_keep_is_told_once_while_it_runs_and_after(
    project: Project, tmp_path: Path
) -> None:
    writer = spool.SpoolWriter(tmp_path, max_bytes=1)
    writer.append(record(project, "no room"))
    writer.loss_file.flush()
    for _ in range(2):
        ship_once(tmp_path)
        loss = CaptureLoss.objects.get()
        assert (loss.reason, loss.count) == ("spool_full", 1)
    first = loss.first_at
    writer.append(record(project, "no room again"))
    writer.close()
    ship_once(tmp_path)
    loss.refresh_from_db()
    assert (loss.count, loss.first_at) == (2, first)
    assert loss.last_at > first
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_loses_nothing(project: Project, tmp_path: Path) -> None:
    spooled(tmp_path, record(project, "kept"))
    given = connection.settings_dict["HOST"]
    connection.close()
    connection.settings_dict["HOST"] = str(tmp_path)  # where no server listens
    try:
        with pytest.raises(Unavailable):
            ship_once(tmp_path)
    finally:
        connection.close()
        connection.settings_dict["HOST"] = given
    assert len(spool.segments(tmp_path)) == 1
    assert ship_once(tmp_path) == 1


@pytest.mark.django_db
def test_calls_of_a_deleted_project_do_not_hold_up_the_others(
    project: Project, tmp_path: Path
) -> None:
    gone = {**record(project, "gone"), "project": project.pk + 1000}
    spooled(tmp_path, gone, record(project, "kept"))
    assert ship_once(tmp_path) == 1
    assert spool.segments(tmp_path) == []


@pytest.mark.django_db
def test_calls_that_cannot_be_recorded_are_set_aside_and_hold_up_no_other(
    project: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unreadable = record(project, "secret text")
    unreadable["call"]["of_a_later_version"] = True
    spooled(
        tmp_path,
        *(record(project, f"before {n}") for n in range(5)),
        record(project, "secret text", request_id="r" * 200),  # longer than its column
        record(project, "secret text", request_id="negative", ttft_ms=-1),
        unreadable,
        {"project": project.pk},
        record(project, "after"),
    )
    assert ship_once(tmp_path) == 6
    assert spool.segments(tmp_path) == []
    assert caplog.text.count("is set aside") == 4
    assert "secret text" not in caplog.text
    loss = CaptureLoss.objects.get()
    assert (loss.reason, loss.count) == ("refused", 4)
    assert spool.status(tmp_path).dead_segments == 1


@pytest.mark.django_db
def test_what_was_set_aside_is_kept_and_can_be_tried_again(
    project: Project, tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.SPOOL_DIR = tmp_path
    refused = [record(project, f"call {n}", ttft_ms=-1) for n in range(3)]
    spooled(tmp_path, *refused)
    assert ship_once(tmp_path) == 0
    call_command("ship_calls", "--retry-dead")
    assert not CaptureLoss.objects.exists()
    assert ship_once(tmp_path) == 0  # as wrong as before
    assert CaptureLoss.objects.get().count == 3
    with connection.cursor() as cursor:  # what a repair would do
        cursor.execute(
            "ALTER TABLE factory_capturedcall DROP CONSTRAINT factory_capturedcall_ttft_ms_check"
        )
    call_command("ship_calls", "--retry-dead")
    call_command("ship_calls", "--once")
    assert capsys.readouterr().out.split("\n")[:3] == [
        "back in line: 3", "back in line: 3", "new calls: 3",
    ]  # fmt: skip
    assert CapturedCall.objects.count() == 3
    assert not CaptureLoss.objects.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["shipper.lock"]


@pytest.mark.django_db
def test_a_schema_that_is_not_ready_is_no_fault_of_the_calls(
    project: Project, tmp_path: Path
) -> None:
    spooled(tmp_path, record(project, "kept"))
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE factory_callkey RENAME TO away")
        with pytest.raises(Unavailable):
            ship_once(tmp_path)
        cursor.execute("ALTER TABLE away RENAME TO factory_callkey")
    assert ship_once(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db
def test_the_command_ships_what_is_there_and_ends(
    project: Project,
    tmp_path: Path,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings.SPOOL_DIR = tmp_path
    writer = spool.SpoolWriter(tmp_path)
    writer.append(record(project, "by command"))
    writer.close()
    call_command("ship_calls", "--once")
    assert capsys.readouterr().out == "new calls: 1\n"


@pytest.mark.django_db
def test_two_shippers_never_work_at_once(tmp_path: Path, settings: Settings) -> None:
    settings.SPOOL_DIR = tmp_path
    held = claim(tmp_path / "shipper.lock")
    with held, pytest.raises(CommandError, match="in use"):
        call_command("ship_calls", "--once")


@pytest.mark.django_db(transaction=True)
def test_the_shipper_outlives_a_database_that_is_away_and_stops_when_told(
    project: Project, tmp_path: Path
) -> None:
    database = connection.settings_dict
    if not database["HOST"].startswith("/"):
        pytest.skip("the database is not on a socket here, so its way cannot be cut")
    environment = {
        **os.environ,
        "UNDERSTUDY_VAR": str(tmp_path),
        "DATABASE_URL": f"postgresql://{database['USER']}@/{database['NAME']}?host={tmp_path}",
        "LOG_LEVEL": "DEBUG",
    }
    writer = spool.SpoolWriter(tmp_path / "spool")
    writer.append(record(project, "kept"))
    with Running([sys.executable, "manage.py", "ship_calls"], env=environment) as shipper:
        shipper.wait_for("calls stay in the spool")
        assert CapturedCall.objects.count() == 0
        for socket in Path(database["HOST"]).glob(".s.PGSQL.*"):
            (tmp_path / socket.name).symlink_to(socket)  # the database is back
        shipper.wait_for("calls=1 shipped")
        assert CapturedCall.objects.count() == 1
        assert shipper.end(signal.SIGTERM) == 0


@pytest.mark.django_db
def test_new_calls_of_every_project_get_their_groups(
    project: Project, alice: User, tmp_path: Path
) -> None:
    other = create_project(slug="other", name="Other", owner=alice)
    spooled(tmp_path, *(record(p, f"{n}") for n in range(3) for p in (project, other)))
    ship_once(tmp_path)
    assert CapturedCall.objects.filter(group=None).count() == 6
    tasks.group_calls()
    assert not CapturedCall.objects.filter(group=None).exists()
    assert [p.call_groups.get().call_count for p in (project, other)] == [3, 3]


@pytest.mark.django_db
def test_calls_that_were_kept_without_their_texts_get_no_group_and_make_no_example(
    project: Project, tmp_path: Path
) -> None:
    bare = [spool.without_texts(record(project, f"long text {n}")) for n in range(30)]
    spooled(tmp_path, *bare, *(record(project, f"ticket {n}") for n in range(30)))
    assert ship_once(tmp_path) == 60
    assert ship.group_new_calls() == 30
    assert sum(group.call_count for group in project.call_groups.all()) == 30
    counts = curate(project, accept_new=True)
    assert (counts["example"], counts["empty"]) == (30, 0)
    assert project.calls.filter(group=None, curated_at=None).count() == 30
    assert not uncurated(project).exists()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        waiting = project.calls.filter(HAS_TEXTS, group=None).order_by("id")
        assert "Filter:" not in waiting.explain()  # the index leaves them out already


@pytest.mark.django_db(transaction=True)
def test_one_worker_at_a_time_groups(project: Project, tmp_path: Path) -> None:
    spooled(tmp_path, record(project, "new"))
    ship_once(tmp_path)
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute("SELECT pg_advisory_lock(hashtext(%s))", [ship.GROUPING_LOCK])
        assert ship.group_new_calls() == 0
        other.execute("SELECT pg_advisory_unlock_all()")
        assert ship.group_new_calls() == 1


@pytest.mark.django_db(transaction=True)
def test_a_shipper_without_a_broker_ships_and_does_not_wait_for_it(
    project: Project, tmp_path: Path
) -> None:
    database = connection.settings_dict
    environment = {
        **os.environ,
        "UNDERSTUDY_VAR": str(tmp_path),
        "DATABASE_URL": f"postgresql://{database['USER']}@/{database['NAME']}?host={database['HOST']}",
        "BROKER_URL": f"redis+socket://{tmp_path}/nobody?virtual_host=0",
        "LOG_LEVEL": "DEBUG",
    }
    writer = spool.SpoolWriter(tmp_path / "spool")
    with Running([sys.executable, "manage.py", "ship_calls"], env=environment) as shipper:
        for n in range(2):
            writer.append(record(project, f"call {n}"))
            shipper.wait_for("calls=1 shipped")
        assert not any("broker away" in line for line in shipper.lines)  # it is still being sought
        shipper.wait_for("broker away")
        assert shipper.end(signal.SIGTERM) == 0
    writer.close()
    assert CapturedCall.objects.count() == 2


@pytest.mark.django_db
def test_owners_are_told_what_could_not_be_kept(
    project: Project, alice: User, bob: User, client: Client, tmp_path: Path
) -> None:
    writer = spool.SpoolWriter(tmp_path, max_bytes=1)
    writer.append(record(project, "no room"))
    writer.close()
    ship_once(tmp_path)
    client.force_login(alice)
    for address in ("/", "/acme/"):
        page = client.get(address).content.decode()
        assert f"1: the spool was full, on {ship.HOST}, last" in page
        assert "raise SPOOL_MAX_MB" in page
    ready = client.get("/readyz").content.decode().splitlines()
    assert ready[0] == "ok"
    assert re.fullmatch(
        r"1 call not kept whole at \d{4}-\d\d-\d\d \d\d:\d\d UTC: the spool was full\. See .*\.",
        ready[1],
    )
    client.force_login(bob)
    for address in ("/", "/acme/"):
        assert "could be kept" not in client.get(address).content.decode()


def test_every_reason_comes_with_what_to_do() -> None:
    assert set(ADVICE) == set(CaptureLoss.Reason.values)
