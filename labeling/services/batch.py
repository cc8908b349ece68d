"""The cheap mode of a label job: its questions go through the Batch API.

A job in this mode fills the same cache of replies that the engine reads, a file of questions at a
time; the engine then labels from it, and buys live what three rounds of batches did not bring.
Everything is in rows: a worker looks in, does what there is to do, and gives the job back to the
queue until the next sweep.
"""

import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from asgiref.sync import sync_to_async
from django.db.models import Sum
from django.db.models.functions import Now

from factory.digest import digest_of
from factory.errors import BudgetExceeded, JobWaits
from factory.services import jobs
from labeling.batching import MAX_BYTES, MAX_LINES, BatchClient, Result, State, line_of
from labeling.budget import ZERO
from labeling.models import LabelJob, TeacherBatch, TeacherReply
from labeling.services.asking import LOST, Plan
from labeling.services.engine import Engine, Row
from labeling.teacher import Question, Reply

MAX_ROUNDS = 3
CHUNK = 500  # replies written together


@dataclass
class Lines:
    """A file of questions in the making, and what their answers can cost at most."""

    path: Path
    room_usd: Decimal
    asked: dict[str, tuple[int, int]] = field(default_factory=dict)
    reserved_usd: Decimal = ZERO
    size: int = 0
    is_full: bool = False
    is_over_budget: bool = False

    def add(self, line: bytes, key: str, bounds: tuple[int, int], most_usd: Decimal) -> bool:
        """Take a question in; False where it does not fit any more."""
        self.is_over_budget = self.reserved_usd + most_usd > self.room_usd
        self.is_full = len(self.asked) >= MAX_LINES or self.size + len(line) > MAX_BYTES
        if self.is_over_budget or self.is_full:
            return False
        with self.path.open("ab") as file:
            file.write(line)
        self.asked[key] = bounds
        self.reserved_usd += most_usd
        self.size += len(line)
        return True


