"""Which placeholder a value has, remembered without the value: by a hash that needs a key."""

import hashlib
import hmac
from collections.abc import Iterable


class HashedPlaceholders(dict[tuple[str, str], str]):
    """A redactor's memory that may be written down: of what it has seen, only keyed hashes.

    Parts of one call that come one after the other, each redacted before it is written, then agree
    on their placeholders.
    """

    def __init__(self, key: str, rows: Iterable[list[str]] = ()) -> None:
        super().__init__({(kind, digest): placeholder for kind, digest, placeholder in rows})
        self.key = key.encode()

    def as_rows(self) -> list[list[str]]:
        """Return what the constructor takes."""
        return [[kind, digest, placeholder] for (kind, digest), placeholder in self.items()]

    def __contains__(self, named: object) -> bool:
        return isinstance(named, tuple) and super().__contains__(self._hashed(*named))

    def __getitem__(self, named: tuple[str, str]) -> str:
        return super().__getitem__(self._hashed(*named))

    def __setitem__(self, named: tuple[str, str], placeholder: str) -> None:
        super().__setitem__(self._hashed(*named), placeholder)

    def _hashed(self, kind: str, value: str) -> tuple[str, str]:
        said = value.encode("utf-8", "surrogatepass")
        return kind, hmac.new(self.key, said, hashlib.sha256).hexdigest()
