"""API keys: shown once, kept as a hash, opened by scope, closed at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from factory.errors import InvalidInput, NotAuthenticated
from factory.models import ApiKey, Project
from factory.selectors import key_for_secret
from factory.services.keys import create_key, hash_key, revoke_key

pytestmark = pytest.mark.django_db

API = ApiKey.Scope.API


def test_a_key_is_kept_as_a_hash_only(project: Project) -> None:
    key, raw = create_key(project, name="app", scopes=["capture", "api"])
    kept = ApiKey.objects.values().get(pk=key.pk)
    assert kept["hash"] == hash_key(raw)
    assert raw.startswith(kept["prefix"])
    assert raw[8:14] not in str(kept)
    assert (len(raw), raw[:3], key.scopes) == (43, "us_", ["api", "capture"])


def test_a_key_that_opens_downloads_looks_as_llama_cpp_wants_it(project: Project) -> None:
    _, raw = create_key(project, name="client", scopes=["download"])
    assert raw.startswith("hf_")


def test_no_two_keys_are_alike(project: Project) -> None:
    assert len({create_key(project, name="k", scopes=["api"])[1] for _ in range(50)}) == 50


def test_a_key_opens_its_own_project_by_its_own_scopes(project: Project) -> None:
    key, raw = create_key(project, name="app", scopes=["api"])
    assert key_for_secret(raw, API) == key
    with pytest.raises(NotAuthenticated):
        key_for_secret(raw, ApiKey.Scope.CAPTURE)
    key.refresh_from_db()
    assert key.last_used_at is not None


def test_a_revoked_key_is_refused_and_stays_revoked_at_its_first_time(project: Project) -> None:
    key, raw = create_key(project, name="app", scopes=["api"])
    revoke_key(key)
    key.refresh_from_db()
    first = key.revoked_at
    revoke_key(key)
    key.refresh_from_db()
    assert key.revoked_at == first is not None
    with pytest.raises(NotAuthenticated):
        key_for_secret(raw, API)


def test_a_key_ends_at_its_time(project: Project) -> None:
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    _, live = create_key(project, name="a", scopes=["api"], expires_at=now + hour)
    _, dead = create_key(project, name="b", scopes=["api"], expires_at=now - hour)
    assert key_for_secret(live, API).name == "a"
    with pytest.raises(NotAuthenticated):
        key_for_secret(dead, API)


@pytest.mark.parametrize(
    "raw", ["", "us_", "x' OR (SELECT pg_sleep(8))--", "\0", "é" * 100, "us_" + "a" * 1_000_000]
)
def test_what_is_no_key_is_refused(project: Project, raw: str) -> None:
    create_key(project, name="app", scopes=["api"])
    with pytest.raises(NotAuthenticated):
        key_for_secret(raw, API)


@pytest.mark.parametrize("scopes", [[], ["admin"], ["api", "root"]])
def test_scopes_are_the_known_ones(project: Project, scopes: Any) -> None:
    with pytest.raises(InvalidInput):
        create_key(project, name="app", scopes=scopes)
