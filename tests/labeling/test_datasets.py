"""Dataset versions through their doors: recipes, freezing, differences, exports, imports."""

import csv
import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as given_settings
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client

from factory.datasets.recipe import Recipe
from factory.models import (
    CapturedCall,
    DatasetVersion,
    Example,
    ExampleImport,
    FreezeJob,
    Membership,
    Project,
    Workload,
)
from factory.services import example_imports, freeze, jobs
from factory.services.capture import record_calls
from factory.services.keys import create_key
from factory.services.projects import save_upstream
from factory.storage import open_store
from labeling.models import Label, LabelJob, ReviewItem
from labeling.services.label import create_teacher
from labeling.services.release import freeze_work, release
from labeling.services.review import decide, next_item
from tests.conftest import LABELS, MakeExample, call_record

pytestmark = pytest.mark.django_db
THINGS = ["lamp", "kettle", "desk", "tent", "oven", "radio", "sofa", "piano", "carpet", "mirror"]
BASE = "/acme/tickets/datasets/"
Send = Callable[..., Any]


@pytest.fixture(autouse=True)
def _own_store(settings: Any, tmp_path: Path) -> None:
    settings.STORAGE_URL = (tmp_path / "storage").as_uri()


@pytest.fixture
def examples(make_example: MakeExample) -> list[Example]:
    made = [make_example(f"where is my {thing}", LABELS[n % 3]) for n, thing in enumerate(THINGS)]
    made += [make_example(f"validate the {thing}", split="validation") for thing in THINGS[:2]]
    made += [
        make_example(f"test the {thing}", split="test", provenance="relabeled_by_human")
        for thing in THINGS[:2]
    ]
    return made


@pytest.fixture
def page(client: Client, workload: Workload, alice: User) -> Client:
    client.force_login(alice)
    return client


@pytest.fixture
def api(client: Client, project: Project) -> Send:
    raw = create_key(project, name="ci", scopes=["api"])[1]

    def send(method: str, path: str, body: Any = None, **params: str) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.generic(
            method, f"/api/v1/workloads/tickets{path}", data, content_type="application/json",
            query_params=params, headers={"authorization": f"Bearer {raw}"},
        )  # fmt: skip

    return send


def read(response: Any) -> bytes:
    return b"".join(response)


def text(response: Any) -> str:
    return str(response.content.decode())


def typed(**changes: Any) -> dict[str, Any]:
    """Return what the recipe's form sends."""
    plain = {
        "name": "main", "min_confidence": "0", "synthetic_share": "0.3", "mode": "none",
        "cap": "1000", "most": "10", "prompt": "production", "is_for_training": "on", "seed": "42",
    }  # fmt: skip
    return {**plain, **changes}


def labelled(workload: Workload, examples: list[Example], *, confidence: float) -> LabelJob:
    """Write what a label job leaves that voted for the examples' targets."""
    upstream = save_upstream(
        workload.project, name="big", base_url="http://127.0.0.1:9999/v1", key="k"
    )
    teacher = create_teacher(workload.project, name="big", upstream=upstream, model="gpt-4o")
    job = LabelJob.objects.create(
        workload=workload, teacher=teacher, budget_usd=1, spent_usd=Decimal("0.25")
    )
    for example in examples:
        Label.objects.create(
            job=job, example=example, output=example.target or "", confidence=confidence,
            status="accepted", rationale=f"because of {example.pk}",
        )  # fmt: skip
    Example.objects.filter(pk__in=[e.pk for e in examples]).update(provenance="relabeled_by_model")
    return job


def correct(example: Example, user: User, output: str, reason: str = "audit") -> None:
    ReviewItem.objects.create(example=example, workload=example.workload, reason=reason)
    item = next_item(example.workload, user)
    assert item is not None
    decide(item, user, review_id=uuid4(), decision="edit", output=output)


