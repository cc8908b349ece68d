"""Reviewing by keyboard in a headless Chromium, on the site as a user runs it.

python benchmarks/review.py [--rounds 3] [--decisions 200]

The site is `manage.py up` with its embedded PostgreSQL and one web process. A reviewer accepts and
corrects labels: once reading each card for 0.4 s, once flat out, the next key pressed in the moment
in which the next card is on the screen, which measures how fast the server deals. CPU is counted
for the web process and for all of PostgreSQL, connections included.
"""

import argparse
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from gateway import VAR, free_port, goal, pid_of, process, until_open
from machine import machine
from playwright.sync_api import BrowserContext, Page, Request, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
LABELS = ["billing", "delivery", "login", "returns", "praise"]
READING_MS = 400
NAMES = ("chromium", "chromium-browser", "google-chrome")
# From the key until a frame with another card was drawn, as the page itself sees it.
WATCH = """() => {
  window.waits = [];
  const shown = () => document.querySelector(".card:not([hidden])")?.dataset.item;
  document.addEventListener("keydown", () => {
    const [start, before] = [performance.now(), shown()];
    const look = () => {
      if (shown() && shown() !== before) window.waits.push(performance.now() - start);
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }, true);
}"""
# Not `wait_for_function`: it evaluates text, which the page's policy forbids.
NEXT = """(number) => new Promise((done) => {
  const look = () => (window.waits.length > number ? done() : requestAnimationFrame(look));
  look();
})"""


