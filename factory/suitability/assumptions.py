"""What a report takes for granted: each number with its reason, and people may change it."""

from collections.abc import Mapping
from dataclasses import dataclass

from factory.errors import InvalidInput

Assumed = Mapping[str, float]


@dataclass(frozen=True)
class Assumption:
    """A number that is not measured; `low` and `high` are the bounds of what can be meant."""

    name: str
    label: str
    unit: str
    default: float
    low: float
    high: float
    reason: str


def _a(
    name: str, label: str, unit: str, default: float, bounds: tuple[float, float], reason: str
) -> Assumption:
    return Assumption(name, label, unit, default, *bounds, reason)


ASSUMPTIONS = (
    # What a student needs.
    _a("examples_labels", "Examples for labels, at least", "examples", 1500, (50, 1e6),
       "Measured on tickets for 9 queues: 1,500 right labels give 91 %, 10,000 give 96 %."),
    _a("examples_per_label", "Examples per label", "examples", 60, (5, 10_000),
       "Rare labels are what a student gets wrong first."),
    _a("examples_json", "Examples for JSON", "examples", 2000, (50, 1e6),
       "More fields and spans to copy than a label has."),
    _a("examples_text", "Examples for text", "examples", 5000, (50, 1e6),
       "Published adapters for writing tasks are trained on thousands."),
    _a("votes", "Teacher's answers per example", "answers", 1, (0, 20),
       "The logged answer counts as one; a fresh one beside it shows where to look. 0 trusts it."),
    # What people cost.
    _a("review_share", "Examples that people look at", "share", 0.15, (0, 1),
       "In order of suspicion, the first 10 to 20 % hold most of the errors."),
    _a("seconds_label", "Looking at a label", "seconds", 5, (0.5, 600), "One key press."),
    _a("seconds_json", "Looking at JSON", "seconds", 15, (1, 600), "Field by field."),
    _a("seconds_text", "Looking at a text", "seconds", 45, (1, 3600), "It has to be read."),
    _a("reviewer_usd_per_hour", "A reviewer", "US$ an hour", 40, (0, 1000), "With overheads."),
    _a("setup_hours", "Setting up, testing, switching over", "hours", 8, (0, 1000),
       "A guideline, a gate to agree on, a week of shadow traffic to look at."),
    _a("engineer_usd_per_hour", "An engineer", "US$ an hour", 90, (0, 1000), "With overheads."),
    _a("simpler_hours", "Work on anything simpler instead", "hours", 8, (0, 1000),
       "A cache or a linear model has to be built, tested and switched to as well."),
    # What machines cost.
    _a("epochs", "Passes over the examples", "passes", 3, (1, 50), "The trainer's own advice."),
    _a("training_runs", "Training runs until one is good", "runs", 3, (1, 100),
       "A first one, one after review, one with another base."),
    _a("train_tokens_per_second", "Training speed", "tokens a second", 4000, (10, 1e6),
       "A 1.5-billion-parameter base with an adapter on one 24-GB card."),
    _a("gpu_hours_fixed", "GPU time beside training", "hours", 1, (0, 1000),
       "Loading, measuring on held-out calls, merging, quantizing."),
    _a("gpu_usd_per_hour", "A GPU to train on", "US$ an hour", 1.5, (0, 200), "Rented."),
    _a("student_usd_per_hour", "The machine that a student runs on", "US$ an hour", 0.10, (0, 1000),
       "The setting STUDENT_USD_PER_HOUR."),
    _a("machine_share", "Of that machine, held all day", "share", 1, (0, 100),
       "A machine of its own; 0.1 where ten students share one."),
    _a("read_tokens_per_second", "Reading speed there", "tokens a second", 250, (1, 1e6),
       "Half a billion parameters at 4 bits on four cores. What all prompts share is kept."),
    _a("write_tokens_per_second", "Writing speed there", "tokens a second", 35, (1, 1e6),
       "The same."),
    _a("headroom", "Machines for the peak", "times the mean", 4, (1, 100),
       "A working day's busiest hour is about four times its mean hour."),
    _a("retrains_per_year", "Trained again", "times a year", 4, (0, 100),
       "Inputs drift; once a quarter is usual."),
    _a("retrain_review_share", "Of the review, each time again", "share", 0.2, (0, 1),
       "Only what is new has to be looked at."),
    # What a student takes off the model's hands.
    _a("agreement", "Agreement that is good enough", "share", 0.95, (0.5, 1),
       "What the model agrees with itself on counts instead, where that is measured and lower."),
    _a("coverage_tier_1", "Calls that a tier-1 student takes", "share", 0.9, (0, 1),
       "Published routers keep 91 to 92 % of 77-way intents at 92 to 96 % agreement."),
    _a("coverage_tier_2", "Calls that a tier-2 student takes", "share", 0.65, (0, 1),
       "Tuned 7-billion models match the large one on most, not all, domain tasks."),
    _a("coverage_tier_3", "Calls that a tier-3 student takes", "share", 0.3, (0, 1),
       "On code and mathematics tuned small models stay far behind."),
    _a("coverage_tier_4", "Calls that a tier-4 student takes", "share", 0.1, (0, 1),
       "Only what is asked again and again."),
    # What nobody knows.
    _a("lead_days", "From the start to the first saving", "days", 14, (0, 365),
       "Labelling, review, training, a week in the shadow."),
    _a("volume_spread", "Spread of the volume", "e^±", 0.25, (0, 2),
       "Two thirds of the draws lie within ±25 %; a short history doubles that and more."),
    _a("cost_spread", "Spread of the costs", "e^±", 0.3, (0, 2), "Estimates of work are rough."),
    _a("price_fall_per_year", "The model's price falls", "share a year", 0.2, (0, 0.8),
       "It has fallen faster at times: a saving today is less of one in two years."),
    # What else is tried.
    _a("prompt_cut", "Of a constant prompt, what can go", "share", 0.4, (0, 1),
       "Repeated rules and old examples; each cut has to be measured."),
    _a("few_shots", "Examples in a smaller model's prompt", "examples", 5, (0, 200),
       "One to five of a kind are what helps most."),
    _a("trial_calls", "Calls to measure a smaller model on", "calls", 300, (10, 100_000),
       "Enough to see a difference of five points."),
)  # fmt: skip
BY_NAME = {assumption.name: assumption for assumption in ASSUMPTIONS}


def assumed(changed: Mapping[str, float], **settings: float) -> dict[str, float]:
    """Return all numbers: people's own before the site's settings before the defaults."""
    defaults = {assumption.name: assumption.default for assumption in ASSUMPTIONS}
    return {**defaults, **settings, **{k: v for k, v in changed.items() if k in BY_NAME}}


def checked_assumptions(given: Mapping[str, float]) -> dict[str, float]:
    """Return numbers that can be meant; `InvalidInput` names the first that cannot."""
    for name, value in given.items():
        known = BY_NAME.get(name)
        if known is None:
            raise InvalidInput(f"there is no assumption called {name}", param=name)
        if not known.low <= value <= known.high:
            raise InvalidInput(
                f"{known.label}: from {known.low:g} to {known.high:g} {known.unit}", param=name
            )
    return dict(given)
