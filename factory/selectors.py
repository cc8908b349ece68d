"""The gates every read goes through, and what pages and the API read.

A gate knows the caller. What is absent and what is not the caller's look alike: `NotFound`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from operator import attrgetter
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.contrib.postgres.search import SearchQuery
from django.core.exceptions import ValidationError
from django.db.models import (
    Avg,
    Count,
    FloatField,
    IntegerField,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
)
from django.db.models.functions import Cast, Coalesce, Now
from more_itertools import map_reduce

from factory.capture.partitions import first_id
from factory.discovery.discover import likeness
from factory.errors import Forbidden, InvalidInput, NotAuthenticated, NotFound
from factory.models import (
    ApiKey,
    CallGroup,
    CallKey,
    CallTally,
    CallText,
    CapturedCall,
    CaptureLoss,
    DatasetEntry,
    DatasetVersion,
    Delivery,
    ErasedRows,
    Erasure,
    Example,
    Feedback,
    ImportJob,
    Membership,
    Project,
    Webhook,
    Workload,
)
from factory.models.call import HAS_TEXTS
from factory.models.example import Split
from factory.models.loss import ADVICE
from factory.services.keys import hash_key

M = TypeVar("M", bound=Model)

Role = Membership.Role
RANK = {role: rank for rank, role in enumerate(reversed(Role.values))}  # viewer 0 ... owner 3


def projects_of_user(user: User | AnonymousUser) -> QuerySet[Project]:
    """Return the projects a person is a member of."""
    return Project.objects.filter(memberships__user_id=user.pk or 0).order_by("name")


def project_for_user(user: User | AnonymousUser, project: str, role: str = Role.VIEWER) -> Project:
    """Return a project that the person may see; `Forbidden` where their role is below `role`."""
    member = (
        Membership.objects.filter(user_id=user.pk or 0, project__slug=project)
        .select_related("project")
        .first()
    )
    if member is None:
        raise NotFound("There is no such project, or it is not yours to see.")
    if RANK[member.role] < RANK[role]:
        raise Forbidden(f"This needs the role {role}; yours is {member.role}.")
    return member.project


def workload_for_user(
    user: User | AnonymousUser, project: str, workload: str, role: str = Role.VIEWER
) -> Workload:
    """Return a workload that the person may see; `Forbidden` where their role is below `role`."""
    found = Workload.objects.filter(project=project_for_user(user, project, role), slug=workload)
    return one(found.select_related("project"), "workload")


def key_for_secret(raw: str, scope: str) -> ApiKey:
    """Return the live key row behind a secret; unknown, revoked, expired and unfit look alike."""
    live = ApiKey.objects.filter(hash=hash_key(raw), revoked_at=None).filter(
        Q(expires_at=None) | Q(expires_at__gt=Now())
    )
    key = live.select_related("project").first()
    if key is None or scope not in key.scopes:
        raise NotAuthenticated("This API key is not valid here.")
    # Once a minute is enough to tell a used key from a forgotten one.
    stale = Q(last_used_at=None) | Q(last_used_at__lt=Now() - timedelta(minutes=1))
    ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=Now())
    return key


def workload_in_project(project: Project, workload: str) -> Workload:
    """Return a project's workload, for a caller whose key opened the project."""
    found = Workload.objects.filter(project=project, slug=workload)
    return one(found.select_related("project"), "workload")


def one(found: QuerySet[M], noun: str) -> M:
    """Return the one row of a query that is already narrowed to its owner, else `NotFound`."""
    row = found.first()
    if row is None:
        raise NotFound(f"There is no such {noun}, or it is not yours to see.")
    return row


# --- long lists -----------------------------------------------------------------------------------
PAGE_SIZE = 50
MIN_CALLS = 20  # fewer calls of one skeleton are not worth a proposal yet
PROPOSALS = 12  # shown at once
LOSSES_SHOWN = timedelta(days=7)
COUNT_CAP = 100_000  # a page need not know more exactly how many; counting further only costs time


@dataclass(frozen=True)
class Page(Generic[M]):
    """One page of a long list, and the cursors of its neighbours, empty where there is none."""

    rows: list[M]
    previous: str
    next: str


