"""Label sets side by side: compared, combined, applied, undone; people's word always stands."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from factory.errors import Conflict, InvalidInput
from factory.models import Example, Project, Workload
from factory.services import jobs
from labeling.models import Application, Label, LabelSet, Teacher
from labeling.selectors.label_sets import compare_sets, compared_rows, label_sets_of
from labeling.services.label_sets import (
    application_work,
    label_set_work,
    start_application,
    start_committee,
    start_undo,
    write_label_set,
)
from tests.conftest import MakeExample

pytestmark = pytest.mark.django_db
BASE = "/acme/tickets"
HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture
def alice_at(alice: User, project: Project) -> Client:
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def bob_at(bob: User, project: Project) -> Client:
    client = Client()
    client.force_login(bob)
    return client


def text(response: Any) -> str:
    return str(response.content.decode())


def answered(teacher: Teacher, workload: Workload, answers: dict[Example, str]) -> str:
    """Keep a label job's answers as the engine does; give its set's key."""
    job = workload.label_jobs.create(teacher=teacher, budget_usd=1, status="succeeded")
    Label.objects.bulk_create(
        Label(job=job, example=example, output=output, confidence=1.0, status="accepted")
        for example, output in answers.items()
    )
    return f"job-{job.pk}"


def run(act: Application) -> Application:
    jobs.run(Application, act.pk, application_work)
    act.refresh_from_db()
    assert act.status == "succeeded", act.error
    return act


def targets(*examples: Example) -> list[str | None]:
    for example in examples:
        example.refresh_from_db()
    return [example.target for example in examples]


# --- comparing ------------------------------------------------------------------------------------
def test_two_sets_are_compared_over_the_rows_that_both_answer(
    workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    rows = [make_example(f"ticket {n}", "billing", produced="billing") for n in range(8)]
    rows += [make_example(f"parcel {n}", "delivery", produced="delivery") for n in range(4)]
    make_example("nobody labelled it", "login", produced="login")
    said = dict.fromkeys(rows, "billing") | dict.fromkeys(rows[8:11], "delivery")
    key = answered(teacher, workload, said)

    found = compare_sets(workload, "production", key)

    assert (found.agreement.count, found.agreement.n) == (11, 12)
    assert found.kappa == pytest.approx(0.8, abs=0.03)
    assert found.matrix is not None
    cells = {(c.first, c.second): c.count for row in found.matrix.rows for c in row}
    assert cells["delivery", "billing"] == 1
    assert cells["billing", "billing"] == 8
    first = compared_rows(workload, "production", key).rows[0]
    assert (first.example, first.agrees) == (rows[11], False)


def test_json_agrees_field_by_field_whatever_the_order_of_its_fields(
    workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    workload.output_schema = {"type": "object"}
    workload.save()
    one = make_example("play a", json.dumps({"intent": "play", "slots": {"artist": "a"}}))
    two = make_example("play b", json.dumps({"intent": "play", "slots": {"artist": "b"}}))
    said = {
        one: '{"slots": {"artist": "a"}, "intent": "play"}',
        two: '{"slots": {"artist": "c"}, "intent": "rate"}',
    }
    key = answered(teacher, workload, said)

    found = compare_sets(workload, "current", key)

    assert (found.agreement.count, found.agreement.n) == (1, 2)
    by_field = {field.path: field.agreement.count for field in found.fields}
    assert by_field == {"intent": 1, "slots.artist": 1}
    of_intent = compare_sets(workload, "current", key, field="intent").matrix
    assert of_intent is not None
    cells = {(c.first, c.second): c.count for row in of_intent.rows for c in row}
    assert cells["play", "rate"] == 1
    shown = compared_rows(workload, "current", key, cell=("play", "rate"), field="intent")
    assert [row.example for row in shown.rows] == [two]


def test_texts_may_nearly_agree(
    workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    workload.output_schema = None
    workload.save()
    one = make_example("a", "The parcel left our house on Monday morning, at nine.")
    two = make_example("b", "No.")
    key = answered(
        teacher, workload,
        {one: "The parcel left our house on Monday morning at nine", two: "Certainly, at once."},
    )  # fmt: skip
    found = compare_sets(workload, "current", key)
    assert found.agreement.count == 0
    assert found.near is not None
    assert found.near.count == 1


def test_rows_come_page_by_page_the_disagreements_first(
    workload: Workload, make_example: MakeExample
) -> None:
    rows = [make_example(f"same {n}", "billing", produced="billing") for n in range(20)]
    rows += [make_example(f"other {n}", "billing", produced="login") for n in range(20)]
    first = compared_rows(workload, "production", "current")
    second = compared_rows(workload, "production", "current", at=first.after or "")
    shown = first.rows + second.rows
    assert [row.agrees for row in shown] == [False] * 20 + [True] * 20
    assert {row.example for row in shown} == set(rows)
    assert second.after is None


# --- applying -------------------------------------------------------------------------------------
def test_a_set_is_applied_but_to_what_people_decided_and_undone_row_by_row(
    workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    one, two = make_example("a", "billing"), make_example("b", "billing")
    theirs = make_example("c", "login", provenance="relabeled_by_human", status="reviewed")
    gone = make_example("d", "billing", status="discarded")
    key = answered(teacher, workload, dict.fromkeys([one, two, theirs, gone], "delivery"))

    act = run(start_application(workload, source=key))

    assert act.rows == 2
    assert targets(one, two, theirs, gone) == ["delivery", "delivery", "login", "billing"]
    assert one.provenance == "relabeled_by_model"
    Example.objects.filter(pk=two.pk).update(target="login", provenance="relabeled_by_human")
    undone = run(start_undo(act))
    assert targets(one, two) == ["billing", "login"]
    assert one.provenance == "teacher"
    assert undone.rows == 1
    with pytest.raises(Conflict, match="undone already"):
        start_undo(act)


def test_only_rows_where_another_set_agrees_are_changed(
    workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    one, two = make_example("a", "billing"), make_example("b", "billing")
    first = answered(teacher, workload, {one: "delivery", two: "login"})
    second = answered(teacher, workload, {one: "delivery", two: "delivery"})
    act = run(start_application(workload, source=first, scope="agreed", other=second))
    assert act.rows == 1
    assert targets(one, two) == ["delivery", "billing"]


def test_only_the_rows_of_a_cell_are_changed(
    workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    one, two = make_example("a", "billing"), make_example("b", "login")
    key = answered(teacher, workload, {one: "delivery", two: "delivery"})
    cell = {"first": "delivery", "second": "login", "field": ""}
    run(start_application(workload, source=key, scope="cell", other="current", cell=cell))
    assert targets(one, two) == ["billing", "delivery"]


def test_an_answer_that_breaks_the_format_is_left_out(
    workload: Workload, make_example: MakeExample
) -> None:
    one = make_example("a", "billing", produced="Billing, I think")
    assert run(start_application(workload, source="production")).rows == 0
    assert targets(one) == ["billing"]


def test_production_s_answer_comes_back_after_a_teacher_s(
    workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    one = make_example("a", "delivery", provenance="relabeled_by_model", produced="billing")
    run(start_application(workload, source="production"))
    assert targets(one) == ["billing"]
    assert one.provenance == "teacher"


def test_terms_go_with_the_answers(
    workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    one = make_example("a", "billing")
    key = answered(teacher, workload, {one: "delivery"})
    Teacher.objects.update(may_train_on_outputs=False)
    act = run(start_application(workload, source=key))
    one.refresh_from_db()
    assert not one.may_train
    run(start_undo(act))
    one.refresh_from_db()
    assert one.may_train


def test_people_and_current_targets_cannot_be_applied(workload: Workload) -> None:
    for key in ("people", "current"):
        with pytest.raises(InvalidInput, match="already"):
            start_application(workload, source=key)


# --- committees and students ----------------------------------------------------------------------
def test_a_committee_is_a_set_with_weights(
    workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    rows = [make_example(f"t {n}", "login", produced="login") for n in range(30)]
    good = {row: ("billing", "delivery")[at % 2] for at, row in enumerate(rows)}
    keys = [answered(teacher, workload, good) for _ in range(2)]
    label_set = start_committee(workload, name="three", members=["production", *keys])
    jobs.run(LabelSet, label_set.pk, label_set_work)
    label_set.refresh_from_db()
    assert label_set.status == "succeeded"
    assert label_set.rows == 30
    assert label_set.recipe["weights"][0] < label_set.recipe["weights"][1]
    found = compare_sets(workload, f"set-{label_set.pk}", keys[0])
    assert found.agreement.count == 30


def test_a_committee_needs_two_different_members(workload: Workload) -> None:
    with pytest.raises(InvalidInput, match="2 to"):
        start_committee(workload, name="one", members=["production", "production"])


def test_a_student_s_answers_are_written_once_under_their_name(
    workload: Workload, make_example: MakeExample
) -> None:
    one, two = make_example("a", "billing"), make_example("b", "billing")
    write_label_set(workload, name="student of run 1", answers=[(one.pk, "login"), (9**9, "x")])
    again = write_label_set(workload, name="student of run 1", answers=[(two.pk, "billing")])
    assert again.rows == 1
    assert [one.key for one in label_sets_of(workload)][-1] == f"set-{again.pk}"
    assert compare_sets(workload, f"set-{again.pk}", "current").agreement.count == 1


# --- pages ----------------------------------------------------------------------------------------
def test_the_pages_show_sets_a_comparison_and_its_rows(
    alice_at: Client, workload: Workload, teacher: Teacher, make_example: MakeExample
) -> None:
    one = make_example(f"hello {HOSTILE}", "billing", produced="billing")
    key = answered(teacher, workload, {one: "delivery"})
    page = text(alice_at.get(f"{BASE}/label-sets/"))
    assert "big, job" in page
    page = text(alice_at.get(f"{BASE}/label-sets/compare/?first=production&second={key}"))
    assert HOSTILE not in page
    assert "differ" in page
    assert "row=billing&amp;column=delivery" in page
    asked = f"{BASE}/label-sets/compare/?first=production&second={key}&row=billing&column=login"
    assert "No row." in text(alice_at.get(asked))


def test_a_lead_applies_and_undoes_by_the_pages(
    alice_at: Client, bob_at: Client, workload: Workload, teacher: Teacher,
    make_example: MakeExample,
) -> None:  # fmt: skip
    one = make_example("a", "billing")
    key = answered(teacher, workload, {one: "delivery"})
    form = {"source": key, "scope": "all", "other": "current", "at_least": "0.5"}
    assert bob_at.post(f"{BASE}/label-sets/apply/", form).status_code == 403
    response = alice_at.post(f"{BASE}/label-sets/apply/", form)
    act = Application.objects.get()
    assert response.headers["Location"] == f"{BASE}/label-sets/acts/{act.pk}/"
    run(act)
    assert "1 row got another target" in text(alice_at.get(response.headers["Location"]))
    alice_at.post(f"{BASE}/label-sets/acts/{act.pk}/undo/")
    run(Application.objects.get(undoes=act))
    assert targets(one) == ["billing"]


def test_sets_of_another_workload_do_not_exist(alice_at: Client, workload: Workload) -> None:
    for key in ("job-99", "set-1", "nonsense"):
        page = alice_at.get(f"{BASE}/label-sets/compare/?first={key}&second=current")
        assert page.status_code in {400, 404}
