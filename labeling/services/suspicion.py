"""How doubtful a workload's labels are, from its rows."""

from collections.abc import Callable

from factory.messages import variable_text
from factory.models import Example, Workload
from labeling.selectors.label import latest_confidences
from labeling.suspicion import Doubt, Row, doubts, nobody

CHUNK = 500


def judged_examples(
    workload: Workload, on_progress: Callable[[int, int], None] = nobody
) -> list[tuple[Example, Doubt]]:
    """Judge every labelled example by the others, the most suspicious first.

    Answered rows are judged too: they teach the judge. The examples come without their messages.
    """
    labelled = workload.examples.exclude(target=None).exclude(status=Example.Status.DISCARDED)
    confidences = latest_confidences(workload)
    examples: list[Example] = []
    rows: list[Row] = []
    fields = ("workload", "messages", "target", "group", "split", "digest", "provenance")
    for example in labelled.only(*fields).order_by("id").iterator(CHUNK):
        rows.append(row_of(example, confidences.get(example.pk)))
        example.messages = []  # a workload's messages together are much; its texts are less
        examples.append(example)
    found = zip(examples, doubts(rows, workload.output_schema, on_progress), strict=True)
    return sorted(found, key=lambda pair: (-pair[1].score, pair[0].pk))


def row_of(example: Example, confidence: float | None = None) -> Row:
    """Return an example as the models read it."""
    return Row(
        text=variable_text(example.messages),
        output=example.target or "",
        group=example.group,
        confidence=confidence,
    )
