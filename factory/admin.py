"""The administrator's view: people and projects to manage, everything else to look at."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from factory.models import (
    ApiKey,
    CapturedCall,
    DatasetVersion,
    Delivery,
    Example,
    ExampleImport,
    FreezeJob,
    ImportJob,
    Membership,
    Project,
    SuitabilityReport,
    Upstream,
    Webhook,
    Workload,
)


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic when it runs
    """Every state change has its service; the admin has none."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Refuse."""
        return False

    has_change_permission = has_delete_permission = has_add_permission


class MembershipInline(admin.TabularInline):  # type: ignore[type-arg]  # as above
    """A project's members."""

    model = Membership
    extra = 1
    autocomplete_fields = ["user"]


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # as above
    """Projects and their members."""

    list_display = ["slug", "name", "created_at"]
    search_fields = ["slug", "name"]
    inlines = [MembershipInline]


@admin.register(Workload)
class WorkloadAdmin(ReadOnlyAdmin):
    """Workloads."""

    list_display = ["slug", "project", "kind", "metric", "retention_days"]
    list_filter = ["project", "kind"]


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """Keys, without what they are."""

    list_display = ["name", "project", "prefix", "created_at", "last_used_at", "revoked_at"]
    exclude = ["hash"]


@admin.register(Upstream)
class UpstreamAdmin(ReadOnlyAdmin):
    """Upstreams, without their keys."""

    list_display = ["name", "project", "base_url", "is_default"]
    exclude = ["key_ciphertext"]


@admin.register(CapturedCall)
class CapturedCallAdmin(ReadOnlyAdmin):
    """Calls, found by their request id."""

    list_display = ["request_id", "project", "request_model", "status_code", "created_at"]
    search_fields = ["request_id__exact"]
    list_select_related = ["project"]
    ordering = ["-id"]


@admin.register(Example)
class ExampleAdmin(ReadOnlyAdmin):
    """Examples."""

    list_display = ["id", "workload", "split", "status", "provenance"]
    list_select_related = ["workload__project"]
    ordering = ["-id"]


@admin.register(DatasetVersion)
class DatasetVersionAdmin(ReadOnlyAdmin):
    """Dataset versions."""

    list_display = ["__str__", "digest", "created_by", "created_at"]
    list_select_related = ["dataset", "created_by"]


@admin.register(ImportJob)
class ImportJobAdmin(ReadOnlyAdmin):
    """Imports."""

    list_display = ["id", "project", "filename", "status", "attempt", "created_at"]
    list_filter = ["status"]


@admin.register(SuitabilityReport)
class SuitabilityReportAdmin(ReadOnlyAdmin):
    """Suitability reports: numbers, no texts."""

    list_display = ["id", "project", "workload", "group", "status", "created_by", "created_at"]
    list_filter = ["status", "project"]
    list_select_related = ["project", "workload", "group", "created_by"]
    ordering = ["-id"]


@admin.register(FreezeJob)
class FreezeJobAdmin(ReadOnlyAdmin):
    """Dataset versions in the making."""

    list_display = ["id", "workload", "name", "status", "attempt", "created_by", "created_at"]
    list_filter = ["status"]
    list_select_related = ["workload__project", "created_by"]


@admin.register(ExampleImport)
class ExampleImportAdmin(ReadOnlyAdmin):
    """Imports of examples."""

    list_display = ["id", "workload", "filename", "status", "attempt", "created_at"]
    list_filter = ["status"]
    list_select_related = ["workload__project"]


@admin.register(Webhook)
class WebhookAdmin(ReadOnlyAdmin):
    """Who is told of what."""

    list_display = ["id", "project", "host", "events", "is_active", "created_at"]
    list_select_related = ["project"]


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """Events on their way."""

    list_display = ["id", "webhook", "event", "status", "attempts", "response_status", "error"]
    list_filter = ["status", "event"]
    list_select_related = ["webhook"]
