"""From calls to examples: the workload, exact and near copies, and splits that never leak."""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from factory.errors import InvalidInput
from factory.models import CapturedCall, Example, Project, Workload
from factory.selectors import MIN_CALLS
from factory.services import near
from factory.services.capture import record_calls
from factory.services.curate import add_examples, curate, set_label_set, set_split_shares
from factory.services.discover import accept_all, group_calls
from factory.services.imports import import_lines
from factory.services.projects import create_project, create_workload
from tests.conftest import INSTRUCTION, LABELS, call_record, ticket_messages

pytestmark = pytest.mark.django_db

DATA = settings.BASE_DIR.parent / "shared" / "data"
WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"]


def text(number: int) -> str:
    """Return a text that is near to no other: any two differ in one word of four at the least."""
    return " ".join(
        f"{WORDS[int(digit)]}{place}" for place, digit in zip("abcd", f"{number:04o}", strict=True)
    )


def send(project: Project, texts: Iterable[str], **fields: Any) -> None:
    records = [
        call_record(said, LABELS[n % 3], request_id=f"{said}#{n}{fields}", **fields)
        for n, said in enumerate(texts)
    ]
    record_calls(project, records, CapturedCall.Source.IMPORT)


@pytest.fixture
def traffic(project: Project) -> Workload:
    """300 different calls of one template, curated."""
    send(project, map(text, range(300)))
    assert curate(project, accept_new=True) == {"example": 300}
    return project.workloads.get()


def splits(workload: Workload) -> dict[int, str]:
    return dict(workload.examples.values_list("pk", "split"))


def test_a_workload_is_discovered_with_its_labels(traffic: Workload) -> None:
    assert (traffic.slug, traffic.kind) == ("route-the-ticket-answer", "classification")
    assert (traffic.labels, traffic.instruction) == (LABELS, INSTRUCTION)


def test_an_example_keeps_where_it_came_from(traffic: Workload) -> None:
    example = traffic.examples.earliest("pk")
    assert example.call is not None
    assert (example.origin, example.status) == ("request_log", "captured")
    assert (example.target, example.provenance) == (example.call.output, "teacher")
    assert example.messages == example.call.messages
    assert example.call.workload == traffic
    assert example.call.curated_at is not None


def test_a_signature_waits_until_it_is_frequent(project: Project) -> None:
    send(project, map(text, range(MIN_CALLS - 1)))
    assert curate(project, accept_new=True) == {"waiting": MIN_CALLS - 1}
    assert not project.workloads.exists()
    send(project, [text(MIN_CALLS)])
    assert curate(project, accept_new=True) == {"example": MIN_CALLS}
    assert curate(project, accept_new=True) == {}


def test_failed_calls_make_no_workload(project: Project) -> None:
    records = [call_record(text(n)) for n in range(MIN_CALLS)]
    failed = [type(r)(**{**r.__dict__, "status_code": 500, "response": None}) for r in records]
    record_calls(project, failed, CapturedCall.Source.GATEWAY)
    group_calls(project)
    assert accept_all(project) == []


def test_workloads_of_one_app_get_names_of_their_own(project: Project) -> None:
    for instruction in ("Route it.", "Route that."):
        messages = [ticket_messages(text(n), instruction) for n in range(MIN_CALLS)]
        records = [
            call_record(f"{instruction}{n}", metadata={"app": "desk"}) for n in range(MIN_CALLS)
        ]
        for one, said in zip(records, messages, strict=True):
            one.request["messages"] = said
        record_calls(project, records, CapturedCall.Source.IMPORT)
    group_calls(project)
    assert {w.slug for w in accept_all(project)} == {"desk", "desk-2"}


def test_exact_duplicates_raise_the_weight(project: Project, traffic: Workload) -> None:
    send(project, [text(0)] * 3 + [f" {text(1)} "] + [text(500)] * 2, minutes=1)
    assert curate(project, accept_new=True) == {"example": 1, "duplicate": 5}
    weights = {e.messages[1]["content"]: e.weight for e in traffic.examples.filter(weight__gt=1)}
    assert weights == {text(0): 4, text(1): 2, text(500): 2}
    assert project.calls.filter(curated_at=None).count() == 0


