"""A finished run to publish from, and the whole site behind a real server to download from."""

import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from distill import gate
from distill.models import Artifact, DistillationRun, Evaluation, ModelVersion, VersionFile
from distill.scoring import Prediction, score_rows, summarize
from distill.services.publish import move_alias, publish
from factory.asgi import application
from factory.models import Dataset, DatasetVersion, Project, Workload
from factory.services.keys import create_key
from factory.services.projects import create_project, create_workload
from factory.storage import FolderStore, open_store

P = ParamSpec("P")
T = TypeVar("T")

LABELS = ["billing", "delivery", "login"]
ROWS = 200
GGUF_BYTES = 3 * 1024 * 1024 + 17


def store() -> FolderStore:
    opened = open_store(settings.STORAGE_URL)
    assert isinstance(opened, FolderStore)
    return opened


def gguf(run: DistillationRun, quantization: str, *, seed: int, size: int = GGUF_BYTES) -> Artifact:
    """Put random bytes into the store as a file that the run made."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        path.write_bytes(b"GGUF" + random.Random(seed).randbytes(size - 4))
        blob = store().put(path)
    return Artifact.objects.create(
        run=run,
        kind=Artifact.Kind.GGUF,
        quantization=quantization,
        filename=f"{run.workload.slug}-{quantization}.gguf",
        sha256=blob.sha256,
        size=blob.size,
    )


def predictions(right: int) -> list[Prediction]:
    """Answer the first `right` rows as expected and the others wrongly."""
    return [
        Prediction(
            id=str(at),
            expected=LABELS[at % 3],
            output=LABELS[(at if at < right else at + 1) % 3],
            latency_ms=10.0 + at,
        )
        for at in range(ROWS)
    ]


def subject(name: str, right: int) -> gate.Subject:
    scores = score_rows(predictions(right), "exact_match", LABELS)
    return gate.Subject(name, {score.id: score.is_correct for score in scores})


def evaluate(run: DistillationRun, kind: str, right: int, file: Artifact | None = None) -> None:
    """Write the row that a finished evaluation leaves, with the gate's verdict on a file."""
    verdict = None
    if file is not None:
        verdict = asdict(
            gate.decide(
                student=subject(file.filename, right),
                teacher=subject("teacher", 180),
                base=subject("base", 60),
                unquantized=subject("adapter", right),
                majority_baseline=0.34,
            )
        )
    Evaluation.objects.create(
        run=run,
        subject=kind,
        artifact=file,
        status=Evaluation.Status.SUCCEEDED,
        metrics=asdict(summarize(predictions(right), "exact_match", LABELS)),
        verdict=verdict,
    )


def make_run(workload: Workload, *, number: int = 1, **fields: Any) -> DistillationRun:
    dataset, _ = Dataset.objects.get_or_create(workload=workload, name="main")
    data = DatasetVersion.objects.create(
        dataset=dataset,
        number=number,
        digest=f"{number:064x}",
        counts={"train": 800, "validation": 100, "test": ROWS},
        file_sha256="0" * 64,
        file_bytes=0,
    )
    values = {"base_model": "Qwen/Qwen2.5-0.5B", "base_revision": "abc123", "seed": 42}
    spec = {"spec": {}, "spec_digest": "5" * 64, "status": DistillationRun.Status.SUCCEEDED}
    return DistillationRun.objects.create(
        workload=workload, dataset_version=data, **{**values, **spec, **fields}
    )


def finished_run(
    workload: Workload, *, number: int = 1, small: int = 190, large: int = 191, **fields: Any
) -> DistillationRun:
    """Return a run that is all measured; its files have `small` and `large` rows right."""
    size = fields.pop("size", GGUF_BYTES)
    run = make_run(workload, number=number, **fields)
    for kind, right in (("teacher", 180), ("base", 60), ("adapter", 191)):
        evaluate(run, kind, right)
    evaluate(run, "gguf", small, gguf(run, "Q4_K_M", seed=number, size=size))
    evaluate(run, "gguf", large, gguf(run, "Q8_0", seed=100 + number, size=size + 100))
    return run


def published(workload: Workload, *, number: int = 1, size: int = GGUF_BYTES) -> ModelVersion:
    return publish(finished_run(workload, number=number, size=size))


@dataclass(frozen=True)
class Site:
    """The whole site behind a real server, with one version in production to download."""

    url: str
    server: uvicorn.Server
    workload: Workload
    version: ModelVersion
    key: str

    def file(self, path: str) -> VersionFile:
        return self.version.files.get(path=path)

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **given: str
    ) -> HTTPResponse:
        """Send one request exactly as given, without a client's tidying of paths."""
        headers = {"Authorization": f"Bearer {self.key}"}
        headers |= {name.replace("_", "-"): value for name, value in given.items()}
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        raw = {name: value.encode("latin-1") for name, value in headers.items()}
        connection.request(method, path, body, raw)
        return connection.getresponse()

    def publish(self, slug: str, *, seeds: Sequence[int] = (1,)) -> list[ModelVersion]:
        """Publish versions of another workload, for a test that moves or spoils them."""
        workload = create_workload(self.workload.project, slug=slug, kind="classification")
        return [published(workload, number=seed) for seed in seeds]


def download_key(project: Project) -> str:
    return create_key(project, name="ci", scopes=["download"])[1]


def committed(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do it on a connection of its own: there no test's transaction hides what is written."""

    def and_close() -> T:
        try:
            return work(*args, **kwargs)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(and_close).result()


@contextmanager
def serving() -> Iterator[tuple[str, uvicorn.Server]]:
    """Serve the site on a free port; the socket listens before the first request can come."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", server
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def running_site(storage: Path) -> Iterator[Site]:
    """Serve a published model. The rows are committed, as the server's threads must see them."""
    assert connection.settings_dict["NAME"].startswith("test_")  # it is emptied at the end
    with override_settings(STORAGE_URL=storage.as_uri()):
        project = create_project(slug="acme", name="Acme")
        workload = create_workload(project, slug="tickets", kind="classification")
        version = published(workload)
        move_alias(workload, name="production", to=version, expected=None)
        with serving() as (url, server):
            yield Site(url, server, workload, version, download_key(project))
        call_command("flush", interactive=False, verbosity=0)
