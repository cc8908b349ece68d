"""Label sets, insight and judges through the API and the commands; a student's answers as a set."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from distill.services.label_sets import write_student_set
from factory.models import Project, Workload
from factory.services import jobs
from factory.services.keys import create_key
from labeling.models import Application, InsightRun, Label, LabelSet, Teacher
from labeling.services.insight import insight_work
from labeling.services.label_sets import application_work, label_set_work
from tests.browser.world import World, build
from tests.conftest import MakeExample

pytestmark = pytest.mark.django_db
WORKLOAD = "/api/v1/workloads/tickets"
NAMED = {"project": "acme", "workload": "tickets"}


@pytest.fixture
def api(project: Project) -> Client:
    _, secret = create_key(project, name="k", scopes=["api"])
    return Client(headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture
def key(teacher: Teacher, workload: Workload, make_example: MakeExample) -> str:
    """Label 12 rows by a job, 10 of them as production did; give its set's key."""
    job = workload.label_jobs.create(teacher=teacher, budget_usd=1, status="succeeded")
    for n in range(12):
        example = make_example(f"ticket {n}", "billing", produced="billing")
        said = "billing" if n < 10 else "login"
        Label.objects.create(
            job=job, example=example, output=said, confidence=0.9, status="accepted"
        )
    return f"job-{job.pk}"


def post(client: Client, path: str, body: Any = None) -> Any:
    response = client.post(path, json.dumps(body or {}), content_type="application/json")
    assert response.status_code == 200, response.content
    return response.json()


def command(name: str, *arguments: str, **options: Any) -> str:
    said = StringIO()
    call_command(name, *arguments, stdout=said, **options)
    return said.getvalue()


def test_the_api_lists_compares_applies_and_undoes(
    api: Client, workload: Workload, key: str
) -> None:
    assert {one["key"] for one in api.get(f"{WORKLOAD}/label-sets").json()} >= {"production", key}
    asked = f"{WORKLOAD}/label-sets/compare?first=production&second={key}"
    compared = api.get(asked).json()
    assert compared["agreement"]["value"] == pytest.approx(10 / 12)
    assert {"first": "billing", "second": "login", "count": 2} in compared["matrix"]
    act = post(api, f"{WORKLOAD}/label-sets/apply", {"source": key, "at_least": 0.5})
    jobs.run(Application, act["id"], application_work)
    assert api.get(f"/api/v1/label-sets/acts/{act['id']}").json()["rows"] == 12
    undo = post(api, f"/api/v1/label-sets/acts/{act['id']}/undo")
    jobs.run(Application, undo["id"], application_work)
    assert workload.examples.filter(target="billing", provenance="teacher").count() == 12


def test_the_api_combines_sets(api: Client, key: str) -> None:
    body = {"name": "both", "members": ["production", key], "method": "majority"}
    made = post(api, f"{WORKLOAD}/label-sets/committees", body)
    jobs.run(LabelSet, made["id"], label_set_work)
    assert api.get(f"/api/v1/label-sets/{made['id']}").json()["rows"] == 12


def test_the_api_judges_labels_and_says_what_it_found(api: Client, key: str) -> None:
    run = post(api, f"{WORKLOAD}/insight", {"to_review": 3})
    jobs.run(InsightRun, run["id"], insight_work)
    found = api.get(f"/api/v1/insight/{run['id']}").json()
    assert found["facts"]["queued"]["suspicious"] == 3
    assert api.get(f"{WORKLOAD}/insight").json()["facts"]["judged"] == 12
    assert [row["rank"] for row in api.get(f"{WORKLOAD}/suspicious").json()] == list(range(1, 13))


def test_another_projects_acts_and_runs_do_not_exist(
    workload: Workload, key: str, carol: User
) -> None:
    from factory.services.projects import create_project  # noqa: PLC0415

    stranger = create_project(slug="other", name="Other", owner=carol)
    _, secret = create_key(stranger, name="k", scopes=["api"])
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    run = InsightRun.objects.create(workload=workload)
    for path in (f"{WORKLOAD}/label-sets", f"/api/v1/insight/{run.pk}"):
        assert client.get(path).status_code == 404


def test_the_commands_do_the_same_in_a_shell(workload: Workload, key: str) -> None:
    assert f"{key:<12}       12" in command("label_sets", **NAMED)
    said = command("label_sets", compare=["production", key], **NAMED)
    assert "agree on 83.33%" in said
    assert "12 rows" in command("label_sets", combine=["production", key], **NAMED)
    assert "10 rows got" in command("label_sets", apply=key, where_agrees="production", **NAMED)
    act = Application.objects.get()
    assert "10 rows are as before" in command("label_sets", undo=act.pk, **NAMED)
    assert "12 labels judged" in command("insight", review=2, **NAMED)
    with pytest.raises(CommandError, match="no such teacher"):
        command("judge", teacher="nobody", first="production", budget="1", **NAMED)


def test_a_students_predictions_lie_beside_the_other_sets(
    workload: Workload, alice: User, settings: Any, tmp_path: Path
) -> None:
    settings.STORAGE_URL = (tmp_path / "storage").as_uri()
    settings.JOBS_DIR = tmp_path / "jobs"
    world: World = build(workload, alice)
    assert world.evaluation.predictions_sha256
    client = Client()
    client.force_login(alice)
    path = f"/acme/tickets/evaluations/{world.evaluation.pk}/label-set/"
    response = client.post(path, follow=True)
    made = LabelSet.objects.get()
    assert made.rows > 0
    assert "rows that both answer" in response.content.decode()
    assert write_student_set(world.evaluation).name == made.name
    assert LabelSet.objects.count() == 1
