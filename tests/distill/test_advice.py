"""What the workload's page advises next, over the whole round."""

from dataclasses import replace

from distill.advice import Facts, next_step

ROUND = [
    (Facts(), "new_import"),
    (Facts(calls=50, uncurated=50), "curate"),
    (Facts(calls=50, examples=40, unlabeled=40), "new_label_job"),
    (Facts(calls=50, examples=40, labeled=30, unlabeled=10, at_work="The teacher"), ""),
    (Facts(calls=50, examples=40, labeled=40, open_reviews=4), "review"),
    (Facts(calls=50, examples=40, labeled=40, untrusted_test_rows=4), "queue_review"),
    (Facts(calls=50, examples=40, labeled=40), "freeze"),
    (Facts(calls=50, examples=40, labeled=40, is_frozen=True), "new_run"),
]
TRAINED = Facts(
    calls=50, examples=40, labeled=40, is_frozen=True, run=7, run_status="succeeded",
    is_run_of_newest_version=True, evaluation=9,
)  # fmt: skip


def test_each_stage_of_the_first_round_leads_to_the_next() -> None:
    assert [next_step(facts).page for facts, _ in ROUND] == [page for _, page in ROUND]


def test_a_student_is_published_only_after_the_gate_and_moved_only_after_that() -> None:
    assert next_step(replace(TRAINED, gate="passed")).page == "run"
    published = replace(TRAINED, gate="passed", newest_version=1, is_run_published=True)
    assert next_step(published).page == "model"
    assert next_step(replace(published, production=1)).page == ""


def test_a_refused_student_leads_to_the_reasons_and_new_decisions_to_a_new_version() -> None:
    refused = replace(TRAINED, gate="refused")
    assert (next_step(refused).page, next_step(refused).argument) == ("evaluation", 9)
    assert next_step(replace(refused, changed_since_freeze=3)).page == "freeze"


def test_a_failed_run_is_looked_at_first() -> None:
    assert next_step(replace(TRAINED, run_status="failed")).argument == 7


def test_calls_of_rare_prompts_do_not_stand_in_the_way() -> None:
    assert next_step(replace(TRAINED, gate="passed", uncurated=3)).page == "run"
    idle = replace(TRAINED, gate="passed", newest_version=1, is_run_published=True, production=1)
    assert next_step(replace(idle, uncurated=3)).page == ""
    assert next_step(replace(idle, uncurated=300)).page == "curate"
