"""Who may be published."""

import json
from dataclasses import asdict

from distill.gate import Rules, Subject, Verdict, decide


def subject(name: str, right: int, rows: int = 400, invalid_rate: float = 0.0) -> Subject:
    return Subject(name, {str(row): row < right for row in range(rows)}, invalid_rate)


def judged(
    student: Subject, teacher: int = 370, base: int = 10, unquantized: int | None = None
) -> Verdict:
    rows = len(student.correct)
    whole = sum(student.correct.values()) if unquantized is None else unquantized
    return decide(
        student,
        teacher=subject("teacher", teacher, rows),
        base=subject("base", base, rows),
        unquantized=subject("adapter", whole, rows),
        majority_baseline=0.22,
    )


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_a_student_as_good_as_its_teacher_passes_every_check() -> None:
    verdict = judged(subject("student", 372))

    assert verdict.passed
    assert verdict.reasons == ()
    assert len(verdict.checks) == 6


def test_a_student_clearly_worse_than_its_teacher_is_refused_with_the_figures() -> None:
    verdict = judged(subject("student", 350))

    assert failed(verdict) == ["not_worse_than_teacher"]
    assert "student differs from teacher by -5.0 points" in verdict.reasons[0]
    [check] = [check for check in verdict.checks if not check.passed]
    assert check.figures["difference"] == -0.05
    assert check.figures["low"] < -0.05 < check.figures["high"]


def test_too_few_rows_refuse_even_a_perfect_student() -> None:
    verdict = judged(subject("student", 40, rows=40), teacher=40, base=0)

    assert "enough_rows" in failed(verdict)
    assert not verdict.passed


def test_a_small_doubtful_loss_is_refused_until_more_rows_settle_it() -> None:
    def verdict(rows: int) -> Verdict:
        share = {"student": 0.89, "teacher": 0.90}
        # The two are right on different rows, as real subjects are.
        student = {str(row): row % 100 < share["student"] * 100 for row in range(rows)}
        teacher = {str(row): (row + 5) % 100 < share["teacher"] * 100 for row in range(rows)}
        return decide(
            Subject("student", student),
            teacher=Subject("teacher", teacher),
            base=subject("base", 0, rows),
            unquantized=Subject("adapter", student),
            majority_baseline=0.2,
        )

    assert failed(verdict(200)) == ["not_worse_than_teacher"]
    assert verdict(3000).passed


def test_a_student_no_better_than_the_untrained_base_is_refused() -> None:
    assert failed(judged(subject("student", 372), base=365)) == ["better_than_base"]


def test_a_student_that_always_gives_the_most_common_answer_is_refused() -> None:
    verdict = judged(subject("student", 88), teacher=88, base=0)

    assert failed(verdict) == ["better_than_majority"]


def test_a_file_that_lost_accuracy_by_quantization_is_refused() -> None:
    verdict = judged(subject("student", 370), teacher=372, unquantized=392)

    assert failed(verdict) == ["quantization"]


def test_invalid_answers_are_refused_above_the_allowed_share() -> None:
    verdict = judged(subject("student", 372, invalid_rate=0.03))

    assert failed(verdict) == ["valid_answers"]
    assert verdict.reasons == ("3.0% of the answers are invalid, 2.0% allowed",)


def test_a_workload_may_demand_more() -> None:
    strict = Rules(minimum_rows=1000)
    everyone = subject("x", 372)

    verdict = decide(
        everyone,
        teacher=everyone,
        base=subject("base", 0),
        unquantized=everyone,
        majority_baseline=0.2,
        rules=strict,
    )

    assert failed(verdict) == ["enough_rows"]


def test_subjects_that_share_no_row_are_refused_without_a_figure() -> None:
    verdict = decide(
        Subject("student", {"a": True}),
        teacher=Subject("teacher", {"b": True}),
        base=Subject("base", {"a": False}),
        unquantized=Subject("adapter", {"a": True}),
        majority_baseline=0.2,
    )

    assert not verdict.passed
    assert [check.name for check in verdict.checks] == ["enough_rows", "all_answered"]


def test_a_verdict_can_be_stored_as_json() -> None:
    verdict = judged(subject("student", 372))

    assert json.loads(json.dumps(asdict(verdict)))["checks"][0]["name"] == "enough_rows"