def test_near_copies_share_a_group_and_so_a_split(project: Project, traffic: Workload) -> None:
    send(project, [f"{text(n).upper()} {n}!" for n in range(300)], minutes=1)
    curate(project, accept_new=True)
    send(project, [f"{text(n)}, {n + 1}" for n in range(300)], minutes=2)
    curate(project, accept_new=True)
    of_group = defaultdict(set)
    for group, split in traffic.examples.values_list("group", "split"):
        of_group[group].add(split)
    assert traffic.examples.count() == 900
    assert len(of_group) <= 303  # each with what was added to it; the index finds 998 of 1,000
    assert all(len(found) == 1 for found in of_group.values())
    assert {split for found in of_group.values() for split in found} == {
        "train",
        "validation",
        "test",
    }


def test_a_row_never_moves_when_data_or_shares_change(project: Project, traffic: Workload) -> None:
    before = splits(traffic)
    assert set(before.values()) == {"train", "validation", "test"}
    set_split_shares(traffic, validation=0.2, test=0.6)
    send(project, map(text, range(300, 600)))
    curate(project, accept_new=True)
    after = splits(traffic)
    assert {pk: after[pk] for pk in before} == before
    added = Counter(split for pk, split in after.items() if pk not in before)
    assert added["test"] > 150


def test_a_near_copy_joins_its_group_though_the_shares_changed(
    project: Project, traffic: Workload
) -> None:
    of_group = dict(traffic.examples.values_list("group", "split"))
    set_split_shares(traffic, validation=0.0, test=0.99)
    send(project, [f"{text(n).upper()}!" for n in range(300)], minutes=1)
    assert curate(project, accept_new=True) == {"example": 300}
    for example in traffic.examples.all():
        assert example.split == of_group[example.group]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status_code": 500}, "error"),
        ({"status_code": 499}, "error"),
        ({"status_code": 200, "response": None}, "empty"),
        ({"status_code": 200, "answer": "  \n"}, "empty"),
        ({"status_code": 200, "finish_reason": "length"}, "truncated"),
        ({"status_code": 200, "finish_reason": "content_filter"}, "refused"),
        ({"status_code": 200, "finish_reason": "tool_calls", "answer": ""}, "tool_call"),
    ],
)
def test_calls_that_teach_nothing_are_counted_and_left_out(
    project: Project, traffic: Workload, fields: dict[str, Any], reason: str
) -> None:
    made = call_record("another text", fields.pop("answer", "billing"), request_id="odd")
    assert made.response is not None
    made.response["choices"][0]["finish_reason"] = fields.pop("finish_reason", "stop")
    record_calls(project, [type(made)(**{**made.__dict__, **fields})], CapturedCall.Source.GATEWAY)
    assert curate(project, accept_new=True) == {reason: 1}
    assert traffic.examples.exclude(status="discarded").count() == 300
    kept_back = traffic.examples.get(status="discarded")
    assert (kept_back.discard_reason, kept_back.target, kept_back.split) == (reason, None, "")
    assert project.calls.get(request_id="odd").workload == traffic


def test_another_projects_calls_are_left_alone(project: Project, traffic: Workload) -> None:
    other = create_project(slug="other", name="Other")
    send(other, map(text, range(5)))
    assert curate(project, accept_new=True) == {}
    assert curate(other) == {"waiting": 5}


@pytest.mark.django_db(transaction=True)
def test_two_curators_at_once_count_each_call_once(project: Project) -> None:
    send(project, [text(n % 200) for n in range(1200)])
    group_calls(project)
    accept_all(project)
    start = threading.Barrier(2)

    def work() -> Counter[str]:
        start.wait()
        try:
            return curate(project, accept_new=True)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(work) for _ in range(2))
        assert first.result() + second.result() == {"example": 200, "duplicate": 1000}
    assert set(Example.objects.values_list("weight", flat=True)) == {6}


def test_progress_is_told_batch_by_batch(project: Project) -> None:
    send(project, map(text, range(1100)))
    told: list[int] = []
    curate(project, accept_new=True, on_batch=lambda counts: told.append(counts["example"]))
    assert told == [500, 1000, 1100]


def rows(numbers: Iterable[int], target: str = "login") -> list[tuple[list[dict[str, Any]], str]]:
    return [(ticket_messages(text(n)), target) for n in numbers]


