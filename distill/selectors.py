"""What the gateway, the pages and the API read of students."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.db.models.functions import Now

from distill.models import Route
from distill.routing import RouteTable, Target
from factory.models import ApiKey, Upstream
from factory.services.projects import upstream_key


@dataclass(frozen=True)
class GatewayKey:
    """What the gateway must know of a key: whose it is, until when, and who answers its calls."""

    project_id: int
    project: str
    expires_at: datetime | None
    routes: RouteTable


def gateway_keys() -> dict[str, GatewayKey]:
    """Return every live capture key by its hash, with its project's routes."""
    live = ApiKey.objects.filter(revoked_at=None).filter(
        Q(expires_at=None) | Q(expires_at__gt=Now()), scopes__contains=[ApiKey.Scope.CAPTURE]
    )
    tables = _route_tables()
    nothing = RouteTable(default=None, students={})
    return {
        key.hash: GatewayKey(
            project_id=key.project_id,
            project=key.project.slug,
            expires_at=key.expires_at,
            routes=tables.get(key.project_id, nothing),
        )
        for key in live.select_related("project")
    }


def _route_tables() -> dict[int, RouteTable]:
    tables = {
        upstream.project_id: RouteTable(default=_target(upstream, None), students={})
        for upstream in Upstream.objects.filter(is_default=True)
    }
    routes = Route.objects.filter(deployment__is_live=True).select_related(
        "workload", "deployment__upstream", "fallback__upstream"
    )
    for route in routes:
        if route.deployment is None:
            continue
        project = route.workload.project_id
        table = tables.setdefault(project, RouteTable(default=None, students={}))
        table.students[route.workload.slug] = (
            _target(route.deployment.upstream, route.deployment.model),
            _target(route.fallback.upstream, route.fallback.model),
            route.student_share,
        )
    return tables


def _target(upstream: Upstream, model: str | None) -> Target:
    return Target(
        base_url=upstream.base_url, key=upstream_key(upstream), model=model, provider=upstream.name
    )
