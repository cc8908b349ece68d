"""Erasure over the whole loop: no row, no packed text and no file holds the subject afterwards."""

import dataclasses
import json
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as site
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from distill.jobdir import JobDir
from distill.models import DistillationRun, Evaluation
from distill.scoring import Prediction
from distill.services.erase import erasure_work
from distill.services.evaluate import stored_predictions
from distill.services.train import start_run
from distill.services.workbench import job_folder, version_rows
from distill.spec import TrainSpec
from factory.capture import spool
from factory.digest import digest_of
from factory.erasure import ErasureReport, Sought
from factory.errors import InvalidInput
from factory.messages import CallRecord
from factory.models import (
    CallPayload,
    CapturedCall,
    DatasetVersion,
    ErasedRows,
    Erasure,
    Example,
    PayloadDictionary,
    Project,
    Workload,
)
from factory.selectors import erased_rows
from factory.services import jobs
from factory.services.capture import record_calls
from factory.services.curate import add_examples, curate
from factory.services.dictionaries import repack, tend_dictionaries, train_payload_dictionary
from factory.services.discover import attach_group, group_calls
from factory.services.erase import confirm, erase_calls, erase_late_calls, start_erasure
from factory.services.freeze import freeze
from factory.services.keys import create_key
from factory.services.projects import save_upstream
from factory.services.ship import HOST, retry_dead, ship_once
from factory.storage import open_store
from labeling.models import LabelJob, Review
from labeling.services.label import create_teacher, label_work, save_guideline, start_label_job
from labeling.services.review import decide, next_item, queue_review
from tests.conftest import call_record, ticket_messages
from tests.fakes import TEACHER, Reply, ScriptedUpstream, completion

pytestmark = pytest.mark.django_db

NAME = "Quellmaryn Zetterbrook"
PRICES = {TEACHER: {"input": 5.0, "output": 20.0}}
TOPICS = ["lamp", "kettle", "desk", "bicycle", "radio", "carpet", "mirror", "piano", "tent", "oven"]


@pytest.fixture(autouse=True)
def _own_files(settings: Any, tmp_path: Path) -> None:
    settings.STORAGE_URL = (tmp_path / "storage").as_uri()
    settings.JOBS_DIR = tmp_path / "jobs"


