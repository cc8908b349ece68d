"""The reviewed examples that a label job shows its teacher."""

from factory.models import Example
from factory.models.example import Split
from labeling.few_shot import NearestShots, Reviewed
from labeling.models import LabelJob
from labeling.selectors.label import HUMAN

POOL = 5000  # of the latest reviewed examples


def chooser_for(job: LabelJob) -> NearestShots:
    """Return what chooses a job's shots, among training rows that people answered before it began.

    Those only: an attempt after a crash must ask the very same questions, or pay for them again.
    """
    reviewed = Example.objects.filter(
        workload=job.workload_id,
        split=Split.TRAIN,
        provenance__in=HUMAN,
        status=Example.Status.REVIEWED,
        created_at__lt=job.created_at,
    ).exclude(review_item__reviews__created_at__gte=job.created_at)
    pool = [
        Reviewed(row.pk, row.messages, row.target or "", row.group, kind=row.target or "")
        for row in reviewed.order_by("-pk")[:POOL]
    ]
    alike = Example.objects.filter(workload=job.workload_id, group__in={row.group for row in pool})
    return NearestShots(pool, dict(alike.values_list("pk", "group")), job.few_shot)
