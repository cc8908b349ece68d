"""The output space of a prompt's calls: labels, JSON fields or text, and how predictable it is."""

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from scipy.sparse import csr_matrix

from factory.discovery.discover import Kind
from factory.errors import InvalidInput
from factory.intervals import Share, wilson
from factory.messages import Json, parse_json
from factory.suitability.baseline import Linear, Row, features_of, linear_baseline
from factory.suitability.sampled import Sampled, percentile

TEXT_ANSWERS = 100  # compressed to see how predictable they are
NEIGHBOURS = 8  # other answers that an answer may be predicted from
FIELDS, LABELS = 10, 24  # at most measured, at most listed
FIELD_ROWS = 1000  # the newest, that a linear model learns each field from
CLOSED_VALUES = 50  # a field with more different values than this is not closed


@dataclass(frozen=True)
class Label:
    """A label, and how many answers it was."""

    name: str
    count: int


@dataclass(frozen=True)
class FieldUse:
    """A field of JSON answers: how often it is there, what its values are, how well it is guessed.

    `values` is "closed" (few different ones), "copied" (out of the input) or "free". The linear
    model guesses a closed field's value, and of any other whether the field is there.
    """

    path: str
    values: str
    different: int
    present: Share
    linear: Share | None
    majority: Share | None


@dataclass(frozen=True)
class Answers:
    """The output space."""

    kind: str  # classification | extraction | generation
    in_format: Share  # answers that are what the kind says
    labels: list[Label]
    label_count: int
    fields: list[FieldUse]
    field_count: int
    predictability: float  # 0 to 1; see `predictability_of`
    tokens_p50: float
    tokens_p95: float


def is_in_format(output: str, kind: Kind) -> bool:
    """Whether an answer is one of the labels, a JSON object, or any text at all."""
    if kind.kind == "extraction":
        return _object_of(output) is not None
    labels = (kind.output_schema or {}).get("enum", [])
    answer = output.strip()
    return answer in labels if labels else bool(answer)


def answers_of(
    answered: Sequence[Sampled],
    usable: Sequence[Sampled],
    rows: Sequence[Row],
    kind: Kind,
    linear: Linear | None,
) -> Answers:
    """Measure the output space; `rows` are those of the usable calls."""
    counts = Counter(row.label for row in rows) if kind.kind == "classification" else Counter()
    objects = [_object_of(call.output) or {} for call in usable] if _is_json(kind) else []
    fields = field_uses(objects, rows)
    spoken = [call for call in answered if call.output]
    tokens = [call.completion_tokens for call in usable if call.completion_tokens is not None]
    return Answers(
        kind=kind.kind,
        in_format=wilson(sum(is_in_format(c.output, kind) for c in spoken), len(spoken)),
        labels=[Label(name, count) for name, count in counts.most_common(LABELS)],
        label_count=len(counts),
        fields=fields,
        field_count=len(_paths(objects)),
        predictability=predictability_of(kind.kind, rows, objects, linear),
        tokens_p50=percentile(tokens, 50) or 0.0,
        tokens_p95=percentile(tokens, 95) or 0.0,
    )


def _is_json(kind: Kind) -> bool:
    return kind.kind == "extraction"


def _object_of(output: str) -> Json | None:
    try:
        value = parse_json(output.encode("utf-8", "replace"))
    except InvalidInput:
        return None
    return value if isinstance(value, dict) else None


def predictability_of(
    kind: str, rows: Sequence[Row], objects: Sequence[Json], linear: Linear | None
) -> float:
    """Return how far an answer follows from its input and the other answers, from 0 to 1.

    Labels: what a linear model gets right. JSON: the share of values that are copied from the input
    or one of a few. Text: what deflate saves on an answer when it knows the input and some others.
    """
    if kind == "classification":
        return (linear.accuracy.value or 0.0) if linear else 0.0
    if kind == "extraction":
        return _settled_share(rows, objects)
    return _compressed_share(rows)


def _settled_share(rows: Sequence[Row], objects: Sequence[Json]) -> float:
    paths = _paths(objects)
    few = {path for path, seen in paths.items() if _is_closed(seen)}
    settled = total = 0
    for row, value in zip(rows, objects, strict=True):
        source = row.text.casefold()
        for path, leaf in leaves(value):
            total += 1
            settled += path in few or _is_copied(leaf, source)
    return settled / total if total else 0.0


def _compressed_share(rows: Sequence[Row]) -> float:
    step = max(1, len(rows) // TEXT_ANSWERS)
    shares = []
    for at in range(NEIGHBOURS, len(rows), step):
        others = " ".join(row.label for row in rows[at - NEIGHBOURS : at])
        alone = _deflated(rows[at].label, "")
        shares.append(1 - _deflated(rows[at].label, f"{others} {rows[at].text}") / alone)
    return max(0.0, float(np.mean(shares))) if shares else 0.0


def _deflated(text: str, known: str) -> int:
    window = known.encode("utf-8", "replace")[-32_000:]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=window) if window else None
    packer = packer or zlib.compressobj(9, zlib.DEFLATED, -15)
    return len(packer.compress(text.encode("utf-8", "replace")) + packer.flush())


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the text of every value in a JSON value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, f"{path}[]")
    else:
        yield path, value if isinstance(value, str) else orjson.dumps(value).decode()


def _paths(objects: Iterable[Json]) -> dict[str, Counter[str]]:
    """Return each field's values and how often each came."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for value in objects:
        for path, leaf in leaves(value):
            found[path][leaf] += 1
    return found


def _is_closed(values: Counter[str]) -> bool:
    return len(values) <= min(CLOSED_VALUES, max(2, values.total() // 5))


def _is_copied(leaf: str, source: str) -> bool:
    return leaf.casefold() in source


def field_uses(objects: Sequence[Json], rows: Sequence[Row]) -> list[FieldUse]:
    """Measure the commonest fields of JSON answers, each row's own beside it."""
    objects, rows = objects[-FIELD_ROWS:], rows[-FIELD_ROWS:]
    if not objects:
        return []
    paths = _paths(objects)
    of_row = [dict(leaves(value)) for value in objects]
    features = features_of([row.text for row in rows])
    often = sorted(paths, key=lambda path: -sum(path in held for held in of_row))[:FIELDS]
    return [
        _field_use(path, paths[path], [held.get(path) for held in of_row], rows, features)
        for path in often
    ]


def _field_use(
    path: str,
    seen: Counter[str],
    held: Sequence[str | None],
    rows: Sequence[Row],
    features: csr_matrix,
) -> FieldUse:
    pairs = list(zip(held, rows, strict=True))
    copied = sum(leaf is not None and _is_copied(leaf, row.text.casefold()) for leaf, row in pairs)
    present = sum(leaf is not None for leaf in held)
    is_closed = _is_closed(seen)
    guessed = [Row(row.text, _guess(leaf, is_closed=is_closed), row.group) for leaf, row in pairs]
    linear = linear_baseline(guessed, features)
    return FieldUse(
        path=path,
        values="closed" if is_closed else "copied" if copied >= 0.8 * present else "free",
        different=len(seen),
        present=wilson(present, len(held)),
        linear=linear.accuracy if linear else None,
        majority=linear.majority if linear else None,
    )


def _guess(leaf: str | None, *, is_closed: bool) -> str:
    if leaf is None:
        return "absent"
    return f"={leaf}" if is_closed else "present"
