"""What the gateway knows of every key: whose it is, and who may answer its calls."""

import logging
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.db.models.functions import Now

from distill.models import Route
from distill.routing import RouteTable, Target
from factory.models import ApiKey, Upstream
from factory.redaction.redact import Policy
from factory.services.projects import upstream_key
from factory.vault import WrongKey

logger = logging.getLogger(__name__)

NO_ROUTES = RouteTable(default=None, students={})


@dataclass(frozen=True)
class GatewayKey:
    """What the gateway must know of a key."""

    project_id: int
    project: str
    expires_at: datetime | None
    routes: RouteTable
    policy: Policy  # what is taken out of its calls before they are written


def gateway_keys() -> dict[str, GatewayKey]:
    """Return every live capture key by its hash, with its project's routes and policy."""
    live = ApiKey.objects.filter(revoked_at=None).filter(
        Q(expires_at=None) | Q(expires_at__gt=Now()), scopes__contains=[ApiKey.Scope.CAPTURE]
    )
    keys = list(live.select_related("project"))
    tables = _route_tables()  # read after the keys: who has a new key finds its routes
    return {
        key.hash: GatewayKey(
            project_id=key.project_id,
            project=key.project.slug,
            expires_at=key.expires_at,
            routes=tables.get(key.project_id, NO_ROUTES),
            policy=Policy.from_json(key.project.redaction),
        )
        for key in keys
    }


def _route_tables() -> dict[int, RouteTable]:
    upstreams: dict[int, list[tuple[Upstream, Target]]] = {}
    for upstream in Upstream.objects.order_by("name"):
        if (target := _target(upstream, None)) is not None:
            upstreams.setdefault(upstream.project_id, []).append((upstream, target))
    students = _students()
    return {
        project: _table(upstreams.get(project, []), students.get(project, {}))
        for project in {*upstreams, *students}
    }


def _table(
    upstreams: list[tuple[Upstream, Target]], students: dict[str, tuple[Target, Target, float]]
) -> RouteTable:
    patterns = [(pattern, t) for upstream, t in upstreams for pattern in upstream.model_patterns]
    return RouteTable(
        default=next((target for upstream, target in upstreams if upstream.is_default), None),
        students=students,
        named={upstream.name: target for upstream, target in upstreams},
        # The longest pattern says most: "gpt-4o-mini" goes before "gpt-4*".
        patterns=tuple(sorted(patterns, key=lambda pair: len(pair[0]), reverse=True)),
    )


def _students() -> dict[int, dict[str, tuple[Target, Target, float]]]:
    found: dict[int, dict[str, tuple[Target, Target, float]]] = {}
    routes = Route.objects.filter(deployment__is_live=True).select_related(
        "workload", "deployment__upstream", "fallback__upstream"
    )
    for route in routes:
        if route.deployment is None:
            continue
        student = _target(route.deployment.upstream, route.deployment.model)
        fallback = _target(route.fallback.upstream, route.fallback.model)
        if student is not None and fallback is not None:
            of_project = found.setdefault(route.workload.project_id, {})
            of_project[route.workload.slug] = (student, fallback, route.student_share)
    return found


def _target(upstream: Upstream, model: str | None) -> Target | None:
    try:
        key = upstream_key(upstream)
    except WrongKey:  # one project's damaged key must not stop the others' calls
        logger.warning("upstream=%s has a key that cannot be read", upstream.pk)
        return None
    return Target(
        base_url=upstream.base_url,
        key=key,
        model=model,
        provider=upstream.name,
        dialect=upstream.dialect,
        api_version=upstream.api_version,
        upstream=upstream.pk,
    )
