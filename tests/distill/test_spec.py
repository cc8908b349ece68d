"""The contract with the GPU process."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill.spec import (
    BaseProfile,
    EvalSpec,
    ExportSpec,
    Spec,
    SpecError,
    TrainSpec,
    read_profile,
    read_spec,
    recommended,
    spec_digest,
    to_json,
    train_spec,
)

SPECS: list[Spec] = [
    TrainSpec(base_model="Qwen/Qwen2.5-7B-Instruct", epochs=2.5, target_modules="q_proj,v_proj"),
    ExportSpec(base_model="b", adapter="a", name="triage-v1", card={"license": "mit"}),
    EvalSpec(engine="gguf", model="m.gguf", constrained=True, labels=("a", "b")),
    EvalSpec(engine="gguf", model="m.gguf", constrained=True, json_schema={"type": "object"}),
]


def changed(spec: Spec, **values: Any) -> bytes:
    return json.dumps({**json.loads(to_json(spec)), **values}).encode()


@pytest.mark.parametrize("spec", SPECS)
def test_a_spec_comes_back_as_it_was_written(spec: Spec) -> None:
    assert read_spec(to_json(spec)) == spec


def test_the_digest_changes_with_every_field_and_only_then() -> None:
    spec = SPECS[0]
    assert isinstance(spec, TrainSpec)

    assert spec_digest(spec) == spec_digest(replace(spec))
    assert spec_digest(spec) != spec_digest(replace(spec, seed=43))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"learning_rte": 0.1}, "learning_rte is no field"),
        ({"version": 2}, "version is 2"),
        ({"kind": "distil"}, "kind is 'distil'"),
        ({"epochs": "3"}, "epochs has the wrong type"),
        ({"lora_r": 8.5}, "lora_r has the wrong type"),
        ({"lora_r": True}, "lora_r has the wrong type"),
        ({"train_embeddings": 1}, "train_embeddings has the wrong type"),
        ({"learning_rate": 0}, "learning_rate must be"),
        ({"lora_r": 0}, "lora_r must be at least 1"),
        ({"method": "full"}, "method must be 'lora'"),
        ({"base_model": ""}, "base_model is empty"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        read_spec(changed(SPECS[0], **values))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [(b"{", "not JSON"), (b"[]", "not a JSON object"), (b"{}", "version is None")],
)
def test_broken_json_is_a_spec_error(data: bytes, complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        read_spec(data)


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(SpecError, match="base_model"):
        read_spec(b'{"kind": "train", "version": 1}')


@pytest.mark.parametrize("name", ["../evil", "", ".hidden", "a/b", "x" * 97])
def test_a_file_name_stays_in_its_folder(name: str) -> None:
    with pytest.raises(SpecError, match="name must be a file name"):
        ExportSpec(base_model="b", adapter="a", name=name)


def test_constraining_needs_something_to_constrain_to() -> None:
    with pytest.raises(SpecError, match="needs labels or json_schema"):
        EvalSpec(engine="gguf", model="m.gguf", constrained=True)
    with pytest.raises(SpecError, match="constrains engine 'gguf' only"):
        EvalSpec(engine="hf", model="m", constrained=True, json_schema={})


def test_a_base_without_a_profile_gets_the_general_defaults(tmp_path: Path) -> None:
    spec = train_spec("Qwen/Qwen2.5-0.5B-Instruct", read_profile(tmp_path), rows=5000)

    assert (spec.learning_rate, spec.epochs, spec.train_embeddings) == (2e-4, 3.0, False)


def test_a_profile_wins_over_the_defaults_and_an_override_over_the_profile(tmp_path: Path) -> None:
    (tmp_path / "understudy.json").write_text('{"name": "own", "learning_rate": 0.003}')
    profile = read_profile(tmp_path)

    spec = train_spec(str(tmp_path), profile, rows=500, epochs=1.0)

    assert (spec.learning_rate, spec.epochs) == (0.003, 1.0)
    assert recommended(profile, 500)["learning_rate"].reason == "measured for own by its builder"


def test_every_recommendation_has_a_reason() -> None:
    assert all(advice.reason for advice in recommended(BaseProfile(), rows=30_000).values())


def test_a_profile_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "understudy.json").write_text('{"optimizer": "sgd"}')

    with pytest.raises(SpecError, match="optimizer is no field"):
        read_profile(tmp_path)
