"""What the pages and the API read of published model versions."""

from dataclasses import dataclass

from distill.models import Alias, AliasMove, ModelVersion, VersionFile
from factory.models import Workload
from factory.selectors import one


def version_in_project(workload: Workload, number: int) -> ModelVersion:
    """Return a workload's published version by its number."""
    found = workload.model_versions.filter(number=number)
    return one(
        found.select_related(
            "workload__project", "run__dataset_version", "evaluation__artifact", "created_by"
        ),
        "model version",
    )


@dataclass(frozen=True)
class ModelsPage:
    """What the list of model versions shows."""

    versions: list[ModelVersion]
    aliases: dict[str, Alias]
    moves: list[AliasMove]
    can_roll_back: bool


def models_page(workload: Workload) -> ModelsPage:
    """Gather a workload's versions, where the aliases point, and how they came there."""
    versions = workload.model_versions.select_related("evaluation__artifact", "created_by")
    aliases = Alias.objects.filter(workload=workload).select_related("version").order_by("name")
    moves = workload.alias_moves.select_related("from_version", "to_version", "moved_by")
    named = {alias.name: alias for alias in aliases}
    return ModelsPage(
        versions=list(versions.prefetch_related("aliases").order_by("-number")[:200]),
        aliases=named,
        moves=list(moves.order_by("-id")[:20]),
        can_roll_back={Alias.Name.PRODUCTION, Alias.Name.PREVIOUS} <= named.keys(),
    )


def shipped_file(version: ModelVersion, files: list[VersionFile]) -> VersionFile | None:
    """Return the file that a version's figures were measured on."""
    measured = version.evaluation.artifact
    return next((file for file in files if measured and file.sha256 == measured.sha256), None)
