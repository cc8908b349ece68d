"""From the spool into the database: each call once, whatever is away, gone or wrong."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from factory import spool
from factory.embedded import claim
from factory.errors import Unavailable
from factory.models import CapturedCall, Project
from factory.services.ship import ship_once
from tests.conftest import call_record
from tests.factory.running import Running


def record(project: Project, text: str, **fields: Any) -> dict[str, Any]:
    return {"project": project.pk, "call": call_record(text, **fields).as_json()}


@pytest.mark.django_db
def test_what_is_shipped_twice_is_inserted_once(project: Project, tmp_path: Path) -> None:
    writer = spool.SpoolWriter(tmp_path)
    for n in range(3):
        writer.append(record(project, f"ticket {n}"))
    assert ship_once(tmp_path) == 3
    assert ship_once(tmp_path) == 0
    (segment,) = spool.segments(tmp_path)
    segment.with_suffix(".offset").unlink()  # as if it was killed between insert and mark
    assert ship_once(tmp_path) == 0
    writer.append(record(project, "ticket 3"))
    writer.close()
    assert ship_once(tmp_path) == 1
    assert spool.segments(tmp_path) == []
    assert CapturedCall.objects.filter(source="gateway").count() == 4


@pytest.mark.django_db
def test_a_torn_tail_of_a_dead_writer_does_not_hold_up_the_rest(
    project: Project, tmp_path: Path
) -> None:
    writer = spool.SpoolWriter(tmp_path)
    writer.append(record(project, "whole"))
    writer.append(record(project, "torn"))
    writer.close()
    (segment,) = spool.segments(tmp_path)
    os.truncate(segment, segment.stat().st_size - 1)
    assert ship_once(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_loses_nothing(project: Project, tmp_path: Path) -> None:
    writer = spool.SpoolWriter(tmp_path)
    writer.append(record(project, "kept"))
    writer.close()
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
    writer = spool.SpoolWriter(tmp_path)
    writer.append({**record(project, "gone"), "project": project.pk + 1000})
    writer.append(record(project, "kept"))
    writer.close()
    assert ship_once(tmp_path) == 1
    assert spool.segments(tmp_path) == []


@pytest.mark.django_db
def test_one_call_that_the_database_cannot_hold_does_not_hold_up_the_others(
    project: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = spool.SpoolWriter(tmp_path)
    writer.append(record(project, "before"))
    writer.append(record(project, "secret text", request_id="r" * 200))
    writer.append(record(project, "after"))
    writer.close()
    assert ship_once(tmp_path) == 2
    assert "cannot be kept" in caplog.text
    assert "secret text" not in caplog.text


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