def tickets(count: int) -> list[str]:
    return [
        f"The {TOPICS[n % 10]} that I ordered in week {'abcdefgh'[n // 10]} has not come, {word}"
        for n, word in enumerate(["please look", "thanks", "where is it", "help"] * (count // 4))
    ]


def captured(workload: Workload, count: int = 60) -> None:
    """Record many calls, and three of the subject: one in the text, two by metadata only."""
    records = [call_record(text, minutes=n) for n, text in enumerate(tickets(count))]
    mine: dict[str, Any] = {"metadata": {"user_id": "42"}, "minutes": 1000}
    records += [
        call_record(f"My name is {NAME}, where is my parcel?", "delivery", **mine),
        call_record("I cannot log in since the app was renewed", "login", **mine),
        call_record(f"Refund {NAME.upper()} for the broken umbrella", "billing", **mine),
    ]
    record_calls(workload.project, records, CapturedCall.Source.GATEWAY)
    group_calls(workload.project)
    for group in workload.project.call_groups.all():
        attach_group(group, workload)
    workload.validation_share = workload.test_share = 0.2
    workload.save()
    curate(workload.project)


def labelled(workload: Workload) -> None:
    """Let a teacher label all; one of its answers breaks the format and names the subject."""
    upstream = ScriptedUpstream()
    upstream.script(Reply(body=completion(f"{NAME} wants her parcel")))
    with upstream.serve() as base_url:
        row = save_upstream(workload.project, name="up", base_url=base_url, key="k", prices=PRICES)
        teacher = create_teacher(workload.project, name="t", upstream=row, model=TEACHER)
        job = start_label_job(workload, teacher=teacher, votes=1, budget_usd=Decimal(5))
        jobs.run(LabelJob, job.pk, label_work)


def reviewed(workload: Workload, person: User) -> None:
    queue_review(workload, suspicious=70)
    while (item := next_item(workload, person)) is not None:
        note = f"{NAME} again" if NAME in str(item.example.messages) else ""
        decision = Review.Decision.ACCEPT
        decide(item, person, review_id=uuid.uuid4(), decision=decision, note=note)


def trained(workload: Workload, version: DatasetVersion) -> DistillationRun:
    """Leave what a run leaves: a job folder with the rows, and a file of predictions."""
    run = start_run(workload, version, base_model="Qwen/Qwen2.5-0.5B")
    tables = {"train": version_rows(version, "train")}
    JobDir.create(job_folder(run) / "train", TrainSpec(**run.spec["train"]), tables)
    DistillationRun.objects.filter(pk=run.pk).update(status="succeeded")
    evaluation = Evaluation.objects.create(run=run, subject="base", status="succeeded")
    folder = job_folder(evaluation)
    folder.mkdir(parents=True)
    rows = [
        Prediction(str(e.example_id), e.target, str(e.example.messages))
        for e in version.entries.select_related("example")
    ]
    path = folder / "predictions.jsonl"
    path.write_text("".join(json.dumps(vars(row)) + "\n" for row in rows))
    blob = open_store(site.STORAGE_URL).put(path)
    Evaluation.objects.filter(pk=evaluation.pk).update(predictions_sha256=blob.sha256)
    return run


def frozen(workload: Workload, person: User) -> DatasetVersion:
    captured(workload)
    save_guideline(workload, text="Parcels are delivery.")
    labelled(workload)
    reviewed(workload, person)
    return freeze(workload, user=person)


# --- looking everywhere ---------------------------------------------------------------------------
COLUMNS = """
SELECT table_name, column_name, data_type FROM information_schema.columns
WHERE table_schema = 'public'
AND data_type IN ('text', 'character varying', 'jsonb', 'bytea', 'tsvector', 'json', 'ARRAY')
"""


def cells() -> Iterator[tuple[str, str]]:
    """Yield every text of the database with its place; packed texts unpacked."""
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS)
        for table, column, kind in cursor.fetchall():
            cursor.execute(f'SELECT "{column}" FROM "{table}" WHERE "{column}" IS NOT NULL')
            for (value,) in cursor.fetchall():
                raw = bytes(value).decode("latin-1") if kind == "bytea" else str(value)
                yield f"{table}.{column}", raw
    for payload in CallPayload.objects.all():
        yield "payload", json.dumps(payload.read(), ensure_ascii=False)


def places_of(word: str, folder: Path) -> set[str]:
    found = {place for place, text in cells() if word.casefold() in text.casefold()}
    for path in folder.rglob("*"):
        if path.is_file() and word.casefold().encode() in path.read_bytes().lower():
            found.add(str(path.relative_to(folder).parts[0]))
    return found


def run_erasure(job: Erasure) -> ErasureReport:
    jobs.run(Erasure, job.pk, erasure_work)
    job.refresh_from_db()
    assert (job.status, job.error) == ("succeeded", "")
    return ErasureReport.from_json(job.report)


# --- the tests ------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_after_an_erasure_nothing_anywhere_holds_the_subject(
    workload: Workload, bob: User, tmp_path: Path
) -> None:
    version = frozen(workload, bob)
    run = trained(workload, version)
    digest, former = version.digest, version.file_sha256
    before = places_of("Quellmaryn", tmp_path)
    assert before >= {
        "payload", "factory_example.messages", "labeling_review.note",
        "labeling_teacherreply.raw", "storage", "jobs",
    }  # fmt: skip

    rehearsal = start_erasure(
        workload.project, Sought.text(NAME), reason="asked to", user=bob, is_rehearsal=True
    )
    would = run_erasure(rehearsal)
    assert places_of("Quellmaryn", tmp_path) == before
    report = run_erasure(confirm(rehearsal, user=bob))

    assert places_of("Quellmaryn", tmp_path) == set()
    assert places_of("Zetterbrook", tmp_path) == set()
    for name in ("calls", "examples", "labels", "dataset entries"):
        assert report.counts[name] == would.counts[name] > 0, name
    assert report.counts["calls"] == 2
    assert report.counts["teacher replies"] >= 3
    assert report.versions == would.versions
    assert report.runs == [{"workload": "tickets", "id": run.pk}]

    version.refresh_from_db()
    rows = ErasedRows.objects.get(version=version)
    left = version.entries.values_list("position", "digest")
    ordered = sorted([*left, *((at, gone) for at, _, gone in rows.entries)])
    assert digest_of([entry for _, entry in ordered]) == digest
    assert rows.former_sha256 == former != version.file_sha256
    kept = version.entries.filter(split="train").count()
    assert len(list(version_rows(version, "train"))) == kept
    assert sum(erased_rows([version])[version.pk].values()) == 2


