"""Decides whether a student may be published: named checks on held-out rows, each with its reason.

Nothing is estimated from training rows, and what is judged is the quantized file that ships.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from distill.scoring import paired_difference


@dataclass(frozen=True)
class Rules:
    """What a workload demands; shares of 1."""

    margin: float = 0.03
    minimum_rows: int = 100
    minimum_gain_over_base: float = 0.05
    maximum_quantization_loss: float = 0.02
    maximum_invalid_rate: float = 0.02


@dataclass(frozen=True)
class Subject:
    """Which held-out rows a subject answered right, by row id, and its share of invalid answers."""

    name: str
    correct: Mapping[str, bool]
    invalid_rate: float = 0.0

    @property
    def accuracy(self) -> float:
        """The share of its rows it answered right."""
        return sum(self.correct.values()) / len(self.correct) if self.correct else 0.0


@dataclass(frozen=True)
class Check:
    """One demand: whether it is met, said in a sentence, with the figures it rests on."""

    name: str
    passed: bool
    reason: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Verdict:
    """Passed if every check is."""

    passed: bool
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was refused."""
        return tuple(check.reason for check in self.checks if not check.passed)


def decide(
    student: Subject,
    *,
    teacher: Subject,
    base: Subject,
    unquantized: Subject,
    majority_baseline: float,
    rules: Rules | None = None,
) -> Verdict:
    """Judge the shipped file (`student`) against teacher, untrained base and unquantized student.

    Comparisons are paired: they use the rows both subjects answered, and ask for the bound of the
    95 % interval, so too few rows refuse a student that may be good and never pass a bad one.
    """
    demanded = rules or Rules()
    rows = _enough_rows(student, teacher, demanded)
    others = (teacher, base, unquantized)
    silent = [o.name for o in others if not student.correct.keys() & o.correct.keys()]
    if silent:
        reason = f"nothing to compare with: {', '.join(silent)} answered none of the rows"
        missing = Check(
            "all_answered", passed=False, reason=reason, figures={"silent": len(silent)}
        )
        return Verdict(passed=False, checks=(rows, missing))
    checks = (
        rows,
        _not_worse(student, teacher, demanded.margin, "not_worse_than_teacher"),
        _better(student, base, demanded.minimum_gain_over_base),
        _beats_majority(student, majority_baseline),
        _not_worse(student, unquantized, demanded.maximum_quantization_loss, "quantization"),
        _valid(student, demanded),
    )
    return Verdict(all(check.passed for check in checks), checks)


def _enough_rows(student: Subject, teacher: Subject, rules: Rules) -> Check:
    n = len(student.correct.keys() & teacher.correct.keys())
    reason = f"{n} held-out rows answered by both, {rules.minimum_rows} demanded"
    figures = {"rows": float(n), "minimum": float(rules.minimum_rows)}
    return Check("enough_rows", n >= rules.minimum_rows, reason, figures)


def _not_worse(student: Subject, other: Subject, margin: float, name: str) -> Check:
    difference = paired_difference(student.correct, other.correct)
    reason = (
        f"{student.name} differs from {other.name} by {_points(difference.value)} points "
        f"(95 % interval {_points(difference.low)} to {_points(difference.high)}); "
        f"the lower bound must be above {_points(-margin)}"
    )
    figures = {
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "margin": margin,
    }
    return Check(name, difference.low > -margin, reason, figures)


def _better(student: Subject, base: Subject, minimum_gain: float) -> Check:
    gain = paired_difference(student.correct, base.correct)
    reason = (
        f"{student.name} gains {_points(gain.value)} points on {base.name} "
        f"(95 % interval {_points(gain.low)} to {_points(gain.high)}); "
        f"the lower bound must be above {_points(minimum_gain)}"
    )
    figures = {"gain": gain.value, "low": gain.low, "high": gain.high, "minimum": minimum_gain}
    return Check("better_than_base", gain.low > minimum_gain, reason, figures)


def _beats_majority(student: Subject, majority_baseline: float) -> Check:
    reason = (
        f"{student.name} is right in {student.accuracy:.1%}; "
        f"always giving the most common answer in {majority_baseline:.1%}"
    )
    figures = {"accuracy": student.accuracy, "majority": majority_baseline}
    return Check("better_than_majority", student.accuracy > majority_baseline, reason, figures)


def _valid(student: Subject, rules: Rules) -> Check:
    reason = (
        f"{student.invalid_rate:.1%} of the answers are invalid, "
        f"{rules.maximum_invalid_rate:.1%} allowed"
    )
    figures = {"invalid_rate": student.invalid_rate, "maximum": rules.maximum_invalid_rate}
    passed = student.invalid_rate <= rules.maximum_invalid_rate
    return Check("valid_answers", passed, reason, figures)


def _points(share: float) -> str:
    return f"{share * 100:+.1f}"
