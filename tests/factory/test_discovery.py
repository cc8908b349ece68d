"""Calls find their group and their words beside the capture; groups become workloads."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from factory.errors import Conflict
from factory.messages import CallRecord
from factory.models import CallTally, CapturedCall, Project, Workload
from factory.selectors import CallFilter, call_total, calls_page, proposals
from factory.services.capture import record_calls
from factory.services.discover import accept_group, attach_group, group_calls, ignore_group
from factory.services.projects import create_project
from tests.conftest import INSTRUCTION, MakeCall, call_record

pytestmark = pytest.mark.django_db

SAID = ["my parcel is late", "cannot sign in", "refund me", "card was eaten", "wrong invoice"]
WHEN = ["since monday", "again", "please help", "", "and nobody answers the phone"]


@pytest.fixture
def grouped(project: Project) -> Project:
    records = [
        call_record(f"{said} {when}", ["billing", "login"][n % 2])
        for n, (said, when) in enumerate(product(SAID, WHEN))
    ]
    record_calls(project, records, "import")
    broken = call_record("broken").__dict__ | {"status_code": 500}
    record_calls(project, [CallRecord(**broken)], "import")
    assert group_calls(project) == 26
    return project


def test_calls_of_one_prompt_are_one_proposal(grouped: Project) -> None:
    (group,) = proposals(grouped)
    assert (group.call_count, group.calls.count()) == (25, 26)  # a failed call asks for no student
    assert INSTRUCTION.split()[0] in group.skeleton["text"]


def test_accepting_a_proposal_takes_its_calls_past_and_to_come(grouped: Project) -> None:
    (group,) = proposals(grouped)
    workload = accept_group(group)
    assert (workload.kind, workload.instruction) == ("classification", INSTRUCTION)
    assert not proposals(grouped)
    record_calls(grouped, [call_record("one more", request_id="later")], "import")
    group_calls(grouped)
    assert grouped.calls.get(request_id="later").workload == workload
    assert len(calls_page(grouped, workload=workload, only=CallFilter()).rows) == 27
    with pytest.raises(Conflict, match="belongs to"):
        accept_group(group)


def test_another_wording_can_join_a_workload(grouped: Project, workload: Workload) -> None:
    (group,) = proposals(grouped)
    attach_group(group, workload)
    assert grouped.calls.first().workload == workload  # type: ignore[union-attr]


def test_what_was_ignored_is_not_proposed_again(grouped: Project) -> None:
    (group,) = proposals(grouped)
    ignore_group(group)
    record_calls(grouped, [call_record("one more", request_id="later")], "import")
    group_calls(grouped)
    assert not proposals(grouped)


def test_counts_follow_a_call_into_its_group(project: Project) -> None:
    records = [call_record(f"case {n}", minutes=n * 1440) for n in range(3)]
    record_calls(project, records, "import")
    assert call_total(project.tallies.filter(group=None)) == 3
    group_calls(project)
    assert call_total(project.tallies.filter(group=None)) == 0
    tallies = CallTally.objects.filter(group__in=project.call_groups.all())
    assert [(t.calls, t.prompt_tokens, t.latency_ms_sum) for t in tallies] == [(1, 40, 420)] * 3
    assert len({t.day for t in tallies}) == 3


def test_grouping_costs_the_same_number_of_queries_for_many_calls(
    project: Project, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    record_calls(project, [call_record(f"case {n}") for n in range(300)], "import")
    with django_assert_max_num_queries(25):
        group_calls(project)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("parcel", {"a", "b"}),
        ("parcel oslo", {"a"}),
        ("PARCEL -oslo", {"b"}),
        ('"never came"', {"b"}),
        ("nothing", set()),
        ("'; DROP TABLE x; --", set()),
        ("understudyproject1", set()),
    ],
)
def test_words_find_calls_of_this_project_only(
    project: Project, make_call: MakeCall, typed: str, found: set[str]
) -> None:
    make_call("the parcel for Oslo", request_id="a")
    make_call("a parcel never came", request_id="b")
    other = create_project(slug="other", name="Other")
    record_calls(other, [call_record("parcel oslo never came nothing", request_id="c")], "import")
    group_calls(project)
    group_calls(other)
    page = calls_page(project, only=CallFilter(words=typed))
    assert {call.request_id for call in page.rows} == found
    assert not CapturedCall.objects.filter(group=None).exists()
