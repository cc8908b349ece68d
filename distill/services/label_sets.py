"""A student's answers, laid beside the other label sets."""

from typing import Any

from distill.models import Evaluation
from distill.services.evaluate import stored_predictions
from factory.errors import Conflict
from labeling.models import LabelSet
from labeling.services.label_sets import write_label_set


def write_student_set(evaluation: Evaluation, user: Any = None) -> LabelSet:
    """Keep an evaluation's predictions as a label set; the same one again is replaced.

    `Conflict` while there are none.
    """
    if not evaluation.predictions_sha256:
        raise Conflict("this evaluation has no answers yet")
    subject = str(Evaluation.Subject(evaluation.subject).label)
    file = f", {evaluation.artifact.quantization}" if evaluation.artifact else ""
    return write_label_set(
        evaluation.run.workload,
        name=f"{subject}{file}, run {evaluation.run_id}, evaluation {evaluation.pk}",
        answers=(
            (int(prediction.id), prediction.output)
            for prediction in stored_predictions(evaluation)
            if prediction.id.isascii() and prediction.id.isdecimal()
        ),
        user=user,
    )
