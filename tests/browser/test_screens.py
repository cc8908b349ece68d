"""Every page in a browser: no complaint, nothing wider than the screen, by day and on a phone."""

import os
from pathlib import Path

import pytest

from tests.browser.conftest import NewVisitor
from tests.browser.world import World

SIZES = {"light": (1280, 900), "dark": (1280, 900), "phone": (390, 844)}


def addresses(world: World) -> dict[str, str]:
    base = "/acme/tickets/"
    return {
        "home": "/",
        "project": "/acme/",
        "new-key": "/acme/-/keys/new/",
        "new-upstream": "/acme/-/upstreams/new/",
        "import": f"/acme/-/imports/{world.import_job.pk}/",
        "new-import": "/acme/-/imports/new/",
        "privacy": "/acme/-/privacy/",
        "loop": base,
        "calls": f"{base}calls/",
        "project-calls": "/acme/-/calls/?status=error",
        "call": f"/acme/-/calls/{world.call.pk}/",
        "examples": f"{base}examples/",
        "label-jobs": f"{base}label-jobs/",
        "label-job": f"{base}label-jobs/{world.label_job.pk}/",
        "new-label-job": f"{base}label-jobs/new/",
        "review": f"{base}review/",
        "queue": f"{base}review/queue/",
        "datasets": f"{base}datasets/",
        "dataset": f"{base}datasets/main/v1/",
        "runs": f"{base}runs/",
        "new-run": f"{base}runs/new/",
        "run": f"{base}runs/{world.run.pk}/",
        "live-run": f"{base}runs/{world.live_run.pk}/",
        "evaluation": f"{base}evaluations/{world.evaluation.pk}/",
        "models": f"{base}models/",
        "model": f"{base}models/v1/",
        "missing": f"{base}models/v99/",
        "admin": "/admin/",
    }


@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_quiet_and_fits_the_screen(
    size: str, world: World, new_visitor: NewVisitor, tmp_path: Path
) -> None:
    width, height = SIZES[size]
    scheme = "dark" if size == "dark" else "light"
    viewport = {"width": width, "height": height}
    visitor = new_visitor("alice", viewport=viewport, color_scheme=scheme)
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    for name, address in addresses(world).items():
        page = visitor.open(address)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=folder / f"{name}-{size}.png", full_page=True)
        needed = page.evaluate("document.documentElement.scrollWidth")
        assert needed <= width, f"{name} is {needed} pixels wide"
    quiet = [said for said in visitor.complaints if "404" not in said]
    assert quiet == []
    assert visitor.dialogs == []
