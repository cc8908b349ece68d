"""The blob store, over a folder and over the S3 protocol (moto's server speaks it)."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import boto3
import pytest
from moto.server import ThreadedMotoServer

from factory.errors import InvalidInput, NotFound
from factory.storage import CHUNK, BlobStore, BucketStore, FolderStore, fetch, open_store

BODY = bytes(range(256)) * (CHUNK // 100)  # a few chunks, no whole number of them
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        environment.delenv("AWS_DEFAULT_REGION", raising=False)
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="models")
        yield f"s3://models/understudy?endpoint_url={quote(endpoint, safe='')}"
    server.stop()


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "bucket":
        return open_store(request.getfixturevalue("s3_url"))
    return open_store((tmp_path / "a store").as_uri())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(BODY)
    return path


def test_a_blob_is_named_by_its_content(store: BlobStore, source: Path) -> None:
    assert store.put(source) == (SHA256, len(BODY))
    assert store.put(source) == (SHA256, len(BODY))
    assert store.size(SHA256) == len(BODY)
    chunks = list(store.read(SHA256))
    assert b"".join(chunks) == BODY
    assert max(map(len, chunks)) <= CHUNK


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 1), (5, 10), (CHUNK - 1, 2), (len(BODY) - 3, 10), (len(BODY), 5), (7, 0), (9, None)],
)
def test_a_part_of_a_blob_is_read(
    store: BlobStore, source: Path, start: int, length: int | None
) -> None:
    store.put(source)
    end = None if length is None else start + length
    assert b"".join(store.read(SHA256, start, length)) == BODY[start:end]


def test_an_empty_file_is_a_blob_too(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    blob = store.put(tmp_path / "empty")
    assert blob.size == store.size(blob.sha256) == 0
    assert b"".join(store.read(blob.sha256)) == b""


def test_fetching_writes_the_file_whole(store: BlobStore, source: Path, tmp_path: Path) -> None:
    store.put(source)
    store.fetch(SHA256, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == BODY


@pytest.mark.parametrize(
    "name", ["0" * 64, "", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n", "/" + "0" * 63]
)
def test_what_is_not_there_or_no_name_is_not_found(
    store: BlobStore, tmp_path: Path, name: str
) -> None:
    with pytest.raises(NotFound):
        store.size(name)
    with pytest.raises(NotFound):
        list(store.read(name))
    with pytest.raises(NotFound):
        store.fetch(name, tmp_path / "copy")
    assert not list(tmp_path.glob("copy*"))


def test_a_damaged_blob_is_never_handed_on(tmp_path: Path, source: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.put(source)
    with store.path(SHA256).open("r+b") as file:
        file.write(b"X")
    with pytest.raises(NotFound, match="damaged"):
        fetch(store, SHA256, tmp_path / "copy")
    assert not list(tmp_path.glob("copy*"))


def test_a_bucket_keeps_blobs_below_its_prefix(s3_url: str, source: Path) -> None:
    store = open_store(s3_url)
    assert isinstance(store, BucketStore)
    store.put(source)
    listed = store.client.list_objects_v2(Bucket="models", Prefix="understudy/blobs/")
    assert f"understudy/blobs/{SHA256[:2]}/{SHA256}" in [o["Key"] for o in listed["Contents"]]
    without_prefix = BucketStore(s3_url.replace("/understudy", ""))
    assert without_prefix.key(SHA256) == f"blobs/{SHA256[:2]}/{SHA256}"


def test_a_store_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidInput):
        open_store("https://example.org/bucket")
