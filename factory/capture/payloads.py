"""How a call's texts are packed: JSON, compressed by zstd with a dictionary of their own kind.

A dictionary trained on a project's calls more than halves what a call of some kilobytes takes,
since most of it is the same prompt again.
"""

from collections.abc import Sequence
from typing import Any

import orjson
import zstandard

LEVEL = 3
DICTIONARY_BYTES = 64 * 1024
MIN_SAMPLES = 200  # fewer teach nothing, and zstd refuses them
MAX_UNPACKED_BYTES = 512 * 1024 * 1024


class Packer:
    """Packs and unpacks with one dictionary. Not to be shared between threads."""

    def __init__(self, dictionary: bytes | None) -> None:
        trained = None if dictionary is None else zstandard.ZstdCompressionDict(dictionary)
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, dict_data=trained)
        self._decompressor = zstandard.ZstdDecompressor(dict_data=trained)

    def pack(self, value: dict[str, Any]) -> bytes:
        """Return the packed value."""
        return self._compressor.compress(orjson.dumps(value))

    def unpack(self, body: bytes) -> dict[str, Any]:
        """Return the value that was packed with the same dictionary."""
        raw = self._decompressor.decompress(body, max_output_size=MAX_UNPACKED_BYTES)
        value: dict[str, Any] = orjson.loads(raw)
        return value


def train_dictionary(values: Sequence[dict[str, Any]]) -> bytes | None:
    """Return a dictionary for values like these; None where they are too few or too alike."""
    if len(values) < MIN_SAMPLES:
        return None
    try:
        samples: list[bytes | bytearray | memoryview[int]] = [orjson.dumps(v) for v in values]
        return zstandard.train_dictionary(DICTIONARY_BYTES, samples).as_bytes()
    except zstandard.ZstdError:
        return None