def test_rows_with_known_answers_are_added_and_correct_known_ones(traffic: Workload) -> None:
    before = splits(traffic)
    counts = add_examples(traffic, rows([*range(290, 310), 309]))
    assert counts == {"new": 10, "known": 11, "left_out": 0}
    assert traffic.examples.filter(provenance="uploaded", status="reviewed").count() == 20
    assert set(traffic.examples.filter(provenance="uploaded").values_list("target")) == {("login",)}
    after = splits(traffic)
    assert {pk: after[pk] for pk in before} == before


def test_given_test_rows_are_test_rows_unless_they_would_leak(traffic: Workload) -> None:
    assert add_examples(traffic, rows(range(300, 350)), split="test")["left_out"] == 0
    assert traffic.examples.filter(origin="upload", split="test").count() == 50
    trained = traffic.examples.filter(split="train").earliest("pk")
    shouted = f"{trained.messages[1]['content'].upper()}!"
    counts = add_examples(traffic, [(ticket_messages(shouted), "login")], split="test")
    assert counts == {"new": 0, "known": 0, "left_out": 1}
    exact = [(trained.messages, "delivery")]
    assert add_examples(traffic, exact, split="test") == {"new": 0, "known": 0, "left_out": 1}
    was = trained.target
    trained.refresh_from_db()
    assert (trained.target, trained.split) == (was, "train")


def test_later_calls_do_not_train_on_near_copies_of_given_test_rows(
    project: Project, traffic: Workload
) -> None:
    add_examples(traffic, rows(range(300, 400)), split="test")
    send(project, [f"{text(n).upper()}?" for n in range(300, 400)])
    assert curate(project, accept_new=True) == {"example": 100}
    assert set(traffic.examples.order_by("-pk")[:100].values_list("split", flat=True)) == {"test"}


def test_a_label_set_can_be_fixed(workload: Workload) -> None:
    assert set_label_set(workload, ["b", "a", "b"]).labels == ["a", "b"]
    for labels in ([], ["a"], ["a", "a"], ["a", " "]):
        with pytest.raises(InvalidInput):
            set_label_set(workload, labels)


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0.1), (0.5, 0.5), (0.1, 1.0)])
def test_shares_leave_something_to_train_on(
    workload: Workload, validation: float, test: float
) -> None:
    with pytest.raises(InvalidInput):
        set_split_shares(workload, validation=validation, test=test)


def test_a_workload_without_a_prompt_takes_no_calls(project: Project) -> None:
    create_workload(project, slug="by-hand", kind=Workload.Kind.GENERATION)
    create_workload(project, slug="by-hand-too", kind=Workload.Kind.GENERATION)
    send(project, map(text, range(MIN_CALLS)))
    assert curate(project, accept_new=True) == {"example": MIN_CALLS}
    assert not Example.objects.filter(workload__slug__startswith="by-hand").exists()


@pytest.mark.parametrize(
    ("name", "kind", "enum", "examples"),
    [
        (
            "ticket_routing",
            "classification",
            ["account", "card_delivery", "card_payment", "card_security", "cash_atm", "exchange",
             "refund", "top_up", "transfer"],
            3999,
        ),
        ("voice_extraction", "extraction", None, 2917),
    ],
)  # fmt: skip
def test_real_traffic_is_understood(
    project: Project, name: str, kind: str, enum: list[str] | None, examples: int
) -> None:
    path = DATA / name / "calls.jsonl"
    if not path.exists():
        pytest.skip("needs real data in ../shared/data, beside the project")
    with path.open("rb") as lines:
        import_lines(project, lines)
    counts = curate(project, accept_new=True)
    assert counts["example"] + counts["between_splits"] == examples
    assert counts["between_splits"] < 0.01 * examples
    workload = project.workloads.get()
    assert workload.kind == kind
    assert workload.output_schema is not None
    assert workload.output_schema.get("enum") == enum
    counts = Counter(splits(workload).values())
    assert abs(counts["test"] / examples - 0.1) < 0.02
    assert abs(counts["validation"] / examples - 0.1) < 0.02


def test_the_planner_hears_of_a_bulk_of_rows(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted() -> float:
        with connection.cursor() as cursor:
            cursor.execute("SELECT reltuples FROM pg_class WHERE relname = 'factory_example'")
            return float(cursor.fetchone()[0])

    monkeypatch.setattr(near, "GROWN", 30)
    add_examples(workload, [(ticket_messages(f"one {n}"), "login") for n in range(29)])
    before = counted()
    add_examples(workload, [(ticket_messages(f"two {chr(n)}"), "login") for n in range(65, 96)])
    assert counted() > max(before, 29)
