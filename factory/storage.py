"""The blob store: bytes named by their sha256, in a folder or in an S3 bucket."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from factory.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK = 1024 * 1024


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


def open_store(url: str) -> BlobStore:
    """Open `file:///folder` or `s3://bucket/prefix?endpoint_url=...`."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return BucketStore(url)
    raise InvalidInput("STORAGE_URL must start with file:// or s3://")


def file_sha256(path: Path) -> Blob:
    """Hash a file, 1 MiB at a time."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return Blob(digest.hexdigest(), size)


def fetch(store: BlobStore, sha256: str, target: Path) -> None:
    """Write a blob to `target` atomically; `NotFound` where it is absent or its bytes are not it."""
    made = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
    digest = hashlib.sha256()
    with made.open("wb") as file:
        for chunk in store.read(sha256):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != sha256:
        made.unlink()
        raise NotFound(f"blob {sha256[:12]} is damaged in the store")
    made.replace(target)


class FolderStore:
    """Blobs as files, `blobs/ab/abcd...`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Return where a blob lies; only a sha256 can name one."""
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise NotFound("no such blob")
        return self.root / "blobs" / sha256[:2] / sha256

    def put(self, source: Path) -> Blob:
        """Copy, flush to disk, verify, rename: a blob is there whole or not at all."""
        incoming = self.root / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        made = incoming / secrets.token_hex(8)
        digest, size = hashlib.sha256(), 0
        with source.open("rb") as reader, made.open("wb") as writer:
            while chunk := reader.read(CHUNK):
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


class BucketStore:
    """Blobs as objects of an S3 bucket (AWS, MinIO, ...); credentials from boto3's usual places."""

    def __init__(self, url: str) -> None:
        import boto3  # the `s3` extra; a folder store must not need it

        parts = urlsplit(url)
        options = dict(pair.split("=", 1) for pair in parts.query.split("&") if pair)
        self.bucket = parts.netloc
        self.prefix = parts.path.strip("/")
        endpoint = unquote(options["endpoint_url"]) if "endpoint_url" in options else None
        self.client: S3Client = boto3.client("s3", endpoint_url=endpoint)

    def key(self, sha256: str) -> str:
        """Return a blob's object key."""
        return "/".join(part for part in (self.prefix, "blobs", sha256[:2], sha256) if part)

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
            return self.client.head_object(Bucket=self.bucket, Key=self.key(sha256))["ContentLength"]
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise NotFound("no such blob") from error
            raise

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
