"""Augmentation: what a teacher makes up stays only if it is new, fits, and leaks nothing."""

import json
from collections.abc import Sequence
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from factory.curation.near_duplicates import grams_of
from factory.erasure import Sought
from factory.errors import Conflict, InvalidInput
from factory.models import Example, Job, Workload
from factory.services.curate import add_examples
from factory.services.keys import create_key
from labeling import augment
from labeling.augment import Order
from labeling.models import Draft, Label, LabelJob, Seed, Suspicion, Teacher
from labeling.seeding import Failure, Field, Parent, plan
from labeling.selectors.augment import augment_summary, parents_of, synthetic_share
from labeling.services.augment import (
    augment_work,
    bring_back,
    estimate_augmentation,
    start_augmentation,
    withdraw,
)
from labeling.services.erase import count_said, drafts_with, erase_said, replies_about
from labeling.services.label import change_teacher, resume_label_job
from labeling.services.label_sets import write_label_set
from tests.conftest import MakeExample, ticket_messages
from tests.fakes import Reply, ScriptedUpstream, completion
from tests.labeling.conftest import work_on

pytestmark = pytest.mark.django_db
PARENT = "I was charged twice for my order last week and want the second payment back"
FRESH = [
    "Two payments left my account for one purchase, please return one of them",
    "My card shows the same amount booked two times, can you refund that",
    "Why did you take the money again? I only bought one thing from your shop",
    "There is a double booking on my statement and it should be reversed soon",
]


@pytest.fixture
def lone_teacher(teacher: Teacher) -> Teacher:
    """Asked one by one, so that a script is read in its order."""
    change_teacher(teacher, in_flight=1)
    return teacher


def made(*texts: str) -> Reply:
    return Reply(body=completion(json.dumps({"inputs": texts})))


def answers(*labels: str) -> list[Reply]:
    return [Reply(body=completion(json.dumps({"answer": label}))) for label in labels]


def placed(workload: Workload, *rows: tuple[str, str], split: str = "train") -> list[Example]:
    add_examples(workload, [(ticket_messages(text), label) for text, label in rows], split=split)
    return list(workload.examples.filter(split=split).order_by("pk"))


def run(workload: Workload, teacher: Teacher, wanted: dict[str, int], **options: Any) -> LabelJob:
    chosen = {"budget_usd": Decimal(1), "most_share": 0.9, **options}
    job = start_augmentation(workload, teacher=teacher, wanted=wanted, **chosen)
    return work_on(job, augment_work)


def fates(job: LabelJob) -> list[tuple[str, str]]:
    return list(job.drafts.order_by("pk").values_list("status", "why"))


# --- what stays -----------------------------------------------------------------------------------
def test_a_draft_that_is_answered_blind_as_meant_becomes_a_training_row(
    workload: Workload, lone_teacher: Teacher, upstream: ScriptedUpstream
) -> None:
    [parent] = placed(workload, (PARENT, "billing"))
    upstream.script(made(*FRESH), *answers("billing", "billing", "billing", "billing"))
    job = run(workload, lone_teacher, {"paraphrase": 4})
    assert job.status == Job.Status.SUCCEEDED
    children = Example.objects.filter(origin="synthetic").order_by("pk")
    assert [child.messages[-1]["content"] for child in children] == FRESH
    for child in children:
        assert (child.parent_id, child.group, child.split) == (parent.pk, parent.group, "train")
        assert (child.target, child.provenance) == ("billing", "relabeled_by_model")
        assert child.messages[0] == parent.messages[0]
        assert child.labels.get().status == Label.Status.ACCEPTED
    asked, *blind = [chat.json for chat in upstream.chats]
    assert PARENT in asked["messages"][1]["content"]
    assert asked["response_format"]["json_schema"]["name"] == "drafts"
    assert {chat["messages"][-1]["content"] for chat in blind} == set(FRESH)
    assert PARENT not in json.dumps(blind)  # whoever reads it knows nothing of its making