def page_of(rows: QuerySet[M], keys: Sequence[str], at: str = "", size: int = PAGE_SIZE) -> Page[M]:
    """Return the page of `rows` at a cursor, in the order of `keys`, by keyset: no page is slow.

    `keys` are one or two columns, all ascending or all descending ("-created_at", "-id"), the last
    one unique. `InvalidInput` for a cursor that this function did not make.
    """
    backwards, values = _read_cursor(rows.model, keys, at)
    ascending = not keys[0].startswith("-")
    columns = [key.lstrip("-") for key in keys]
    if values:
        rows = rows.filter(_beyond(columns, values, "gt" if ascending != backwards else "lt"))
    sign = "" if ascending != backwards else "-"
    found = list(rows.order_by(*(sign + column for column in columns))[: size + 1])
    more, found = len(found) > size, found[:size]
    if backwards:
        found.reverse()
    has_previous, has_next = (more, True) if backwards else (bool(values), more)
    return Page(
        rows=found,
        previous=_cursor("previous", found[0], columns) if found and has_previous else "",
        next=_cursor("next", found[-1], columns) if found and has_next else "",
    )


def _cursor(direction: str, row: Model, columns: list[str]) -> str:
    values = (getattr(row, column) for column in columns)
    texts = (v.isoformat() if hasattr(v, "isoformat") else str(v) for v in values)
    return "~".join([direction, *texts])


def _read_cursor(model: type[Model], keys: Sequence[str], at: str) -> tuple[bool, list[Any]]:
    if not at:
        return False, []
    direction, *texts = at.split("~")
    if direction not in {"previous", "next"} or len(texts) != len(keys):
        raise InvalidInput("This page link is damaged.", param="at")
    fields = [model._meta.get_field(key.lstrip("-")) for key in keys]  # Django's API
    try:
        values = [field.to_python(text) for field, text in zip(fields, texts, strict=True)]  # type: ignore[union-attr]  # columns, not relations
    except ValidationError as error:
        raise InvalidInput("This page link is damaged.", param="at") from error
    return direction == "previous", values


def _beyond(columns: list[str], values: list[Any], way: str) -> Q:
    if len(columns) == 1:
        return Q((f"{columns[0]}__{way}", values[0]))
    # The first term bounds the index scan; the second settles ties.
    at_least = Q((f"{columns[0]}__{way}e", values[0]))
    after = Q((f"{columns[0]}__{way}", values[0]))
    return at_least & (after | _beyond(columns[1:], values[1:], way))


def call_total(tallies: QuerySet[CallTally]) -> int:
    """Return how many calls were counted as they came in."""
    return int(tallies.aggregate(sum=Sum("calls"))["sum"] or 0)


def uncurated(project: Project) -> QuerySet[CapturedCall]:
    """Return the calls with texts that no curator has looked at, the oldest first."""
    return project.calls.filter(HAS_TEXTS, curated_at=None).order_by("id")


def proposals(project: Project) -> QuerySet[CallGroup]:
    """Return the groups of calls that could be workloads, the largest first."""
    found = project.call_groups.filter(workload=None, is_ignored=False, call_count__gte=MIN_CALLS)
    return found.order_by("-call_count", "id")


def group_of_project(project: Project, group_id: int) -> CallGroup:
    """Return one group of calls."""
    return one(project.call_groups.filter(pk=group_id).select_related("project"), "prompt")


def prompts_of(project: Project) -> list[CallGroup]:
    """Return all groups of calls with their workloads, the largest first, but for empty ones."""
    groups = project.call_groups.exclude(call_count=0, workload=None)
    return list(groups.select_related("workload").order_by("-call_count", "id"))


def wordings(workload: Workload) -> list[CallGroup]:
    """Return the prompts whose calls are a workload's, the largest first."""
    return list(workload.call_groups.order_by("-call_count", "id"))


def examples_of_group(group: CallGroup) -> QuerySet[Example]:
    """Return a workload's examples that were made of one of its prompts' calls."""
    made = Example.objects.filter(workload=group.workload_id, call__group=group)
    return made.exclude(status=Example.Status.DISCARDED)


@dataclass(frozen=True)
class Twin:
    """A workload, and how much of a prompt's wording is that of the workload's most alike."""

    workload: Workload
    share: float
    text: str  # of the wording that is most alike


def twins(group: CallGroup, workloads: Sequence[Workload] | None = None) -> list[Twin]:
    """Return the project's workloads, the one whose wording is most like a prompt's first."""
    own = wording_of(group)
    found = []
    for workload in workloads_with_wordings(group.project) if workloads is None else workloads:
        texts = [wording_of(wording) for wording in workload.call_groups.all()]
        shares = [(likeness(own, text), text) for text in [*texts, workload.instruction]]
        found.append(Twin(workload, *max(shares)))
    return sorted(found, key=lambda twin: (-twin.share, twin.workload.slug))


