"""Secrets at rest."""

import pytest

from factory import vault

KEY = "k" * 40


def test_a_secret_comes_back_by_its_key_only() -> None:
    token = vault.encrypt("sk-geheim-ü", KEY)
    assert "geheim" not in token
    assert vault.decrypt(token, KEY) == "sk-geheim-ü"
    with pytest.raises(vault.WrongKey):
        vault.decrypt(token, "x" * 40)


def test_the_same_secret_is_never_encrypted_alike() -> None:
    assert vault.encrypt("a", KEY) != vault.encrypt("a", KEY)


@pytest.mark.parametrize("damage", ["", "gAAAA", "not base64 at all"])
def test_a_damaged_token_is_told_from_a_secret(damage: str) -> None:
    with pytest.raises(vault.WrongKey):
        vault.decrypt(damage, KEY)
