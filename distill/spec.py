"""The contract with the GPU process: what to train, to export or to evaluate, as versioned JSON."""

import json
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from factory.digest import canonical_json, digest_of

SPEC_VERSION = 1
QUANTIZATIONS = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
PROFILE_FILE = "understudy.json"
SHORTEST_LENGTH = 16
MOST_EPOCHS = 1000
FEW_ROWS = 1000
MANY_ROWS = 20_000


class SpecError(ValueError):
    """A specification that cannot be run; the message says which field and why."""


@dataclass(frozen=True)
class TrainSpec:
    """One LoRA run. `base_model` is a hub id or a folder; `target_modules` is comma separated."""

    base_model: str
    revision: str = ""
    method: str = "lora"
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    target_modules: str = "all-linear"
    train_embeddings: bool = False
    learning_rate: float = 2e-4
    epochs: float = 3.0
    batch_size: int = 8
    gradient_accumulation: int = 1
    max_length: int = 1024
    warmup: float = 0.05
    weight_decay: float = 0.0
    evaluations: int = 5
    patience: int = 3
    seed: int = 42
    threads: int = 1
    dataset_digest: str = ""

    def __post_init__(self) -> None:
        _require(self.base_model, "base_model", "is empty")
        _require(self.method == "lora", "method", "must be 'lora'")
        for name in ("lora_r", "lora_alpha", "batch_size", "gradient_accumulation", "patience"):
            _require(getattr(self, name) >= 1, name, "must be at least 1")
        for name in ("evaluations", "threads"):
            _require(getattr(self, name) >= 1, name, "must be at least 1")
        _require(self.max_length >= SHORTEST_LENGTH, "max_length", "is too short for a chat")
        _require(0 < self.learning_rate < 1, "learning_rate", "must be between 0 and 1")
        _require(0 < self.epochs <= MOST_EPOCHS, "epochs", "must be between 0 and 1000")
        _require(0 <= self.lora_dropout < 1, "lora_dropout", "must be from 0 to below 1")
        _require(0 <= self.warmup < 1, "warmup", "is a share of the steps, from 0 to below 1")
        _require(self.weight_decay >= 0, "weight_decay", "must not be negative")


@dataclass(frozen=True)
class ExportSpec:
    """Base and adapter in, one GGUF file per quantization out, each named `NAME-QUANT.gguf`."""

    base_model: str
    adapter: str
    name: str
    revision: str = ""
    quantizations: tuple[str, ...] = ("Q8_0", "Q4_K_M")
    card: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1

    def __post_init__(self) -> None:
        _require(self.base_model, "base_model", "is empty")
        _require(self.adapter, "adapter", "is empty")
        file_stem = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", self.name)
        _require(file_stem is not None, "name", "must be a file name of [A-Za-z0-9._-]")
        _require(self.quantizations, "quantizations", "is empty")
        unknown = sorted(set(self.quantizations) - set(QUANTIZATIONS))
        _require(not unknown, "quantizations", f"knows no {unknown}; use {list(QUANTIZATIONS)}")
        _require(self.threads >= 1, "threads", "must be at least 1")


@dataclass(frozen=True)
class EvalSpec:
    """Greedy answers of one subject. `model` is a hub id or folder (hf) or a file (gguf)."""

    engine: str
    model: str
    revision: str = ""
    adapter: str = ""
    max_new_tokens: int = 128
    max_length: int = 2048
    constrained: bool = False
    labels: tuple[str, ...] = ()
    json_schema: Mapping[str, object] | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        _require(self.engine in ("hf", "gguf"), "engine", "must be 'hf' or 'gguf'")
        _require(self.model, "model", "is empty")
        _require(self.engine == "hf" or not self.adapter, "adapter", "is for engine 'hf' only")
        for name in ("max_new_tokens", "max_length", "threads"):
            _require(getattr(self, name) >= 1, name, "must be at least 1")
        if self.constrained:
            has_form = bool(self.labels) or self.json_schema is not None
            _require(has_form, "constrained", "needs labels or json_schema")
        if self.constrained and not self.labels:
            _require(self.engine == "gguf", "json_schema", "constrains engine 'gguf' only")


Spec = TrainSpec | ExportSpec | EvalSpec
KINDS: dict[str, type[Spec]] = {"train": TrainSpec, "export": ExportSpec, "evaluate": EvalSpec}


def to_json(spec: Spec) -> bytes:
    """Return the spec as canonical JSON with its `kind` and `version`."""
    kind = next(kind for kind, spec_type in KINDS.items() if isinstance(spec, spec_type))
    return canonical_json({**asdict(spec), "kind": kind, "version": SPEC_VERSION})


