"""Scores predictions: each row by the workload's metric, then figures with intervals."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

METRICS = ("exact_match", "json_fields")
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Prediction:
    """One answer of one subject to one held-out row."""

    id: str
    expected: str
    output: str
    latency_ms: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class RowScore:
    """A scored answer; `field_f1` is 1 or 0 where the metric knows no fields."""

    id: str
    is_correct: bool
    is_valid: bool
    field_f1: float


@dataclass(frozen=True)
class Proportion:
    """A share of `n` rows with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class LabelScore:
    """How one label fared; `support` is how often it was expected."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Prices:
    """US dollars per million tokens."""

    prompt_usd: float
    completion_usd: float


@dataclass(frozen=True)
class Summary:
    """The figures of one subject; label figures are empty where answers are not labels."""

    accuracy: Proportion
    invalid_rate: float
    field_f1: float
    macro_f1: float | None
    labels: tuple[LabelScore, ...]
    confusion: Mapping[str, Mapping[str, int]]
    majority_baseline: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    cost_per_1000_usd: float | None


def score_rows(
    predictions: Iterable[Prediction],
    metric: str,
    labels: Sequence[str] = (),
    required: Sequence[str] = (),
) -> list[RowScore]:
    """Score each prediction by `exact_match` or `json_fields`.

    An answer is invalid if it is none of the `labels` (where given), if it is empty, or, for
    `json_fields`, if it is no JSON object with the `required` keys.
    """
    if metric == "exact_match":
        known = {normalized(label) for label in labels}
        return [_exact_match(prediction, known) for prediction in predictions]
    if metric == "json_fields":
        return [_json_fields(prediction, required) for prediction in predictions]
    raise ValueError(f"unknown metric {metric!r}; one of {METRICS}")


def summarize(
    predictions: Sequence[Prediction],
    metric: str,
    labels: Sequence[str] = (),
    required: Sequence[str] = (),
    prices: Prices | None = None,
) -> Summary:
    """Return the figures of one subject over its predictions, of which there must be some."""
    scores = score_rows(predictions, metric, labels, required)
    confusion = _confusion(predictions, labels) if labels else {}
    by_label = _label_scores(confusion)
    expected = Counter(normalized(prediction.expected) for prediction in predictions)
    latencies = [p.latency_ms for p in predictions if p.latency_ms is not None]
    return Summary(
        accuracy=wilson(sum(score.is_correct for score in scores), len(scores)),
        invalid_rate=sum(not score.is_valid for score in scores) / len(scores),
        field_f1=sum(score.field_f1 for score in scores) / len(scores),
        macro_f1=_mean([label.f1 for label in by_label]),
        labels=by_label,
        confusion=confusion,
        majority_baseline=expected.most_common(1)[0][1] / len(scores),
        latency_p50_ms=percentile(latencies, 0.50),
        latency_p99_ms=percentile(latencies, 0.99),
        cost_per_1000_usd=_cost_per_1000(predictions, prices),
    )


def wilson(successes: int, n: int) -> Proportion:
    """Return a share with Wilson's score interval (JASA 22, 1927), at 95 %."""
    if n == 0:
        raise ValueError("a share of no rows has no value")
    share, z2 = successes / n, Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Proportion(share, max(0.0, middle - half), min(1.0, middle + half), n)


def paired_difference(first: Mapping[str, bool], second: Mapping[str, bool]) -> Proportion:
    """Return first's accuracy minus second's on the rows both answered, with a 95 % interval.

    Wald's interval for matched pairs after adding half a pair to each of the four cells (Agresti
    and Min, Statistics in Medicine 24, 2005, pp. 729-740): unlike the plain one it is not empty
    when the two agree on every row.
    """
    shared = first.keys() & second.keys()
    if not shared:
        raise ValueError("the two subjects share no row")
    n = len(shared)
    only_first = sum(first[row] and not second[row] for row in shared)
    only_second = sum(second[row] and not first[row] for row in shared)
    b, c, m = only_first + 0.5, only_second + 0.5, n + 2
    middle = (b - c) / m
    half = Z95 * math.sqrt(b + c - (b - c) ** 2 / m) / m
    value = (only_first - only_second) / n
    return Proportion(value, max(-1.0, middle - half), min(1.0, middle + half), n)


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share of the values do not exceed."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def normalized(text: str) -> str:
    """Return a label or short text without the differences nobody means: case, outer spaces."""
    return " ".join(text.split()).casefold()


def _exact_match(prediction: Prediction, known: set[str]) -> RowScore:
    answer = normalized(prediction.output)
    is_correct = answer == normalized(prediction.expected)
    is_valid = answer in known if known else bool(answer)
    return RowScore(prediction.id, is_correct, is_valid, float(is_correct))


def _json_fields(prediction: Prediction, required: Sequence[str]) -> RowScore:
    answer, expected = _json_object(prediction.output), _json_object(prediction.expected)
    is_valid = answer is not None and all(key in answer for key in required)
    if answer is None or expected is None:
        return RowScore(prediction.id, is_correct=False, is_valid=is_valid, field_f1=0.0)
    given, wanted = set(_leaves(answer)), set(_leaves(expected))
    hits = len(given & wanted)
    f1 = 2 * hits / (len(given) + len(wanted)) if given or wanted else 1.0
    return RowScore(prediction.id, answer == expected, is_valid, f1)


def _json_object(text: str) -> dict[str, object] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _leaves(value: object, path: str = "") -> Iterable[tuple[str, str]]:
    """Yield (path, value) of every scalar, in lists by content, so that order costs nothing."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}/{key}")
    elif isinstance(value, list) and value:
        for item in value:
            yield from _leaves(item, f"{path}[]")
    else:
        yield path, json.dumps(value, sort_keys=True)


def _confusion(
    predictions: Iterable[Prediction], labels: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Return counts by expected, then given label; an answer that is no label counts as ''."""
    spelled = {normalized(label): label for label in labels}
    counts: dict[str, Counter[str]] = {label: Counter() for label in labels}
    for prediction in predictions:
        expected = spelled.get(normalized(prediction.expected), prediction.expected)
        given = spelled.get(normalized(prediction.output), "")
        counts.setdefault(expected, Counter())[given] += 1
    return {label: dict(given) for label, given in counts.items()}


def _label_scores(confusion: Mapping[str, Mapping[str, int]]) -> tuple[LabelScore, ...]:
    """Return the score of every label that was expected at least once."""
    scores = []
    for label, given in confusion.items():
        support = sum(given.values())
        claimed = sum(row.get(label, 0) for row in confusion.values())
        hits = given.get(label, 0)
        if support:
            precision, recall = hits / claimed if claimed else 0.0, hits / support
            f1 = 2 * hits / (claimed + support)
            scores.append(LabelScore(label, precision, recall, f1, support))
    return tuple(scores)


def _cost_per_1000(predictions: Sequence[Prediction], prices: Prices | None) -> float | None:
    if prices is None:
        return None
    prompt = sum(p.prompt_tokens for p in predictions) * prices.prompt_usd
    completion = sum(p.completion_tokens for p in predictions) * prices.completion_usd
    return (prompt + completion) / 1e6 / len(predictions) * 1000


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
