"""The report's pages in a browser: they fit the screen, and nothing in them complains."""

import os
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from factory.models import Project
from factory.services.discover import accept_group
from factory.services.projects import save_upstream
from factory.services.report import start_report
from factory.tasks import run_report
from tests.browser.conftest import NewVisitor
from tests.browser.test_screens import SIZES
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


@pytest.mark.parametrize("size", SIZES)
def test_the_reports_are_quiet_and_fit_the_screen(
    size: str, reports: dict[str, str], new_visitor: NewVisitor, tmp_path: Path
) -> None:
    width, height = SIZES[size]
    scheme = "dark" if size == "dark" else "light"
    viewport = {"width": width, "height": height}
    visitor = new_visitor("alice", viewport=viewport, color_scheme=scheme)
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    for name, address in reports.items():
        page = visitor.open(address)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=folder / f"{name}-{size}.png", full_page=True)
        needed = page.evaluate("document.documentElement.scrollWidth")
        assert needed <= width, f"{name} is {needed} pixels wide"
    assert visitor.complaints == []