def wording_of(group: CallGroup) -> str:
    """Return a prompt's constant part, empty where its calls have none."""
    return group.skeleton["text"] if group.skeleton["parent"] else ""


def workloads_with_wordings(project: Project) -> list[Workload]:
    """Return a project's workloads, each with its prompts read along."""
    return list(project.workloads.prefetch_related("call_groups").order_by("slug"))


def newest_calls(group: CallGroup, count: int) -> list[CapturedCall]:
    """Return the newest calls of a group, with their texts."""
    return list(group.calls.order_by("-id").select_related("payload")[:count])


def capped_count(rows: QuerySet[Any]) -> int:
    """Count rows up to `COUNT_CAP` + 1, which means "more than that"."""
    return rows.order_by()[: COUNT_CAP + 1].count()


class CountRows(Subquery):
    """The number of a subquery's rows, for annotations."""

    template = "(SELECT count(*) FROM (%(subquery)s) counted)"
    output_field = IntegerField()


# --- pages ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Proposal:
    """A group that could be a workload, or a wording of the one that is nearest."""

    group: CallGroup
    nearest: Twin | None


@dataclass(frozen=True)
class ProjectPage:
    """What the project page shows."""

    workloads: list[Workload]
    members: list[Membership]
    role: str
    upstreams: list[Any]
    keys: list[ApiKey]
    webhooks: list[Webhook]
    imports: list[ImportJob]
    proposals: list[Proposal]
    calls: int
    uncurated: int


def home_projects(user: User | AnonymousUser) -> list[Project]:
    """Return a person's projects with `workload_count`."""
    return list(projects_of_user(user).annotate(workload_count=Count("workloads")))


@dataclass(frozen=True)
class RecentLoss:
    """How many calls could not be kept whole for one reason, when and where, and what helps."""

    count: int
    reason: str
    advice: str
    first_at: datetime
    last_at: datetime
    hosts: str


def recent_losses() -> list[RecentLoss]:
    """Return what could not be kept whole in the last week."""
    recent = CaptureLoss.objects.filter(last_at__gt=Now() - LOSSES_SHOWN).order_by("host")
    said = dict(CaptureLoss.Reason.choices)
    return [
        RecentLoss(
            count=sum(row.count for row in rows),
            reason=str(said.get(reason, reason)),
            advice=ADVICE.get(reason, ""),
            first_at=min(row.first_at for row in rows),
            last_at=max(row.last_at for row in rows),
            hosts=", ".join(dict.fromkeys(row.host for row in rows)),
        )
        for reason, rows in sorted(map_reduce(recent, attrgetter("reason")).items())
    ]


def losses_for(user: User | AnonymousUser) -> list[RecentLoss]:
    """Return the recent losses for owners, and none for others: whose calls went, nobody knows."""
    is_owner = Membership.objects.filter(user_id=user.pk or 0, role=Role.OWNER).exists()
    return recent_losses() if is_owner else []


def project_page(project: Project, user: User | AnonymousUser) -> ProjectPage:
    """Gather the project page; each list takes one query, however long."""
    of_workload = {"workload": OuterRef("pk")}
    tallies = CallTally.objects.filter(group__workload=OuterRef("pk")).order_by()
    counted = tallies.values("group__workload").annotate(sum=Sum("calls")).values("sum")
    examples = Example.objects.filter(**of_workload).order_by()
    reviewed = examples.filter(status=Example.Status.REVIEWED)
    workloads = project.workloads.order_by("slug").annotate(
        call_count=Coalesce(Subquery(counted), 0),
        example_count=CountRows(examples.values("id")),
        reviewed_count=CountRows(reviewed.values("id")),
    )
    members = list(project.memberships.select_related("user").order_by("user__username"))
    return ProjectPage(
        workloads=list(workloads),
        members=members,
        role=next((m.role for m in members if m.user_id == user.pk), Role.VIEWER),
        upstreams=list(project.upstreams.order_by("name")),
        keys=list(project.api_keys.order_by("revoked_at", "-created_at")),
        webhooks=webhooks_of(project),
        imports=list(project.import_jobs.order_by("-id")[:5]),
        proposals=_with_nearest(project, list(proposals(project)[:PROPOSALS])),
        calls=call_total(project.tallies.all()),
        uncurated=capped_count(uncurated(project)),
    )