def main() -> None:
    """Measure, and print the table and the goals."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--decisions", type=int, default=200)
    given = parser.parse_args()
    with site(2 * given.rounds * given.decisions + 100) as running, sync_playwright() as p:
        path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
        browser = p.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{running.address}/sign-in/")
        page.get_by_label("Username").fill("bob")
        page.get_by_label("Password").fill(running.password)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{running.address}/")
        cold = browser.new_context(storage_state=page.context.storage_state())
        weight = cold_weight(cold, running)
        rounds = [
            {
                **measure(page, running, given.decisions, reading_ms=READING_MS),
                "flat_out_p95_ms": measure(page, running, given.decisions)["p95_ms"],
            }
            for _ in range(given.rounds)
        ]
        browser.close()
    show(rounds, weight, given.decisions)


def cold_weight(context: BrowserContext, running: "Site") -> dict[str, int]:
    """Return the bytes of each file that the page is, headers included, into an empty cache."""
    requests: list[Request] = []
    page = context.new_page()
    page.on("request", lambda request: requests.append(request))  # noqa: PLW0108  # a builtin is refused
    page.goto(running.review)
    page.wait_for_load_state("networkidle")
    weight = {}
    for request in requests:
        sizes = request.sizes()
        name = request.url.rpartition("/static/")[2] if "/static/" in request.url else "the page"
        weight[name] = sizes["responseBodySize"] + sizes["responseHeadersSize"]
    context.close()
    return weight


def measure(
    page: Page, running: "Site", decisions: int, *, reading_ms: int = 0
) -> dict[str, float]:
    """Decide so many rows; return what it took."""
    page.goto(running.review)
    page.wait_for_load_state("networkidle")
    page.evaluate(WATCH)
    requests: list[Request] = []
    page.on("request", lambda request: requests.append(request))  # noqa: PLW0108
    before = running.cpu_seconds()
    for number in range(decisions):
        page.wait_for_timeout(reading_ms)
        page.keyboard.press("a3"[number % 2])
        page.evaluate(NEXT, number)
    page.get_by_text("All saved.").wait_for()
    web, postgres = (now - then for now, then in zip(running.cpu_seconds(), before, strict=True))
    waits = page.evaluate("window.waits")
    return {
        "p50_ms": median(waits),
        "p95_ms": quantiles(waits, n=20)[-1],
        "requests": len(requests) / decisions,
        "web_ms": 1000 * web / decisions,
        "postgres_ms": 1000 * postgres / decisions,
    }


def show(rounds: list[dict[str, float]], weight: dict[str, int], decisions: int) -> None:
    """Print the table, the machine and the goals."""
    print(f"\n{machine()}; {decisions} decisions a round, median of {len(rounds)} rounds\n")
    result = {name: median(each[name] for each in rounds) for name in rounds[0]}
    for name, value in result.items():
        print(f"{name:<18}{value:>9.2f}   ({', '.join(f'{each[name]:.2f}' for each in rounds)})")
    print()
    for name, size in sorted(weight.items(), key=lambda pair: -pair[1]):
        print(f"{size:>9,} bytes  {name}")
    print(f"{sum(weight.values()):>9,} bytes  in all\n")
    cpu = result["web_ms"] + result["postgres_ms"]
    goal("review-key-to-card-p95-ms", result["p95_ms"], 100, is_met=result["p95_ms"] < 100)
    flat_out = result["flat_out_p95_ms"]
    goal("review-flat-out-key-to-card-p95-ms", flat_out, 100, is_met=flat_out < 100)
    goal("review-requests", result["requests"], 1, is_met=result["requests"] <= 1)
    goal("review-cpu-ms", cpu, 10, is_met=cpu <= 10)
    kilobytes = sum(weight.values()) / 1000
    goal("review-page-kb", kilobytes, 100, is_met=kilobytes <= 100)


# --- the site -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Site:
    """Our own site with a full review queue."""

    address: str
    password: str
    web: int  # process ids
    postgres: int

    @property
    def review(self) -> str:
        """The address of the review page."""
        return f"{self.address}/bench/tickets/review/"

    def cpu_seconds(self) -> tuple[float, float]:
        """Return the CPU time used so far by the web process and by all of PostgreSQL."""
        return tree_seconds(self.web), tree_seconds(self.postgres)


def tree_seconds(root: int) -> float:
    """Return the CPU time of a process, its children, and its children that have ended."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (folder / "stat").read_text("ascii").rpartition(")")[2].split()
            if root in {int(folder.name), int(stat[1])}:
                total += sum(map(int, stat[11:15] if int(folder.name) == root else stat[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


@contextmanager
def site(rows: int) -> Iterator[Site]:
    """Run the site."""
    var, port = VAR / "review", free_port()
    shutil.rmtree(var, ignore_errors=True)
    os.environ |= {
        "UNDERSTUDY_VAR": str(var),
        "DJANGO_SETTINGS_MODULE": "factory.settings",
        "DJANGO_ALLOW_ASYNC_UNSAFE": "true",  # playwright runs an event loop in this thread
        "LOG_LEVEL": "WARNING",
    }
    sys.path.insert(0, str(ROOT))
    import django  # noqa: PLC0415 - after the settings' environment

    django.setup()
    up = [sys.executable, str(ROOT / "manage.py"), "up", "--port", str(port), "--only", "web"]
    with process(up, "review"):
        until_open(port)
        password = secrets.token_urlsafe(16)
        fill(rows, password)
        pid_file = (var / "postgres" / "postmaster.pid").read_text("utf-8")
        web = pid_of("factory.asgi:application", str(port))
        yield Site(f"http://127.0.0.1:{port}", password, web, int(pid_file.split()[0]))


def fill(rows: int, password: str) -> None:
    """Make a project with a reviewer and a queue."""
    from django.contrib.auth.models import User  # noqa: PLC0415

    from factory.models import Membership, Workload  # noqa: PLC0415
    from factory.models.example import Split  # noqa: PLC0415
    from factory.services.curate import add_examples  # noqa: PLC0415
    from factory.services.projects import (  # noqa: PLC0415
        add_member,
        create_project,
        create_workload,
    )
    from labeling.services.review import queue_review  # noqa: PLC0415

    project = create_project(slug="bench", name="Benchmark")
    add_member(
        project, User.objects.create_user("bob", password=password), Membership.Role.REVIEWER
    )
    schema = {"type": "string", "enum": LABELS}
    workload = create_workload(
        project, slug="tickets", kind=Workload.Kind.CLASSIFICATION, output_schema=schema
    )
    instruction = {"role": "system", "content": f"Route the ticket: {', '.join(LABELS)}."}
    add_examples(
        workload,
        [
            (
                [
                    instruction,
                    {"role": "user", "content": f"Ticket {n}: my parcel {n * 7919} is late."},
                ],
                LABELS[n % len(LABELS)],
            )
            for n in range(rows)
        ],
        split=Split.TEST,
    )
    workload.examples.update(provenance="teacher", status="captured")
    queue_review(workload, suspicious=0)


if __name__ == "__main__":
    main()