@pytest.mark.parametrize(
    ("text", "said", "fate"),
    [
        (FRESH[0], "delivery", ("off_label", "meant as billing")),
        (PARENT.upper() + "!", None, ("copy", "of its parent")),
        ("…?!", None, ("misshapen", "")),
        ("so long " * 400, None, ("misshapen", "")),
        ("The parcel from spring has still not arrived at my door", None,
         ("leak", "of the test split")),
        ("My parcel has a dent, who is going to replace the broken lamp", None,
         ("copy", "of a row of the workload")),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_shown_with_its_reason(
    workload: Workload, lone_teacher: Teacher, upstream: ScriptedUpstream,
    text: str, said: str | None, fate: tuple[str, str],
) -> None:  # fmt: skip
    placed(
        workload,
        (PARENT, "billing"),
        ("My parcel has a dent, who is going to replace the broken lamp?", "delivery"),
    )
    held_out = "The parcel from spring has still not arrived at my door."
    placed(workload, (held_out, "delivery"), split="test")
    Example.objects.filter(target="delivery", split="train").update(may_train=False)  # no parent
    upstream.script(made(text), *answers(*([said] if said else [])))
    job = run(workload, lone_teacher, {"paraphrase": 1}, per_seed=1)
    assert fates(job) == [fate]
    assert not Example.objects.filter(origin="synthetic").exists()
    assert len(upstream.chats) == 1 + (said is not None)  # what cannot stay is not read
    assert held_out not in json.dumps([chat.json for chat in upstream.chats])


def test_a_draft_like_another_draft_is_a_copy(
    workload: Workload, lone_teacher: Teacher, upstream: ScriptedUpstream
) -> None:
    placed(workload, (PARENT, "billing"))
    upstream.script(made(FRESH[0], FRESH[0] + "."), *answers("billing"))
    job = run(workload, lone_teacher, {"paraphrase": 2}, per_seed=2)
    assert sorted(fates(job)) == [("copy", "of another draft"), ("kept", "")]


def test_a_change_of_one_word_is_a_counterfactual_and_no_copy(
    workload: Workload, lone_teacher: Teacher, upstream: ScriptedUpstream
) -> None:
    [parent] = placed(workload, (PARENT, "billing"))
    changed = PARENT.replace("second payment back", "second parcel sent")
    upstream.script(made(changed), *answers("delivery"))
    job = run(workload, lone_teacher, {"counterfactual": 1}, per_seed=1)
    seed = job.seeds.get()
    assert (seed.against, seed.expected) == ("billing", "delivery")
    child = Example.objects.get(origin="synthetic")
    assert (child.group, child.target) == (parent.group, "delivery")
    assert child.cluster != parent.cluster  # beside its parent it is no label noise


def test_votes_that_disagree_keep_nothing(
    workload: Workload, lone_teacher: Teacher, upstream: ScriptedUpstream
) -> None:
    placed(workload, (PARENT, "billing"))
    upstream.script(made(FRESH[0]), *answers("billing", "delivery"))
    job = run(workload, lone_teacher, {"paraphrase": 1}, per_seed=1, votes=2)
    assert [status for status, _ in fates(job)] == ["unsure"]


@pytest.mark.parametrize(
    "raw", ["no JSON", "[]", '{"inputs": "one"}', '{"inputs": []}', '{"inputs": [1, ""]}', ""]
)
def test_a_reply_without_drafts_costs_its_question_and_no_more(
    workload: Workload, lone_teacher: Teacher, upstream: ScriptedUpstream, raw: str
) -> None:
    placed(workload, (PARENT, "billing"))
    upstream.script(Reply(body=completion(raw)))
    job = run(workload, lone_teacher, {"paraphrase": 4})
    assert job.status == Job.Status.SUCCEEDED
    assert job.seeds.get().problem
    assert not job.drafts.exists()
    assert augment_summary(job).problems[0][1] == 1


def test_a_hostile_draft_is_kept_as_text_and_holds_no_nul(
    workload: Workload, lone_teacher: Teacher, upstream: ScriptedUpstream, alice: User
) -> None:
    placed(workload, (PARENT, "billing"))
    hostile = "<script>alert(1)</script>\0 refund the amount that was taken from me twice"
    upstream.script(made(hostile), *answers("billing"))
    job = run(workload, lone_teacher, {"paraphrase": 1}, per_seed=1)
    assert "\0" not in job.drafts.get().text
    client = Client()
    client.force_login(alice)
    page = client.get(f"/acme/tickets/augment/{job.pk}/").content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


# --- limits ---------------------------------------------------------------------------------------
def test_synthetic_rows_stop_at_their_share(
    workload: Workload, lone_teacher: Teacher, upstream: ScriptedUpstream
) -> None:
    rows = [(f"{PARENT} {word}", "billing") for word in ("now", "today")]
    placed(workload, *rows, ("the parcel is lost", "delivery"), ("no parcel came", "delivery"))
    Example.objects.filter(target="delivery").update(may_train=False)  # no parents
    upstream.script(made(*FRESH), *answers(*["billing"] * 4))
    job = run(workload, lone_teacher, {"paraphrase": 16}, most_share=0.34)
    assert job.augmentation.most_kept == 2
    assert Example.objects.filter(origin="synthetic").count() == 2
    assert [status for status, _ in fates(job)].count("surplus") == 2
    assert len(upstream.chats) == 5  # the other seeds are not asked
    assert synthetic_share(workload).share == pytest.approx(2 / 6)
    with pytest.raises(Conflict, match="34%"):
        run(workload, lone_teacher, {"paraphrase": 4}, most_share=0.34)


def test_a_budget_is_a_hard_stop_and_nothing_is_paid_twice(
    workload: Workload, lone_teacher: Teacher, upstream: ScriptedUpstream
) -> None:
    placed(workload, *((f"{PARENT} number {word}", "billing") for word in "abcdef"))
    job = start_augmentation(
        workload, teacher=lone_teacher, wanted={"paraphrase": 24}, most_share=0.9,
        budget_usd=Decimal("0.012"),
    )  # fmt: skip
    job = work_on(job, augment_work)
    assert job.status == Job.Status.PAUSED
    assert "Budget reached" in job.error
    assert job.spent_usd <= job.budget_usd
    before = len(upstream.chats)
    resume_label_job(job, budget_usd=Decimal(1), nevertheless=True)
    job = work_on(job, augment_work)
    assert job.status == Job.Status.SUCCEEDED
    assert not job.seeds.filter(is_done=False).exists()
    assert len(upstream.chats) > before
    keys = [chat.headers["idempotency-key"] for chat in upstream.chats]
    assert len(keys) == len(set(keys))
    assert job.spent_usd == sum(reply.cost_usd for reply in job.replies.all())


def test_a_run_whose_first_drafts_fail_stops_before_the_rest(
    workload: Workload, lone_teacher: Teacher, upstream: ScriptedUpstream
) -> None:
    placed(workload, *((f"{PARENT} number {word}", "billing") for word in "abcdefghij"))
    upstream.script(
        *[reply for n in range(4) for reply in (made(f"{FRESH[n]} indeed"), *answers("delivery"))]
    )
    job = run(workload, lone_teacher, {"paraphrase": 10}, per_seed=1)
    assert job.status == Job.Status.PAUSED
    assert "0 of the first 4 drafts stand" in job.error
    assert job.seeds.filter(is_done=True).count() == 4
    resume_label_job(job, nevertheless=True)
    assert work_on(job, augment_work).status == Job.Status.SUCCEEDED


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"wanted": {}}, "at least one method"),
        ({"wanted": {"poetry": 3}}, "no method"),
        ({"wanted": {"gap": 3}}, "wrong answers"),
        ({"wanted": {"paraphrase": -1}}, "from 0"),
        ({"wanted": {"paraphrase": 1}, "per_seed": 0}, "per_seed"),
        ({"wanted": {"paraphrase": 1}, "votes": 26}, "votes"),
        ({"wanted": {"paraphrase": 1}, "budget_usd": Decimal(-1)}, "negative"),
    ],
)
def test_a_wrong_plan_is_refused(
    workload: Workload, teacher: Teacher, options: dict[str, Any], said: str
) -> None:
    placed(workload, (PARENT, "billing"))
    chosen = {"budget_usd": Decimal(1), "most_share": 0.9, **options}
    with pytest.raises(InvalidInput, match=said):
        start_augmentation(workload, teacher=teacher, **chosen)