def _with_nearest(project: Project, groups: list[CallGroup]) -> list[Proposal]:
    workloads = workloads_with_wordings(project) if groups else []
    ranked = [twins(group, workloads)[:1] for group in groups]
    near = [next((twin for twin in found if twin.share), None) for found in ranked]
    return [Proposal(*pair) for pair in zip(groups, near, strict=True)]


def role_of(user: User | AnonymousUser, project: Project) -> str:
    """Return a member's role, for what a page offers; the gates decide what is allowed."""
    found = Membership.objects.filter(user_id=user.pk or 0, project=project).first()
    return found.role if found else ""


def key_of_project(project: Project, key_id: int) -> ApiKey:
    """Return one of a project's keys."""
    return one(project.api_keys.filter(pk=key_id), "key")


def prices_with(
    project: Project, upstream: str, typed: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return an upstream's known prices with a typed one added; None where none was typed."""
    if typed is None:
        return None
    known = project.upstreams.filter(name=upstream).first()
    return {**(known.prices if known else {}), **typed}


def import_of_project(project: Project, job_id: int) -> ImportJob:
    """Return one of a project's imports."""
    return one(project.import_jobs.filter(pk=job_id).select_related("project"), "import")


@dataclass(frozen=True)
class CallFilter:
    """What the list of calls can be narrowed by."""

    model: str = ""
    status: str = ""
    words: str = ""
    since: date | None = None
    until: date | None = None


def calls_page(
    project: Project, *, workload: Workload | None = None, only: CallFilter, at: str = ""
) -> Page[CapturedCall]:
    """Return a page of calls, the newest first, with their texts.

    The id is made of the call's time: to page by it is to page by time.
    """
    calls = project.calls.all()
    if workload is not None:
        groups = workload.call_groups.values_list("pk", flat=True)
        calls = CapturedCall.objects.filter(group__in=list(groups))
    if only.words:
        calls = calls.filter(pk__in=found_by_words(project, only.words))
    if only.model:
        calls = calls.filter(request_model=only.model)
    if only.status == "error":
        calls = calls.filter(status_code__gte=400)
    elif only.status == "ok":
        calls = calls.filter(status_code__lt=400)
    if only.since:
        calls = calls.filter(pk__gte=first_id(datetime.combine(only.since, time.min, UTC)))
    if only.until:
        after = datetime.combine(only.until + timedelta(days=1), time.min, UTC)
        calls = calls.filter(pk__lt=first_id(after))
    return page_of(calls.select_related("payload", "group__workload"), ("-id",), at)


def found_by_words(project: Project, words: str) -> QuerySet[CallText, Any]:
    """Return the ids of a project's calls whose texts hold all of the words."""
    typed = SearchQuery(words, config="simple", search_type="websearch")
    mine = SearchQuery(CallText.project_word(project.pk), config="simple")
    return CallText.objects.filter(document=mine & typed).values("pk")


def recent_models(project: Project) -> list[str]:
    """Return the model names of the newest calls; all calls would be a scan."""
    newest = project.calls.order_by("-id").values_list("request_model", flat=True)
    return sorted(set(newest[:1000]))


def call_of_project(project: Project, call_id: Any) -> CapturedCall:
    """Return one call with its workload."""
    found = project.calls.filter(pk=call_id)
    return one(found.select_related("payload", "group__workload", "project"), "call")


def calls_by_reference(project: Project, references: Sequence[str]) -> dict[str, UUID]:
    """Return calls' ids by what an app knows them by: a request id, else the answer's own id.

    Of several answers with one id (some servers count theirs from one) it is the newest.
    """
    answers = project.calls.filter(response_id__in=references).order_by("id")
    keys = CallKey.objects.filter(project=project, request_id__in=references)
    return {
        **dict(answers.values_list("response_id", "id")),
        **dict(keys.values_list("request_id", "call_id")),
    }


def feedback_counts(project: Project, workload: Workload | None = None) -> dict[str, Any]:
    """Count what was said of answers, by kind, with the share of `true` and the mean score."""
    said = project.feedback.exclude(call=None)
    if workload is not None:
        said = said.filter(call__group__workload=workload)
    kinds = {kind: Count("id", filter=Q(kind=kind)) for kind in Feedback.Kind.values}
    counts = said.aggregate(
        **kinds,
        true=Count("id", filter=Q(kind=Feedback.Kind.BOOLEAN, value=True)),
        mean_score=Avg(Cast("value", FloatField()), filter=Q(kind=Feedback.Kind.SCORE)),
    )
    true = counts.pop("true")
    return {**counts, "true_share": true / counts["boolean"] if counts["boolean"] else None}


def examples_page(
    workload: Workload, *, split: str = "", status: str = "", at: str = ""
) -> Page[Example]:
    """Return a page of examples in the order they came."""
    examples = workload.examples.all()
    if split:
        examples = examples.filter(split=split)
    if status:
        examples = examples.filter(status=status)
    return page_of(examples, ("id",), at)


def example_counts(workload: Workload) -> dict[str, int]:
    """Return how many examples there are: in all, by split, by status, and with a target."""
    counts: dict[str, int] = workload.examples.aggregate(
        total=Count("id"),
        with_target=Count("id", filter=Q(target__isnull=False)),
        **{split: Count("id", filter=Q(split=split)) for split in Split.values},
        **{status: Count("id", filter=Q(status=status)) for status in Example.Status.values},
    )
    return counts


def dataset_versions(workload: Workload) -> list[DatasetVersion]:
    """Return a workload's dataset versions, the newest first."""
    versions = DatasetVersion.objects.filter(dataset__workload=workload)
    return list(versions.select_related("dataset", "created_by").order_by("-id")[:200])


def dataset_version_of(workload: Workload, name: str, number: int) -> DatasetVersion:
    """Return one dataset version."""
    found = DatasetVersion.objects.filter(dataset__workload=workload, dataset__name=name)
    return one(found.filter(number=number).select_related("dataset", "created_by"), "dataset")


def entries_page(version: DatasetVersion, at: str = "") -> Page[DatasetEntry]:
    """Return a page of a version's rows, each with its example."""
    return page_of(version.entries.select_related("example"), ("position",), at)


# --- privacy --------------------------------------------------------------------------------------
PREVIEWED = 20  # calls that a policy can be tried on
LOOKED_AT = 1000  # calls whose redactions are summed up


@dataclass(frozen=True)
class PrivacyPage:
    """What the privacy page shows beside its forms."""

    workloads: list[Workload]
    newest: list[CapturedCall]
    redactions: dict[str, int]
    looked_at: int
    erasures: list[Erasure]
    role: str


def privacy_page(project: Project, user: User | AnonymousUser) -> PrivacyPage:
    """Gather the privacy page: what was taken out of the newest calls, what was erased."""
    calls = project.calls.order_by("-id")
    taken = list(calls.values_list("redactions", flat=True)[:LOOKED_AT])
    sums: Counter[str] = Counter()
    for counts in taken:
        sums.update(counts)
    return PrivacyPage(
        workloads=list(project.workloads.order_by("slug")),
        newest=list(calls.select_related("payload")[:PREVIEWED]),
        redactions=dict(sums),
        looked_at=len(taken),
        erasures=erasures_of(project),
        role=role_of(user, project),
    )


def erasures_of(project: Project) -> list[Erasure]:
    """Return a project's erasures, the newest first."""
    return list(project.erasures.order_by("-id").prefetch_related("spools")[:100])


def erasure_of_project(project: Project, job_id: int) -> Erasure:
    """Return one of a project's erasures."""
    found = project.erasures.filter(pk=job_id).select_related("project")
    return one(found.prefetch_related("spools"), "erasure")


def erased_rows(versions: Sequence[DatasetVersion]) -> dict[int, dict[str, int]]:
    """Count the rows that were erased from dataset versions, by version and split."""
    counts: dict[int, Counter[str]] = {}
    for rows in ErasedRows.objects.filter(version__in=versions):
        split_counts = Counter(split for _, split, _ in rows.entries)
        counts[rows.version_id] = counts.get(rows.version_id, Counter()) + split_counts
    return {version: dict(found) for version, found in counts.items()}


def webhooks_of(project: Project) -> list[Webhook]:
    """Return the addresses that are told of events, each with how many events `failed`."""
    lost = Q(deliveries__status=Delivery.Status.FAILED)
    return list(project.webhooks.annotate(failed=Count("deliveries", filter=lost)).order_by("id"))


def webhook_of_project(project: Project, webhook: int) -> Webhook:
    """Return one of them; `NotFound` where the project has no such."""
    return one(project.webhooks.filter(pk=webhook), "webhook")


def delivery_of_project(project: Project, delivery: UUID) -> Delivery:
    """Return one delivery to any of them."""
    return one(Delivery.objects.filter(pk=delivery, webhook__project=project), "delivery")


def deliveries_of(webhook: Webhook) -> list[Delivery]:
    """Return the newest deliveries to an address."""
    return list(webhook.deliveries.order_by("-created_at")[:PAGE_SIZE])