def test_a_withdrawn_version_trains_nobody_and_a_fresh_one_does(
    workload: Workload, bob: User
) -> None:
    version = frozen(workload, bob)
    run = trained(workload, version)
    run_erasure(start_erasure(workload.project, Sought.metadata("user_id", "42"), reason="asked"))
    with pytest.raises(InvalidInput, match="withdrawn"):
        start_run(workload, version, base_model="Qwen/Qwen2.5-0.5B")
    fresh = freeze(workload, user=bob)
    assert fresh.number == version.number + 1
    assert start_run(workload, fresh, base_model="Qwen/Qwen2.5-0.5B").dataset_version == fresh
    evaluation = run.evaluations.get()
    assert len(stored_predictions(evaluation)) == version.entries.count()


def test_a_live_run_on_the_rows_is_stopped(workload: Workload, bob: User) -> None:
    version = frozen(workload, bob)
    run = start_run(workload, version, base_model="Qwen/Qwen2.5-0.5B")
    run_erasure(start_erasure(workload.project, Sought.text(NAME), reason="asked to"))
    run.refresh_from_db()
    assert run.status == "cancelled"


def test_named_calls_are_gone_at_once_and_what_was_made_of_them_by_the_job(
    workload: Workload, bob: User, tmp_path: Path
) -> None:
    frozen(workload, bob)
    call = CapturedCall.objects.get(request_id__contains="cannot log in")
    report = erase_calls(workload.project, [call.pk, uuid.uuid4()], reason="by hand", user=bob)
    assert report.counts["calls"] == 1
    assert not CapturedCall.objects.filter(pk=call.pk).exists()
    job = workload.project.erasures.get()
    assert run_erasure(job).counts["examples"] == 1
    assert places_of("since the app was renewed", tmp_path) == set()


def test_an_erased_call_does_not_come_in_again(workload: Workload) -> None:
    project = workload.project
    record = call_record(f"{NAME} calls", metadata={"user_id": "42"})
    assert record_calls(project, [record], CapturedCall.Source.GATEWAY) == 1
    run_erasure(start_erasure(project, Sought.metadata("user_id", "42"), reason="asked"))
    assert record_calls(project, [record], CapturedCall.Source.GATEWAY) == 0
    assert record_calls(project, [call_record("another")], CapturedCall.Source.GATEWAY) == 1


