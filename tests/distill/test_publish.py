"""Publishing a run and moving the aliases, on a real database."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from pytest_django import Settings

from distill.models import Alias, AliasMove, Artifact, DistillationRun, Evaluation, ModelVersion
from distill.services.publish import file_at, move_alias, publish, rollback, version_at
from factory.errors import Conflict, InvalidInput, NotFound, Unavailable
from factory.models import DatasetEntry, Example, Workload
from factory.services.projects import create_workload, save_upstream
from labeling.models import Label, LabelJob, Teacher
from tests.conftest import MakeExample
from tests.distill import published as made
from tests.distill.published import make_run, store

pytestmark = pytest.mark.django_db


def finished_run(workload: Workload, **fields: Any) -> DistillationRun:
    return made.finished_run(workload, size=4096, **fields)


def published(workload: Workload, *, number: int = 1) -> ModelVersion:
    return made.published(workload, number=number, size=4096)


@pytest.fixture(autouse=True)
def _own_store(settings: Settings, tmp_path: Path) -> None:
    settings.STORAGE_URL = (tmp_path / "storage").as_uri()


def make_teacher(workload: Workload, name: str, *, may_train: bool) -> Teacher:
    upstream = save_upstream(workload.project, name=name, base_url="http://127.0.0.1:8081/v1")
    return Teacher.objects.create(
        project=workload.project,
        name=name,
        upstream=upstream,
        model="gpt-4o",
        may_train_on_outputs=may_train,
    )


def refuse_every_file(run: DistillationRun) -> None:
    for evaluation in run.evaluations.filter(subject="gguf"):
        checks = [{"name": "valid", "passed": False, "reason": "9 % invalid", "figures": {}}]
        evaluation.verdict = {"passed": False, "checks": checks}
        evaluation.save()


def aliases(workload: Workload) -> dict[str, int]:
    return {alias.name: alias.version.number for alias in workload.aliases.all()}


def test_a_published_version_holds_exactly_what_its_manifest_says(workload: Workload) -> None:
    run = finished_run(workload)
    version = publish(run)
    files = {file.path: file for file in version.files.all()}
    assert sorted(files) == [
        "README.md", "SHA256SUMS", "tickets-Q4_K_M.gguf", "tickets-Q8_0.gguf", "understudy.json",
    ]  # fmt: skip
    contents = {name: b"".join(store().read(file.sha256)) for name, file in files.items()}
    for name, content in contents.items():
        assert hashlib.sha256(content).hexdigest() == files[name].sha256
        assert len(content) == files[name].size
    manifest = contents["understudy.json"]
    assert hashlib.sha1(manifest).hexdigest() == version.commit
    assert manifest.decode() == version.manifest
    assert contents["README.md"].decode() == version.card
    listed = dict(line.split("  ")[::-1] for line in contents["SHA256SUMS"].decode().splitlines())
    assert listed == {n: f.sha256 for n, f in files.items() if n != "SHA256SUMS"}
    told = json.loads(manifest)
    assert told["repository"] == "acme/tickets"
    assert told["base_model"] == "Qwen/Qwen2.5-0.5B"
    assert told["dataset"] == {"name": "main", "number": 1, "digest": f"{1:064x}"}
    assert [row["subject"] for row in told["evaluations"]] == [
        "teacher", "base", "adapter", "gguf", "gguf",
    ]  # fmt: skip
    assert told["verdict"]["passed"] is True


def test_the_card_shows_the_figures_of_the_evaluation_rows(workload: Workload) -> None:
    card = publish(finished_run(workload)).card
    metrics = Evaluation.objects.get(artifact__quantization="Q4_K_M").metrics["accuracy"]
    assert f"| 200 | {metrics['value']:.1%} | {metrics['low']:.1%} to {metrics['high']:.1%}" in card
    assert "| the teacher | 200 | 90.0%" in card
    assert "| the untrained base | 200 | 30.0%" in card


def test_publishing_a_run_twice_is_one_version_and_the_next_run_the_next_number(
    workload: Workload, alice: User
) -> None:
    run = finished_run(workload)
    first = publish(run, user=alice)
    assert publish(run, override_reason="again") == first
    assert first.created_by == alice
    assert publish(finished_run(workload, number=2)).number == 2
    assert ModelVersion.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_publications_at_once_take_two_numbers(workload: Workload) -> None:
    runs = [finished_run(workload, number=1), finished_run(workload, number=2)]
    barrier = threading.Barrier(4)

    def work(run: DistillationRun) -> int:
        try:
            barrier.wait()
            return publish(run).number
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(work, [runs[0], runs[1], runs[0], runs[1]]))
    assert numbers[0] == numbers[2]
    assert numbers[1] == numbers[3]
    assert set(numbers) == {1, 2}


def test_a_run_that_the_gate_refused_is_published_only_with_a_reason(workload: Workload) -> None:
    run = finished_run(workload, small=100, large=100)
    with pytest.raises(Conflict, match=r"The gate refused this run: .*differs from teacher"):
        publish(run)
    with pytest.raises(Conflict):
        publish(run, override_reason="  ")
    assert not ModelVersion.objects.exists()
    version = publish(run, override_reason="a *pilot*, agreed with support")
    assert version.override_reason == "a *pilot*, agreed with support"
    assert r"a \*pilot\*, agreed with support" in version.card
    assert "**refused**" in version.card
    assert json.loads(version.manifest)["override_reason"] == version.override_reason


def test_a_file_that_failed_the_gate_is_left_out_of_the_version(workload: Workload) -> None:
    version = publish(finished_run(workload, small=100, large=191))
    names = set(version.files.values_list("path", flat=True))
    assert "tickets-Q8_0.gguf" in names
    assert "tickets-Q4_K_M.gguf" not in names


def test_a_run_without_a_finished_measurement_cannot_be_published(workload: Workload) -> None:
    with pytest.raises(Conflict, match="measured"):
        publish(make_run(workload), override_reason="please")
    run = finished_run(workload, number=2)
    run.evaluations.filter(subject="gguf").update(verdict=None)
    with pytest.raises(Conflict, match="not decided"):
        publish(run)
    run.evaluations.filter(artifact__quantization="Q8_0").update(status="running")
    with pytest.raises(Conflict, match="still being evaluated"):
        publish(run, override_reason="please")


def test_a_teacher_whose_terms_forbid_it_stops_the_publication(workload: Workload) -> None:
    teacher = make_teacher(workload, "strict", may_train=False)
    run = finished_run(workload, teacher=teacher)
    with pytest.raises(Conflict, match="The terms of teacher strict forbid"):
        publish(run)
    assert publish(run, override_reason="permission in writing").number == 1


def test_the_terms_of_a_teacher_count_that_only_labelled_rows(
    workload: Workload, make_example: MakeExample
) -> None:
    run = finished_run(workload, teacher=make_teacher(workload, "open", may_train=True))
    example = make_example("where is it", provenance="relabeled_by_model")
    job = LabelJob.objects.create(
        workload=workload, teacher=make_teacher(workload, "strict", may_train=False), budget_usd=1
    )
    label = Label.objects.create(
        job=job, example=example, output="billing", confidence=1, status=Label.Status.ACCEPTED
    )
    frozen_row(run, example, provenance="relabeled_by_model")
    with pytest.raises(Conflict, match="teacher strict forbid"):
        publish(run)
    label.status = Label.Status.UNSURE
    label.save()
    assert publish(run).number == 1


def frozen_row(run: DistillationRun, example: Example, **fields: Any) -> DatasetEntry:
    values: dict[str, Any] = {"split": "train", "target": "billing", "provenance": "teacher"}
    return DatasetEntry.objects.create(
        version=run.dataset_version,
        position=run.dataset_version.entries.count(),
        example=example,
        digest=example.digest,
        **{**values, **fields},
    )


def test_rows_whose_terms_forbid_training_stop_the_publication(
    workload: Workload, make_example: MakeExample
) -> None:
    run = finished_run(workload)
    frozen_row(run, make_example("as it was frozen"), may_train=False)
    with pytest.raises(Conflict, match="1 rows of main v1 have answers whose terms forbid"):
        publish(run)
    learnt_later = make_example("as it is known now", may_train=False)
    frozen_row(run, learnt_later)
    frozen_row(run, make_example("answered anew since", "login", may_train=False))
    frozen_row(run, make_example("only measured", may_train=False), split="test")
    with pytest.raises(Conflict, match="2 rows of main v1"):
        publish(run)
    assert publish(run, override_reason="with leave").number == 1


def test_bytes_that_are_missing_or_cut_short_stop_the_publication(workload: Workload) -> None:
    run = finished_run(workload)
    artifact = Artifact.objects.get(quantization="Q4_K_M")
    path = store().path(artifact.sha256)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Unavailable, match="damaged"):
        publish(run)
    path.unlink()
    with pytest.raises(Unavailable, match="not in the store"):
        publish(run)
    assert not ModelVersion.objects.exists()


def test_an_alias_moves_only_from_where_the_caller_saw_it(workload: Workload, alice: User) -> None:
    first, second = published(workload, number=1), published(workload, number=2)
    move_alias(workload, name="production", to=first, expected=None, user=alice)
    with pytest.raises(Conflict):
        move_alias(workload, name="production", to=second, expected=None)
    with pytest.raises(Conflict):
        move_alias(workload, name="production", to=first, expected=second)
    assert aliases(workload) == {"production": 1}
    moved = move_alias(workload, name="production", to=second, expected=first, user=alice)
    assert moved.version == second
    assert aliases(workload) == {"production": 2, "previous": 1}
    history = AliasMove.objects.order_by("id")
    assert [(m.name, m.from_version, m.to_version, m.moved_by) for m in history] == [
        ("production", None, first, alice),
        ("production", first, second, alice),
        ("previous", None, first, alice),
    ]


def test_a_move_to_where_it_is_already_changes_nothing(workload: Workload) -> None:
    version = published(workload)
    move_alias(workload, name="canary", to=version, expected=None)
    move_alias(workload, name="canary", to=version, expected=version)
    assert AliasMove.objects.count() == 1
    assert aliases(workload) == {"canary": 1}


def test_a_rollback_goes_back_and_a_second_one_forth(workload: Workload) -> None:
    first = published(workload, number=1)
    with pytest.raises(Conflict, match="no former version"):
        rollback(workload)
    move_alias(workload, name="production", to=first, expected=None)
    with pytest.raises(Conflict, match="no former version"):
        rollback(workload)
    second = published(workload, number=2)
    move_alias(workload, name="production", to=second, expected=first)
    assert rollback(workload).version == first
    assert aliases(workload) == {"production": 1, "previous": 2}
    assert rollback(workload).version == second
    assert aliases(workload) == {"production": 2, "previous": 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_first_move", [True, False])
def test_of_two_people_who_move_an_alias_at_once_one_is_told(
    workload: Workload, is_first_move: bool
) -> None:
    versions = [published(workload, number=number) for number in (1, 2, 3)]
    expected = None
    if not is_first_move:
        expected = versions[0]
        move_alias(workload, name="production", to=expected, expected=None)
    barrier = threading.Barrier(2)

    def work(to: ModelVersion) -> str:
        try:
            barrier.wait()
            move_alias(workload, name="production", to=to, expected=expected)
        except Conflict:
            return "conflict"
        else:
            return str(to.number)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(work, versions[1:]))
    assert said.count("conflict") == 1
    winner = next(int(word) for word in said if word != "conflict")
    assert Alias.objects.get(workload=workload, name="production").version.number == winner
    assert AliasMove.objects.filter(name="production", to_version__number=winner).count() == 1
    assert aliases(workload).get("previous") == (None if is_first_move else 1)


def test_an_alias_cannot_leave_its_workload_nor_be_invented(workload: Workload) -> None:
    other = create_workload(workload.project, slug="other", kind="generation")
    version = published(workload)
    with pytest.raises(InvalidInput):
        move_alias(other, name="production", to=version, expected=None)
    for name in ("previous", "main", "latest"):
        with pytest.raises(InvalidInput):
            move_alias(workload, name=name, to=version, expected=None)
    assert not Alias.objects.exists()


def test_a_revision_is_an_alias_a_number_or_a_commit(workload: Workload) -> None:
    first, second = published(workload, number=1), published(workload, number=2)
    for name in ("main", "HEAD", "production", "canary", "previous"):
        with pytest.raises(NotFound):
            version_at(workload, name)
    move_alias(workload, name="production", to=first, expected=None)
    move_alias(workload, name="canary", to=second, expected=None)
    for name in ("main", "HEAD", "production", "v1", first.commit):
        assert version_at(workload, name) == first
    for name in ("canary", "v2", second.commit):
        assert version_at(workload, name) == second
    for name in ("", "v0", "v3", "v01", "V1", "1", first.commit[:12], "a" * 40, "main\n", "v1\0"):
        with pytest.raises(NotFound):
            version_at(workload, name)


def test_a_file_is_found_by_its_exact_name_only(workload: Workload) -> None:
    version = published(workload)
    assert file_at(version, "README.md").path == "README.md"
    for name in ("readme.md", "./README.md", "README.md/", "", "..", "a\0b", "%2e%2e"):
        with pytest.raises(NotFound):
            file_at(version, name)
