"""Curation as people see it: steps with reasons, samples and undo, a recipe, a page, an API."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from io import StringIO
from random import Random
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from factory.curation.answers import is_refusal
from factory.curation.recipe import Recipe
from factory.demo.sample import generate
from factory.errors import Conflict, InvalidInput
from factory.models import CapturedCall, CurationRun, CurationStep, Example, Project, Workload
from factory.services import jobs
from factory.services.capture import record_calls
from factory.services.curate import add_examples, curate, start_curation
from factory.services.curation import (
    curation_page,
    curation_work,
    save_recipe,
    start_undo,
    undo,
)
from factory.services.discover import accept_all, group_calls
from factory.services.keys import create_key
from factory.services.projects import create_project
from tests.conftest import INSTRUCTION, LABELS, MakeExample, call_record, ticket_messages

pytestmark = pytest.mark.django_db

WORDS = [
    "invoice",
    "parcel",
    "password",
    "router",
    "refund",
    "voucher",
    "warranty",
    "lost",
    "broke",
    "returned",
    "ordered",
    "forgot",
    "cancelled",
    "upgraded",
    "received",
    "yesterday",
    "counter",
    "update",
    "blue",
    "kitchen",
    "heavy",
    "printer",
    "holiday",
    "train",
    "garden",
    "street",
    "winter",
    "coffee",
    "ticket",
    "window",
    "engine",
    "doctor",
    "school",
    "market",
    "bridge",
    "orange",
    "river",
    "summer",
    "pencil",
    "basket",
    "mirror",
    "candle",
    "blanket",
    "hammer",
    "ladder",
    "saddle",
    "tunnel",
    "whistle",
    "yellow",
    "cotton",
]


def texts(count: int, seed: int = 1) -> list[str]:
    """Return tickets of unlike words: no two are near copies, no part is a template."""
    random = Random(seed)
    return [" ".join(random.sample(WORDS, 9)) for _ in range(count)]


def send(
    project: Project, said: Iterable[tuple[str, str]], *, name: str = "", **fields: Any
) -> None:
    finish = fields.pop("finish_reason", "stop")
    records = []
    for n, (text, answer) in enumerate(said):
        record = call_record(text, answer, request_id=f"{name}{n}{text[:80]}", **fields)
        assert record.response is not None
        record.response["choices"][0]["finish_reason"] = finish
        records.append(record)
    record_calls(project, records, CapturedCall.Source.IMPORT)


@pytest.fixture
def traffic(project: Project) -> Workload:
    """200 different tickets, curated as classification."""
    send(project, [(text, LABELS[n % 3]) for n, text in enumerate(texts(200))])
    group_calls(project)
    (workload,) = accept_all(project)
    curate(project)
    return workload


def step(workload: Workload, name: str) -> CurationStep:
    return workload.curation_steps.filter(name=name).latest("run")


def kept(workload: Workload) -> Any:
    return workload.examples.exclude(status="discarded")


# --- steps ----------------------------------------------------------------------------------------
def test_every_step_says_how_many_came_in_and_went_out(project: Project, traffic: Workload) -> None:
    send(project, [("a new one about the weather", "I'm sorry, but I can't help with that.")])
    send(project, [("another about a lawn mower", "no such label")], name="label")
    send(project, [(texts(1)[0], "billing")] * 2, name="again")
    curate(project)
    funnel = {s.name: (s.came_in, s.went_out, s.reasons) for s in newest(traffic)}
    assert funnel["answers"] == (4, 3, {"refused": 1})
    assert funnel["format"] == (3, 2, {"off_label": 1})
    assert funnel["exact"] == (2, 0, {"duplicate": 2})
    samples = step(traffic, "format").samples["off_label"]
    assert traffic.examples.get(pk=samples[0]).produced == "no such label"


def newest(workload: Workload) -> Any:
    return workload.curation_steps.filter(run=workload.project.curation_runs.latest("pk"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I'm sorry, but I can't assist with that request.", True),
        ("I cannot help with this.", True),
        ("As an AI language model, I have no opinions.", True),
        ("Es tut mir leid, aber ich kann dabei nicht helfen.", True),
        ("Lo siento, pero no puedo ayudar con eso.", True),
        ("Sorry for the delay! Your parcel is on its way.", False),
        ("I can't find order 7 in your account, so please send the receipt.", False),
        ("billing", False),
        (
            "I'm sorry, but I can't do it today. " + "Here is the whole plan for tomorrow. " * 20,
            False,
        ),
    ],
)
def test_refusals_are_told_from_answers(answer: str, expected: bool) -> None:
    assert is_refusal(answer) is expected


def test_an_input_whose_answer_failed_comes_back_with_the_first_whole_one(
    project: Project, traffic: Workload
) -> None:
    send(project, [("my lamp hums at night", "bill")], name="cut", finish_reason="length")
    assert curate(project) == {"truncated": 1}
    row = traffic.examples.get(discard_reason="truncated")
    assert (row.split, row.target, row.produced) == ("", None, "bill")
    send(project, [("my lamp hums at night", "billing")], name="whole")
    assert curate(project) == {"example": 1}
    row.refresh_from_db()
    assert (row.status, row.discard_reason, row.target, row.weight) == (
        "captured",
        "",
        "billing",
        2,
    )
    assert row.split


def test_undoing_a_step_takes_back_what_it_discarded(project: Project, traffic: Workload) -> None:
    odd = [(f"{text} indeed, said the neighbour", "maybe billing") for text in texts(12)]
    send(project, odd, name="odd")
    assert curate(project)["off_label"] == 12
    assert kept(traffic).count() == 200
    assert undo(step(traffic, "format")) == 12
    rows = traffic.examples.filter(produced="maybe billing")
    assert kept(traffic).count() == 212
    again = step(traffic, "format")
    assert (again.came_in, again.went_out, again.restored) == (12, 12, 12)
    assert set(rows.values_list("target", "status", "discard_reason")) == {(None, "captured", "")}
    assert all(row.split for row in rows)
    with pytest.raises(Conflict):
        start_undo(step(traffic, "format"))


def test_inputs_in_another_language_are_kept_back_where_the_recipe_says_so(
    project: Project, traffic: Workload
) -> None:
    save_recipe(traffic, {"language": {"keep": ["EN"]}})
    german = "Wo bleibt meine Bestellung? Ich warte schon seit drei Wochen auf das Paket."
    send(project, [(german, "delivery"), ("is the shop open on public holidays", "billing")])
    assert curate(project) == {"example": 1, "other_language": 1}
    assert step(traffic, "language").facts["languages"] == {"de": 1, "en": 1}
    assert undo(step(traffic, "language")) == 1
    assert kept(traffic).filter(messages__1__content=german).exists()


def test_inputs_of_unusual_length_are_kept_back(project: Project, traffic: Workload) -> None:
    send(project, [("word " * 6000 + "end", "billing"), ("  ", "billing")])
    assert curate(project) == {"too_long": 1, "too_short": 1}


def test_near_copies_beyond_what_a_cluster_keeps_are_discarded_but_for_test_rows(
    project: Project, traffic: Workload
) -> None:
    save_recipe(traffic, {"near": {"keep": 1}})
    trained = kept(traffic).filter(split="train").first()
    tested = kept(traffic).filter(split="test").first()
    ends = ["please", "now", "thanks"]
    for row in (trained, tested):
        said = row.messages[1]["content"]
        send(project, [(f"{said} {end}", row.target) for end in ends], name=row.split)
    counts = curate(project)
    assert counts == {"near_duplicate": 3, "example": 3}
    assert kept(traffic).filter(cluster=tested.cluster).count() == 4
    assert kept(traffic).filter(cluster=trained.cluster).count() == 1
    assert undo(step(traffic, "near")) == 3
    assert kept(traffic).filter(cluster=trained.cluster, split="train").count() == 4


def test_a_row_near_to_rows_of_two_splits_is_left_out_with_that_reason(
    project: Project, traffic: Workload
) -> None:
    words = WORDS[:15]
    for said, split in ((words[:12], "train"), (words[3:], "test")):
        add_examples(traffic, [(ticket_messages(" ".join(said)), "billing")], split=split)
    send(project, [(" ".join(words[1:13]), "billing"), (" ".join([*words[3:], "too"]), "billing")])
    assert curate(project) == {"example": 1, "between_splits": 1}
    left_out = traffic.examples.get(discard_reason="between_splits")
    assert (left_out.status, left_out.split) == ("discarded", "")
    assert step(traffic, "splits").samples["between_splits"] == [left_out.pk]
    assert undo(step(traffic, "splits")) == 0  # it is between them still
    again = step(traffic, "splits")
    assert (again.came_in, again.went_out, again.reasons) == (2, 1, {"between_splits": 1})


def test_label_noise_inside_clusters_is_shown(project: Project, traffic: Workload) -> None:
    first = kept(traffic).filter(target="billing", split="train").first()
    said = first.messages[1]["content"]
    send(project, [(f"{said} {end}", "login" if end == "now" else "billing") for end in
                   ("please", "now", "thanks")])  # fmt: skip
    curate(project)
    page = curation_page(traffic)
    assert (page.noise["conflicting"], page.noise["minority"]) == (1, 1)
    assert page.conflicts[0].answers == [("billing", 3), ("login", 1)]


# --- conversations --------------------------------------------------------------------------------
def talk(*turns: str) -> list[dict[str, Any]]:
    roles = ["user", "assistant"]
    said = [{"role": roles[n % 2], "content": turn} for n, turn in enumerate(turns)]
    return [{"role": "system", "content": INSTRUCTION}, *said]


@pytest.mark.parametrize("longest_first", [False, True])
def test_messages_that_extend_one_another_share_a_group(
    workload: Workload,
    longest_first: bool,
) -> None:
    long = []
    for n in range(40):
        first, answer, then = texts(40)[n], f"answer {n}", texts(40, seed=2)[n]
        long.append(
            [talk(first), talk(first, answer, then), talk(first, answer, then, "ok", "bye")]
        )
    for turns in zip(*(reversed(c) if longest_first else c for c in long), strict=True):
        add_examples(workload, [(messages, "billing") for messages in turns])
    assert workload.examples.count() == 120
    for conversation in long:
        rows = workload.examples.filter(messages__in=conversation)
        assert rows.count() == 3
        assert len(set(rows.values_list("group", "split"))) == 1


def test_calls_of_one_named_conversation_share_a_group(project: Project, traffic: Workload) -> None:
    said = ["my tap drips", "the blue one was sold out", "who won the race", "where can i park"]
    send(project, [(text, "billing") for text in said], metadata={"session_id": "s-1"})
    send(project, [(f"{text} anyway and again", "billing") for text in said], trace_id="t-1")
    assert curate(project)["example"] == 8
    rows = traffic.examples.exclude(conversation="")
    assert rows.count() == 8
    assert len(set(rows.values_list("conversation"))) == 2
    for conversation in set(rows.values_list("conversation", flat=True)):
        found = rows.filter(conversation=conversation)
        assert len(set(found.values_list("group", "split"))) == 1


# --- the variable part ----------------------------------------------------------------------------
def test_a_template_in_the_users_turn_makes_no_near_copies(project: Project) -> None:
    said = texts(60)
    asked = [
        f"Classify the sentiment of this review as positive or negative. Review: {text}\nSentiment:"
        for text in said
    ]
    send(project, [(text, "good" if n % 2 else "bad") for n, text in enumerate(asked)])
    group_calls(project)
    (workload,) = accept_all(project)
    curate(project)
    assert kept(workload).values("group").distinct().count() == 60
    again = asked[0].replace(said[0], f"{said[0]} please")
    send(project, [(again, "bad")], name="again")
    curate(project)
    rows = kept(workload).filter(messages__1__content__in=[asked[0], again])
    assert len(set(rows.values_list("group", "split"))) == 1


def test_what_varies_in_the_instructions_is_compared_too(project: Project) -> None:
    for n, text in enumerate(texts(60)):
        record = call_record("Is the statement right?", "yes" if n % 2 else "no", request_id=str(n))
        instruction = (
            f"Answer from this text of the manual and from nothing else: {text} . Say yes or no."
        )
        record.request["messages"] = ticket_messages("Is the statement right?", instruction)
        record_calls(project, [record], CapturedCall.Source.IMPORT)
    group_calls(project)
    (workload,) = accept_all(project)
    assert curate(project)["example"] == 60
    assert kept(workload).values("group").distinct().count() == 60


def test_most_near_copies_of_the_demos_tickets_share_a_group(project: Project) -> None:
    """By the same words alone 41 % of them would."""
    calls = list(generate(1200, seed=7))
    records = [
        replace(call_record(call.text, call.gold, request_id=call.id), metadata=call.metadata)
        for call in calls
    ]
    record_calls(project, records, CapturedCall.Source.IMPORT)
    group_calls(project)
    accept_all(project)
    curate(project)
    group = dict(kept(project.workloads.get()).values_list("digest", "group"))
    digest = dict(project.calls.values_list("request_id", "digest"))
    pairs = [
        (group.get(digest[call.id]), group.get(digest[call.repeats]))
        for call in calls
        if call.kind == "near_duplicate" and call.repeats
    ]
    kept_pairs = [pair for pair in pairs if None not in pair]
    assert len(kept_pairs) > 0.95 * len(pairs)
    assert sum(one == other for one, other in kept_pairs) > 0.85 * len(kept_pairs)


# --- staying put ----------------------------------------------------------------------------------
def test_each_label_gets_its_share_of_each_split(project: Project) -> None:
    said = texts(256)
    send(project, [(text, "billing" if n % 8 else "login") for n, text in enumerate(said)])
    group_calls(project)
    (workload,) = accept_all(project)
    curate(project)
    for label, total in (("billing", 224), ("login", 32)):
        splits = Counter(kept(workload).filter(target=label).values_list("split", flat=True))
        assert abs(splits["test"] - 0.1 * total) <= 3
        assert abs(splits["validation"] - 0.1 * total) <= 3


def test_rows_of_before_there_was_an_index_are_found(
    workload: Workload, make_example: MakeExample
) -> None:
    for text in texts(30):
        make_example(text, split="test")
    near = [(ticket_messages(f"hello, {text}"), "billing") for text in texts(30)]
    add_examples(workload, near)
    assert set(workload.examples.values_list("split", flat=True)) == {"test"}
    assert workload.examples.count() == 60


def test_contamination_is_reported_between_splits(project: Project, traffic: Workload) -> None:
    report = traffic.curation.contamination
    assert set(report["splits"]) == {"validation", "test"}
    assert report["splits"]["test"]["exact"]["count"] == 0
    assert report["splits"]["test"]["near"]["count"] == 0


# --- recipes --------------------------------------------------------------------------------------
def test_a_recipe_keeps_what_it_is_given_and_fills_in_the_rest() -> None:
    recipe = Recipe.from_json({"near": {"similarity": 0.8}})
    assert recipe.near.similarity == 0.8
    assert recipe.near.reach == Recipe().near.reach
    assert Recipe.from_json(recipe.as_json()) == recipe


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"near": {"similarity": 2}}, "near.similarity"),
        ({"nearly": {}}, "nearly"),
        ({"language": {"keep": ["english"]}}, "language.keep"),
        ({"balance": {"mode": "perfect"}}, "balance"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(given: Any, param: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Recipe.from_json(given)
    assert refused.value.param == param


# --- doors ----------------------------------------------------------------------------------------
def run_all() -> None:
    for run in CurationRun.objects.filter(status="queued"):
        jobs.run(CurationRun, run.pk, curation_work)


def test_the_page_shows_the_funnel_and_undoes_a_step(
    client: Client, alice: Any, project: Project, traffic: Workload
) -> None:
    client.force_login(alice)
    send(project, [(f"{text} oddly", "no label") for text in texts(3)], name="odd")
    group_calls(project)
    address = f"/acme/{traffic.slug}/curate/"
    assert "Curate 3 new calls" in client.get(address).content.decode()
    client.post(address)
    assert 'hx-trigger="poll from:body"' in client.get(address).content.decode()
    run_all()
    page = client.get(address).content.decode()
    assert "outside the label set" in page
    assert "Undo: take back 3" in page
    client.post(f"{address}steps/{step(traffic, 'format').pk}/undo/")
    run_all()
    page = client.get(address).content.decode()
    assert "Undone: 3 came back." in page
    assert kept(traffic).count() == 203


def test_the_recipe_is_changed_on_its_page(client: Client, alice: Any, traffic: Workload) -> None:
    client.force_login(alice)
    address = f"/acme/{traffic.slug}/curate/recipe/"
    form = client.get(address).context["form"]
    typed = {name: value for name, value in form.initial.items() if value is not False}
    wrong = client.post(address, {**typed, "languages": "english"})
    assert wrong.status_code == 422
    assert client.post(address, {**typed, "languages": "en, de", "keep": 2}).status_code == 302
    recipe = curation_page(traffic).recipe
    assert (recipe.language.keep, recipe.near.keep) == (("de", "en"), 2)


def test_who_may_only_look_changes_nothing(
    client: Client, bob: Any, carol: Any, traffic: Workload
) -> None:
    address = f"/acme/{traffic.slug}/curate/"
    client.force_login(bob)
    assert client.get(address).status_code == 200
    assert client.post(address).status_code == 403
    assert client.get(f"{address}recipe/").status_code == 403
    client.force_login(carol)
    assert client.get(address).status_code == 404


def test_the_api_runs_shows_and_undoes(client: Client, project: Project, traffic: Workload) -> None:
    _, raw = create_key(project, name="app", scopes=["api"])
    headers = {"Authorization": f"Bearer {raw}"}
    at = f"/api/v1/workloads/{traffic.slug}"
    send(project, [("a lonely llama", "no label")], name="odd")
    started = client.post(f"{at}/curate", headers=headers).json()
    run_all()
    done = client.get(f"/api/v1/curations/{started['id']}", headers=headers).json()
    assert (done["status"], done["counts"]) == ("succeeded", {"off_label": 1})
    found = client.get(f"{at}/curation", headers=headers).json()
    (form,) = [s for s in found["steps"] if s["name"] == "format"]
    assert (form["came_in"], form["went_out"], form["holds_back"]) == (1, 0, 1)
    undone = client.post(f"{at}/curation/steps/{form['id']}/undo", headers=headers)
    assert undone.status_code == 200
    run_all()
    assert kept(traffic).count() == 201
    body = json.dumps({"near": {"similarity": 0.7}})
    changed = client.put(
        f"{at}/curation/recipe", body, content_type="application/json", headers=headers
    )
    assert changed.json()["near"]["similarity"] == 0.7
    other = create_project(slug="other", name="Other")
    _, foreign = create_key(other, name="app", scopes=["api"])
    strange = {"Authorization": f"Bearer {foreign}"}
    assert client.get(f"/api/v1/curations/{started['id']}", headers=strange).status_code == 404


def test_one_run_at_a_time_serves_all_who_ask(project: Project, traffic: Workload) -> None:
    assert start_curation(project) == start_curation(project)


def test_the_command_shows_the_funnel_and_undoes(project: Project, traffic: Workload) -> None:
    send(project, [("a lonely llama", "no label")], name="odd")
    said = StringIO()
    call_command("curate", project="acme", stdout=said)
    call_command("curate", project="acme", workload=traffic.slug, undo="format", stdout=said)
    call_command("curate", project="acme", workload=traffic.slug, funnel=True, stdout=said)
    assert "calls: 1 off_label" in said.getvalue()
    assert "restored: 1" in said.getvalue()


def test_keys_leave_with_their_example(workload: Workload) -> None:
    add_examples(workload, [(ticket_messages(text), "billing") for text in texts(3)])
    row = workload.examples.earliest("pk")
    assert row.near_keys.count() >= 20
    keys = row.near_keys.model.objects
    Example.objects.filter(pk=row.pk).delete()
    assert not keys.filter(example_id=row.pk).exists()
