"""The loop in one walk: captured calls in, a published and downloaded GGUF out."""

import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from huggingface_hub import hf_hub_download

from distill.gpu.tiny_base import build
from distill.models import DistillationRun, Evaluation
from distill.services.evaluate import run_evaluation
from distill.services.publish import move_alias, publish
from distill.services.train import run_work, start_run
from factory.demo.sample import SampleCall, generate, vocabulary_text
from factory.messages import record_from_log
from factory.models import CapturedCall, Example, Project
from factory.services import jobs
from factory.services.capture import record_calls
from factory.services.curate import curate
from factory.services.freeze import freeze
from factory.services.keys import create_key
from factory.services.projects import save_upstream
from factory.storage import file_sha256
from labeling.models import Label, LabelJob, Review
from labeling.services.label import create_teacher, label_work, start_label_job
from labeling.services.review import decide, next_item, queue_review
from tests.conftest import call_record
from tests.distill.published import serving
from tests.fakes import TEACHER, ScriptedUpstream

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

CALLS = 300
PRICES = {TEACHER: {"input": 5.0, "output": 20.0}}


def captured(project: Project, sample: list[SampleCall]) -> None:
    records = [
        record_from_log(
            {
                "id": call.id,
                "started_at": call.started_at,
                "request": call.request,
                "response": call_record("", call.gold).response,
            }
        )
        for call in sample
    ]
    assert record_calls(project, records, CapturedCall.Source.IMPORT) == CALLS
    assert record_calls(project, records, CapturedCall.Source.IMPORT) == 0


def test_calls_become_a_student_that_a_client_downloads(
    project: Project,
    alice: User,
    bob: User,
    client: Client,
    tmp_path: Path,
    settings: Any,
) -> None:
    settings.BASES_DIR = tmp_path
    sample = list(generate(CALLS, seed=5))
    gold = {call.id: call.gold for call in sample}
    captured(project, sample)
    counts = curate(project, accept_new=True)
    (workload,) = project.workloads.all()
    assert counts["example"] + counts["duplicate"] == CALLS
    assert workload.kind == "classification"

    upstream = ScriptedUpstream()
    with upstream.serve() as base_url:
        row = save_upstream(project, name="up", base_url=base_url, key="k", prices=PRICES)
        teacher = create_teacher(project, name="t", upstream=row, model=TEACHER)
        job = start_label_job(workload, teacher=teacher, votes=1, budget_usd=Decimal(5))
        jobs.run(LabelJob, job.pk, label_work)
        assert Label.objects.filter(job=job).count() == workload.examples.count()

        queue_review(workload, suspicious=10)
        while (item := next_item(workload, bob)) is not None:
            assert item.example.call is not None
            right = gold[item.example.call.request_id]
            is_right = item.example.target == right
            decision = Review.Decision.ACCEPT if is_right else Review.Decision.EDIT
            decide(item, bob, review_id=uuid.uuid4(), decision=decision, output=right)
        assert (
            not workload.examples.filter(split="test")
            .exclude(status=Example.Status.REVIEWED)
            .exists()
        )

        build(tmp_path / "base", vocabulary_text(lines=300))
        version = freeze(workload, user=alice)
        run = start_run(
            workload,
            version,
            base_model=str(tmp_path / "base"),
            teacher=teacher,
            overrides={"epochs": 2.0},
        )
        jobs.run(DistillationRun, run.pk, run_work)
        run.refresh_from_db()
        assert (run.status, run.error) == ("succeeded", "")
        for evaluation in run.evaluations.all():
            run_evaluation(evaluation.pk)

    measured = {e.subject: e for e in run.evaluations.all()}
    assert {e.status for e in measured.values()} == {Evaluation.Status.SUCCEEDED}
    assert measured["teacher"].metrics["accuracy"]["value"] > 0.9
    assert measured["gguf"].verdict is not None
    assert not measured["gguf"].verdict["passed"]  # a student of 200 rows and two epochs is not

    published = publish(run, user=alice, override_reason="the loop is under test, not the student")
    move_alias(workload, name="production", to=published, expected=None, user=alice)
    _, raw = create_key(project, name="client", scopes=["download"])
    file = published.files.get(path__endswith="Q4_K_M.gguf")
    with serving() as (address, _):
        pulled = hf_hub_download(
            f"{project.slug}/{workload.slug}",
            file.path,
            endpoint=address,
            token=raw,
            cache_dir=tmp_path / "cache",
        )
    assert file_sha256(Path(pulled)).sha256 == file.sha256

    client.force_login(alice)
    page = client.get(f"/{project.slug}/{workload.slug}/").content.decode()
    assert str(workload.examples.count()) in page
    assert "production" in page
    assert settings.STORAGE_URL not in page