class BatchRun:
    """One look at a job's batches; the database is used by `sync_to_async` methods only."""

    def __init__(self, engine: Engine, plan: Plan, client: BatchClient) -> None:
        self.engine = engine  # it knows which rows wait, and what they are asked
        self.job: LabelJob = engine.job
        self.plan = plan  # at the price of a batch
        self.client = client

    async def advance(self) -> None:
        """Collect what is ready and send what is missing; `JobWaits` while a batch is open.

        Returns where the rest is for the engine: nothing is missing, or the rounds are over.
        """
        for batch in await sync_to_async(self._open_batches)():
            await self._look_in(batch)
        if await sync_to_async(self._open_batches)():
            await sync_to_async(self._tell)()
            raise JobWaits("waits for its batches")
        if await sync_to_async(self.job.batches.count)() >= MAX_ROUNDS:
            return
        with tempfile.TemporaryDirectory() as folder:
            lines = await sync_to_async(self._gather)(Path(folder) / "questions.jsonl")
            if lines.asked:
                await self._send(lines)
                await sync_to_async(self._tell)()
                raise JobWaits("waits for its batches")
        if lines.is_over_budget:
            raise BudgetExceeded("Budget reached: the next answer's highest price does not fit it.")

    # --- out --------------------------------------------------------------------------------------
    def _gather(self, path: Path) -> Lines:
        spent = self.job.replies.aggregate(spent=Sum("cost_usd"))["spent"] or ZERO
        lines = Lines(path, self.job.budget_usd - spent)
        for question, key in self._missing():
            bounds = question.token_bounds()
            fits = lines.add(line_of(question, key), key, bounds, self.plan.cost(*bounds))
            if not fits:
                break
        return lines

    def _missing(self) -> Iterator[tuple[Question, str]]:
        after = 0
        while page := self.engine.page(after, None):
            for row in page:
                yield from _unanswered(row)
            after = page[-1].example_id
            jobs.heartbeat(self.job)

    async def _send(self, lines: Lines) -> None:
        batch = await sync_to_async(self._note)(lines)
        state = await self.client.submit(lines.path, str(batch.token))
        await sync_to_async(self._update)(batch, state)

    def _note(self, lines: Lines) -> TeacherBatch:
        with jobs.fenced(self.job):
            return TeacherBatch.objects.create(
                job=self.job,
                token=uuid.uuid4(),
                lines=len(lines.asked),
                reserved_usd=lines.reserved_usd,
                asked=lines.asked,
            )

    # --- back -------------------------------------------------------------------------------------
    def _open_batches(self) -> list[TeacherBatch]:
        return list(self.job.batches.filter(collected_at=None).order_by("pk"))

    async def _look_in(self, batch: TeacherBatch) -> None:
        if batch.batch_id:
            state: State | None = await self.client.look(batch.batch_id)
        else:  # we died between sending it and noting its id
            state = await self.client.find(str(batch.token))
        if state is None:
            await sync_to_async(self._drop)(batch)
            return
        await sync_to_async(self._update)(batch, state)
        if state.is_terminal:
            await self._collect(batch, state)

    async def _collect(self, batch: TeacherBatch, state: State) -> None:
        left, found = dict(batch.asked), []
        async for result in self.client.results(state):
            # Only what we asked for, and once: a line that comes again is the same answer.
            if left.pop(result.custom_id, None) is not None:
                found.append(result)
            if len(found) == CHUNK:
                await sync_to_async(self._keep)(batch, found)
                found = []
        await sync_to_async(self._keep)(batch, found)
        await sync_to_async(self._close)(batch)
        await self.client.delete_files(batch.input_file_id, *state.files)

    def _row(self, result: Result, bounds: list[int]) -> TeacherReply | None:
        prompt, completion = bounds
        if result.reply is not None:
            key, reply = result.custom_id, result.reply
        elif result.may_be_billed:  # under a name of its own, so that it is asked for again
            key = f"{LOST} {digest_of([str(self.job.pk), result.custom_id])}"[:64]
            reply = Reply("", LOST, prompt, completion, 0)
        else:
            return None
        return self.plan.reply_row(reply, key, (prompt, completion), self.job)

    # --- rows -------------------------------------------------------------------------------------
    def _update(self, batch: TeacherBatch, state: State) -> None:
        batch.batch_id, batch.input_file_id = state.batch_id, state.input_file_id
        batch.status, batch.done, batch.problem = state.status, state.done, state.problem
        with jobs.fenced(self.job):
            batch.save(update_fields=["batch_id", "input_file_id", "status", "done", "problem"])

    def _drop(self, batch: TeacherBatch) -> None:
        with jobs.fenced(self.job):
            batch.delete()

    def _keep(self, batch: TeacherBatch, results: list[Result]) -> None:
        rows = (self._row(result, batch.asked[result.custom_id]) for result in results)
        replies = [row for row in rows if row is not None]
        with jobs.fenced(self.job):
            TeacherReply.objects.bulk_create(replies, ignore_conflicts=True)
            spent = self.job.replies.aggregate(spent=Sum("cost_usd"))["spent"] or ZERO
            LabelJob.objects.filter(pk=self.job.pk).update(spent_usd=spent)
        jobs.heartbeat(self.job)

    def _close(self, batch: TeacherBatch) -> None:
        with jobs.fenced(self.job):
            TeacherBatch.objects.filter(pk=batch.pk).update(collected_at=Now(), asked={})

    def _tell(self) -> None:
        batches = self._open_batches()
        figures = self.engine.progress()
        jobs.heartbeat(
            self.job,
            {
                **figures,
                "phase": "batch",
                "batch_done": sum(batch.done for batch in batches),
                "batch_lines": sum(batch.lines for batch in batches),
            },
        )


def _unanswered(row: Row) -> Iterator[tuple[Question, str]]:
    for key in row.keys:
        if key not in row.known:
            yield row.question, key
