"""A real server and a real Chromium; without a Chromium these tests are skipped, and say so."""

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from django.conf import settings
from django.contrib.auth.models import User
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from factory.asgi import application
from factory.models import Workload
from tests.browser.world import World, build
from tests.conftest import PASSWORD

NAMES = ("chromium", "chromium-browser", "google-chrome")
SIZES = {"light": (1280, 900), "dark": (1280, 900), "phone": (390, 844)}
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here, and skip it where there is no browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None:
                reason = "NO CHROMIUM FOUND: the pages were not tested in a browser"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Run one browser for these tests only: playwright keeps an event loop in the main thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def world(transactional_db: None, workload: Workload, alice: User) -> World:
    return build(workload, alice)


@pytest.fixture
def site(transactional_db: None) -> Iterator[str]:
    """Serve the site as it is served in production; the socket listens before anybody asks."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


class Visitor:
    """A person in a browser window; whatever the browser complains about is kept."""

    def __init__(self, context: BrowserContext, site: str) -> None:
        self.context = context
        self.site = site
        self.complaints: list[str] = []
        self.dialogs: list[str] = []
        self.page = self.watch(context.new_page())

    def watch(self, page: Page) -> Page:
        page.set_default_timeout(10_000)
        page.on("console", self.hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self.dismiss)
        return page

    def hear(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{self.page.url}: {message.text}")

    def dismiss(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.accept()

    def open(self, path: str) -> Page:
        self.page.goto(self.site + path)
        return self.page

    def sign_in(self, name: str) -> Page:
        page = self.open("/sign-in/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{self.site}/")
        return page


NewVisitor = Callable[..., Visitor]


@pytest.fixture
def new_visitor(chromium: Browser, site: str) -> Iterator[NewVisitor]:
    """Open windows of their own, each with its own cookies."""
    contexts: list[BrowserContext] = []

    def new(name: str = "", **options: Any) -> Visitor:
        contexts.append(chromium.new_context(**options))
        visitor = Visitor(contexts[-1], site)
        if name:
            visitor.sign_in(name)
        return visitor

    yield new
    for context in contexts:
        context.close()


class Screen:
    """Alice at a screen of one size: each page that she looks at is photographed and has to fit."""

    def __init__(self, visitor: Visitor, size: str, folder: Path) -> None:
        self.visitor, self.size, self.folder = visitor, size, folder

    def open(self, path: str) -> Page:
        return self.visitor.open(path)

    def photograph(self, name: str) -> None:
        page, (width, _) = self.visitor.page, SIZES[self.size]
        page.wait_for_load_state("networkidle")
        page.screenshot(path=self.folder / f"{name}-{self.size}.png", full_page=True)
        needed = page.evaluate("document.documentElement.scrollWidth")
        assert needed <= width, f"{name} is {needed} pixels wide"


@pytest.fixture(params=SIZES)
def screen(
    request: pytest.FixtureRequest, alice: User, new_visitor: NewVisitor, tmp_path: Path
) -> Screen:
    """Sit Alice down at each size of screen; the pictures are kept where SCREENSHOTS says."""
    width, height = SIZES[request.param]
    scheme = "dark" if request.param == "dark" else "light"
    viewport = {"width": width, "height": height}
    visitor = new_visitor("alice", viewport=viewport, color_scheme=scheme)
    return Screen(visitor, request.param, Path(os.environ.get("SCREENSHOTS", tmp_path)))


@pytest.fixture(autouse=True)
def _own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "STORAGE_URL", (tmp_path / "storage").as_uri())
    monkeypatch.setattr(settings, "JOBS_DIR", tmp_path / "jobs")
