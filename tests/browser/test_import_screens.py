"""Log files through the browser: dropped or chosen, with progress, one job each."""

import gzip
import re
from pathlib import Path

from django.contrib.auth.models import User

from factory.models import ImportJob, Project
from factory.services import imports, jobs
from tests.browser.conftest import NewVisitor, Screen
from tests.factory.test_imports import line

NEW = "/acme/-/imports/new/"
JOB_PAGE = re.compile(r"/imports/\d+/$")
DROP = """([name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name));
    const zone = document.querySelector(".drop");
    const event = {dataTransfer: data, bubbles: true, cancelable: true};
    zone.dispatchEvent(new DragEvent("drop", event));
}"""


def run_all() -> None:
    for job in ImportJob.objects.filter(status="queued"):
        jobs.run(ImportJob, job.pk, imports.import_work)


def test_files_are_sent_with_their_progress_and_what_failed_is_told(
    project: Project, screen: Screen, tmp_path: Path
) -> None:
    (tmp_path / "calls.jsonl").write_bytes(
        b"".join(line(number) for number in range(8000)) + b'broken\n{"no": "format"}\n'
    )
    (tmp_path / "cut-off-on-the-way.jsonl.gz").write_bytes(gzip.compress(line(1) * 99)[:-9])
    page = screen.open(NEW)
    screen.photograph("new-import")
    names = ["calls.jsonl", "cut-off-on-the-way.jsonl.gz"]
    page.get_by_label("Drop log files here").set_input_files([tmp_path / name for name in names])
    page.evaluate(DROP, ["dropped.jsonl", line(9000).decode()])
    page.get_by_role("button", name="Import").click()
    page.get_by_text("The gzip data ends too early").wait_for()
    page.get_by_text("see what comes in").nth(1).wait_for()
    screen.photograph("uploaded")

    page.get_by_text("see what comes in").first.click()
    page.get_by_text("waits for a worker").wait_for()
    run_all()
    page.get_by_text("Lines that were refused").wait_for()
    screen.photograph("imported")
    with page.expect_download() as download:
        page.get_by_text("All refused line numbers").click()
    assert download.value.path().read_text().splitlines()[1].startswith("8001,")
    assert project.calls.count() == 8001
    complaints = screen.visitor.complaints
    assert [said for said in complaints if "400 (Bad Request)" not in said] == []


def test_one_file_leads_to_its_page(
    project: Project, alice: User, new_visitor: NewVisitor, tmp_path: Path
) -> None:
    (tmp_path / "calls.jsonl").write_bytes(line(1))
    visitor = new_visitor("alice")
    page = visitor.open(NEW)
    page.get_by_label("Drop log files here").set_input_files(tmp_path / "calls.jsonl")
    page.get_by_role("button", name="Import").click()
    page.wait_for_url(JOB_PAGE)
    assert ImportJob.objects.get().filename == "calls.jsonl"
    assert visitor.complaints == []


def test_without_scripts_the_form_does_it(
    project: Project, alice: User, new_visitor: NewVisitor, tmp_path: Path
) -> None:
    (tmp_path / "calls.jsonl").write_bytes(line(1))
    visitor = new_visitor("alice", java_script_enabled=False)
    page = visitor.open(NEW)
    page.locator("input[type=file]").set_input_files(tmp_path / "calls.jsonl")
    page.get_by_role("button", name="Import").click()
    page.wait_for_url(JOB_PAGE)
    run_all()
    assert project.calls.count() == 1
