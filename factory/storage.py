"""The blob store: bytes named by their sha256, in a folder or in an S3 bucket."""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from factory.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK = 1024 * 1024
SHA256 = re.compile(r"[0-9a-f]{64}")


class Blob(NamedTuple):
    """A stored file: its content's name and its size in bytes."""

    sha256: str
    size: int


class BlobStore(Protocol):
    """What every store can do. A blob is there whole or not at all."""

    def put(self, source: Path) -> Blob:
        """Store a file's bytes; storing the same bytes again changes nothing."""

    def size(self, sha256: str) -> int:
        """Return a blob's size in bytes; `NotFound` where there is none."""

    def read(self, sha256: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a blob's bytes from `start` in chunks of at most 1 MiB."""

    def fetch(self, sha256: str, target: Path) -> None:
        """Write a blob to a file, checked against its name."""

    def remove(self, sha256: str) -> None:
        """Remove a blob; one that is not there is no error."""


@cache
def open_store(url: str) -> BlobStore:
    """Open `file:///folder` or `s3://bucket/prefix?endpoint_url=...`."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return BucketStore(url)
    raise InvalidInput("STORAGE_URL must start with file:// or s3://")


def chunks_of(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, 1 MiB at a time."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def file_sha256(path: Path) -> Blob:
    """Hash a file, 1 MiB at a time."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks_of(path):
        digest.update(chunk)
        size += len(chunk)
    return Blob(digest.hexdigest(), size)


def fetch(store: BlobStore, sha256: str, target: Path) -> None:
    """Write a blob to `target` atomically; `NotFound` where it is absent or is not its name's."""
    made = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
    digest = hashlib.sha256()
    try:
        with made.open("wb") as file:
            for chunk in store.read(sha256):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != sha256:
            raise NotFound(f"blob {sha256[:12]} is damaged in the store")
        made.replace(target)
    finally:
        made.unlink(missing_ok=True)


def blob_path(sha256: str) -> str:
    """Return where a blob lies below a store's root; only a sha256 can name one."""
    if not SHA256.fullmatch(sha256):
        raise NotFound("no such blob")
    return f"blobs/{sha256[:2]}/{sha256}"


class FolderStore:
    """Blobs as files, `blobs/ab/abcd...`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Return where a blob lies."""
        return self.root / blob_path(sha256)

    def put(self, source: Path) -> Blob:
        """Copy, flush to disk, rename: a blob is there whole or not at all."""
        incoming = self.root / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        made = incoming / secrets.token_hex(8)
        digest, size = hashlib.sha256(), 0
        with made.open("wb") as writer:
            for chunk in chunks_of(source):
                digest.update(chunk)
                size += writer.write(chunk)
            writer.flush()
            os.fsync(writer.fileno())
        target = self.path(digest.hexdigest())
        target.parent.mkdir(parents=True, exist_ok=True)
        made.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        return Blob(digest.hexdigest(), size)

    def size(self, sha256: str) -> int:
        """Return a blob's size in bytes."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError as error:
            raise NotFound("no such blob") from error

    def read(self, sha256: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a blob's bytes from `start`."""
        left = self.size(sha256) - start if length is None else length
        with self.path(sha256).open("rb") as file:
            file.seek(start)
            while left > 0 and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk

    def fetch(self, sha256: str, target: Path) -> None:
        """Write a blob to a file, checked against its name."""
        fetch(self, sha256, target)

    def remove(self, sha256: str) -> None:
        """Remove a blob; who reads it now reads on."""
        self.path(sha256).unlink(missing_ok=True)


class BucketStore:
    """Blobs as objects of an S3 bucket (AWS, MinIO, ...); credentials from boto3's usual places."""

    def __init__(self, url: str) -> None:
        import boto3  # the `s3` extra; a folder store must not need it

        parts = urlsplit(url)
        self.bucket = parts.netloc
        self.prefix = parts.path.strip("/")
        endpoint = parse_qs(parts.query).get("endpoint_url", [None])[0]
        self.client: S3Client = boto3.client("s3", endpoint_url=endpoint)

    def key(self, sha256: str) -> str:
        """Return a blob's object key."""
        return f"{self.prefix}/{blob_path(sha256)}".lstrip("/")

    def put(self, source: Path) -> Blob:
        """Upload unless it is there; S3 shows an object whole or not at all."""
        blob = file_sha256(source)
        with contextlib.suppress(NotFound):
            if self.size(blob.sha256) == blob.size:
                return blob
        self.client.upload_file(str(source), self.bucket, self.key(blob.sha256))
        return blob

    def size(self, sha256: str) -> int:
        """Return a blob's size in bytes."""
        from botocore.exceptions import ClientError

        try:
            head = self.client.head_object(Bucket=self.bucket, Key=self.key(sha256))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.NOT_FOUND:
                raise NotFound("no such blob") from error
            raise
        return head["ContentLength"]

    def read(self, sha256: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a blob's bytes from `start`, by one ranged request."""
        size = self.size(sha256)
        end = size - 1 if length is None else min(size, start + length) - 1
        if start > end:
            return
        answer = self.client.get_object(
            Bucket=self.bucket, Key=self.key(sha256), Range=f"bytes={start}-{end}"
        )
        yield from answer["Body"].iter_chunks(CHUNK)

    def fetch(self, sha256: str, target: Path) -> None:
        """Write a blob to a file, checked against its name."""
        fetch(self, sha256, target)

    def remove(self, sha256: str) -> None:
        """Remove a blob; a bucket that keeps versions keeps it as one."""
        self.client.delete_object(Bucket=self.bucket, Key=self.key(sha256))