def spec_digest(spec: Spec) -> str:
    """Return the sha256 of everything the spec says."""
    return digest_of(json.loads(to_json(spec)))


def read_spec(data: bytes) -> Spec:
    """Parse what `to_json` wrote; `SpecError` for anything this version does not know."""
    try:
        values = json.loads(data)
    except ValueError as error:
        raise SpecError(f"the spec is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise SpecError("the spec is not a JSON object")
    version = values.pop("version", None)
    _require(version == SPEC_VERSION, "version", f"is {version!r}, this program reads 1")
    kind = values.pop("kind", None)
    _require(kind in KINDS, "kind", f"is {kind!r}, not one of {sorted(KINDS)}")
    return _build(KINDS[kind], values)


def _build(spec_type: type[Spec], values: Mapping[str, object]) -> Spec:
    hints = typing.get_type_hints(spec_type)
    unknown = sorted(set(values) - set(hints))
    _require(not unknown, ", ".join(unknown), "is no field of this spec")
    checked = {name: _checked(name, value, hints[name]) for name, value in values.items()}
    try:
        return spec_type(**checked)  # type: ignore[arg-type]  # each value was checked above
    except TypeError as error:
        raise SpecError(str(error)) from error


def _checked(name: str, value: object, hint: object) -> object:
    if hint == tuple[str, ...]:
        is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
        _require(is_list, name, "must be a list of strings")
        return tuple(typing.cast("list[str]", value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    allowed = tuple(dict if typing.get_origin(option) else option for option in options)
    is_bool_for_number = isinstance(value, bool) and bool not in allowed
    matches = isinstance(value, typing.cast("tuple[type, ...]", allowed)) and not is_bool_for_number
    _require(matches, name, f"has the wrong type: {value!r}")
    return value


def _require(condition: object, name: str, problem: str) -> None:
    if not condition:
        raise SpecError(f"{name} {problem}")


@dataclass(frozen=True)
class BaseProfile:
    """What a base model's builder measured and recommends; `None` leaves the general default."""

    name: str = ""
    licence: str = ""
    train_embeddings: bool = False
    learning_rate: float | None = None
    lora_r: int | None = None
    lora_alpha: int | None = None
    lora_dropout: float | None = None
    epochs: float | None = None
    batch_size: int | None = None
    max_length: int | None = None
    warmup: float | None = None


def read_profile(folder: Path) -> BaseProfile:
    """Return the profile beside a base's weights (`understudy.json`), empty if there is none."""
    path = folder / PROFILE_FILE
    if not path.is_file():
        return BaseProfile()
    values = json.loads(path.read_bytes())
    unknown = sorted(set(values) - {item.name for item in fields(BaseProfile)})
    _require(not unknown, ", ".join(unknown), f"is no field of {PROFILE_FILE}")
    return BaseProfile(**values)


@dataclass(frozen=True)
class Recommendation:
    """A value to start from, with the reason to show beside it."""

    value: float | int | bool
    reason: str


def recommended(profile: BaseProfile, rows: int) -> dict[str, Recommendation]:
    """Return starting values of the fields of `TrainSpec` that depend on base or data size."""
    few = rows < FEW_ROWS
    values = {
        "learning_rate": Recommendation(2e-4, "LoRA's usual rate, about ten times full tuning's"),
        "epochs": Recommendation(
            5.0 if few else 3.0, f"{rows} rows: {'few, so more passes' if few else 'enough'}"
        ),
        "lora_r": Recommendation(
            16 if rows <= MANY_ROWS else 32, f"rank enough for {rows} rows of one narrow job"
        ),
        "batch_size": Recommendation(8, "LoRA learns best with small batches"),
        "train_embeddings": Recommendation(value=False, reason="a pretrained base knows its words"),
    }
    values["lora_alpha"] = Recommendation(2 * int(values["lora_r"].value), "twice the rank")
    source = f"measured for {profile.name or 'this base'} by its builder"
    for item in fields(BaseProfile):
        value = getattr(profile, item.name)
        if item.name not in ("name", "licence") and value not in (None, False):
            values[item.name] = Recommendation(value, source)
    return values


def train_spec(base_model: str, profile: BaseProfile, rows: int, **overrides: object) -> TrainSpec:
    """Return the recommended spec for a base and a number of rows; overrides win.

    `SpecError` for an override that is no field, or has the wrong type.
    """
    values = {name: advice.value for name, advice in recommended(profile, rows).items()}
    chosen: dict[str, object] = {**values, "base_model": base_model, **overrides}
    return typing.cast("TrainSpec", _build(TrainSpec, chosen))