# --- what the labelling knows ---------------------------------------------------------------------
def test_a_release_tells_teachers_terms_spend_the_audit_and_rationales(
    workload: Workload, examples: list[Example], alice: User
) -> None:
    labelled(workload, examples[:3], confidence=0.9)
    Example.objects.filter(pk=examples[-1].pk).update(provenance="relabeled_by_model")
    correct(examples[-1], alice, "login")
    version = release(workload)
    assert version.facts["teachers"][0]["labels"] == 3
    assert (version.facts["spent_usd"], version.facts["audit"]["count"]) == (0.25, 1)
    assert version.entries.get(example=examples[0]).rationale == f"because of {examples[0].pk}"
    assert "US$ 0.25" in version.card
    assert "audited 1 labels, drawn at random, and corrected 1" in version.card


def test_votes_that_were_not_sure_are_left_out(workload: Workload, examples: list[Example]) -> None:
    labelled(workload, examples[:3], confidence=0.6)
    version = release(workload, recipe=Recipe(min_confidence=0.7))
    assert ["the teacher was less sure", 3] in version.funnel


# --- pages ----------------------------------------------------------------------------------------
def test_a_recipe_is_previewed_and_frozen_as_previewed(
    page: Client, examples: list[Example]
) -> None:
    form = text(page.get(f"{BASE}new/"))
    assert "What it would freeze now" in form
    chosen = typed(mode="cap", cap="1")
    preview = text(page.get(f"{BASE}preview/", chosen))
    assert "<dt>train</dt><dd>3</dd>" in preview
    assert "left out by the balance" in preview
    frozen = page.post(f"{BASE}new/", chosen)
    assert frozen.headers["Location"] == f"{BASE}main/v1/"
    version = DatasetVersion.objects.get()
    assert (version.counts["train"], version.recipe["balance"]["cap"]) == (3, 1)
    # The dataset keeps its recipe: the button freezes by it.
    assert page.post(f"{BASE}freeze/").headers["Location"] == f"{BASE}main/v1/"


def test_a_version_page_shows_funnel_contamination_files_and_card(
    page: Client, workload: Workload, examples: list[Example]
) -> None:
    version = release(workload)
    shown = text(page.get(f"{BASE}main/v1/"))
    for part in ("From the examples", "twin in training", "README.md", version.commit,
                 "load_dataset(&quot;acme/tickets-main&quot;", "Dataset card"):  # fmt: skip
        assert part in shown
    file = next(file for file in version.files if file.get("split") == "train")
    sent = page.get(f"{BASE}main/v1/files/{file['path']}")
    assert read(sent)[:4] == b"PAR1"
    assert "tickets-main-v1-train-00000-of-00001.parquet" in sent.headers["Content-Disposition"]
    assert page.get(f"{BASE}main/v1/files/../../etc/passwd").status_code == 404


def test_a_difference_is_a_page(page: Client, workload: Workload, examples: list[Example]) -> None:
    release(workload)
    Example.objects.filter(pk=examples[0].pk).update(target="login")
    release(workload)
    shown = text(page.get(f"{BASE}main/v2/diff/?from=main:1"))
    assert "<del>billing</del>" in shown
    assert "where is my lamp" in shown
    assert page.get(f"{BASE}main/v2/diff/?from=main:9").status_code == 404
    assert page.get(f"{BASE}main/v2/diff/?from=nonsense").status_code == 400


def test_a_branch_is_frozen_under_a_name_of_its_own(
    page: Client, workload: Workload, examples: list[Example]
) -> None:
    release(workload)
    taken = page.post(f"{BASE}main/v1/branch/", typed(name="main"))
    assert taken.status_code == 422
    made = page.post(f"{BASE}main/v1/branch/", typed(name="rare", mode="undersample"))
    assert made.headers["Location"] == f"{BASE}rare/v1/"
    assert "a branch of" in text(page.get(f"{BASE}rare/v1/"))