def test_an_attempt_that_was_killed_is_finished_by_the_next(
    workload: Workload, bob: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen(workload, bob)
    job = start_erasure(workload.project, Sought.text(NAME), reason="asked to")

    class KilledError(BaseException):
        """Ends an attempt as a kill does: nothing after it runs."""

    def killed(*_: object) -> None:
        raise KilledError

    for step in ("distill.services.erase.remove_examples", "distill.services.erase.remove_blobs"):
        with monkeypatch.context() as patch:
            patch.setattr(step, killed)
            with pytest.raises(KilledError):
                jobs.run(Erasure, job.pk, erasure_work)
        Erasure.objects.filter(pk=job.pk).update(status="queued", lease_until=None)
    report = run_erasure(job)
    assert (report.counts["calls"], report.counts["examples"]) == (2, 2)
    assert places_of("Quellmaryn", tmp_path) == set()


def test_an_uploaded_example_is_found_by_its_text(workload: Workload, bob: User) -> None:
    rows = [(ticket_messages(f"Dear {NAME}"), "login"), (ticket_messages("Dear sirs"), "login")]
    add_examples(workload, rows)
    parent = Example.objects.get(messages__contains=[{"content": f"Dear {NAME}"}])
    child = Example.objects.create(
        workload=workload, parent=parent, origin="synthetic", messages=ticket_messages("a copy"),
        digest="d" * 64, group="g", split="train",
    )  # fmt: skip
    report = run_erasure(start_erasure(workload.project, Sought.text(NAME), reason="asked to"))
    assert report.counts["examples"] == 2
    assert not Example.objects.filter(pk__in=[parent.pk, child.pk]).exists()
    assert workload.examples.count() == 1


def test_another_projects_calls_are_not_touched(workload: Workload, alice: User) -> None:
    other = Project.objects.create(slug="other", name="Other")
    mine: dict[str, Any] = {"metadata": {"user_id": "42"}}
    for project in (workload.project, other):
        record_calls(project, [call_record(f"{NAME} asks", **mine)], "import")
    foreign = other.calls.get()
    assert erase_calls(workload.project, [foreign.pk], reason="x").counts == {}
    run_erasure(start_erasure(workload.project, Sought.text(NAME), reason="asked to"))
    assert (workload.project.calls.count(), other.calls.count()) == (0, 1)


def test_the_reason_may_not_repeat_what_is_forgotten(project: Project) -> None:
    with pytest.raises(InvalidInput, match="do not repeat"):
        start_erasure(project, Sought.text(NAME), reason=f"{NAME} wrote to us")


def test_the_command_rehearses_unless_told_to_erase(
    workload: Workload, capsys: pytest.CaptureFixture[str]
) -> None:
    record_calls(workload.project, [call_record(f"{NAME} asks")], "import")
    options = {"project": "acme", "value": NAME, "reason": "asked to"}
    call_command("erase", **options)
    assert "would go:" in capsys.readouterr().out
    assert workload.project.calls.count() == 1
    call_command("erase", **options, yes=True)
    said = capsys.readouterr().out
    assert "1 calls" in said
    assert "not reached: Backups" in said
    assert workload.project.calls.count() == 0


def test_a_note_says_what_no_search_can_find(workload: Workload) -> None:
    sought = Sought.text("anna@example.org")
    job = start_erasure(workload.project, sought, reason="asked to", is_rehearsal=True)
    assert any("became a placeholder" in said for said in run_erasure(job).not_reached)


def test_a_call_that_arrives_late_is_erased_by_night_and_then_nobody_is_sought(
    workload: Workload, tmp_path: Path
) -> None:
    project = workload.project
    mine: dict[str, Any] = {"metadata": {"user_id": "42"}}
    job = start_erasure(project, Sought.metadata("user_id", "42"), reason="asked to")
    run_erasure(job)
    month_ago, later = job.created_at - timedelta(days=2), job.created_at + timedelta(hours=1)
    late, since = call_record("was stuck in a spool", **mine), call_record("a new call", **mine)
    for record, moment in ((late, month_ago), (since, later)):
        dated = dataclasses.replace(record, created_at=moment)
        record_calls(project, [dated], CapturedCall.Source.GATEWAY)
    assert erase_late_calls() == 1
    assert [call.question for call in project.calls.select_related("payload")] == ["a new call"]
    assert erase_late_calls() == 0
    Erasure.objects.filter(pk=job.pk).update(finished_at=job.created_at - timedelta(days=8))
    erase_late_calls()
    job.refresh_from_db()
    assert job.sought == ""


def spooled(folder: Path, project: Project, *records: CallRecord) -> None:
    """Leave calls in a spool, as a gateway that has ended does."""
    writer = spool.SpoolWriter(folder)
    for record in records:
        writer.append({"project": project.pk, "call": record.as_json()})
    writer.close()


def test_the_shipper_drops_late_calls_and_those_set_aside_and_tells(
    workload: Workload, alice: User, client: Client, tmp_path: Path
) -> None:
    project, folder = workload.project, tmp_path / "spool"
    mine: dict[str, Any] = {"metadata": {"user_id": "42"}}
    refused = [call_record(f"of {name}", ttft_ms=-1) for name in (NAME, "another")]
    spooled(folder, project, *refused)
    assert ship_once(folder) == 0
    job = start_erasure(project, Sought.text(NAME), reason="asked to")
    other = start_erasure(project, Sought.metadata("user_id", "42"), reason="asked to")
    later = job.created_at + timedelta(hours=1)
    for late in (
        call_record(f"Refund {NAME}"), call_record("a late one", **mine), call_record("theirs"),
        dataclasses.replace(call_record("a new one", **mine), created_at=later),
    ):  # fmt: skip
        spooled(folder, project, late)
    run_erasure(job)  # before the shipper had a chance
    assert ship_once(folder) == 2
    assert NAME.encode() not in b"".join(path.read_bytes() for path in folder.iterdir())
    said = project.calls.order_by("id").select_related("payload")
    assert [call.question for call in said] == ["theirs", "a new one"]
    assert [(row.dropped, row.dead) for row in (job.spools.get(), other.spools.get())] == [
        (1, 1), (1, 0),
    ]  # fmt: skip
    assert job.spools.get().cleared_at is not None
    client.force_login(alice)
    page = client.get(f"/acme/-/privacy/erasures/{job.pk}/").content.decode()
    assert f'<th scope="row">{HOST}</th>' in page
    bearer = {"authorization": f"Bearer {create_key(project, name='dpo', scopes=['api'])[1]}"}
    (told,) = client.get(f"/api/v1/erasures/{job.pk}", headers=bearer).json()["spools"]
    assert (told["host"], told["dropped"], told["dead"]) == (HOST, 1, 1)
    retry_dead(folder)
    ship_once(folder)
    assert spool.status(folder).dead_segments == 1  # the other one's, as wrong as before


def test_a_host_is_not_clear_while_a_segment_of_before_the_erasure_is_there(
    workload: Workload, tmp_path: Path
) -> None:
    project, folder = workload.project, tmp_path / "spool"
    writer = spool.SpoolWriter(folder)
    writer.append({"project": project.pk, "call": call_record(f"{NAME} asks").as_json()})
    assert ship_once(folder) == 1
    job = start_erasure(project, Sought.text(NAME), reason="asked to")
    run_erasure(job)
    ship_once(folder)
    assert "spool" in places_of(NAME, tmp_path)  # recorded, erased, and still in a gateway's hands
    assert job.spools.get().cleared_at is None
    writer.close()
    ship_once(folder)
    assert job.spools.get().cleared_at is not None
    assert places_of(NAME, tmp_path) == set()


def test_a_dictionary_made_of_erased_calls_is_replaced(workload: Workload, tmp_path: Path) -> None:
    project, told = workload.project, f"I am {NAME} of Harbour Lane, once again about the umbrella"
    records = [call_record(f"{text} {n}") for n in range(5) for text in tickets(60)]
    mine = [call_record(f"{told} {n}", metadata={"user_id": "42"}) for n in range(60)]
    record_calls(project, [*records, *mine], CapturedCall.Source.GATEWAY)
    tend_dictionaries()
    assert train_payload_dictionary(project, needed=True) is not None
    repack(project)
    assert "factory_payloaddictionary.body" in places_of("Quellmaryn", tmp_path)
    report = run_erasure(
        start_erasure(project, Sought.metadata("user_id", "42"), reason="asked to")
    )
    assert report.counts["calls"] == 60
    newest = project.payload_dictionaries.latest("pk")
    assert NAME.encode() not in bytes(newest.body)
    assert {row.dictionary_id for row in CallPayload.objects.all()} == {newest.pk}
    PayloadDictionary.objects.update(created_at=timezone.now() - timedelta(hours=2))
    tend_dictionaries()
    assert places_of("Quellmaryn", tmp_path) == set()
    assert len([row.read() for row in CallPayload.objects.all()]) == 300


def test_the_pages_of_what_saw_the_rows_say_so(
    workload: Workload, alice: User, bob: User, client: Client
) -> None:
    version = frozen(workload, bob)
    run = trained(workload, version)
    job = start_erasure(workload.project, Sought.text(NAME), reason="asked to")
    run_erasure(job)
    client.force_login(alice)
    pages = {
        f"/acme/-/privacy/erasures/{job.pk}/": f"/acme/tickets/runs/{run.pk}/",
        "/acme/tickets/datasets/": "withdrawn",
        "/acme/tickets/datasets/main/v1/": "Withdrawn: rows of it were erased.",
        f"/acme/tickets/runs/{run.pk}/": "It saw rows that were erased since.",
    }
    for address, said in pages.items():
        assert said in client.get(address).content.decode(), address


@pytest.mark.django_db(transaction=True)
def test_a_version_that_is_being_built_is_reached_when_it_is_there(
    workload: Workload, bob: User, tmp_path: Path
) -> None:
    first = frozen(workload, bob)
    add_examples(workload, [(ticket_messages("one more"), "login")], split="train")
    job = start_erasure(workload.project, Sought.text(NAME), reason="asked to")

    def erase() -> None:
        jobs.run(Erasure, job.pk, erasure_work)
        connection.close()

    eraser = threading.Thread(target=erase)
    with transaction.atomic():
        second = freeze(workload, user=bob)
        eraser.start()
        deadline = time.monotonic() + 30
        while not somebody_waits():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert workload.examples.filter(messages__icontains=NAME).count() == 2
    eraser.join()
    withdrawn = ErasedRows.objects.values_list("version", flat=True)
    assert set(withdrawn) == {first.pk, second.pk}
    assert places_of("Quellmaryn", tmp_path) == set()


def somebody_waits() -> bool:
    """Whether another connection waits for a lock."""
    with connection.cursor() as cursor:
        # Not pg_stat_activity, which stays in a transaction as it was first seen.
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])
