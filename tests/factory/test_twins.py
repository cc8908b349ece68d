"""A call that the gateway and a trace both tell of is kept once: the gateway's copy."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from factory.capture.spool import SpoolWriter
from factory.messages import CallRecord
from factory.models import CallTally, Project
from factory.services.curate import curate
from factory.services.discover import accept_group, group_calls
from factory.services.feedback import give_feedback
from factory.services.keys import create_key
from factory.services.ship import ship_once
from tests.conftest import call_record, ticket_messages
from tests.factory.test_otlp import CHAT, send, span, traces

pytestmark = pytest.mark.django_db
AT = datetime.fromtimestamp(1_790_000_000, UTC)  # when the test's spans begin


def kept_call(**fields: Any) -> CallRecord:
    """Return what the gateway keeps of the call that `traced` tells of."""
    record = call_record("Where is my parcel?", "delivery", request_id="req-1")
    assert record.response is not None
    answer = {**record.response, "id": "chatcmpl-1"}
    return dataclasses.replace(record, created_at=AT, response=answer, **fields)


def traced(client: Client, project: Project, tokens: int = 40) -> None:
    key = create_key(project, name="app", scopes=["capture"])[1]
    asked = [{"role": m["role"], "parts": [{"type": "text", "content": m["content"]}]}
             for m in ticket_messages("Where is my parcel?")]  # fmt: skip
    said = [{"role": "assistant", "finish_reason": "stop",
             "parts": [{"type": "text", "content": "delivery"}]}]  # fmt: skip
    told = {
        **CHAT, "gen_ai.input.messages": asked, "gen_ai.output.messages": said,
        "gen_ai.usage.input_tokens": tokens, "gen_ai.usage.output_tokens": 2,
    }  # fmt: skip
    assert send(client, key, traces(span(told))).status_code == 200


def ship(folder: Path, project: Project, record: CallRecord) -> int:
    writer = SpoolWriter(folder)
    writer.append({"project": project.pk, "call": record.as_json()})
    writer.close()
    return ship_once(folder)


def test_a_trace_of_a_call_that_the_gateway_kept_adds_nothing(
    client: Client, project: Project, tmp_path: Path
) -> None:
    ship(tmp_path, project, kept_call())
    traced(client, project)
    assert [call.source for call in project.calls.all()] == ["gateway"]
    assert sum(project.tallies.values_list("calls", flat=True)) == 1


def test_a_gateway_that_delivers_later_takes_the_place_of_the_trace(
    client: Client, project: Project, tmp_path: Path
) -> None:
    traced(client, project)
    group_calls(project)
    workload = accept_group(project.call_groups.get())
    curate(project)
    give_feedback(project, reference="chatcmpl-1", kind="boolean", value=True)
    ship(tmp_path, project, kept_call())
    curate(project)
    call = project.calls.get()
    assert (call.source, call.request_id) == ("gateway", "req-1")
    assert call.feedback.count() == 1
    example = workload.examples.get()
    assert (example.call_id, example.weight) == (call.pk, 1)
    assert call.workload == workload
    assert call.group is not None
    assert call.group.call_count == 1
    counts = CallTally.objects.filter(project=project).values_list("calls", "prompt_tokens")
    assert [pair for pair in counts if pair != (0, 0)] == [(1, 40)]
    traced(client, project)
    assert project.calls.count() == 1


@pytest.mark.parametrize(
    "other",
    [
        {"created_at": AT + timedelta(hours=1)},  # a server that counts its answers from one
        {"request": {"model": "another", "messages": ticket_messages("Where is my parcel?")}},
        {"response": {"id": "chatcmpl-1", "usage": {"prompt_tokens": 7}, "choices": []}},
        {"response": {"id": "", "choices": []}},
    ],
)
def test_calls_that_only_share_an_id_are_both_kept(
    other: dict[str, Any], client: Client, project: Project, tmp_path: Path
) -> None:
    ship(tmp_path, project, dataclasses.replace(kept_call(), **other))
    traced(client, project)
    assert sorted(call.source for call in project.calls.all()) == ["gateway", "otlp"]


def test_where_an_id_stands_for_several_calls_none_is_taken_for_another(
    client: Client, project: Project, tmp_path: Path
) -> None:
    for number in (1, 2):
        ship(tmp_path, project, dataclasses.replace(kept_call(), request_id=f"req-{number}"))
    traced(client, project)
    assert project.calls.count() == 3