def test_a_teacher_whose_terms_forbid_it_makes_nothing(
    workload: Workload, teacher: Teacher
) -> None:
    placed(workload, (PARENT, "billing"))
    change_teacher(teacher, may_train_on_outputs=False)
    with pytest.raises(InvalidInput, match="do not allow"):
        run(workload, teacher, {"paraphrase": 1})


def test_one_augmentation_at_a_time_and_none_without_rows(
    workload: Workload, teacher: Teacher
) -> None:
    options: dict[str, Any] = {"teacher": teacher, "wanted": {"paraphrase": 1}}
    with pytest.raises(Conflict, match="no training row"):
        start_augmentation(workload, budget_usd=Decimal(1), **options)
    placed(workload, (PARENT, "billing"))
    start_augmentation(workload, budget_usd=Decimal(1), most_share=0.9, **options)
    with pytest.raises(Conflict, match="still at work"):
        start_augmentation(workload, budget_usd=Decimal(1), most_share=0.9, **options)


# --- where it starts from -------------------------------------------------------------------------
def test_parents_are_real_sound_training_rows(
    workload: Workload, make_example: MakeExample
) -> None:
    good = make_example("good", "billing", split="train")
    make_example("held out", "billing", split="test")
    make_example("nameless", "poetry", split="train")
    make_example("unanswered", None, split="train")
    make_example("forbidden", "billing", split="train", may_train=False)
    make_example("made up", "billing", split="train", origin="synthetic")
    make_example("gone", "billing", split="train", status="discarded")
    doubted = make_example("doubted", "billing", split="train")
    confirmed = make_example("confirmed", "billing", split="train", provenance="relabeled_by_human")
    run = workload.insight_runs.create(status="succeeded")
    for rank, row in enumerate((doubted, confirmed), start=1):
        Suspicion.objects.create(
            example=row, workload=workload, run=run, score=0.9, rank=rank, likelier="delivery"
        )
    assert set(parents_of(workload)) == {good, confirmed}


