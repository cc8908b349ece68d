"""What one process's gateway counts, as text that Prometheus reads.

Upstreams are named by their number: whoever may read the counts need not know the projects.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from distill.upstreams import Upstreams
from factory.capture.spool import SpoolStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "understudy_gateway_"


@dataclass
class Counts:
    """Answers by endpoint and status, and calls under way."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    in_flight: int = 0


def exposition(
    counts: Counts, lost_records: Counter[str], upstreams: Upstreams, spool: SpoolStatus
) -> str:
    """Return the metrics in Prometheus' text format."""
    answers = [
        (f'{{endpoint="{endpoint}",status="{status}"}}', number)
        for (endpoint, status), number in sorted(counts.answers.items())
    ]
    lost = [(f'{{reason="{reason}"}}', number) for reason, number in sorted(lost_records.items())]
    known = sorted(upstreams, key=lambda pair: pair[0])
    states = [(f'{{upstream="{pk}"}}', int(health.breaker.state)) for pk, health in known]
    retries = [(f'{{upstream="{pk}"}}', health.retries) for pk, health in known]
    families: list[tuple[str, str, str, Sequence[tuple[str, float]]]] = [
        ("requests_total", "counter", "Answers to apps.", answers),
        ("in_flight", "gauge", "Calls under way.", [("", counts.in_flight)]),
        ("lost_records_total", "counter", "Answered calls not kept, or not whole.", lost),
        ("spool_bytes", "gauge", "Bytes of the spool on disk.", [("", spool.bytes)]),
        ("spool_oldest_seconds", "gauge", "Age of the oldest call not in the database yet.",
         [("", spool.oldest_seconds)]),
        ("spool_dead_segments", "gauge", "Segments with calls that the database refused.",
         [("", spool.dead_segments)]),
        ("breaker_state", "gauge", "0 closed, 1 half-open, 2 open.", states),
        ("retries_total", "counter", "Calls that were sent to an upstream again.", retries),
    ]  # fmt: skip
    lines: list[str] = []
    for name, kind, text, samples in families:
        lines += [f"# HELP {PREFIX}{name} {text}", f"# TYPE {PREFIX}{name} {kind}"]
        lines += [f"{PREFIX}{name}{labels} {value}" for labels, value in samples]
    return "\n".join([*lines, ""])
