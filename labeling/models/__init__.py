from labeling.models.augment import Augmentation, Draft, Seed
from labeling.models.bulk import BulkAccept, BulkRow
from labeling.models.insight import AUDIT_SHARE, InsightRun, Suspicion
from labeling.models.judge import Judging, Verdict
from labeling.models.label import Label, LabelJob, PanelRow, TeacherBatch, TeacherReply
from labeling.models.label_set import Application, AppliedChange, LabelSet, SetAnswer
from labeling.models.review import (
    Review,
    ReviewItem,
    ReviewLease,
    ReviewPolicy,
    SavedView,
)
from labeling.models.teacher import Guideline, RateLimit, Teacher

__all__ = [
    "AUDIT_SHARE",
    "Application",
    "AppliedChange",
    "Augmentation",
    "BulkAccept",
    "BulkRow",
    "Draft",
    "Guideline",
    "InsightRun",
    "Judging",
    "Label",
    "LabelJob",
    "LabelSet",
    "PanelRow",
    "RateLimit",
    "Review",
    "ReviewItem",
    "ReviewLease",
    "ReviewPolicy",
    "SavedView",
    "Seed",
    "SetAnswer",
    "Suspicion",
    "Teacher",
    "TeacherBatch",
    "TeacherReply",
    "Verdict",
]
