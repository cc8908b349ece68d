"""Secrets at rest: encrypted with the installation's key; the rows alone tell nothing."""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken

from factory.errors import UnderstudyError


class WrongKey(UnderstudyError):
    """The stored secret was encrypted with another ENCRYPTION_KEY."""

    code = "wrong_encryption_key"


def encrypt(secret: str, key: str) -> str:
    """Return the secret as a Fernet token (AES-128-CBC with HMAC-SHA256)."""
    return _fernet(key).encrypt(secret.encode()).decode()


def decrypt(token: str, key: str) -> str:
    """Return the secret; `WrongKey` where the token is damaged or the key is not the one."""
    try:
        return _fernet(key).decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise WrongKey("A stored secret cannot be read: was ENCRYPTION_KEY changed?") from error


def _fernet(key: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()))
