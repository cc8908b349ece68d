"""How fast do logs come in? The whole door against a bare COPY of the rows that it writes.

python benchmarks/ingest.py [--calls 100000] [--rounds 5] [--seed 7]

A PostgreSQL of its own, durable, below var/benchmark/ingest. Each round empties the tables of calls
and measures, in turn: `import_lines` from the bytes of a JSONL file (split, parse, check, redact,
digest, compress, insert, count); and psycopg's COPY of the very rows that came of it, kept as text
cells, into the same partitions and indexes of the two tables, twice: row by row (`write_row`) and
in blocks that are written out already. The goal is against the first, the second is the harder.
Then the processor time of the door's stages, each for itself in one process. An import starts child
processes, which takes a third of a second whatever its size; `--calls` says what that is shared by.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
VAR = ROOT / "var" / "benchmark" / "ingest"
os.environ["UNDERSTUDY_VAR"] = str(VAR)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "factory.settings")

import django  # noqa: E402 - after the environment

django.setup()

import orjson  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from machine import machine  # noqa: E402

from factory.capture.call_rows import COLUMNS, PAYLOAD_COLUMNS  # noqa: E402
from factory.dedupe import input_digest  # noqa: E402
from factory.demo.sample import generate  # noqa: E402
from factory.embedded import Postgres  # noqa: E402
from factory.formats.intake import entries_of, read_entry  # noqa: E402
from factory.messages import CallRecord, parse_json, record_from_log, turns_of  # noqa: E402
from factory.models import Project  # noqa: E402
from factory.redaction.redact import Policy, Redactor, clean_texts, redacted  # noqa: E402
from factory.services import capture, imports  # noqa: E402
from factory.services.projects import create_project  # noqa: E402

GOAL = 0.6
STAGED = 2000  # calls that the stages are measured with
TABLES = (capture.CALLS, capture.PAYLOADS, capture.KEYS, capture.TALLIES)
COPY_PAYLOADS = f"COPY {capture.PAYLOADS} ({', '.join(PAYLOAD_COLUMNS)}) FROM STDIN"


def main() -> None:
    """Measure and print; exit 0 when it could be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    log = b"".join(lines(asked.calls, asked.seed))
    print(f"{machine()}; {asked.calls:,} calls, {len(log) / asked.calls:,.0f} bytes each\n")
    with ExitStack() as running:
        running.enter_context(Postgres(VAR / "postgres"))
        call_command("migrate", verbosity=0)
        Project.objects.filter(slug="ingest").delete()
        project = create_project(slug="ingest", name="Ingest")
        import_once(project, log, asked.calls)  # partitions, caches, the processor's clock
        stored = Stored()
        rounds = [one_round(project, log, stored) for _ in range(asked.rounds)]
        print_rounds(rounds, asked.calls)
        print_stages(project, log)
    ratio = median(raw / ours for ours, raw, _ in rounds)
    harder = median(blocks / ours for ours, _, blocks in rounds)
    print(f"against blocks written out beforehand: {harder:.2f}")
    print(f"ingest-ratio {ratio:.2f} goal {GOAL} {'met' if ratio >= GOAL else 'short'}")


def lines(count: int, seed: int) -> Iterator[bytes]:
    """Yield log lines: a prompt with examples in it, and a ticket; a quarter has personal data."""
    tickets = generate(count, seed)
    shown = [next(generate(1, n)) for n in range(12)]
    examples = "\n".join(f"{as_example(t.request)} -> {t.gold}" for t in shown)
    for number, ticket in enumerate(tickets):
        instruction, *turns = ticket.request["messages"]
        instruction = {**instruction, "content": f"{instruction['content']}\n{examples}"}
        name = f"chatcmpl-{number:024x}"
        call = {
            "id": name,
            "started_at": ticket.started_at,
            "latency_ms": 400 + number % 300,
            "metadata": ticket.metadata,
            "request": {**ticket.request, "messages": [instruction, *turns]},
            "response": {
                "id": name,
                "object": "chat.completion",
                "created": ticket.started_at,
                "model": "frontier-large-2026-05-01",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": ticket.gold},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 420, "completion_tokens": 3, "total_tokens": 423},
            },
        }
        yield orjson.dumps(call, option=orjson.OPT_APPEND_NEWLINE)


def as_example(request: dict[str, Any]) -> str:
    """Return a ticket as a prompt shows it: its author took the personal data out."""
    return Redactor().text(request["messages"][-1]["content"])


def empty() -> None:
    """Start each measurement from the same tables."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
        cursor.execute("CHECKPOINT")


def seconds(work: Callable[[], object]) -> float:
    """Return how long some work took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def processor_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of some work in this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def import_once(project: Project, log: bytes, expected: int | None = None) -> float:
    """Return the seconds of one import through the door, into empty tables."""
    empty()
    view = [log[at : at + 2**20] for at in range(0, len(log), 2**20)]
    told: dict[str, Any] = {}
    took = seconds(lambda: told.update(imports.import_lines(project, view, size=len(log))))
    if told["refused"] or (expected and told["new"] != expected):
        sys.exit(f"not all came in: {told}")
    return took


