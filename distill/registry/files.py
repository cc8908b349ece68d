"""Plain downloads for curl, wget and everything else that speaks HTTP: `/artifacts/...`."""

import re

from distill.manifest import MANIFEST_FILE
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
from factory.errors import NotAuthenticated, NotFound, UnderstudyError

ADDRESS = re.compile(
    r"/artifacts/(?P<project>[^/]+)/(?P<workload>[^/]+)/(?P<revision>[^/]+)(?:/(?P<path>.*))?",
    re.DOTALL,
)


def handle(request: Request) -> Answer:
    """Answer `/artifacts/<project>/<workload>/<revision>`, a list, and each file below it."""
    only(request, "GET", "HEAD")
    key = key_of(request)
    match = ADDRESS.fullmatch(request.path)
    if match is None:
        raise NotFound("There is no such address.")
    workload = workload_of_key(key, match["project"], match["workload"])
    version = version_at(workload, match["revision"])
    if match["path"]:
        file = file_at(version, match["path"])
        return file_answer(request, file, file.sha256, {"x-repo-commit": version.commit})
    base = f"/artifacts/{workload}/{version.commit}"
    files = version.files.order_by("path").values("path", "size", "sha256")
    return json_answer(
        {
            "repository": str(workload),
            "version": version.number,
            "commit": version.commit,
            "files": [{**file, "url": f"{base}/{file['path']}"} for file in files],
            "manifest": f"{base}/{MANIFEST_FILE}",
        }
    )


def refuse(error: UnderstudyError) -> Answer:
    """Say what is wrong in the one error shape."""
    headers = {"www-authenticate": CHALLENGE} if isinstance(error, NotAuthenticated) else {}
    return json_answer(error.body(), error.http_status, headers)


application = protocol(handle, refuse)
