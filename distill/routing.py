"""Who answers a call: the student for its share, the teacher otherwise and behind it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """An endpoint that may answer: where, with which key, under which model name.

    `model` is None where the caller's own model name is passed on.
    """

    base_url: str
    key: str
    model: str | None
    provider: str


@dataclass(frozen=True)
class RouteTable:
    """What one project's calls may be answered by."""

    default: Target | None
    students: dict[str, tuple[Target, Target, float]]  # alias -> student, fallback, student's share


@dataclass(frozen=True)
class Choice:
    """The endpoints to try in order, and why the first is the first."""

    targets: tuple[Target, ...]
    reason: str


def choose(table: RouteTable, model: str, draw: float) -> Choice:
    """Choose who answers a call for `model`; `draw` is a uniform random number in [0, 1).

    No target means that the project has no upstream that could answer.
    """
    if model in table.students:
        student, fallback, share = table.students[model]
        if draw < share:
            return Choice((student, fallback), "student")
        return Choice((fallback,), "teacher_share")
    if table.default is None:
        return Choice((), "no_upstream")
    return Choice((table.default,), "passthrough")