def parents(*rows: tuple[str, str]) -> list[Parent]:
    return [Parent(n, f"g{n}", text, answer) for n, (text, answer) in enumerate(rows)]


def test_the_rarest_labels_are_levelled() -> None:
    rows = parents(*[("a text", "a")] * 5, ("b text", "b"))
    field = Field(rows, {"a": 5, "b": 1, "c": 0})
    planned = plan(field, {"rare_label": 12})
    count = {label: sum(one.expected == label for one in planned) for label in "abc"}
    assert count == {"a": 1, "b": 5, "c": 6}
    assert all(one.parent == 5 for one in planned if one.expected == "b")


def test_hard_ones_come_from_the_border() -> None:
    clear = [(f"invoice payment refund {n}", "billing") for n in range(20)]
    clear += [(f"parcel courier address {n}", "delivery") for n in range(20)]
    border = [("invoice payment parcel courier", "billing"), ("refund address", "delivery")]
    rows = parents(*clear, *border)
    first = plan(Field(rows, {"billing": 21, "delivery": 21}), {"hard_negative": 4})
    assert {40, 41} & {one.parent for one in first}
    assert all(one.expected != one.against for one in first)


def test_gaps_start_from_the_nearest_training_rows_of_the_wanted_label() -> None:
    rows = parents(
        ("parcel lost in the post", "delivery"),
        ("money taken twice", "billing"),
        ("courier broke the vase", "delivery"),
    )
    failures = [Failure("the post lost my parcel", "delivery", "billing")]
    [first, *_] = plan(Field(rows, {"billing": 1, "delivery": 2}, failures), {"gap": 1})
    assert (first.parent, first.expected, first.against) == (0, "delivery", "billing")


