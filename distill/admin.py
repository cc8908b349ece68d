"""Train, evaluate and publish in the admin site: to look at, not to change."""

from django.contrib import admin

from distill.models import Alias, AliasMove, Artifact, DistillationRun, Evaluation, ModelVersion
from factory.admin import ReadOnlyAdmin


@admin.register(DistillationRun)
class DistillationRunAdmin(ReadOnlyAdmin):
    """Runs with their lease."""

    list_display = ["id", "workload", "base_model", "status", "attempt", "lease_until"]
    list_select_related = ["workload__project"]
    list_filter = ["status"]


@admin.register(Evaluation)
class EvaluationAdmin(ReadOnlyAdmin):
    """Evaluations with their lease."""

    list_display = ["id", "run_id", "subject", "split", "status", "attempt"]
    list_filter = ["status", "subject"]


@admin.register(Artifact)
class ArtifactAdmin(ReadOnlyAdmin):
    """Files by run."""

    list_display = ["filename", "run_id", "kind", "quantization", "size", "sha256"]


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    """Published versions."""

    list_display = ["__str__", "commit", "created_by", "created_at"]
    list_select_related = ["workload__project", "created_by"]


@admin.register(Alias)
class AliasAdmin(ReadOnlyAdmin):
    """Where the aliases point."""

    list_display = ["name", "workload", "version", "moved_at"]
    list_select_related = ["workload__project", "version__workload__project"]


@admin.register(AliasMove)
class AliasMoveAdmin(ReadOnlyAdmin):
    """How they came there."""

    list_display = ["name", "workload", "from_version", "to_version", "moved_by", "created_at"]
    list_select_related = [
        "workload__project", "from_version__workload__project", "to_version__workload__project",
        "moved_by",
    ]  # fmt: skip
