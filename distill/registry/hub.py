"""The part of the Hugging Face Hub's protocol that its clients and llama.cpp download with.

A repository is `<project>/<workload>`; a revision is an alias, `v3`, a commit, `main` or `HEAD`. No
Xet header is ever sent, so clients fetch plain bytes; errors carry the codes that clients act on.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from distill.manifest import is_large, lfs_pointer
from distill.models import ModelVersion, VersionFile
from distill.registry.answers import (
    CHALLENGE,
    Answer,
    Request,
    file_answer,
    json_answer,
    key_of,
    only,
    protocol,
    workload_of_key,
)
from distill.services.publish import file_at, version_at
from factory.errors import InvalidInput, NotAuthenticated, NotFound, UnderstudyError
from factory.models import Workload

Json = dict[str, Any]
Route = Callable[[Request, Workload, re.Match[str]], Answer]

# What clients of the Hub take for "your key is wrong", in place of "there is no such repository".
BAD_KEY = "Invalid credentials in Authorization header"


class MissingEntry(NotFound):
    """A file that a version does not have; clients remember that, per commit."""

    def __init__(self, message: str, commit: str) -> None:
        super().__init__(message, code="EntryNotFound")
        self.commit = commit


def handle(request: Request) -> Answer:
    """Answer one request; the first route whose pattern matches the whole path has it."""
    key = key_of(request)
    if request.path == "/api/whoami-v2":
        return whoami(request, key.project.slug, key.name)
    for pattern, route in ROUTES:
        if match := pattern.fullmatch(request.path):
            with missing_is("RepoNotFound"):
                workload = workload_of_key(key, match["project"], match["workload"])
            return route(request, workload, match)
    raise NotFound("There is no such address.", code="RepoNotFound")


def refuse(error: UnderstudyError) -> Answer:
    """Say what is wrong as the Hub does: a code and a message in headers, and a body."""
    code, message = error.given_code or error.code, error.message
    headers = {}
    if isinstance(error, NotAuthenticated):
        headers["www-authenticate"] = CHALLENGE
        code, message = ("RepoNotFound", message) if code == "missing_api_key" else (code, BAD_KEY)
    if isinstance(error, MissingEntry):
        headers["x-repo-commit"] = error.commit
    headers |= {"x-error-code": code, "x-error-message": message}
    return json_answer({"error": message}, error.http_status, headers)


@contextmanager
def missing_is(code: str) -> Iterator[None]:
    """Name what is missing by the code that clients know."""
    try:
        yield
    except NotFound as error:
        raise NotFound(error.message, code=code) from error


def whoami(request: Request, project: str, key_name: str) -> Answer:
    """Tell a client whose key it sent."""
    only(request, "GET")
    access = {"accessToken": {"displayName": key_name, "role": "read"}}
    names = {"id": project, "name": project, "fullname": project}
    return json_answer({"type": "user", **names, "orgs": [], "auth": access})


def info(request: Request, workload: Workload, match: re.Match[str]) -> Answer:
    """Describe a repository at a revision."""
    only(request, "GET", "HEAD")
    version = named_version(workload, match.groupdict().get("revision") or "main")
    with_blobs = parse_qs(request.query).get("blobs", [""])[0].lower() in {"1", "true"}
    files = version.files.order_by("path")
    created = f"{version.created_at:%Y-%m-%dT%H:%M:%S}.000Z"
    return json_answer(
        {
            "_id": version.commit[:24],
            "id": str(workload),
            "modelId": str(workload),
            "author": workload.project.slug,
            "sha": version.commit,
            "private": True,
            "gated": False,
            "disabled": False,
            "tags": ["gguf"],
            "library_name": "gguf",
            "pipeline_tag": "text-generation",
            "downloads": 0,
            "likes": 0,
            "createdAt": created,
            "lastModified": created,
            "siblings": [sibling(file, with_blobs=with_blobs) for file in files],
        }
    )


def sibling(file: VersionFile, *, with_blobs: bool) -> Json:
    """Describe a file as `info` lists it."""
    row: Json = {"rfilename": file.path}
    if with_blobs:
        row |= {"size": file.size, "blobId": file.git_oid}
        if is_large(file.path):
            row["lfs"] = {"sha256": file.sha256, **sizes(file)}
    return row


def tree(request: Request, workload: Workload, match: re.Match[str]) -> Answer:
    """List a version's files; they all lie at the root."""
    only(request, "GET", "HEAD")
    version = named_version(workload, match["revision"])
    if match["folder"]:
        raise MissingEntry("There is no such folder in this version.", version.commit)
    return json_answer([entry(file) for file in version.files.order_by("path")])


