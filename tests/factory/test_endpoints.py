"""The addresses, the key's header and the rest of a request that an upstream sees."""

import pytest

from factory.capture.endpoints import address, key_header, passed_headers, passed_query

OPENAI = "https://api.openai.com/v1"
AZURE = "https://res.openai.azure.com"
OLD = "2024-10-21"


@pytest.mark.parametrize(
    ("dialect", "base", "version", "path", "url"),
    [
        ("openai", OPENAI, "", "chat/completions", f"{OPENAI}/chat/completions"),
        ("azure", AZURE, "", "responses", f"{AZURE}/openai/v1/responses"),
        ("azure", f"{AZURE}/openai/v1", "", "embeddings", f"{AZURE}/openai/v1/embeddings"),
        (
            "azure", f"{AZURE}/openai", OLD, "embeddings",
            f"{AZURE}/openai/deployments/a%2F..%2Fb%3Fc/embeddings?api-version={OLD}",
        ),
        ("azure", AZURE, OLD, "responses", f"{AZURE}/openai/responses?api-version={OLD}"),
        ("azure", AZURE, OLD, "models", f"{AZURE}/openai/models?api-version={OLD}"),
    ],
)  # fmt: skip
def test_an_upstreams_addresses(dialect: str, base: str, version: str, path: str, url: str) -> None:
    assert address(dialect, base, version, path, "a/../b?c") == url


def test_a_query_is_kept_before_azures_version() -> None:
    url = address("azure", AZURE, OLD, "responses/r1", "", "?stream=true")
    assert url == f"{AZURE}/openai/responses/r1?stream=true&api-version={OLD}"


def test_each_dialect_has_its_own_key_header_and_no_key_has_none() -> None:
    assert key_header("openai", "k") == {"authorization": "Bearer k"}
    assert key_header("azure", "k") == {"api-key": "k"}
    assert key_header("openai", "") == key_header("azure", "") == {}


def test_only_listed_headers_pass() -> None:
    given = [
        (b"authorization", b"Bearer us_key"),
        (b"cookie", b"session=1"),
        (b"host", b"gateway"),
        (b"x-api-key", b"k"),
        (b"accept-encoding", b"br"),
        (b"content-type", b"application/json; charset=utf-8"),
        (b"user-agent", b"app/1"),
    ]
    assert passed_headers(given) == {
        "content-type": "application/json; charset=utf-8",
        "user-agent": "app/1",
        "accept-encoding": "identity",
    }


def test_only_listed_parameters_pass() -> None:
    assert passed_query(b"api_key=k&api-version=1&limit=2&after=a%20b&base_url=x") == (
        "?limit=2&after=a+b"
    )
    assert passed_query(b"api_key=k") == ""
