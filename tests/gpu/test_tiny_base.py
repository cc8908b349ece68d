"""The embedded base: the same on every machine, and described by its own profile."""

from pathlib import Path

import pytest

from distill.gpu.base import load_tokenizer
from distill.gpu.tiny_base import PROFILE, build
from distill.jobdir import file_sha256
from distill.spec import read_profile, train_spec
from factory.demo.sample import QUEUES, vocabulary_text

pytestmark = pytest.mark.slow


def test_two_builds_are_the_same_bytes(base: Path, tmp_path: Path) -> None:
    build(tmp_path, vocabulary_text(lines=300))

    first = {path.name: file_sha256(path) for path in base.iterdir()}
    assert first == {path.name: file_sha256(path) for path in tmp_path.iterdir()}


def test_the_profile_beside_the_weights_sets_the_recommended_run(base: Path) -> None:
    spec = train_spec(str(base), read_profile(base), rows=1300)

    assert (spec.learning_rate, spec.train_embeddings) == (PROFILE.learning_rate, True)
    assert spec.batch_size == PROFILE.batch_size


def test_no_text_is_unknown_to_the_tokenizer(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    text = "zażółć 🙂 \x00 \u202e 漢字 " + " ".join(QUEUES)

    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_roles_are_one_token_each(base: Path) -> None:
    tokenizer = load_tokenizer(base)

    lengths = [len(tokenizer(role)["input_ids"]) for role in ("system", "user", "assistant")]
    assert lengths == [1, 1, 1]
