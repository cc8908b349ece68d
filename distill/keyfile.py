"""The last good table on disk: a gateway that starts while the database is away serves from it.

It holds upstreams' keys, hence it is encrypted with the installation's key, and its owner's alone.
"""

import logging
import os
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from factory.vault import WrongKey, decrypt, encrypt

logger = logging.getLogger(__name__)

T = TypeVar("T")


class KeyFile(Generic[T]):
    """Keeps one table of dataclasses; several processes may write the same file."""

    def __init__(self, path: Path, encryption_key: str, kind: type[T]) -> None:
        self.path, self.encryption_key = path, encryption_key
        self.adapter = TypeAdapter(kind)
        self.saved: T | None = None

    def load(self) -> T | None:
        """Return the table that was saved last; None where there is none that can be read."""
        try:
            text = decrypt(self.path.read_text(encoding="ascii"), self.encryption_key)
            return self.adapter.validate_json(text)
        except FileNotFoundError:
            return None
        except (OSError, WrongKey, ValidationError, UnicodeError) as error:
            logger.warning("%s cannot be used: %s", self.path, type(error).__name__)
            return None

    def write(self, table: T) -> None:
        """Keep a table where it is another than before; a disk that is full leaves the former."""
        if table == self.saved:
            return
        text = encrypt(self.adapter.dump_json(table).decode(), self.encryption_key)
        made = self.path.with_suffix(f".{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(fd)
            made.replace(self.path)
        except OSError as error:
            made.unlink(missing_ok=True)
            logger.warning("%s is not renewed: %s", self.path, error.strerror)
            return
        self.saved = table
