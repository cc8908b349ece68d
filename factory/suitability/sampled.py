"""A captured call as reports look at it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from factory.messages import Json

ERROR = 400  # the first HTTP status of those that are no answer


@dataclass(frozen=True)
class Sampled:
    """A captured call as this module reads it; `template` is the group of calls it belongs to."""

    template: int
    messages: list[Json]
    params: Json
    output: str
    digest: str
    status_code: int
    finish_reason: str
    is_partial: bool
    has_called_tools: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int
    latency_ms: int | None
    redactions: dict[str, int]

    @property
    def is_answered(self) -> bool:
        """Whether the model answered at all."""
        return self.status_code < ERROR


def percentile(values: Sequence[int], q: int) -> float | None:
    """Return a percentile, None of nothing."""
    return float(np.percentile(values, q)) if values else None
