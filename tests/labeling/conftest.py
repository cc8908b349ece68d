"""A teacher over real HTTP: the scripted provider, named as an upstream with prices."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Protocol

import pytest

from factory.models import Project, Workload
from factory.services import jobs
from factory.services.projects import save_upstream
from labeling.models import LabelJob, Teacher
from labeling.services.label import create_teacher, label_work, start_label_job
from tests.fakes import TEACHER, ScriptedUpstream

PRICES = {TEACHER: {"input": 2.0, "output": 8.0}}


@pytest.fixture(autouse=True)
def cheap_passwords(settings: Any) -> None:
    """No test here signs in, and scrypt is slow on purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


class RunJob(Protocol):
    def __call__(self, **options: Any) -> LabelJob: ...


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()
    with scripted.serve() as scripted.base_url:  # type: ignore[attr-defined]
        yield scripted


@pytest.fixture
def teacher(project: Project, upstream: ScriptedUpstream) -> Teacher:
    address = upstream.base_url  # type: ignore[attr-defined]
    endpoint = save_upstream(project, name="big", base_url=address, key="sk-1", prices=PRICES)
    return create_teacher(project, name="big", upstream=endpoint, model=TEACHER)


@pytest.fixture
def run_job(workload: Workload, teacher: Teacher) -> RunJob:
    """Start a label job and run it as a worker would; give it as it ended."""

    def run(**options: Any) -> LabelJob:
        chosen = {"votes": 1, "budget_usd": Decimal(1), "teacher": teacher, **options}
        return work_on(start_label_job(workload, **chosen))

    return run


def work_on(job: LabelJob, work: Callable[[LabelJob], None] = label_work) -> LabelJob:
    jobs.run(LabelJob, job.pk, work)
    return LabelJob.objects.get(pk=job.pk)
