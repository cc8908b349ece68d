"""What the database must hold when workers die and people decide in the middle of a label job."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import quote

import pytest
from django.db import connection
from django.db.models import Count, Sum

from factory.models import Example, Job, Workload
from factory.services import jobs
from labeling.models import Draft, Label, LabelJob, Teacher, TeacherReply
from labeling.services.asking import AT_RISK
from labeling.services.augment import augment_work, start_augmentation
from labeling.services.label import change_teacher, start_label_job
from tests.conftest import MakeExample
from tests.fakes import Reply, ScriptedUpstream, completion
from tests.labeling.conftest import work_on

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = """
import sys, django
django.setup()
from factory.services import jobs
from labeling.models import LabelJob
from labeling.services.kinds import work_of_kind
jobs.run(LabelJob, int(sys.argv[1]), work_of_kind)
"""


def start_worker(job: LabelJob) -> subprocess.Popen[bytes]:
    at = connection.settings_dict
    url = f"postgresql://{at['USER']}@/{at['NAME']}?host={quote(at['HOST'], safe='')}"
    environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "factory.settings"}
    return subprocess.Popen([sys.executable, "-c", WORKER, str(job.pk)], env=environment)


def wait_until(holds: Callable[[], bool], limit_seconds: float = 120) -> None:
    deadline = time.monotonic() + limit_seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_worker_costs_no_row_and_no_saved_answer_is_asked_for_again(
    upstream: ScriptedUpstream, workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    for n in range(80):
        make_example(f"about billing {n}", "delivery")
    change_teacher(teacher, in_flight=8)
    job = start_label_job(workload, teacher=teacher, votes=2, budget_usd=Decimal(1))
    billing = completion('{"answer": "billing"}')
    upstream.script(*[Reply(body=billing)] * 60, *[Reply(body=billing, delay_s=600)] * 100)
    worker = start_worker(job)
    try:
        upstream.wait_for_chats(61, timeout_s=120)
        wait_until(TeacherReply.objects.exists)
    finally:
        worker.kill()
        worker.wait()
    upstream._script.clear()
    saved = set(TeacherReply.objects.values_list("cache_key", flat=True))
    asked_before = len(upstream.chats)
    assert len(saved) < 160

    LabelJob.objects.update(lease_until=jobs.in_future(-1))
    jobs.sweep()
    job = work_on(job)

    assert (job.status, job.attempt) == (Job.Status.SUCCEEDED, 2)
    assert job.progress["done"] == Label.objects.count() == 80
    again = [sent.headers["idempotency-key"] for sent in upstream.chats[asked_before:]]
    assert not saved & set(again)
    before = {sent.headers["idempotency-key"] for sent in upstream.chats[:asked_before]}
    assert len(before & set(again)) <= AT_RISK * teacher.in_flight
    replies = TeacherReply.objects.aggregate(n=Count("id"), usd=Sum("cost_usd"))
    assert (replies["n"], replies["usd"]) == (160, job.spent_usd)
    assert Label.objects.aggregate(usd=Sum("cost_usd"))["usd"] == job.spent_usd
    assert set(Example.objects.values_list("target", flat=True)) == {"billing"}


def test_a_killed_augmentation_goes_on_and_keeps_each_draft_once(
    upstream: ScriptedUpstream, workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    for n in range(30):
        make_example(f"where is my parcel number {n} from the shop in street {n}", "delivery")
    change_teacher(teacher, in_flight=4)
    upstream._latency_s = 0.1
    job = start_augmentation(
        workload, teacher=teacher, wanted={"paraphrase": 120}, budget_usd=Decimal(1), most_share=0.9
    )
    LabelJob.objects.update(smoke_waived=True)
    worker = start_worker(job)
    try:
        upstream.wait_for_chats(40, timeout_s=120)
        wait_until(Draft.objects.exists)
    finally:
        worker.kill()
        worker.wait()
    assert job.seeds.filter(is_done=False).exists()
    done = set(job.seeds.filter(is_done=True).values_list("pk", flat=True))
    drafts = set(Draft.objects.values_list("pk", flat=True))
    saved = set(TeacherReply.objects.values_list("cache_key", flat=True))
    asked_before = len(upstream.chats)

    LabelJob.objects.update(lease_until=jobs.in_future(-1))
    jobs.sweep()
    job = work_on(job, augment_work)

    assert (job.status, job.attempt) == (Job.Status.SUCCEEDED, 2)
    assert not job.seeds.filter(is_done=False).exists()
    assert drafts <= set(Draft.objects.values_list("pk", flat=True))
    assert not Draft.objects.filter(seed__in=done).exclude(pk__in=drafts).exists()
    again = {sent.headers["idempotency-key"] for sent in upstream.chats[asked_before:]}
    assert not saved & again
    kept = Draft.objects.filter(status="kept")
    assert kept.count() == Example.objects.filter(origin="synthetic").count() > 0
    assert job.spent_usd == TeacherReply.objects.aggregate(usd=Sum("cost_usd"))["usd"]


def test_a_decision_made_while_the_teacher_thinks_stands(
    upstream: ScriptedUpstream, workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    example = make_example("about billing", "delivery")
    job = start_label_job(workload, teacher=teacher, votes=1, budget_usd=Decimal(1))
    upstream.script(Reply(body=completion("login")))
    upstream.hold()

    def decide() -> None:
        upstream.wait_for_chats(1)
        Example.objects.filter(pk=example.pk).update(
            target="billing", provenance="relabeled_by_human", status="reviewed"
        )
        connection.close()
        upstream.release()

    person = threading.Thread(target=decide)
    person.start()
    job = work_on(job)
    person.join()
    example.refresh_from_db()
    assert (example.target, example.provenance) == ("billing", "relabeled_by_human")
    assert (job.status, Label.objects.get().output) == (Job.Status.SUCCEEDED, "login")
