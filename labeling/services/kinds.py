"""What a label job does, by its kind."""

from collections.abc import Callable

from labeling.models import LabelJob
from labeling.services.augment import augment_work
from labeling.services.judge import judge_work
from labeling.services.label import label_work

WORK: dict[str, Callable[[LabelJob], None]] = {
    LabelJob.Kind.LABEL: label_work,
    LabelJob.Kind.AUGMENT: augment_work,
    LabelJob.Kind.JUDGE: judge_work,
}


def work_of_kind(job: LabelJob) -> None:
    """Do one attempt of a label job."""
    WORK[job.kind](job)