def test_much_is_frozen_by_a_job_that_tells_how_far_it_is(
    page: Client, workload: Workload, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling.services.release.IN_REQUEST", 5)
    sent = page.post(f"{BASE}freeze/")
    job = FreezeJob.objects.get()
    assert sent.headers["Location"] == f"{BASE}freezes/{job.pk}/"
    assert "waits for a worker" in text(page.get(sent.headers["Location"]))
    assert "being frozen" in text(page.get(BASE))
    jobs.run(FreezeJob, job.pk, freeze_work)
    job.refresh_from_db()
    assert (job.status, job.progress["phase"]) == ("succeeded", "writing the version")
    assert job.version == DatasetVersion.objects.get()
    assert "To main v1" in text(page.get(f"{BASE}freezes/{job.pk}/live/"))


def test_a_job_that_finds_nothing_says_why(workload: Workload, alice: User) -> None:
    job = freeze.start_freeze(workload, name="main", recipe=Recipe(), user=alice)
    jobs.run(FreezeJob, job.pk, freeze_work)
    job.refresh_from_db()
    assert (job.status, job.blame) == ("failed", "user")
    assert "no train rows" in job.error


def test_a_viewer_looks_and_takes_nothing_along(
    client: Client, workload: Workload, examples: list[Example], carol: User
) -> None:
    release(workload)
    client.force_login(carol)
    assert client.get(f"{BASE}main/v1/").status_code == 404
    Membership.objects.create(project=workload.project, user=carol, role="viewer")
    shown = text(client.get(f"{BASE}main/v1/"))
    assert ">Branch<" not in shown
    for path in ("export/?form=csv", "files/README.md", "rows.jsonl"):
        assert client.get(f"{BASE}main/v1/{path}").status_code == 403


# --- exports --------------------------------------------------------------------------------------
def lines(response: Any) -> list[Any]:
    return [json.loads(line) for line in read(response).splitlines()]


def test_every_form_holds_the_rows_of_the_split(
    page: Client, workload: Workload, examples: list[Example]
) -> None:
    release(workload)
    for form in ("openai", "alpaca", "sharegpt"):
        assert len(lines(page.get(f"{BASE}main/v1/export/?form={form}&split=train"))) == 10
    assert len(lines(page.get(f"{BASE}main/v1/export/?form=openai&split="))) == 14
    assert page.get(f"{BASE}main/v1/export/?form=excel").status_code == 400
    assert page.get(f"{BASE}main/v9/export/").status_code == 404
    assert page.get(f"{BASE}main/v1/export/?form=csv&split=secret").status_code == 400


def test_pairs_are_what_reviewers_corrected(
    page: Client, workload: Workload, examples: list[Example], alice: User
) -> None:
    correct(examples[0], alice, "login", reason="suspicious")
    correct(examples[1], alice, "billing", reason="suspicious")
    Example.objects.filter(pk=examples[1].pk).update(target="login")  # corrected elsewhere since
    release(workload)
    pair = lines(page.get(f"{BASE}main/v1/export/?form=preferences&split=train"))
    assert len(pair) == 1
    assert pair[0]["input"]["messages"] == examples[0].messages
    assert pair[0]["preferred_output"][0]["content"] == "login"
    assert pair[0]["non_preferred_output"][0]["content"] == "billing"
    trl = lines(page.get(f"{BASE}main/v1/export/?form=trl&split="))
    assert trl[0]["rejected"] == [{"role": "assistant", "content": "billing"}]


def test_a_calls_tools_go_out_with_its_row(
    page: Client, workload: Workload, examples: list[Example]
) -> None:
    tools = [{"type": "function", "function": {"name": "look"}}]
    record = call_record("with tools")
    record.request["tools"] = tools
    record_calls(workload.project, [record], CapturedCall.Source.IMPORT)
    Example.objects.filter(pk=examples[0].pk).update(call=CapturedCall.objects.get().pk)
    release(workload)
    found = lines(page.get(f"{BASE}main/v1/export/?form=openai&split=train"))
    assert found[0]["tools"] == tools
    assert "tools" not in found[1]


def test_oversampled_rows_are_repeated_where_a_form_has_no_weight(
    page: Client, workload: Workload, make_example: MakeExample, examples: list[Example]
) -> None:
    Example.objects.filter(split="train").update(target="billing")
    Example.objects.filter(pk=examples[0].pk).update(target="login")
    page.post(f"{BASE}new/", typed(mode="oversample", most="4"))
    assert len(lines(page.get(f"{BASE}main/v1/export/?form=openai&split=train"))) == 9 + 4
    table = csv.DictReader(
        io.StringIO(read(page.get(f"{BASE}main/v1/export/?form=csv&split=train")).decode())
    )
    assert sorted(row["weight"] for row in table) == ["1.0"] * 9 + ["4.0"]


def test_a_formula_in_a_row_stays_a_text_in_a_spreadsheet(
    page: Client, workload: Workload, examples: list[Example]
) -> None:
    Example.objects.filter(pk=examples[0].pk).update(
        target='=HYPERLINK("http://evil.example")',
        messages=[{"role": "user", "content": "@SUM(1), please"}],
    )
    Workload.objects.filter(pk=workload.pk).update(output_schema=None, kind="generation")
    release(Workload.objects.get())
    raw = read(page.get(f"{BASE}main/v1/export/?form=csv&split=train")).decode()
    row = next(csv.DictReader(io.StringIO(raw)))
    assert row["target"] == '\'=HYPERLINK("http://evil.example")'
    assert row["prompt"] == "'@SUM(1), please"


# --- rows from outside ----------------------------------------------------------------------------
def run_imports() -> ExampleImport:
    job = ExampleImport.objects.latest("id")
    jobs.run(ExampleImport, job.pk, example_imports.example_import_work)
    job.refresh_from_db()
    return job


CHAT = json.dumps(
    {"messages": [{"role": "user", "content": "mail joe.bloggs@example.com"},
                  {"role": "assistant", "content": "login"}]}
).encode()  # fmt: skip


def test_an_uploaded_file_is_redacted_and_becomes_reviewed_examples(
    page: Client, workload: Workload
) -> None:
    body = CHAT + b"\n{broken\n" + json.dumps({"instruction": "pay", "output": "billing"}).encode()
    file = SimpleUploadedFile("rows.jsonl", body)
    sent = page.post("/acme/tickets/examples/import/", {"split": "test", "file": file})
    stored = ExampleImport.objects.get()
    blob = b"".join(open_store(given_settings.STORAGE_URL).read(stored.file_sha256))
    assert b"joe.bloggs" not in blob
    job = run_imports()
    counts = {name: job.counts[name] for name in ("read", "new", "refused", "left_out")}
    assert counts == {"read": 3, "new": 2, "refused": 1, "left_out": 0}
    found = Example.objects.order_by("id")
    assert [(e.target, e.split, e.provenance, e.status) for e in found] == [
        ("login", "test", "uploaded", "reviewed"), ("billing", "test", "uploaded", "reviewed"),
    ]  # fmt: skip
    assert "[EMAIL_1]" in str(found[0].messages)
    shown = text(page.get(sent.headers["Location"]))
    assert "Lines that were refused" in shown
    refused = text(page.get(f"{sent.headers['Location']}refused.csv"))
    assert refused.splitlines()[1].startswith("2,")


def test_a_file_that_is_nothing_known_is_refused_at_the_page(
    page: Client, workload: Workload
) -> None:
    file = SimpleUploadedFile("rows.txt", b"hello\n")
    sent = page.post("/acme/tickets/examples/import/", {"file": file})
    assert sent.status_code == 422
    assert "first line names its columns" in text(sent)
    assert not ExampleImport.objects.exists()


def test_an_export_imported_elsewhere_is_the_same_rows(
    api: Send, page: Client, workload: Workload, examples: list[Example]
) -> None:
    release(workload)
    table = read(page.get(f"{BASE}main/v1/export/?form=csv&split="))
    before = [*Example.objects.order_by("id").values_list("messages", "target", "split")]
    Example.objects.update(target=None)
    sent = api("POST", "/examples", table, filename="rows.csv")
    assert (sent.status_code, sent.json()["filename"]) == (202, "rows.csv")
    job = run_imports()
    assert (job.counts["known"], job.counts["refused"]) == (14, 0)
    found = [*Example.objects.order_by("id").values_list("messages", "target", "split")]
    assert found == before


# --- API and commands -----------------------------------------------------------------------------
def test_a_program_previews_freezes_compares_branches_and_exports(
    api: Send, workload: Workload, examples: list[Example]
) -> None:
    recipe = {"balance": {"mode": "oversample"}}
    seen = api("POST", "/datasets/preview", {"recipe": recipe}).json()
    made = api("POST", "/datasets", {"recipe": recipe})
    assert (made.status_code, made.json()["counts"]) == (200, seen["counts"])
    assert api("POST", "/datasets", {}).json()["number"] == 1  # by the dataset's own recipe
    Example.objects.filter(pk=examples[0].pk).update(target="login")
    assert api("POST", "/datasets", {}).json()["number"] == 2
    assert [one["number"] for one in api("GET", "/datasets").json()] == [2, 1]
    changed = api("GET", "/datasets/main/2/diff", before="main:1").json()
    assert changed["splits"]["test"] == [2, 2]
    branched = api("POST", "/datasets/main/1/branch", {"name": "all", "changes": {"balance": {}}})
    assert branched.json()["counts"]["train"] == 10
    exported = api("GET", "/datasets/main/1/export", form="sharegpt")
    assert "conversations" in lines(exported)[0]
    assert api("POST", "/datasets", {"recipe": {"seed": "x"}}).status_code == 400
    assert api("GET", "/datasets/main/9").status_code == 404


def test_a_program_is_told_of_the_job_where_there_is_much(
    api: Send, workload: Workload, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling.services.release.IN_REQUEST", 5)
    sent = api("POST", "/datasets", {})
    assert (sent.status_code, sent.json()["status"]) == (202, "queued")
    job = sent.json()["id"]
    assert api("POST", f"/freezes/{job}/cancel").json()["status"] == "cancelled"
    assert api("GET", f"/freezes/{job}").json()["version"] is None


def command(name: str, *args: str, **options: Any) -> str:
    out = io.StringIO()
    given = {"project": "acme", "workload": "tickets", "stdout": out, "stderr": out, **options}
    call_command(name, *args, **given)
    return out.getvalue()


def test_the_commands_freeze_compare_verify_and_export(
    workload: Workload, examples: list[Example], tmp_path: Path
) -> None:
    assert "10  train" in command("freeze_dataset", preview=True)
    assert not DatasetVersion.objects.exists()
    assert "main v1" in command("freeze_dataset", changes=["seed=7"])
    Example.objects.filter(pk=examples[0].pk).update(target="login")
    assert "main v2" in command("freeze_dataset")
    assert "1  retargeted" in command("diff_datasets", "main:1", "main:2")
    assert "the same bytes" in command("verify_dataset", "main:1")
    version = DatasetVersion.objects.get(number=1)
    open_store(given_settings.STORAGE_URL).remove(version.file_sha256)
    with pytest.raises(CommandError, match=r"rows\.jsonl"):
        command("verify_dataset", "main:1")
    assert "the same bytes" in command("verify_dataset", "main:1", restore=True)
    target = tmp_path / "rows.csv"
    said = command("export_dataset", "main:1", str(target), form="csv", split="all")
    assert "14 lines" in said
    assert "a ' in front" in said
    assert len(target.read_text(encoding="utf-8").splitlines()) == 15


def test_the_import_command_tells_what_was_refused(workload: Workload, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(CHAT + b"\n[]\n")
    said = command("import_examples", str(file))
    assert "1 new examples" in said
    assert "line 2:" in said
    file.write_bytes(b"{}\n")
    with pytest.raises(CommandError, match="no row that can be read"):
        command("import_examples", str(file))
