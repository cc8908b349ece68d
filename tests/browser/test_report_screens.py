"""The report's pages in a browser: they fit the screen, and nothing in them complains."""

import pytest
from django.contrib.auth.models import User

from factory.models import Project
from factory.services.discover import accept_group
from factory.services.projects import save_upstream
from factory.services.report import start_report
from factory.tasks import run_report
from tests.browser.conftest import Screen
from tests.factory.test_report import largest, record_chat, record_tickets


@pytest.fixture
def reports(transactional_db: None, alice: User, project: Project) -> dict[str, str]:
    """Measure a workload that pays, a prompt that does not, and leave one waiting."""
    dear = {"frontier-large": {"input": 900, "output": 1000}}
    save_upstream(
        project, name="dear", base_url="http://127.0.0.1:9999/v1", key="k", is_default=True,
        prices=dear,
    )  # fmt: skip
    record_tickets(project, 2400, days=24, model="frontier-large")
    workload = accept_group(largest(project), slug="tickets")
    record_chat(project, 300)
    chat = project.call_groups.filter(workload=None).order_by("-call_count")[0]
    for subject in (workload, chat):
        run_report(start_report(subject).pk)
    return {
        "report": "/acme/tickets/report/",
        "chat-report": f"/acme/-/prompts/{chat.pk}/report/",
        "opportunities": "/acme/-/opportunities/",
        "assumptions": "/acme/-/assumptions/",
    }


def test_the_reports_are_quiet_and_fit_the_screen(reports: dict[str, str], screen: Screen) -> None:
    for name, address in reports.items():
        screen.open(address)
        screen.photograph(name)
    assert screen.visitor.complaints == []
