"""Publishing: a measured student becomes an immutable version, and names are moved to versions."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, Max, Q
from django.db.models.functions import Now

from distill.card import Card, Score, card_text
from distill.gate import Check, Verdict
from distill.manifest import (
    CARD_FILE,
    MANIFEST_FILE,
    SUMS_FILE,
    FileEntry,
    Manifest,
    commit_of,
    file_entry,
    gguf_name,
    is_file_name,
    large_entry,
    manifest_bytes,
    sums_text,
)
from distill.models import (
    Alias,
    AliasMove,
    Artifact,
    DistillationRun,
    Evaluation,
    ModelVersion,
    VersionFile,
)
from distill.spec import read_profile
from factory.errors import Conflict, InvalidInput, NotFound, Unavailable
from factory.models import Workload
from factory.models.example import Provenance, Split
from factory.selectors import erased_rows
from factory.services.webhooks import tell
from factory.storage import BlobStore, open_store
from labeling.models import Label

SUBJECTS = Evaluation.Subject.values  # in the order of the card's table
ALIAS_OF_REVISION = {"main": Alias.Name.PRODUCTION, "HEAD": Alias.Name.PRODUCTION} | {
    name.value: name for name in Alias.Name
}


@dataclass(frozen=True)
class Draft:
    """A version about to be; `shipped` are its files' evaluations, the smallest file first."""

    run: DistillationRun
    workload: Workload
    number: int
    shipped: Sequence[Evaluation]
    override_reason: str

    @property
    def compared(self) -> list[Evaluation]:
        """What the card compares: teacher, base and student, then each file that ships."""
        done = self.run.evaluations.filter(split=Split.TEST, status=Evaluation.Status.SUCCEEDED)
        others = done.exclude(subject=Evaluation.Subject.GGUF)
        return [*sorted(others, key=lambda one: SUBJECTS.index(one.subject)), *self.shipped]

    @property
    def base_model(self) -> str:
        """A hub id as it is, of a local folder only its name."""
        base = self.run.base_model
        return Path(base).name if base.startswith(("/", ".")) else base

    def name_of(self, evaluation: Evaluation) -> str:
        """Return the published name of the file that was measured, empty for other subjects."""
        artifact = evaluation.artifact
        return gguf_name(self.workload.slug, artifact.quantization) if artifact else ""


def publish(
    run: DistillationRun, *, user: User | None = None, override_reason: str = ""
) -> ModelVersion:
    """Publish a run's proven GGUF files as the workload's next version; again is the same version.

    Only files that were measured and passed are published. `Conflict` with the gate's reasons where
    none passed, or where a teacher's terms forbid training on its answers; a person may publish all
    the same by giving a reason, which the card then tells.
    """
    reason = override_reason.strip()
    with transaction.atomic():
        # Not FOR UPDATE: that would stop every insert which refers to the workload.
        rows = Workload.objects.select_for_update(no_key=True, of=("self",))
        workload = rows.select_related("project").get(pk=run.workload_id)
        if published := run.versions.first():
            return published
        measured = _measured(run)
        shipped = [one for one in measured if _passed(one)]
        objections = [] if shipped else _refusals(measured)
        objections += [*_forbidding_terms(run), *_forbidden_rows(run)]
        if objections and not reason:
            raise Conflict(" ".join(objections))
        latest = workload.model_versions.aggregate(top=Max("number"))["top"] or 0
        made = _create(Draft(run, workload, latest + 1, shipped or measured, reason), user)
        tell(
            workload.project_id,
            "version.published",
            {"workload": workload.slug, "version": made.number, "commit": made.commit},
        )
        return made


def move_alias(
    workload: Workload,
    *,
    name: str,
    to: ModelVersion,
    expected: ModelVersion | None,
    user: User | None = None,
) -> Alias:
    """Point an alias at a version if it still points at `expected` (None: if it does not exist).

    `Conflict` where somebody moved it meanwhile. `production` leaves its former version to
    `previous`, which is moved in no other way.
    """
    if name not in {Alias.Name.PRODUCTION, Alias.Name.CANARY}:
        raise InvalidInput("only production and canary can be moved", param="name")
    if to.workload_id != workload.pk:
        raise InvalidInput("that version belongs to another workload", param="to")
    with transaction.atomic():
        _compare_and_set(workload, name, to, expected)
        if expected is None or expected.pk != to.pk:
            _record_move(workload, name, expected, to, user)
            if name == Alias.Name.PRODUCTION and expected is not None:
                _keep_as_previous(workload, expected, user)
        return Alias.objects.select_related("version").get(workload=workload, name=name)


