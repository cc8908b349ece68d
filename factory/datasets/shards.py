"""A version's rows as Parquet: the same rows give the same bytes, whoever writes them and when.

`prompt` and `completion` are what trl trains on (the answer only), `messages` is both in one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from more_itertools import constrained_batches, peekable

from factory.digest import canonical_json
from factory.messages import Json, text_of

SHARD_ROWS = 50_000
GROUP_ROWS, GROUP_BYTES = 1000, 8 * 1024 * 1024  # of a row group, which is what is in memory

TURNS = pa.list_(
    pa.struct([pa.field("role", pa.string(), nullable=False), pa.field("content", pa.string())])
)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("messages", TURNS, nullable=False),
        pa.field("prompt", TURNS, nullable=False),
        pa.field("completion", TURNS, nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("rationale", pa.string()),
        pa.field("provenance", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
        pa.field("source_digest", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Shard:
    """One file: where it lies here, its name in the repository, its split and its rows."""

    file: Path
    path: str
    split: str
    rows: int


def write_shards(
    folder: Path, rows: Iterable[Json], counts: Mapping[str, int], size: int = SHARD_ROWS
) -> list[Shard]:
    """Write rows into files of at most `size` rows, each split's apart; `counts` are its rows.

    Rows of the splits may come mixed; in their file they keep their order.
    """
    writers = {split: _Split(folder, split, total, size) for split, total in counts.items()}
    try:
        for batch in _batches(rows):
            for split, writer in writers.items():
                writer.write([row for row in batch if row["split"] == split])
    finally:
        for writer in writers.values():
            writer.close()
    return [shard for writer in writers.values() for shard in writer.shards]


def _batches(rows: Iterable[Json]) -> Iterator[Sequence[Json]]:
    return constrained_batches(
        rows, GROUP_BYTES, GROUP_ROWS, get_len=lambda row: len(orjson.dumps(row)), strict=False
    )


class _Split:
    """Writes the shards of one split."""

    def __init__(self, folder: Path, split: str, total: int, size: int) -> None:
        self.folder, self.split, self.size = folder, split, size
        self.of = -(-total // size)
        self.shards: list[Shard] = []
        self.writer: pq.ParquetWriter | None = None
        self.room = 0

    def write(self, rows: Sequence[Json]) -> None:
        """Append rows, in as many files as they take."""
        waiting = peekable(rows)
        while waiting:
            if not self.room:
                self._open()
            part = [row for _, row in zip(range(self.room), waiting, strict=False)]
            assert self.writer is not None
            self.writer.write_table(_table(part))
            last = self.shards[-1]
            self.shards[-1] = Shard(last.file, last.path, self.split, last.rows + len(part))
            self.room -= len(part)

    def _open(self) -> None:
        self.close()
        name = f"{self.split}-{len(self.shards):05d}-of-{self.of:05d}.parquet"
        self.shards.append(Shard(self.folder / name, f"data/{name}", self.split, 0))
        self.writer = pq.ParquetWriter(
            self.folder / name, SCHEMA, compression="zstd", compression_level=3, version="2.6"
        )
        self.room = self.size

    def close(self) -> None:
        """End the file that is open."""
        if self.writer is not None:
            self.writer.close()
        self.writer = None


def _table(rows: Sequence[Json]) -> pa.Table:
    return pa.Table.from_pylist([parquet_row(row) for row in rows], schema=SCHEMA)


def parquet_row(row: Json) -> Json:
    """Return a row of a version's JSON lines as Parquet holds it: texts, no parts of texts."""
    turns = [{"role": turn["role"], "content": _text(turn)} for turn in row["messages"]]
    return {
        "id": row["id"],
        "messages": turns,
        "prompt": turns[:-1],
        "completion": turns[-1:],
        "target": turns[-1]["content"],
        "rationale": row.get("rationale"),
        "provenance": row["provenance"],
        "origin": row["origin"],
        "split": row["split"],
        "weight": row["weight"],
        "source_digest": row["source"],
        "digest": row["digest"],
    }


def _text(turn: Mapping[str, Any]) -> str:
    content = turn.get("content")
    parts = content if isinstance(content, list) else []
    if any(not isinstance(part, dict) or part.get("type") != "text" for part in parts):
        return canonical_json(content).decode()  # an image, a sound: kept, though not as text
    return text_of(content)
