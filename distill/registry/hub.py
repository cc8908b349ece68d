"""The part of the Hugging Face Hub's protocol that its clients and llama.cpp download with.

Models are `<project>/<workload>`, datasets `<project>/<workload>-<dataset>`; a revision is an
alias, `v3`, a commit, `main` or `HEAD`. No Xet header is ever sent, so clients fetch plain bytes;
errors carry the codes that clients act on.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, ClassVar, Protocol
from urllib.parse import parse_qs

from distill.manifest import FileEntry, git_oid, is_large, large_entry, lfs_pointer
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
from distill.services.publish import version_at
from factory.errors import InvalidInput, NotAuthenticated, NotFound, UnderstudyError
from factory.models import ApiKey, Dataset, Workload
from factory.services.freeze import repository_of
from factory.services.versions import dataset_in_project, version_of_dataset, versions_with_files

Json = dict[str, Any]
Route = Callable[[Request, "Repository", re.Match[str]], Answer]
Finder = Callable[[ApiKey, re.Match[str]], "Repository"]

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
    for pattern, finder, route in ROUTES:
        if match := pattern.fullmatch(request.path):
            with missing_is("RepoNotFound"):
                repository = finder(key, match)
            return route(request, repository, match)
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


@dataclass(frozen=True)
class Revision:
    """What a repository is at one commit."""

    commit: str
    created_at: datetime
    files: Sequence[FileEntry]  # by path


class Repository(Protocol):
    """Something with revisions that hub clients download: a workload's models, or a dataset."""

    name: str
    facts: ClassVar[Json]  # of its description, beside what every repository has

    def at(self, revision: str) -> Revision:
        """Return what an alias, `v3`, a commit, `main` or `HEAD` names, else `NotFound`."""

    def refs(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the commits of branches and of tags, by name."""


class ModelRepository:
    """A workload's published students."""

    facts: ClassVar[Json] = {
        "tags": ["gguf"],
        "library_name": "gguf",
        "pipeline_tag": "text-generation",
    }

    def __init__(self, workload: Workload) -> None:
        self.workload, self.name = workload, str(workload)

    def at(self, revision: str) -> Revision:
        """Return a published version."""
        version = version_at(self.workload, revision)
        entries = [
            FileEntry(file.path, file.size, file.sha256, file.git_oid)
            for file in version.files.order_by("path")
        ]
        return Revision(version.commit, version.created_at, entries)

    def refs(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the aliases as branches and the versions as tags.

        Before anything is in production there is no branch: llama.cpp takes the first one it finds
        where `main` is missing, and would run a canary for production.
        """
        aliases = self.workload.aliases.order_by("name").select_related("version")
        commits = {alias.name: alias.version.commit for alias in aliases}
        is_live = "production" in commits
        branches = {"main": commits["production"], **commits} if is_live else {}
        versions = self.workload.model_versions.order_by("number")
        return branches, {f"v{version.number}": version.commit for version in versions}


class DatasetRepository:
    """A dataset, its newest version being `main`."""

    facts: ClassVar[Json] = {"tags": ["parquet"]}

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.name = dataset, repository_of(dataset)

    def at(self, revision: str) -> Revision:
        """Return a frozen version."""
        version = version_of_dataset(self.dataset, revision)
        found = sorted(version.files, key=itemgetter("path"))
        return Revision(version.commit, version.created_at, [dataset_file(file) for file in found])

    def refs(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the newest version as the branch `main`, and all versions as tags."""
        versions = versions_with_files(self.dataset)
        tags = {f"v{version.number}": version.commit for version in versions}
        return {"main": versions[-1].commit} if versions else {}, tags


def dataset_file(file: Json) -> FileEntry:
    """Describe a dataset version's file; what git holds of data is a git-lfs pointer."""
    if is_large(file["path"]):
        return large_entry(file["path"], file["sha256"], file["size"])
    return FileEntry(file["path"], file["size"], file["sha256"], file["git_oid"])


def info(request: Request, repository: Repository, match: re.Match[str]) -> Answer:
    """Describe a repository at a revision."""
    only(request, "GET", "HEAD")
    revision = named(repository, match.groupdict().get("revision") or "main")
    with_blobs = parse_qs(request.query).get("blobs", [""])[0].lower() in {"1", "true"}
    created = f"{revision.created_at:%Y-%m-%dT%H:%M:%S}.000Z"
    return json_answer(
        {
            "_id": revision.commit[:24],
            "id": repository.name,
            "modelId": repository.name,
            "author": match["project"],
            "sha": revision.commit,
            "private": True,
            "gated": False,
            "disabled": False,
            **repository.facts,
            "downloads": 0,
            "likes": 0,
            "createdAt": created,
            "lastModified": created,
            "siblings": [sibling(file, with_blobs=with_blobs) for file in revision.files],
        }
    )


def sibling(file: FileEntry, *, with_blobs: bool) -> Json:
    """Describe a file as `info` lists it."""
    row: Json = {"rfilename": file.path}
    if with_blobs:
        row |= {"size": file.size, "blobId": file.git_oid}
        if is_large(file.path):
            row["lfs"] = {"sha256": file.sha256, **sizes(file)}
    return row


def tree(request: Request, repository: Repository, match: re.Match[str]) -> Answer:
    """List the files and folders of a folder; all files below it where that is asked for."""
    only(request, "GET", "HEAD")
    revision = named(repository, match["revision"])
    folder = f"{match['folder'].strip('/')}/" if match["folder"] else ""
    below = [file for file in revision.files if file.path.startswith(folder)]
    if folder and not below:
        raise MissingEntry("There is no such folder in this version.", revision.commit)
    is_deep = parse_qs(request.query).get("recursive", [""])[0].lower() in {"1", "true"}
    here = [file for file in below if is_deep or "/" not in file.path[len(folder) :]]
    return json_answer([*map(folder_entry, folders(below, folder)), *map(entry, here)])


def folders(files: Sequence[FileEntry], folder: str) -> list[str]:
    """Name the folders right below a folder."""
    rests = (file.path[len(folder) :] for file in files)
    return sorted({folder + rest.partition("/")[0] for rest in rests if "/" in rest})


def folder_entry(path: str) -> Json:
    """Describe a folder as a tree lists it; its oid only has to be of its own."""
    return {"type": "directory", "oid": git_oid(path.encode()), "size": 0, "path": path}


def paths_info(request: Request, repository: Repository, match: re.Match[str]) -> Answer:
    """Describe those of the asked files and folders that exist."""
    only(request, "POST")
    revision = named(repository, match["revision"])
    wanted = {path.strip("/") for path in asked_paths(request)}
    found = [path for path in folders(revision.files, "") if path in wanted]
    files = [entry(file) for file in revision.files if file.path in wanted]
    return json_answer([*map(folder_entry, found), *files])


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


def entry(file: FileEntry) -> Json:
    """Describe a file as a tree lists it."""
    row = {"type": "file", "oid": file.git_oid, "size": file.size, "path": file.path}
    if is_large(file.path):
        row["lfs"] = {"oid": file.sha256, **sizes(file)}
    return row


def sizes(file: FileEntry) -> Json:
    """Return a large file's size and that of its git-lfs pointer."""
    return {"size": file.size, "pointerSize": len(lfs_pointer(file.sha256, file.size))}


def refs(request: Request, repository: Repository, _match: re.Match[str]) -> Answer:
    """List branches and tags."""
    only(request, "GET")
    branches, tags = repository.refs()
    answer: Json = {
        "branches": [ref("heads", *branch) for branch in branches.items()],
        "tags": [ref("tags", *tag) for tag in tags.items()],
        "converts": [],
    }
    if "include_prs" in parse_qs(request.query):
        answer["pullRequests"] = []
    return json_answer(answer)


def ref(kind: str, name: str, commit: str) -> dict[str, str]:
    """Describe a branch or a tag."""
    return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}


def resolve(request: Request, repository: Repository, match: re.Match[str]) -> Answer:
    """Send a file. Its ETag becomes a file name in clients' caches, so it is plain hex."""
    only(request, "GET", "HEAD")
    revision = named(repository, match["revision"])
    file = next((file for file in revision.files if file.path == match["path"]), None)
    if file is None:
        raise MissingEntry("There is no such file in this version.", revision.commit)
    etag = file.sha256 if is_large(file.path) else file.git_oid
    headers = {
        "x-repo-commit": revision.commit,
        "x-linked-etag": f'"{etag}"',
        "x-linked-size": str(file.size),
    }
    return file_answer(request, file, etag, headers)


def named(repository: Repository, revision: str) -> Revision:
    """Return a repository at a revision."""
    with missing_is("RevisionNotFound"):
        return repository.at(revision)


def models_of(key: ApiKey, match: re.Match[str]) -> Repository:
    """Return a workload's models."""
    return ModelRepository(workload_of_key(key, match["project"], match["name"]))


def dataset_of(key: ApiKey, match: re.Match[str]) -> Repository:
    """Return a dataset; absent and another project's look alike."""
    name = match["name"] if match["project"] == key.project.slug else ""
    return DatasetRepository(dataset_in_project(key.project, name))


NAME = r"(?P<project>[^/]+)/(?P<name>[^/]+)"
KINDS: tuple[tuple[str, str, Finder], ...] = (
    ("models", "", models_of),
    ("datasets", "datasets/", dataset_of),
)
ROUTES: tuple[tuple[re.Pattern[str], Finder, Route], ...] = tuple(
    (re.compile(pattern, re.DOTALL), finder, route)
    for kind, prefix, finder in KINDS
    for pattern, route in (
        (rf"/api/{kind}/{NAME}", info),
        (rf"/api/{kind}/{NAME}/revision/(?P<revision>.+)", info),
        (rf"/api/{kind}/{NAME}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?", tree),
        (rf"/api/{kind}/{NAME}/paths-info/(?P<revision>.+)", paths_info),
        (rf"/api/{kind}/{NAME}/refs", refs),
        (rf"/{prefix}{NAME}/(?:resolve|raw)/(?P<revision>[^/]+)/(?P<path>.*)", resolve),
    )
)

application = protocol(handle, refuse)
