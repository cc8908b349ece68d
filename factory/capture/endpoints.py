"""How an upstream is spoken to: its addresses, its key's header, and what passes of a request."""

from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, urlencode

# A request may choose neither a host nor a key, by whatever name some client library knows them.
FOREIGN_FIELDS = frozenset({
    "api_base", "api_key", "api_type", "api_version", "azure_ad_token", "azure_endpoint",
    "base_url", "custom_llm_provider", "default_headers", "extra_body", "extra_headers",
    "extra_query", "fallbacks", "headers", "litellm_credential_name", "litellm_params",
    "organization", "proxy",
})  # fmt: skip
PASSED_HEADERS = {
    b"accept", b"anthropic-beta", b"anthropic-version", b"content-type", b"idempotency-key",
    b"openai-beta", b"traceparent", b"tracestate", b"user-agent", b"x-client-request-id",
    b"x-request-id",
}  # fmt: skip
PASSED_QUERY = {
    "after", "before", "include", "include[]", "include_obfuscation", "limit", "order",
    "starting_after", "stream",
}  # fmt: skip
OF_A_DEPLOYMENT = {"chat/completions", "completions", "embeddings"}


def address(
    dialect: str, base_url: str, api_version: str, path: str, model: str, query: str = ""
) -> str:
    """Return the URL of `path` ("chat/completions", "responses/<id>" ...) at an upstream.

    Azure knows two forms: with an api-version each deployment has a path of its own, without one
    it answers as OpenAI does. The model's name can lead nowhere else: it is quoted whole.
    """
    if dialect != "azure":
        return f"{base_url}/{path}{query}"
    root = base_url.removesuffix("/v1").removesuffix("/openai")
    if not api_version:
        return f"{root}/openai/v1/{path}{query}"
    if path in OF_A_DEPLOYMENT:
        path = f"deployments/{quote(model, safe='')}/{path}"
    joined = f"{query}&" if query else "?"
    return f"{root}/openai/{path}{joined}api-version={quote(api_version, safe='')}"


def key_header(dialect: str, key: str) -> dict[str, str]:
    """Return the header that carries an upstream's key; none where it needs no key."""
    if not key:
        return {}
    return {"api-key": key} if dialect == "azure" else {"authorization": f"Bearer {key}"}


def passed_headers(given: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers of a request that its upstream is told; keys and cookies never are."""
    passed = {n.decode(): v.decode("latin-1") for n, v in given if n in PASSED_HEADERS}
    return {"content-type": "application/json", **passed, "accept-encoding": "identity"}


def passed_query(given: bytes) -> str:
    """Return the part of a query string that its upstream is told, with its question mark."""
    pairs = parse_qsl(given.decode("latin-1"), keep_blank_values=True)
    passed = urlencode([(name, value) for name, value in pairs if name in PASSED_QUERY])
    return f"?{passed}" if passed else ""
