"""Uploads whose raw bytes are never on a disk of ours: they go from the request to a child process.

The child writes redacted lines into a file without a name; only that goes into the store.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.utils.datastructures import MultiValueDict

from factory.errors import InvalidInput, TooLarge, UnderstudyError
from factory.formats.readers import UploadReader
from factory.models import ImportJob, Project
from factory.redaction.redact import Policy
from factory.services.imports import start_import


class Upload:
    """A log on its way in, or with `holds` "rows" a file of training rows."""

    def __init__(self, project: Project, filename: str, holds: str = "calls") -> None:
        self.project, self.filename = project, filename
        self.size = 0
        self.limit = settings.MAX_IMPORT_BYTES
        self.lines = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed with the upload
        policy = Policy.from_json(project.redaction)
        self.reader = UploadReader(self.lines.file, policy, self.limit, holds)

    def write(self, data: bytes) -> None:
        """Take raw bytes; `TooLarge` once they are more than an import may have."""
        self.size += len(data)
        if self.size > self.limit:
            raise TooLarge(f"{self.filename} is larger than MAX_IMPORT_MB allows.")
        self.reader.write(data)

    def finish(self) -> None:
        """Wait until all is read; `InvalidInput` or `TooLarge` says why it cannot be."""
        self.reader.finish()
        if not self.path.stat().st_size:
            raise InvalidInput(f"{self.filename} is empty.", param="file")

    @property
    def path(self) -> Path:
        """Where the redacted lines lie until the upload is closed."""
        return Path(self.lines.name)

    def start(self, user: Any = None) -> ImportJob:
        """Store the redacted lines and enqueue the job that writes the calls."""
        return start_import(
            self.project, self.path, filename=self.filename, size=self.size, user=user
        )

    def close(self) -> None:
        """Let go of everything."""
        self.reader.stop()
        self.lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def take_upload(
    project: Project, chunks: Iterable[bytes], *, filename: str, user: Any = None
) -> ImportJob:
    """Redact a log while it comes in, and enqueue the job that writes its calls."""
    with Upload(project, filename) as upload:
        for chunk in chunks:
            upload.write(chunk)
        upload.finish()
        return upload.start(user)


class RedactedFile(UploadedFile[Any]):
    """What a form finds where Django would give the raw file; `error` says why it is none."""

    def __init__(self, upload: Upload, error: UnderstudyError | None) -> None:
        super().__init__(name=upload.filename, size=upload.size)
        self.upload, self.error = upload, error

    def close(self) -> None:
        """Let go of the upload when the request is over."""
        self.upload.close()


class RedactingHandler(FileUploadHandler):
    """Django's parser of forms hands files here chunk by chunk, and nowhere else."""

    def __init__(self, project: Project, holds: str = "calls") -> None:
        super().__init__()
        self.project, self.holds = project, holds
        self.upload: Upload | None = None
        self.stopped: TooLarge | None = None

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file."""
        super().new_file(*args, **kwargs)
        self.upload = Upload(self.project, self.file_name or f"{self.holds}.jsonl", self.holds)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:  # noqa: ARG002 - Django's
        """Pass a chunk on; no other handler sees it."""
        assert self.upload is not None
        try:
            self.upload.write(raw_data)
        except TooLarge as error:
            self.stopped = error
            raise StopUpload(connection_reset=True) from error

    def file_complete(self, file_size: int) -> RedactedFile:  # noqa: ARG002 - Django's
        """Return the file as the form gets it."""
        assert self.upload is not None
        upload, self.upload = self.upload, None
        try:
            upload.finish()
        except UnderstudyError as error:
            return RedactedFile(upload, error)
        return RedactedFile(upload, None)

    def upload_interrupted(self) -> None:
        """Let go of a file that did not come whole."""
        if self.upload is not None:
            self.upload.close()

    def files(self, parsed: MultiValueDict[str, Any], name: str) -> list[RedactedFile]:
        """Return a form's files, redacted; `TooLarge` where one was too large to come in whole."""
        if self.stopped:
            raise self.stopped
        return [file for file in parsed.getlist(name) if isinstance(file, RedactedFile)]