def test_methods_come_in_turn_so_that_a_stopped_run_has_some_of_each() -> None:
    rows = parents(*[(f"text {n}", "ab"[n % 2]) for n in range(10)])
    planned = plan(Field(rows, {"a": 5, "b": 5}), {"paraphrase": 3, "rare_label": 3})
    assert [one.method for one in planned] == ["paraphrase", "rare_label"] * 3


def test_a_held_out_text_is_never_shown_to_the_teacher(
    workload: Workload, teacher: Teacher, upstream: ScriptedUpstream
) -> None:
    placed(workload, ("the courier lost my parcel on the way", "delivery"), (PARENT, "billing"))
    secret = "my parcel got lost with the courier in Xanadu"
    [wrong] = placed(workload, (secret, "delivery"), split="test")
    made_set = write_label_set(workload, name="student", answers=[(wrong.pk, "billing")])
    job = run(workload, teacher, {"gap": 2}, gaps=f"set-{made_set.pk}", per_seed=2)
    seed = job.seeds.get()
    assert (seed.method, seed.expected, seed.against) == ("gap", "delivery", "billing")
    assert "Xanadu" not in json.dumps([chat.json for chat in upstream.chats])
    assert job.augmentation.gaps_name == "student"


# --- JSON and free text ---------------------------------------------------------------------------
def test_a_changed_fact_of_a_json_workload_is_kept_where_all_votes_agree(
    workload: Workload, lone_teacher: Teacher, upstream: ScriptedUpstream
) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    Workload.objects.filter(pk=workload.pk).update(output_schema=schema, kind="extraction")
    workload.refresh_from_db()
    placed(workload, ("please send the new chair to our office in Rome", '{"city": "Rome"}'))
    texts = [f"please send the new chair to our office in {city}" for city in ("Bern", "Rome.")]
    said = [Reply(body=completion(json.dumps({"city": city}))) for city in ("Bern", "Bern")]
    upstream.script(made(*texts), *said)
    job = run(workload, lone_teacher, {"counterfactual": 2}, per_seed=2)
    assert job.votes == 2  # one answer alone would agree with itself
    assert sorted(fates(job)) == [("copy", "of its parent"), ("kept", "")]
    child = Example.objects.get(origin="synthetic")
    assert json.loads(child.target or "") == {"city": "Bern"}


def test_of_free_text_only_paraphrases_and_gaps_are_made(
    workload: Workload, teacher: Teacher
) -> None:
    Workload.objects.filter(pk=workload.pk).update(output_schema=None, kind="generation")
    workload.refresh_from_db()
    placed(workload, (PARENT, "They want one of two payments back."))
    with pytest.raises(InvalidInput, match="paraphrase, gap"):
        run(workload, teacher, {"rare_label": 1})


# --- words ----------------------------------------------------------------------------------------
def test_only_the_slot_of_a_prompt_varies() -> None:
    turn = "Ticket:\nmy chair is broken and I am sad\nAnswer with one word."
    messages = [{"role": "system", "content": "Route."}, {"role": "user", "content": turn}]
    part = augment.varied_part(messages, ["my chair is broken and I am sad"])
    assert part == "my chair is broken and I am sad"
    child = augment.with_text(messages, part, "the lamp fell")
    assert child[1]["content"] == "Ticket:\nthe lamp fell\nAnswer with one word."
    assert messages[1]["content"] == turn


def test_a_slot_that_is_not_there_once_leaves_the_whole_turn() -> None:
    messages = [{"role": "user", "content": "say it again, say it again"}]
    assert augment.varied_part(messages, ["say it again"]) == "say it again, say it again"
    assert augment.varied_part([{"role": "assistant", "content": "x"}], []) == ""


