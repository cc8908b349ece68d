"""What to do next on a workload: the first stage of the loop that waits for somebody."""

from dataclasses import dataclass

ENOUGH_CALLS = 20  # fewer may be prompts too rare to be a workload


@dataclass(frozen=True)
class Facts:
    """How far a workload has come."""

    calls: int = 0
    uncurated: int = 0
    examples: int = 0
    labeled: int = 0
    unlabeled: int = 0
    at_work: str = ""  # what a running or waiting job does, empty where there is none
    open_reviews: int = 0
    untrusted_test_rows: int = 0
    is_frozen: bool = False
    changed_since_freeze: int = 0
    run: int = 0  # the newest one's
    run_status: str = ""
    is_run_of_newest_version: bool = False
    evaluation: int = 0
    gate: str = ""  # "", "passed" or "refused"
    newest_version: int = 0  # its number
    is_run_published: bool = False
    production: int = 0  # the number of the version in production


@dataclass(frozen=True)
class Step:
    """A step: what to do and why, the button's text, the page (or the door to post to)."""

    sentence: str
    button: str = ""
    page: str = ""
    argument: int | None = None
    is_post: bool = False
    stage: str = ""


def next_step(f: Facts) -> Step:
    """Return the first step that applies, in the order of the loop."""
    steps = (
        (
            not f.calls and not f.examples,
            Step("No calls yet. Send traffic through the gateway, or import a log file.",
                 "Import a log file", "new_import", stage="calls"),
        ),
        (
            f.uncurated > 0 and not f.examples,
            Step(f"{f.uncurated:,} calls wait to become examples.",
                 f"Curate {f.uncurated:,} calls", "curate", is_post=True, stage="examples"),
        ),
        (bool(f.at_work), Step(f"{f.at_work} is at work. Nothing is asked of you meanwhile.")),
        (
            f.unlabeled > 0 and not f.labeled,
            Step(f"{f.unlabeled:,} examples hold only what production answered. "
                 "Have a teacher vote on them, so that likely errors show.",
                 f"Label {f.unlabeled:,} examples", "new_label_job", stage="label_jobs"),
        ),
        (
            f.open_reviews > 0,
            Step(f"{f.open_reviews:,} examples wait for a person.",
                 f"Review {f.open_reviews:,}", "review", stage="review"),
        ),
        (
            f.untrusted_test_rows > 0,
            Step(f"No person has looked at {f.untrusted_test_rows:,} rows of the test split, and "
                 "only what a person confirmed can prove a student.",
                 "Fill the review queue", "queue_review", stage="review"),
        ),
        (
            f.examples > 0 and not f.is_frozen,
            Step("The examples are ready. Freeze them: a student must be traceable to its data.",
                 "Freeze a dataset version", "freeze", is_post=True, stage="datasets"),
        ),
        (
            f.is_frozen and not f.is_run_of_newest_version,
            Step("The newest dataset version has taught no student yet.",
                 "Train a student", "new_run", stage="runs"),
        ),
        (
            f.run_status in {"failed", "cancelled"},
            Step("The newest run made no student.", "See why", "run", f.run, stage="runs"),
        ),
        (
            f.gate == "passed" and not f.is_run_published,
            Step("The student passed the gate.", "Look and publish", "run", f.run, stage="models"),
        ),
        (
            f.newest_version > f.production and f.is_run_published,
            Step(f"v{f.newest_version} is published, but not in production.",
                 f"Look at v{f.newest_version}", "model", f.newest_version, stage="production"),
        ),
        (
            f.changed_since_freeze > 0,
            Step(f"{f.changed_since_freeze:,} decisions were made since the dataset was frozen.",
                 "Freeze a new version", "freeze", is_post=True, stage="datasets"),
        ),
        (
            f.gate == "refused" and not f.is_run_published,
            Step("The gate refused the student. Its reasons say what is missing.",
                 "Read the reasons", "evaluation", f.evaluation, stage="evaluation"),
        ),
        (
            f.uncurated >= ENOUGH_CALLS,
            Step(f"{f.uncurated:,} calls of the project belong to no example yet.",
                 "Curate them", "curate", is_post=True, stage="examples"),
        ),
        (True, Step("Everything is done for now. New calls start the next round.")),
    )  # fmt: skip
    return next(step for applies, step in steps if applies)
