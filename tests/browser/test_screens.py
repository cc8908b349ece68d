"""Every page in a browser: no complaint, nothing wider than the screen, by day and on a phone."""

from tests.browser.conftest import Screen
from tests.browser.world import World


def addresses(world: World) -> dict[str, str]:
    base = "/acme/tickets/"
    two_sets = f"first=production&second=job-{world.label_job.pk}"
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
        "curation": f"{base}curate/",
        "curation-recipe": f"{base}curate/recipe/",
        "label-jobs": f"{base}label-jobs/",
        "label-job": f"{base}label-jobs/{world.label_job.pk}/",
        "new-label-job": f"{base}label-jobs/new/",
        "label-sets": f"{base}label-sets/",
        "compare-sets": f"{base}label-sets/compare/?{two_sets}",
        "committee": f"{base}label-sets/committees/new/",
        "act": f"{base}label-sets/acts/{world.act.pk}/",
        "new-judge": f"{base}judges/new/",
        "judge": f"{base}judges/{world.judge.pk}/",
        "augmentations": f"{base}augment/",
        "new-augmentation": f"{base}augment/new/",
        "augmentation": f"{base}augment/{world.augmentation.pk}/",
        "insight": f"{base}insight/",
        "quality": f"{base}quality/",
        "bulk-accept": f"{base}accept/?score=votes&at_least=0.7",
        "bulk-act": f"{base}accept/{world.accept.pk}/",
        "review": f"{base}review/",
        "queue": f"{base}review/queue/",
        "datasets": f"{base}datasets/",
        "dataset": f"{base}datasets/main/v1/",
        "dataset-diff": f"{base}datasets/main/v1/diff/",
        "new-version": f"{base}datasets/new/",
        "branch": f"{base}datasets/main/v1/branch/",
        "new-example-import": f"{base}examples/import/",
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


def test_every_page_is_quiet_and_fits_the_screen(world: World, screen: Screen) -> None:
    for name, address in addresses(world).items():
        screen.open(address)
        screen.photograph(name)
    quiet = [said for said in screen.visitor.complaints if "404" not in said]
    assert quiet == []
    assert screen.visitor.dialogs == []