def test_pictures_stay_where_the_text_varies() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    content = [{"type": "text", "text": "what is this?"}, picture]
    child = augment.with_text([{"role": "user", "content": content}], "what is this?", "and that?")
    assert child[0]["content"] == [{"type": "text", "text": "and that?"}, picture]


def test_what_is_asked_names_answers_but_no_label_is_asked_of_a_json_task() -> None:
    order = Order("gap", "a text", '{"a": 1}', '{"a": 1}', "", 2, 0)
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    said = augment.draft_messages(order, ticket_messages("x"), schema, "Be kind.")[1]["content"]
    assert "in other words" in said
    assert "Be kind." in said
    assert "Write 2 different ones" in said


def test_two_texts_are_alike_by_their_words() -> None:
    assert augment.alike("a b c", "a b c") == 1.0
    assert augment.alike("a b", "c d") == 0.0
    assert augment.alike("", "") == 0.0
    assert augment.alike("a b c d", "a b") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("texts", "share"), [(["a b", "a b"], 0.5), (["a b c"], 1.0), (["a"], None), ([], None)]
)
def test_diversity_is_the_share_of_distinct_pairs(
    texts: Sequence[str], share: float | None
) -> None:
    assert augment.distinct(texts) == share


def test_the_same_words_are_a_copy_for_every_method() -> None:
    same = grams_of(["a", "b", "c"])
    assert augment.is_copy(same, same, "counterfactual")
    assert augment.is_copy(same, same, "paraphrase")
    assert not augment.is_copy(grams_of(["a", "b", "d"]), same, "counterfactual")


# --- afterwards -----------------------------------------------------------------------------------
@pytest.fixture
def augmented(workload: Workload, lone_teacher: Teacher, upstream: ScriptedUpstream) -> LabelJob:
    placed(workload, (PARENT, "billing"))
    upstream.script(made(*FRESH), *answers("billing", "billing", "delivery", "billing"))
    return run(workload, lone_teacher, {"paraphrase": 4})


def test_it_can_be_withdrawn_and_brought_back(augmented: LabelJob, workload: Workload) -> None:
    children = Example.objects.filter(origin="synthetic")
    one = children.order_by("pk").first()
    assert one is not None
    Example.objects.filter(pk=one.pk).update(provenance="relabeled_by_human", status="reviewed")
    assert withdraw(augmented) == 2
    assert synthetic_share(workload).made == 1  # what a person answered stays
    assert bring_back(augmented) == 2
    assert set(children.values_list("status", flat=True)) == {"labeled", "reviewed"}


def test_what_people_correct_is_measured(augmented: LabelJob) -> None:
    first, second = Example.objects.filter(origin="synthetic").order_by("pk")[:2]
    Example.objects.filter(pk=first.pk).update(provenance="relabeled_by_human", target="delivery")
    Example.objects.filter(pk=second.pk).update(provenance="relabeled_by_human")
    wrong = augment_summary(augmented).wrong
    assert (wrong.count, wrong.n) == (1, 2)


def test_erasing_a_row_takes_along_all_that_was_made_of_it(
    augmented: LabelJob, workload: Workload
) -> None:
    parent = Example.objects.get(origin="upload")
    counts = count_said([parent.pk])
    assert (counts["drafts"], counts["seeds"]) == (4, 1)
    assert replies_about(workload, [parent.pk]).count() == augmented.replies.count()
    erase_said(workload, [parent.pk, *parent.example_set.values_list("pk", flat=True)])
    assert not Draft.objects.exists()
    assert not Seed.objects.exists()


def test_a_draft_that_nobody_kept_is_found_by_what_it_holds(
    augmented: LabelJob, workload: Workload
) -> None:
    found = drafts_with(workload.project, Sought.text("took the money again"))
    assert not found.exists()
    rejected = augmented.drafts.get(status="off_label")
    word = Sought.text(rejected.text)
    assert list(drafts_with(workload.project, word)) == [rejected]


