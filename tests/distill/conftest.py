"""A project whose production model is a scripted fake, behind the whole site on a real server."""

from collections.abc import Iterator

import httpx2
import pytest

from factory.models import Project
from factory.services.keys import create_key
from factory.services.projects import save_upstream
from tests.distill.published import serving
from tests.fakes import ScriptedUpstream


@pytest.fixture
def upstream() -> ScriptedUpstream:
    return ScriptedUpstream()


@pytest.fixture
def site(project: Project, upstream: ScriptedUpstream) -> Iterator[str]:
    """Give the address of the site; the project's default upstream is `upstream`."""
    with upstream.serve() as base_url:
        save_upstream(project, name="prod", base_url=base_url, key="upstream-key", is_default=True)
        with serving() as (address, _):
            httpx2.get(f"{address}/healthz")  # returns once the gateway is open
            yield address


@pytest.fixture
def key(project: Project) -> str:
    return create_key(project, name="app", scopes=["capture"])[1]
