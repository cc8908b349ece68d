"""Label and review in the admin site: to look at, not to change."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from labeling.models import (
    Application,
    BulkAccept,
    Draft,
    Guideline,
    InsightRun,
    Label,
    LabelJob,
    LabelSet,
    Review,
    ReviewItem,
    ReviewLease,
    ReviewPolicy,
    SavedView,
    Teacher,
    TeacherBatch,
    Verdict,
)


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic when it runs
    """Every state change has its service; the admin has none."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Refuse."""
        return False

    has_change_permission = has_delete_permission = has_add_permission


@admin.register(Teacher)
class TeacherAdmin(ReadOnlyAdmin):
    """Teachers by project."""

    list_display = ["name", "project", "upstream", "model", "may_train_on_outputs"]
    list_select_related = ["project", "upstream__project"]


@admin.register(Guideline)
class GuidelineAdmin(ReadOnlyAdmin):
    """Guidelines by workload."""

    list_display = ["workload", "number", "created_at"]
    list_select_related = ["workload__project"]


@admin.register(LabelJob)
class LabelJobAdmin(ReadOnlyAdmin):
    """Label jobs with their lease."""

    list_display = ["id", "workload", "teacher", "status", "attempt", "spent_usd", "budget_usd"]
    list_select_related = ["workload__project", "teacher"]
    list_filter = ["status"]


@admin.register(TeacherBatch)
class TeacherBatchAdmin(ReadOnlyAdmin):
    """Batches by job."""

    list_display = ["id", "job_id", "batch_id", "status", "lines", "done", "reserved_usd"]
    list_filter = ["status"]


@admin.register(Label)
class LabelAdmin(ReadOnlyAdmin):
    """Labels by job."""

    list_display = ["id", "job_id", "example_id", "status", "confidence", "cost_usd"]
    list_filter = ["status"]
    show_full_result_count = False


@admin.register(ReviewItem)
class ReviewItemAdmin(ReadOnlyAdmin):
    """The review queue."""

    list_display = ["id", "workload", "reason", "priority", "status", "given", "wanted"]
    list_select_related = ["workload__project"]
    list_filter = ["status", "reason"]
    show_full_result_count = False


@admin.register(ReviewLease)
class ReviewLeaseAdmin(ReadOnlyAdmin):
    """What is on whose screen."""

    list_display = ["id", "item_id", "reviewer", "until", "is_probe"]
    list_select_related = ["reviewer"]
    list_filter = ["is_probe"]


@admin.register(ReviewPolicy)
class ReviewPolicyAdmin(ReadOnlyAdmin):
    """How queues are worked through."""

    list_display = ["workload", "wanted", "probe_share", "lease_seconds"]
    list_select_related = ["workload__project"]


@admin.register(SavedView)
class SavedViewAdmin(ReadOnlyAdmin):
    """Parts of queues that have names."""

    list_display = ["workload", "name", "only", "created_by"]
    list_select_related = ["workload__project", "created_by"]


@admin.register(Review)
class ReviewAdmin(ReadOnlyAdmin):
    """Decisions, for ever."""

    list_display = ["id", "item_id", "reviewer", "decision", "probe", "seconds", "created_at"]
    list_select_related = ["reviewer"]
    list_filter = ["decision", "is_authoritative", "probe"]
    show_full_result_count = False


@admin.register(LabelSet)
class LabelSetAdmin(ReadOnlyAdmin):
    """Committees' and students' answers."""

    list_display = ["id", "workload", "name", "source", "status", "rows"]
    list_select_related = ["workload__project"]
    list_filter = ["source", "status"]


@admin.register(Application)
class ApplicationAdmin(ReadOnlyAdmin):
    """Acts that made a set's answers targets."""

    list_display = ["id", "workload", "source_name", "scope", "status", "rows", "created_at"]
    list_select_related = ["workload__project"]
    list_filter = ["status"]


@admin.register(BulkAccept)
class BulkAcceptAdmin(ReadOnlyAdmin):
    """Acts that accepted many rows' own answers."""

    list_display = ["id", "workload", "score", "at_least", "status", "rows", "created_at"]
    list_select_related = ["workload__project"]
    list_filter = ["status", "score"]


@admin.register(InsightRun)
class InsightRunAdmin(ReadOnlyAdmin):
    """Judgements of labels."""

    list_display = ["id", "workload", "status", "to_review", "created_at"]
    list_select_related = ["workload__project"]
    list_filter = ["status"]


@admin.register(Verdict)
class VerdictAdmin(ReadOnlyAdmin):
    """What judges said."""

    list_display = ["id", "job_id", "example_id", "outcome"]
    list_filter = ["outcome"]
    show_full_result_count = False


@admin.register(Draft)
class DraftAdmin(ReadOnlyAdmin):
    """What teachers made up, by its fate."""

    list_display = ["id", "job_id", "seed_id", "status", "why", "example_id"]
    list_filter = ["status"]
    show_full_result_count = False