# --- doors ----------------------------------------------------------------------------------------
def test_an_estimate_counts_calls_and_room(workload: Workload, teacher: Teacher) -> None:
    placed(workload, *((f"{PARENT} number {word}", "billing") for word in "abcdefg"))
    said = estimate_augmentation(workload, teacher=teacher, wanted={"paraphrase": 10}, votes=2)
    assert (said.seeds, said.drafts, said.calls) == (3, 12, 27)
    assert said.kept_at_most == 3
    assert said.usd > 0


def test_a_lead_starts_one_in_the_browser_and_sees_what_became_of_it(
    workload: Workload, teacher: Teacher, alice: User
) -> None:
    placed(workload, *((f"{PARENT} number {word}", "billing") for word in "abcdefghijkl"))
    client = Client()
    client.force_login(alice)
    typed: dict[str, Any] = {"teacher": teacher.pk, "paraphrase": 8, "budget_usd": "1"}
    typed["most_share"] = "0.5"
    estimate = client.get("/acme/tickets/augment/estimate/", typed).content.decode()
    assert ">10<" in estimate  # two questions for drafts, eight to read them
    response = client.post("/acme/tickets/augment/new/", typed)
    job = LabelJob.objects.get()
    assert response.headers["Location"] == f"/acme/tickets/augment/{job.pk}/"
    work_on(job, augment_work)
    page = client.get(f"/acme/tickets/augment/{job.pk}/?status=kept").content.decode()
    assert "The same in other words" in page
    for act in ("withdraw", "bring-back"):
        assert client.post(f"/acme/tickets/augment/{job.pk}/{act}/").status_code == 302
    assert "Job" in client.get("/acme/tickets/augment/").content.decode()
    refused = client.post("/acme/tickets/augment/new/", {**typed, "paraphrase": 0})
    assert refused.status_code == 422


def test_a_program_starts_watches_and_withdraws_one(workload: Workload, teacher: Teacher) -> None:
    placed(workload, *((f"{PARENT} number {word}", "billing") for word in "abcd"))
    _, key = create_key(workload.project, name="ci", scopes=["api"])
    client = Client(headers={"authorization": f"Bearer {key}"})
    body = {"teacher": "big", "wanted": {"paraphrase": 4}, "budget_usd": 1, "most_share": 0.9}
    base = "/api/v1/workloads/tickets/augmentations"
    estimate = client.post(f"{base}/estimate", body, "application/json").json()
    assert estimate["drafts"] == 4
    started = client.post(base, body, "application/json").json()
    work_on(LabelJob.objects.get(pk=started["id"]), augment_work)
    watched = client.get(f"/api/v1/augmentations/{started['id']}").json()
    assert watched["status"] == "succeeded"
    drafts = client.get(f"/api/v1/augmentations/{started['id']}/drafts").json()
    assert len(drafts) == sum(watched["methods"]["paraphrase"].values())
    gone = client.post(f"/api/v1/augmentations/{started['id']}/withdraw").json()
    assert gone["is_withdrawn"]
    wrong = client.post(base, {**body, "wanted": {"poetry": 1}}, "application/json")
    assert wrong.status_code == 400
    assert wrong.json()["error"]["param"] == "wanted"


def test_a_command_makes_them_too(workload: Workload, teacher: Teacher) -> None:
    placed(workload, *((f"{PARENT} number {word}", "billing") for word in "abcd"))
    names = ["--project", "acme", "--workload", "tickets", "--teacher", "big", "--budget", "1"]
    asked = [*names, "--drafts", "paraphrase=4", "--most-share", "0.9"]
    out = StringIO()
    call_command("augment", *asked, "--estimate", stdout=out)
    assert "4 drafts, 5 calls" in out.getvalue()
    call_command("augment", *asked, stdout=out)
    assert "paraphrase: 4 drafts" in out.getvalue()
    assert "of the training rows are synthetic" in out.getvalue()
    with pytest.raises(CommandError, match="METHOD=N"):
        call_command("augment", *names, "--drafts", "paraphrase")
