"""Whether a student can learn a prompt: its tier, with the reasons, and four short answers."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log10

from factory.suitability.measures import Profile

MOST, HALF = 0.8, 0.5
LIGHT_PROMPT = 16  # tokens: an instruction as short as "You are a helpful assistant." says nothing
WIDE = 0.85  # of the newest words are known: below it, the inputs go anywhere
SAID_BEFORE = 0.5  # of a text is predictable: above it, it follows a pattern
LINEAR_LIFT = 0.25  # of what is left above the majority: less, and the words do not tell the answer
SURE_ROWS = 300  # fewer teach a linear model too little to tell that
THINKS = 0.3  # of the completion tokens are hidden reasoning

TIERS = {
    1: "narrow and repetitive",
    2: "domain generation",
    3: "multi-step reasoning",
    4: "open-ended",
}


@dataclass(frozen=True)
class Tier:
    """What kind of job a prompt is, from 1 (a small student learns it) to 4 (none does)."""

    number: int
    reasons: list[str]

    @property
    def name(self) -> str:
        """The tier in words."""
        return TIERS[self.number]


@dataclass(frozen=True)
class Score:
    """One of the four questions: how much, from 0 to 1, and what it was judged by."""

    name: str
    value: float
    said: str


def tier_of(profile: Profile) -> Tier:
    """Place a prompt in a tier; the hardest sign decides."""
    open_ended, steps = list(_open_signs(profile)), list(_step_signs(profile))
    if open_ended:
        return Tier(4, open_ended)
    if steps:
        return Tier(3, steps)
    kind = profile.answers.kind
    if kind == "generation" or (kind == "extraction" and profile.answers.predictability < MOST):
        return Tier(2, list(_generation_signs(profile)))
    return Tier(1, list(_narrow_signs(profile)))


def _open_signs(profile: Profile) -> Iterator[str]:
    if profile.answers.kind != "generation":
        return
    inputs, predictable = profile.inputs, profile.answers.predictability
    constant = inputs.constant_share * inputs.tokens_p50
    if constant < LIGHT_PROMPT:
        yield "The answers are free text, and the prompt holds no instruction that says what about."
    if inputs.user_turns > 1 + HALF and predictable < SAID_BEFORE:
        yield (
            f"People talk with it: {inputs.user_turns:.1f} turns of theirs in the mean call, and "
            "the answers follow no pattern."
        )
    if inputs.words_known < WIDE - 0.1 and predictable < SAID_BEFORE / 2:
        yield (
            f"{1 - inputs.words_known:.0%} of the newest inputs' words are new, and the answers "
            "are as new."
        )


def _step_signs(profile: Profile) -> Iterator[str]:
    work, linear = profile.work, profile.linear
    tools = work.tools_called.value or 0.0
    if tools > 1 - MOST:
        yield f"{tools:.0%} of the answers call tools: the job takes several steps."
    if work.reasoning_share > THINKS:
        yield f"{work.reasoning_share:.0%} of what the model writes is hidden reasoning."
    if (work.asks_for_steps.value or 0) > HALF:
        yield "The prompt asks the model to think in steps."
    if linear and linear.accuracy.n >= SURE_ROWS:
        right, commonest = linear.accuracy.value or 0.0, linear.majority.value or 0.0
        if right - commonest < LINEAR_LIFT * (1 - commonest):
            yield (
                f"The labels do not show in the words: a linear model agrees on {right:.0%}, "
                f"always the commonest label on {commonest:.0%}."
            )


def _narrow_signs(profile: Profile) -> Iterator[str]:
    answers, linear = profile.answers, profile.linear
    if answers.kind == "classification":
        yield f"The answer is one of {answers.label_count} labels."
    else:
        yield (
            f"The answer is JSON with {answers.field_count} fields; {answers.predictability:.0%} "
            "of the values are one of a few or copied from the input."
        )
    if linear and linear.accuracy.value is not None:
        yield f"Even a linear model agrees on {linear.accuracy.value:.0%} of unseen calls."
    yield (
        f"{profile.inputs.constant_share:.0%} of the prompt never changes, and "
        f"{profile.inputs.words_known:.0%} of the newest inputs' words were seen before."
    )


def _generation_signs(profile: Profile) -> Iterator[str]:
    answers = profile.answers
    if answers.kind == "extraction":
        yield (
            f"The answer is JSON, but {1 - answers.predictability:.0%} of its values are text of "
            "the model's own."
        )
    else:
        yield (
            f"The answers are free text, about one instruction that makes up "
            f"{profile.inputs.constant_share:.0%} of the prompt."
        )
        yield (
            f"{answers.predictability:.0%} of an answer follows from its input and from other "
            "answers."
        )


def scores_of(profile: Profile, daily_calls: float, monthly_usd: float | None) -> list[Score]:
    """Answer the four questions: narrow, frequent, checkable, costly."""
    answers, inputs = profile.answers, profile.inputs
    in_format = answers.in_format.value or 0.0
    checkable = {
        "classification": (1.0, "a label is right or wrong"),
        "extraction": (0.85, "field by field"),
    }.get(answers.kind, (0.25, "free text: only a judge can say"))
    spend = "no price is known" if monthly_usd is None else f"${monthly_usd:,.2f} a month"
    return [
        Score(
            "Narrow",
            _between(inputs.words_known, 0.6, 0.98),
            f"{inputs.words_known:.0%} of the newest words were seen before",
        ),
        Score("Frequent", _magnitude(daily_calls, 10, 100_000), f"{daily_calls:,.0f} calls a day"),
        Score("Checkable", checkable[0] * in_format, checkable[1]),
        Score("Costly", _magnitude(monthly_usd or 0.0, 10, 10_000), spend),
    ]


def _between(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _magnitude(value: float, low: float, high: float) -> float:
    return _between(log10(value), log10(low), log10(high)) if value > 0 else 0.0