def paths_info(request: Request, workload: Workload, match: re.Match[str]) -> Answer:
    """Describe those of the asked files that exist."""
    only(request, "POST")
    version = named_version(workload, match["revision"])
    wanted = asked_paths(request)
    return json_answer([entry(f) for f in version.files.order_by("path") if f.path in wanted])


def asked_paths(request: Request) -> set[str]:
    """Return the paths of a form (Python's client) or of JSON (JavaScript's)."""
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            body = json.loads(request.body)
        except ValueError as error:
            raise InvalidInput("The body is not JSON.") from error
        paths = body.get("paths") if isinstance(body, dict) else None
    else:
        paths = parse_qs(request.body.decode("latin-1")).get("paths", [])
    if not isinstance(paths, list):
        raise InvalidInput("paths is a list of file names.", param="paths")
    return {path for path in paths if isinstance(path, str)}


def entry(file: VersionFile) -> Json:
    """Describe a file as a tree lists it."""
    row = {"type": "file", "oid": file.git_oid, "size": file.size, "path": file.path}
    if is_large(file.path):
        row["lfs"] = {"oid": file.sha256, **sizes(file)}
    return row


def sizes(file: VersionFile) -> Json:
    """Return a large file's size and that of its git-lfs pointer."""
    return {"size": file.size, "pointerSize": len(lfs_pointer(file.sha256, file.size))}


def refs(request: Request, workload: Workload, _match: re.Match[str]) -> Answer:
    """List the aliases as branches and the versions as tags.

    Before anything is in production there is no branch: llama.cpp takes the first one it finds
    where `main` is missing, and would run a canary for production.
    """
    only(request, "GET")
    aliases = {alias.name: alias.version.commit for alias in workload.aliases.order_by("name")}
    branches = []
    if "production" in aliases:
        branches = [{"name": name, "commit": aliases[name]} for name in aliases]
        branches.insert(0, {"name": "main", "commit": aliases["production"]})
    versions = workload.model_versions.order_by("number")
    tags = [{"name": f"v{version.number}", "commit": version.commit} for version in versions]
    answer: Json = {
        "branches": [ref("heads", **branch) for branch in branches],
        "tags": [ref("tags", **tag) for tag in tags],
        "converts": [],
    }
    if "include_prs" in parse_qs(request.query):
        answer["pullRequests"] = []
    return json_answer(answer)


def ref(kind: str, name: str, commit: str) -> dict[str, str]:
    """Describe a branch or a tag."""
    return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}


def resolve(request: Request, workload: Workload, match: re.Match[str]) -> Answer:
    """Send a file. Its ETag becomes a file name in clients' caches, so it is plain hex."""
    only(request, "GET", "HEAD")
    version = named_version(workload, match["revision"])
    try:
        file = file_at(version, match["path"])
    except NotFound as error:
        raise MissingEntry(error.message, version.commit) from error
    etag = file.sha256 if is_large(file.path) else file.git_oid
    headers = {
        "x-repo-commit": version.commit,
        "x-linked-etag": f'"{etag}"',
        "x-linked-size": str(file.size),
    }
    return file_answer(request, file, etag, headers)


def named_version(workload: Workload, revision: str) -> ModelVersion:
    """Return the version at a revision."""
    with missing_is("RevisionNotFound"):
        return version_at(workload, revision)


REPOSITORY = r"(?P<project>[^/]+)/(?P<workload>[^/]+)"
ROUTES: tuple[tuple[re.Pattern[str], Route], ...] = tuple(
    (re.compile(pattern, re.DOTALL), route)
    for pattern, route in (
        (rf"/api/models/{REPOSITORY}", info),
        (rf"/api/models/{REPOSITORY}/revision/(?P<revision>.+)", info),
        (rf"/api/models/{REPOSITORY}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?", tree),
        (rf"/api/models/{REPOSITORY}/paths-info/(?P<revision>.+)", paths_info),
        (rf"/api/models/{REPOSITORY}/refs", refs),
        (rf"/{REPOSITORY}/(?:resolve|raw)/(?P<revision>[^/]+)/(?P<path>.*)", resolve),
    )
)

application = protocol(handle, refuse)
