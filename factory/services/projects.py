"""Projects, their members, their upstreams and their workloads."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.db import transaction

from factory import outgoing, vault
from factory.errors import Conflict, InvalidInput
from factory.models import Membership, Project, Upstream, Workload
from factory.prices import checked_prices


@transaction.atomic
def create_project(*, slug: str, name: str, owner: User | None = None) -> Project:
    """Make a project; its owner is its first member."""
    project = Project(slug=slug, name=name)
    project.full_clean()
    project.save(force_insert=True)
    if owner is not None:
        add_member(project, owner, Membership.Role.OWNER)
    return project


def create_user(*, username: str, password: str) -> User:
    """Make a person who can sign in; `ValidationError` where the name or password will not do."""
    user = User(username=username)
    user.full_clean(exclude=["password"])
    validate_password(password, user)
    user.set_password(password)
    user.save(force_insert=True)
    return user


def set_password(user: User, *, password: str) -> None:
    """Give a person a new password; what they were signed in with ends."""
    validate_password(password, user)
    user.set_password(password)
    user.save(update_fields=["password"])


@transaction.atomic
def add_member(project: Project, user: User, role: str) -> Membership:
    """Give a person a role, or change it; `Conflict` where the last owner would go."""
    if role not in Membership.Role.values:
        raise InvalidInput(f"role is one of {', '.join(Membership.Role.values)}", param="role")
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    owners = project.memberships.filter(role=Membership.Role.OWNER)
    is_owner = owners.filter(user=user).exists()
    if role != Membership.Role.OWNER and is_owner and owners.count() == 1:
        raise Conflict("A project keeps at least one owner: name another one first.")
    member, _ = Membership.objects.update_or_create(
        project=project, user=user, defaults={"role": role}
    )
    return member


@transaction.atomic
def save_upstream(
    project: Project,
    *,
    name: str,
    base_url: str,
    key: str | None = None,
    is_default: bool = False,
    prices: dict[str, Any] | None = None,
    model_patterns: list[str] | None = None,
    dialect: str = "",
    api_version: str | None = None,
) -> Upstream:
    """Make or change a named upstream.

    A new address needs its key typed again: a stored key is never sent to a host that it was not
    given for.
    """
    base_url = base_url.rstrip("/")
    outgoing.check_url(base_url, settings.PRIVATE_UPSTREAM_HOSTS)
    upstream = Upstream.objects.filter(project=project, name=name).first()
    upstream = upstream or Upstream(project=project, name=name)
    if upstream.base_url and upstream.base_url != base_url and key is None:
        raise InvalidInput("a new base_url needs its key typed again", param="key")
    upstream.base_url = base_url
    if key is not None:
        upstream.key_ciphertext = vault.encrypt(key, settings.ENCRYPTION_KEY)
    if prices is not None:
        upstream.prices = checked_prices(prices)
    if model_patterns is not None:
        upstream.model_patterns = model_patterns
    upstream.dialect = dialect or upstream.dialect
    if api_version is not None:
        upstream.api_version = api_version
    if is_default:
        Upstream.objects.filter(project=project).exclude(pk=upstream.pk).update(is_default=False)
        upstream.is_default = True
    upstream.full_clean(exclude=["base_url"])  # checked above; Django's own refuses bare host names
    upstream.save()
    return upstream


def upstream_key(upstream: Upstream) -> str:
    """Return an upstream's key in the clear, for the one request that needs it."""
    if not upstream.key_ciphertext:
        return ""
    return vault.decrypt(upstream.key_ciphertext, settings.ENCRYPTION_KEY)


def create_workload(project: Project, **fields: Any) -> Workload:
    """Make a workload; `slug` and `kind` are needed, the rest is discovered or set later."""
    workload = Workload(project=project, **fields)
    workload.full_clean()
    workload.save(force_insert=True)
    return workload
