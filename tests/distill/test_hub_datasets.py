"""Datasets through the Hugging Face Hub's protocol: the real clients against a real server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from pytest_django import DjangoDbBlocker

from factory.models import DatasetVersion, Example
from factory.services.curate import add_examples
from factory.services.freeze import freeze
from factory.services.keys import create_key
from factory.services.projects import create_project, create_workload
from tests.conftest import LABELS, ticket_messages
from tests.distill.published import Site, committed, download_key, running_site

pytestmark = pytest.mark.django_db
REPO = "acme/letters-main"
THINGS = ("lamp", "kettle", "desk", "tent", "oven", "radio", "sofa", "piano", "carpet", "mirror")
LOAD = """
import json, sys
from datasets import load_dataset
rows = load_dataset(sys.argv[1], revision=sys.argv[2], cache_dir=sys.argv[3])
print(json.dumps({split: found.to_list() for split, found in rows.items()}))
"""


@pytest.fixture(scope="module")
def site(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    with django_db_blocker.unblock(), running_site(tmp_path_factory.mktemp("storage")) as running:
        yield running


@pytest.fixture(scope="module")
def versions(site: Site, django_db_blocker: DjangoDbBlocker) -> list[DatasetVersion]:
    with django_db_blocker.unblock():
        return committed(two_versions, site)


def two_versions(site: Site) -> list[DatasetVersion]:
    """Freeze a workload's rows, correct one of them, and freeze again."""
    workload = create_workload(
        site.workload.project,
        slug="letters",
        kind="classification",
        output_schema={"type": "string", "enum": LABELS},
    )
    for split, asked in (("train", "find"), ("validation", "mend"), ("test", "send")):
        rows = [(ticket_messages(f"{asked} my {thing}"), LABELS[0]) for thing in THINGS]
        add_examples(workload, rows, split=split)
    first = freeze(workload)
    row = workload.examples.filter(split="train").order_by("id")[0]
    Example.objects.filter(pk=row.pk).update(target=LABELS[1])
    return [first, freeze(workload)]


@pytest.fixture
def hub(site: Site) -> HfApi:
    return HfApi(endpoint=site.url, token=site.key)


def loaded(site: Site, revision: str, folder: Path, repo: str = REPO) -> Any:
    """Load a dataset in a process of its own: the library reads HF_ENDPOINT when it starts."""
    told = {"HF_ENDPOINT": site.url, "HF_TOKEN": site.key, "HF_HOME": str(folder / "home")}
    command = [sys.executable, "-c", LOAD, repo, revision, str(folder / "cache")]
    done = subprocess.run(
        command, env={**os.environ, **told}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_load_dataset_gets_the_revision_that_it_asks_for(
    site: Site, versions: list[DatasetVersion], tmp_path: Path
) -> None:
    first = loaded(site, "v1", tmp_path / "first")
    assert {split: len(rows) for split, rows in first.items()} == {
        "train": 10, "validation": 10, "test": 10,
    }  # fmt: skip
    row = first["train"][0]
    assert row["completion"] == [{"role": "assistant", "content": "billing"}]
    assert row["messages"] == row["prompt"] + row["completion"]
    newest = loaded(site, "main", tmp_path / "newest")
    assert newest["train"][0]["target"] == "delivery"
    assert newest["test"] == first["test"]


def test_a_snapshot_is_the_files_and_the_client_verifies_it(
    hub: HfApi, versions: list[DatasetVersion], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    folder = Path(hub.snapshot_download(REPO, repo_type="dataset", revision="v2", cache_dir=cache))
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert found == sorted(file["path"] for file in versions[1].files)
    checked = hub.verify_repo_checksums(REPO, repo_type="dataset", revision="v2", cache_dir=cache)
    assert (checked.checked_count, checked.mismatches) == (len(found), [])
    assert (folder / "README.md").read_text(encoding="utf-8") == versions[1].card
    recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    assert recipe == versions[1].recipe


def test_the_client_reads_what_there_is(hub: HfApi, versions: list[DatasetVersion]) -> None:
    info = hub.dataset_info(REPO, files_metadata=True)
    assert (info.id, info.sha, info.private) == (REPO, versions[1].commit, True)
    names = sorted(file["path"] for file in versions[1].files)
    assert sorted(hub.list_repo_files(REPO, repo_type="dataset")) == names
    refs = hub.list_repo_refs(REPO, repo_type="dataset")
    assert {tag.name: tag.target_commit for tag in refs.tags} == {
        f"v{version.number}": version.commit for version in versions
    }
    here = hub.list_repo_tree(REPO, repo_type="dataset")
    assert sorted(entry.path for entry in here) == ["README.md", "data", "recipe.json"]
    data = hub.list_repo_tree(REPO, "data", repo_type="dataset")
    assert all(entry.path.startswith("data/") for entry in data)
    with pytest.raises(RevisionNotFoundError):
        hub.dataset_info(REPO, revision="v9")


def test_the_card_opens_with_what_hubs_read(versions: list[DatasetVersion]) -> None:
    _, matter, text = versions[1].card.split("---\n", 2)
    front = yaml.safe_load(matter)
    assert front["size_categories"] == ["n<1K"]
    assert front["configs"][0]["data_files"][0] == {
        "split": "train", "path": "data/train-*.parquet",
    }  # fmt: skip
    assert "earlier tests" not in text  # the same test rows were frozen before
    assert "| rows | 10 | 10 | 10 |" in text


def test_absent_foreign_and_unfit_look_as_they_should(
    hub: HfApi, site: Site, versions: list[DatasetVersion]
) -> None:
    rival = committed(create_project, slug="rival2", name="Rival")
    stranger = HfApi(endpoint=site.url, token=committed(download_key, rival))
    answers = []
    for repo in (REPO, "acme/letters-nothing", "nobody/nothing-main"):
        with pytest.raises(RepositoryNotFoundError) as refused:
            stranger.dataset_info(repo)
        response = refused.value.response
        assert response is not None
        answers.append((response.status_code, response.json(), response.headers["X-Error-Code"]))
    assert answers[0][0] == 404
    assert answers[0] == answers[1] == answers[2]
    _, capture = committed(create_key, site.workload.project, name="app", scopes=["capture"])
    path = f"/datasets/{REPO}/resolve/v1/README.md"
    assert site.ask(path, Authorization=f"Bearer {capture}").status == 401


def test_data_is_sent_in_ranges_under_its_own_name(
    site: Site, versions: list[DatasetVersion]
) -> None:
    file = next(file for file in versions[0].files if file.get("split") == "train")
    answer = site.ask(f"/datasets/{REPO}/resolve/v1/{file['path']}", Range="bytes=0-3")
    assert (answer.status, answer.read()) == (206, b"PAR1")
    assert answer.headers["Content-Range"] == f"bytes 0-3/{file['size']}"
    assert answer.headers["ETag"] == f'"{file["sha256"]}"'
    assert file["path"].rpartition("/")[2] in answer.headers["Content-Disposition"]