class Stored:
    """The rows that the door wrote, in the order of its writing: as cells, and written out."""

    def __init__(self) -> None:
        names = ", ".join(COLUMNS)
        cells = ", ".join(f"{name}::text" for name in COLUMNS)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {cells} FROM {capture.CALLS} ORDER BY ctid")
            self.calls = cursor.fetchall()
            cursor.execute(
                f"SELECT call_id::text, dictionary_id, body FROM {capture.PAYLOADS} ORDER BY ctid"
            )
            self.payloads = [(name, trained, bytes(body)) for name, trained, body in cursor]
            ordered = f"(SELECT {names} FROM {capture.CALLS} ORDER BY ctid)"
            self.calls_block = copied_out(cursor, f"COPY {ordered} TO STDOUT")
            names = ", ".join(PAYLOAD_COLUMNS)
            ordered = f"(SELECT {names} FROM {capture.PAYLOADS} ORDER BY ctid)"
            self.payloads_block = copied_out(cursor, f"COPY {ordered} TO STDOUT (FORMAT BINARY)")

    def copy_rows(self) -> None:
        """COPY both tables row by row, in one transaction."""
        with transaction.atomic(), connection.cursor() as cursor:
            for statement, rows in (
                (capture.COPY_CALLS, self.calls),
                (COPY_PAYLOADS, self.payloads),
            ):
                with cursor.copy(statement) as copy:
                    for row in rows:
                        copy.write_row(row)

    def copy_blocks(self) -> None:
        """COPY both tables from bytes that are ready, in one transaction."""
        with transaction.atomic(), connection.cursor() as cursor:
            for statement, block in (
                (capture.COPY_CALLS, self.calls_block),
                (capture.COPY_PAYLOADS, self.payloads_block),
            ):
                with cursor.copy(statement) as copy:
                    copy.write(block)


def copied_out(cursor: Any, statement: str) -> bytes:
    """Return what a COPY TO writes."""
    with cursor.copy(statement) as copy:
        return b"".join(bytes(part) for part in copy)


def one_round(project: Project, log: bytes, stored: Stored) -> tuple[float, float, float]:
    """Return the seconds of the door, of COPY row by row, and of COPY in blocks."""
    ours = import_once(project, log)
    empty()
    rows = seconds(stored.copy_rows)
    empty()
    return ours, rows, seconds(stored.copy_blocks)


def print_rounds(rounds: Sequence[tuple[float, float, float]], count: int) -> None:
    """Print each round's rows a second."""
    print(f"{'round':>6}{'door':>12}{'COPY rows':>12}{'COPY blocks':>13}{'door/rows':>11}   rows/s")
    for number, (ours, rows, blocks) in enumerate(rounds, start=1):
        rates = f"{count / ours:12,.0f}{count / rows:12,.0f}{count / blocks:13,.0f}"
        print(f"{number:6}{rates}{rows / ours:11.2f}")
    print()


def redact_all(records: Sequence[CallRecord], policy: Policy) -> None:
    """Redact calls as a new process does, which remembers no text of theirs."""
    clean_texts.cache_clear()
    for record in records:
        redacted(record, policy)


def print_stages(project: Project, log: bytes) -> None:
    """Print what each stage of the door takes by itself, in one process."""
    empty()
    at = datetime.now(UTC)
    maker, policy = capture.row_maker(project, "import"), Policy.from_json(project.redaction)
    part = log[: log.index(b"\n", len(log) * STAGED // log.count(b"\n")) + 1]
    entries = list(entries_of([part]))
    records = [record_from_log(parse_json(entry.raw)) for entry in entries]
    clean = [redacted(record, policy) for record in records]
    turns = [turns_of(record.request) for record in clean]
    texts = [{"messages": m, "response": r.response} for m, r in zip(turns, clean, strict=True)]
    rows = [maker.row(record) for record in clean]
    stages: dict[str, Callable[[], object]] = {
        "split into lines": lambda: list(entries_of([part])),
        "parse and check": lambda: [read_entry(entry, at) for entry in entries],
        "redact": lambda: redact_all(records, policy),
        "digest": lambda: [input_digest(messages) for messages in turns],
        "compress": lambda: [maker.packer.pack(text) for text in texts],
        "make the row (with digest and compress)": lambda: [maker.row(r) for r in clean],
        "insert (without the database's own time)": lambda: capture.insert_rows(project.pk, rows),
    }
    print(f"{'stage, one process':42}{'us/call':>9}{'calls/s':>11}")
    for name, work in stages.items():
        repeats = 1 if name.startswith("insert") else 3  # a second time, all would be known
        each = min(processor_seconds(work) for _ in range(repeats)) / len(entries)
        print(f"{name:42}{each * 1e6:9.1f}{1 / each:11,.0f}")
    print()


if __name__ == "__main__":
    main()