def rollback(workload: Workload, user: User | None = None) -> Alias:
    """Put production back on the version that it had before; a second rollback undoes the first."""
    now = {
        alias.name: alias.version
        for alias in Alias.objects.filter(workload=workload).select_related("version")
    }
    if not {Alias.Name.PRODUCTION, Alias.Name.PREVIOUS} <= now.keys():
        raise Conflict("production has no former version to go back to")
    return move_alias(
        workload,
        name=Alias.Name.PRODUCTION,
        to=now[Alias.Name.PREVIOUS],
        expected=now[Alias.Name.PRODUCTION],
        user=user,
    )


def version_at(workload: Workload, revision: str) -> ModelVersion:
    """Return the version that a revision names: `v3`, a commit, an alias, or `main` and `HEAD`.

    The last two are what is in production, and name nothing before something is.
    """
    versions = workload.model_versions.select_related("workload__project")
    if alias := ALIAS_OF_REVISION.get(revision):
        versions = versions.filter(aliases__name=alias)
    elif re.fullmatch(r"v[1-9][0-9]{0,8}", revision):
        versions = versions.filter(number=int(revision[1:]))
    elif re.fullmatch(r"[0-9a-f]{40}", revision):
        versions = versions.filter(commit=revision)
    else:
        versions = versions.none()
    version = versions.first()
    if version is None:
        raise NotFound("There is no such version of this model.")
    return version


def file_at(version: ModelVersion, path: str) -> VersionFile:
    """Return a version's file by its exact name; every other path is `NotFound`."""
    file = version.files.filter(path=path).first() if is_file_name(path) else None
    if file is None:
        raise NotFound("There is no such file in this version.")
    return file


def _measured(run: DistillationRun) -> list[Evaluation]:
    """Return the evaluations of the run's GGUF files, the smallest file first."""
    found = run.evaluations.filter(
        subject=Evaluation.Subject.GGUF, split=Split.TEST, artifact__isnull=False
    )
    evaluations = list(found.select_related("artifact").order_by("artifact__size"))
    if not all(one.is_final for one in evaluations):
        raise Conflict("A file of this run is still being evaluated.")
    done = [one for one in evaluations if one.status == Evaluation.Status.SUCCEEDED]
    if not done:
        raise Conflict("No GGUF file of this run was measured yet.")
    return done


def _verdict(evaluation: Evaluation) -> Verdict | None:
    """Read back what the gate said of a file, None before it has."""
    if evaluation.verdict is None:
        return None
    checks = tuple(Check(**check) for check in evaluation.verdict["checks"])
    return Verdict(passed=evaluation.verdict["passed"], checks=checks)


def _passed(evaluation: Evaluation) -> bool:
    verdict = _verdict(evaluation)
    return verdict is not None and verdict.passed


def _refusals(measured: Sequence[Evaluation]) -> list[str]:
    """Return why the gate let no file pass, for the file that comes first."""
    verdict = _verdict(measured[0])
    if verdict is None:
        return ["The gate has not decided on this run yet."]
    return [f"The gate refused this run: {'; '.join(verdict.reasons)}."]


def _forbidding_terms(run: DistillationRun) -> list[str]:
    """Name the teachers behind the run's answers whose terms forbid to train on them."""
    named = set(
        run.dataset_version.entries.filter(
            provenance=Provenance.RELABELED_BY_MODEL,
            example__labels__status=Label.Status.ACCEPTED,
            example__labels__job__teacher__may_train_on_outputs=False,
        ).values_list("example__labels__job__teacher__name", flat=True)
    )
    if run.teacher is not None and not run.teacher.may_train_on_outputs:
        named.add(run.teacher.name)
    return [
        f"The terms of teacher {name} forbid training on its answers." for name in sorted(named)
    ]


def _forbidden_rows(run: DistillationRun) -> list[str]:
    """Say how many rows the run learnt from have answers that may not train models.

    As it was known when they were frozen, or as it is known now of an answer that still stands.
    """
    rows = run.dataset_version.entries.filter(split=Split.TRAIN)
    forbidden = Q(may_train=False) | Q(example__may_train=False, example__target=F("target"))
    count = rows.filter(forbidden).count()
    said = f"{count:,} rows of {run.dataset_version} have answers whose terms forbid training."
    return [said] if count else []


