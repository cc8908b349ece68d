"""Who answers a call: the student for its share and the teacher behind it, or a named upstream."""

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Target:
    """An endpoint that may answer: where, with which key, under which model name.

    `model` is None where the caller's own model name is passed on.
    """

    base_url: str
    key: str = field(repr=False)
    model: str | None
    provider: str
    dialect: str = "openai"
    api_version: str = ""
    upstream: int = 0  # whose it is: what is known of its health is kept by it


@dataclass(frozen=True)
class RouteTable:
    """What one project's calls may be answered by."""

    default: Target | None
    students: dict[str, tuple[Target, Target, float]]  # alias -> student, fallback, student's share
    named: dict[str, Target] = field(default_factory=dict)  # by the upstream's name
    patterns: tuple[tuple[str, Target], ...] = ()  # of model names; the first that fits counts


@dataclass(frozen=True)
class Choice:
    """The endpoints to try in order, and why the first is the first."""

    targets: tuple[Target, ...]
    reason: str


def choose(table: RouteTable, model: str, draw: float) -> Choice:
    """Choose who answers a call for `model`; `draw` is a uniform random number in [0, 1).

    The model's name alone decides: a workload's alias, `upstream/model`, a pattern that an upstream
    claims, else the default. No target means that the project has no upstream that could answer.
    """
    if model in table.students:
        student, fallback, share = table.students[model]
        if draw < share:
            return Choice((student, fallback), "student")
        return Choice((fallback,), "teacher_share")
    name, _, rest = model.partition("/")
    if rest and name in table.named:
        return Choice((replace(table.named[name], model=rest),), "named_upstream")
    for pattern, target in table.patterns:
        if fnmatchcase(model, pattern):
            return Choice((target,), "model_pattern")
    if table.default is None:
        return Choice((), "no_upstream")
    return Choice((table.default,), "passthrough")
