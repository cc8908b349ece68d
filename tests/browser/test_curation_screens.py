"""The funnel of a curation in a browser: drawn, live, opened by keyboard, undone."""

import pytest
from django.contrib.auth.models import User

from factory.models import CapturedCall, CurationRun, Project
from factory.services import jobs
from factory.services.capture import record_calls
from factory.services.curate import curate
from factory.services.curation import curation_work, save_recipe
from factory.services.discover import accept_all, group_calls
from factory.services.projects import create_project
from tests.browser.conftest import Screen
from tests.conftest import LABELS, call_record
from tests.factory.test_curation import texts

GERMAN = "Wo bleibt meine Bestellung? Ich warte schon seit drei Wochen auf das Paket."
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def project(transactional_db: None, alice: User) -> Project:
    made = create_project(slug="acme", name="Acme", owner=alice)
    plain = texts(160)
    send(made, [(text, LABELS[n % 3]) for n, text in enumerate(plain)], "plain")
    group_calls(made)
    (workload,) = accept_all(made)
    save_recipe(workload, {"language": {"keep": ["en"]}, "balance": {"mode": "oversample"}})
    curate(made)
    copies = [(f"{text} please", "login" if n % 4 else "billing") for n, text in enumerate(plain)]
    odd = [
        (f"{HOSTILE} broken", HOSTILE),
        (GERMAN, "delivery"),
        ("a llama", "I'm sorry, but I can't help with that."),
        *((text, "no label") for text in texts(6, seed=3)),
    ]
    send(made, [*copies[:60], *odd, *((text, "billing") for text in plain[:20])], "again")
    curate(made)
    return made


def send(project: Project, said: list[tuple[str, str]], name: str) -> None:
    records = [call_record(text, answer, request_id=f"{name}{n}") for n, (text, answer) in
               enumerate(said)]  # fmt: skip
    record_calls(project, records, CapturedCall.Source.GATEWAY)


def test_the_funnel_fits_every_screen_and_takes_back_by_keyboard(
    project: Project, screen: Screen
) -> None:
    workload = project.workloads.get()
    address = f"/acme/{workload.slug}/curate/"
    page = screen.open(address)
    for summary in page.locator("summary").all():
        summary.press("Enter")
    screen.photograph("funnel")
    assert page.get_by_text("outside the label set").is_visible()
    assert page.get_by_text(HOSTILE).first.is_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Undo: take back 7").press("Enter")
    page.locator("#curating").wait_for()
    screen.photograph("funnel-undoing")
    undoing = CurationRun.objects.latest("pk")
    jobs.run(CurationRun, undoing.pk, curation_work)
    page.get_by_text("Undone: 7 came back.").wait_for()
    screen.open(f"{address}recipe/")
    screen.photograph("recipe")
    screen.open(f"/acme/-/curate/{CurationRun.objects.earliest('pk').pk}/")
    screen.photograph("run")
    assert [said for said in screen.visitor.complaints if "404" not in said] == []