def _create(draft: Draft, user: User | None) -> ModelVersion:
    """Store the texts, then write the rows: a version is seen only when its bytes are all there."""
    store = open_store(settings.STORAGE_URL)
    models = [_model_entry(store, draft, one.artifact) for one in draft.shipped if one.artifact]
    card = card_text(_card(draft, models))
    readme = file_entry(CARD_FILE, card.encode())
    manifest = manifest_bytes(_manifest(draft, (*models, readme)))
    described = file_entry(MANIFEST_FILE, manifest)
    sums = sums_text((*models, readme, described)).encode()
    for content in (card.encode(), manifest, sums):
        _store_bytes(store, content)
    version = ModelVersion.objects.create(
        workload=draft.workload,
        number=draft.number,
        run=draft.run,
        evaluation=draft.shipped[0],
        manifest=manifest.decode(),
        commit=commit_of(manifest),
        card=card,
        override_reason=draft.override_reason,
        created_by=user,
    )
    files = (*models, readme, described, file_entry(SUMS_FILE, sums))
    VersionFile.objects.bulk_create(VersionFile(version=version, **vars(file)) for file in files)
    return version


def _model_entry(store: BlobStore, draft: Draft, artifact: Artifact) -> FileEntry:
    try:
        size = store.size(artifact.sha256)
    except NotFound as error:
        raise Unavailable(f"{artifact.filename} is not in the store") from error
    if size != artifact.size:
        raise Unavailable(f"{artifact.filename} is damaged in the store")
    name = gguf_name(draft.workload.slug, artifact.quantization)
    return large_entry(name, artifact.sha256, artifact.size)


def _store_bytes(store: BlobStore, content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        store.put(Path(file.name))


def _manifest(draft: Draft, files: tuple[FileEntry, ...]) -> Manifest:
    run, data = draft.run, draft.run.dataset_version
    return Manifest(
        repository=str(draft.workload),
        number=draft.number,
        run=run.pk,
        dataset={"name": data.dataset.name, "number": data.number, "digest": data.digest},
        base_model=draft.base_model,
        base_revision=run.base_revision,
        spec_digest=run.spec_digest,
        files=files,
        evaluations=tuple(
            {"subject": one.subject, "file": draft.name_of(one), "metrics": one.metrics}
            for one in draft.compared
        ),
        verdict=draft.shipped[0].verdict or {},
        override_reason=draft.override_reason,
    )


def _card(draft: Draft, models: Sequence[FileEntry]) -> Card:
    workload, data = draft.workload, draft.run.dataset_version
    return Card(
        repository=str(workload),
        number=draft.number,
        kind=workload.kind,
        metric=workload.metric,
        instruction=workload.instruction,
        labels=workload.labels,
        base_model=draft.base_model,
        base_revision=draft.run.base_revision,
        licence=read_profile(Path(draft.run.base_model)).licence,
        dataset=str(data),
        dataset_digest=data.digest,
        dataset_counts={split: data.counts.get(split, 0) for split in Split.values},
        scores=[_score(one, draft.name_of(one)) for one in draft.compared],
        verdict=_verdict(draft.shipped[0]),
        override_reason=draft.override_reason,
        files=models,
        erased_rows=sum(erased_rows([data]).get(data.pk, {}).values()),
    )


def _score(evaluation: Evaluation, file: str) -> Score:
    metrics = evaluation.metrics
    return Score(
        subject=file or Evaluation.Subject(evaluation.subject).label,
        n=metrics["accuracy"]["n"],
        score=metrics["accuracy"]["value"],
        low=metrics["accuracy"]["low"],
        high=metrics["accuracy"]["high"],
        p50_ms=metrics["latency_p50_ms"],
        p99_ms=metrics["latency_p99_ms"],
        usd_per_1000=metrics["cost_per_1000_usd"],
    )


def _compare_and_set(
    workload: Workload, name: str, to: ModelVersion, expected: ModelVersion | None
) -> None:
    if expected is None:
        _, is_set = Alias.objects.get_or_create(
            workload=workload, name=name, defaults={"version": to}
        )
    else:
        still = Alias.objects.filter(workload=workload, name=name, version=expected)
        is_set = still.update(version=to, moved_at=Now()) == 1
    if not is_set:
        raise Conflict(f"somebody moved {name} meanwhile: look where it is now, then decide again")


def _keep_as_previous(workload: Workload, former: ModelVersion, user: User | None) -> None:
    name = Alias.Name.PREVIOUS
    known = Alias.objects.filter(workload=workload, name=name).select_related("version").first()
    Alias.objects.update_or_create(workload=workload, name=name, defaults={"version": former})
    _record_move(workload, name, known.version if known else None, former, user)


def _record_move(
    workload: Workload,
    name: str,
    former: ModelVersion | None,
    to: ModelVersion,
    user: User | None,
) -> None:
    AliasMove.objects.create(
        workload=workload, name=name, from_version=former, to_version=to, moved_by=user
    )
    tell(
        workload.project_id,
        "alias.moved",
        {
            "workload": workload.slug,
            "alias": name,
            "from": former.number if former else None,
            "to": to.number,
            "commit": to.commit,
        },
    )
