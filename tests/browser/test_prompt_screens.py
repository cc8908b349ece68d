"""The pages of prompts in a browser: a prompt edit joins its workload, and comes out again."""

import pytest
from django.contrib.auth.models import User

from factory.models import CallGroup, Project
from factory.selectors import proposals
from factory.services.curate import curate
from factory.services.discover import accept_group
from tests.browser.conftest import Screen
from tests.conftest import INSTRUCTION
from tests.factory.test_prompt_pages import EDITED, record_tickets


@pytest.fixture
def edited(transactional_db: None, alice: User, project: Project) -> CallGroup:
    record_tickets(project, INSTRUCTION, "old")
    accept_group(proposals(project).get(), slug="tickets")
    curate(project)
    record_tickets(project, EDITED, "new")
    return proposals(project).get()


def test_a_prompt_edit_joins_its_workload_and_comes_out_again(
    edited: CallGroup, screen: Screen
) -> None:
    page = screen.open("/acme/")
    screen.photograph("proposals")
    page.get_by_role("link", name="Read and route").click()
    page.get_by_role("heading", name="Another wording").wait_for()
    screen.photograph("proposed-prompt")
    page.get_by_role("button", name="Join it").click()
    page.get_by_role("heading", name="Wordings").wait_for()
    screen.photograph("wordings")
    page.get_by_role("link", name="Read and route").click()
    page.get_by_role("heading", name="What stays the same").wait_for()
    screen.photograph("joined-prompt")
    page.get_by_role("button", name="Take it out of tickets").click()
    page.get_by_text("The prompt is proposed again").wait_for()
    assert proposals(edited.project).get() == edited
    assert screen.visitor.complaints == []
    assert len(screen.visitor.dialogs) == 1
