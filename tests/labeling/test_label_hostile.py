"""Label jobs against a teacher that does everything wrong: nothing lost, nothing overspent."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Count

from factory.models import Example, Job, Project, Workload
from factory.services.projects import save_upstream
from labeling.models import Label, LabelJob, Teacher, TeacherReply
from labeling.services.label import create_teacher, resume_label_job, start_label_job
from tests.conftest import MakeExample
from tests.fakes import TEACHER
from tests.hostile import FAULTS, HostileTeacher
from tests.labeling.conftest import PRICES, work_on

pytestmark = pytest.mark.django_db

ROWS = 150


@pytest.fixture(autouse=True)
def impatience(settings: Any) -> None:
    settings.UPSTREAM_TIMEOUT_SECONDS = 1


@pytest.fixture
def hostile() -> Iterator[HostileTeacher]:
    upstream = HostileTeacher()
    with upstream.serve() as upstream.base_url:  # type: ignore[attr-defined]
        yield upstream


@pytest.fixture
def teacher(project: Project, hostile: HostileTeacher) -> Teacher:
    address = hostile.base_url  # type: ignore[attr-defined]
    endpoint = save_upstream(project, name="bad", base_url=address, key="sk-1", prices=PRICES)
    return create_teacher(project, name="bad", upstream=endpoint, model=TEACHER, in_flight=16)


def start(workload: Workload, teacher: Teacher, budget: str) -> LabelJob:
    return start_label_job(workload, teacher=teacher, votes=1, budget_usd=Decimal(budget))


def bill(hostile: HostileTeacher) -> Decimal:
    """What the endpoint charges, by its own count."""
    return sum((Decimal(p) * 2 + Decimal(c) * 8 for p, c in hostile.billed), Decimal(0)) / Decimal(
        1_000_000
    )


def test_a_teacher_that_does_everything_wrong_costs_no_row_and_pays_none_twice(
    hostile: HostileTeacher, workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    for n in range(ROWS):
        make_example(f"about billing {n}", "delivery")
    job = work_on(start(workload, teacher, "10"))
    while not job.is_final:
        resume_label_job(job, nevertheless=True)
        job = work_on(job)
    assert (job.status, job.error) == (Job.Status.SUCCEEDED, "")
    assert set(FAULTS) < set(hostile.met)
    assert Label.objects.count() == ROWS
    good = set(Label.objects.filter(status="accepted").values_list("example_id", flat=True))
    assert len(good) > ROWS * 0.9
    assert set(Example.objects.filter(pk__in=good).values_list("target", flat=True)) == {"billing"}
    # What is not accepted says why, and no question has two paid answers.
    assert not Label.objects.exclude(status="accepted").filter(error="").exists()
    names = TeacherReply.objects.values("cache_key").annotate(n=Count("id"))
    assert not names.filter(n__gt=1).exists()
    # Whatever the endpoint bills, lost answers included, is in our books, and never too little.
    assert bill(hostile) <= job.spent_usd <= job.budget_usd
    assert job.spent_usd == sum(reply.cost_usd for reply in TeacherReply.objects.all())


def test_a_hostile_teacher_never_gets_more_than_the_budget(
    hostile: HostileTeacher, workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    for n in range(ROWS):
        make_example(f"about billing {n}", "delivery")
    job = work_on(start(workload, teacher, "0.02"))
    if "Smoke run" in job.error:
        resume_label_job(job, nevertheless=True)
        job = work_on(job)
    assert job.status == Job.Status.PAUSED
    assert "Budget reached" in job.error
    assert Decimal(0) < bill(hostile) <= job.spent_usd <= Decimal("0.02")


def test_an_answer_counted_higher_than_is_possible_is_charged_at_its_bound_and_told(
    hostile: HostileTeacher, workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    hostile.faults, hostile.share = ("usage",), 1.0
    for n in range(10):
        make_example(f"about billing {n}")
    job = work_on(start(workload, teacher, "1"))
    assert job.progress["accepted"] == 10
    assert bill(hostile) <= job.spent_usd < Decimal("0.1")
    assert job.progress["overcounted"] > 0
