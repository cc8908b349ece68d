"""The gates every read goes through, and what pages and the API read.

A gate knows the caller. What is absent and what is not the caller's look alike: `NotFound`.
"""

from datetime import timedelta

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from factory.errors import Forbidden, NotAuthenticated, NotFound
from factory.models import ApiKey, Membership, Project, Workload
from factory.services.keys import hash_key

Role = Membership.Role
RANK = {role: rank for rank, role in enumerate(reversed(Role.values))}  # viewer 0 ... owner 3


def projects_of_user(user: User | AnonymousUser) -> QuerySet[Project]:
    """Return the projects a person is a member of."""
    return Project.objects.filter(memberships__user_id=user.pk).order_by("name")


def project_for_user(
    user: User | AnonymousUser, project: str, role: str = Role.VIEWER
) -> Project:
    """Return a project that the person may see; `Forbidden` where their role is below `role`."""
    member = (
        Membership.objects.filter(user_id=user.pk, project__slug=project)
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
    return _one(found.select_related("project"), "workload")


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
    return _one(found.select_related("project"), "workload")


def _one(found: QuerySet[Workload], noun: str) -> Workload:
    row = found.first()
    if row is None:
        raise NotFound(f"There is no such {noun}, or it is not yours to see.")
    return row
