"""Balance: how often each row is trained on, so that frequent labels do not drown rare ones.

For training rows only: what is tested on stays as production asks.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random

from factory.errors import InvalidInput
from factory.messages import Json, object_of

MODES = ("none", "cap", "undersample", "oversample", "weight")


@dataclass(frozen=True)
class Policy:
    """How to balance.

    none: as it is. cap: at most `cap` rows of a label. undersample: as many of each as of the
    rarest. oversample: rare labels' rows several times, up to the most frequent label's number, but
    none more than `most` times. weight: every row once, its weight inverse to its label's frequency
    and between 1/`most` and `most`.
    """

    mode: str = "none"
    cap: int = 1000
    most: int = 10

    @classmethod
    def from_json(cls, value: object) -> "Policy":
        """Read what `as_json` wrote, or a person; `InvalidInput` names what is wrong."""
        given = object_of(value)
        policy = replace(cls(), **{k: v for k, v in given.items() if k in cls.__match_args__})
        if policy.mode not in MODES:
            raise InvalidInput(f"the mode is one of {', '.join(MODES)}", param="mode")
        for name in ("cap", "most"):
            number = getattr(policy, name)
            if type(number) is not int or number < 1:
                raise InvalidInput(f"{name} is a whole number from 1", param=name)
        return policy

    def as_json(self) -> Json:
        """Return the policy as a recipe keeps it."""
        return asdict(self)


@dataclass(frozen=True)
class Line:
    """A label's rows before and after; `after` sums up copies or weights."""

    label: str
    before: int
    after: float


def balanced(labels: Sequence[str], policy: Policy, seed: int) -> list[float]:
    """Return each row's copies (whole numbers; 0 leaves it out) or, in the mode weight, its weight.

    The same labels, policy and seed give the same answer.
    """
    counts = Counter(labels)
    if policy.mode == "none" or not counts:
        return [1.0] * len(labels)
    if policy.mode == "weight":
        mean = len(labels) / len(counts)
        weights = {
            label: min(policy.most, max(1 / policy.most, mean / n)) for label, n in counts.items()
        }
        return [weights[label] for label in labels]
    wanted = _wanted(counts, policy)
    copies = [0.0] * len(labels)
    of_label: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        of_label.setdefault(label, []).append(row)
    random = Random(seed)  # noqa: S311 - must repeat, guards nothing
    for label in sorted(of_label):
        rows = of_label[label]
        random.shuffle(rows)
        for at, row in enumerate(rows):
            # Rounds of the whole label first, the remainder to the first of the shuffled rows.
            whole, rest = divmod(wanted[label], len(rows))
            copies[row] = float(whole + (at < rest))
    return copies


def _wanted(counts: Mapping[str, int], policy: Policy) -> dict[str, int]:
    if policy.mode == "cap":
        return {label: min(n, policy.cap) for label, n in counts.items()}
    if policy.mode == "undersample":
        rarest = min(counts.values())
        return dict.fromkeys(counts, rarest)
    most = max(counts.values())
    return {label: min(most, n * policy.most) for label, n in counts.items()}


def before_and_after(labels: Sequence[str], copies: Sequence[float]) -> list[Line]:
    """Return each label's rows before and after balancing, the most frequent label first."""
    before = Counter(labels)
    after: Counter[str] = Counter()
    for label, times in zip(labels, copies, strict=True):
        after[label] += times  # type: ignore[assignment]  # weights are no whole numbers
    return [Line(label, n, round(after[label], 2)) for label, n in before.most_common()]
