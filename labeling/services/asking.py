"""Asks a teacher for one job: nothing paid for twice, nothing past the budget, every reply kept.

One event loop with many requests in flight. Replies are written by a task of its own: what has
arrived goes into one transaction, and meanwhile the next lot gathers. No request waits for the
database, but no more than `AT_RISK` times the requests in flight are ever unsaved.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from time import monotonic
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db.models import Sum

from factory.errors import JobCancelled, JobPaused, UnderstudyError, UpstreamFailed
from factory.messages import Json
from factory.services import jobs
from labeling.answers import BrokenAnswer, read_reply
from labeling.budget import ZERO, Budget
from labeling.confidence import probability_of
from labeling.models import LabelJob, TeacherReply
from labeling.pace import Pace
from labeling.prompts import Shot, repair_messages, response_format, teacher_messages
from labeling.services.limits import SharedLimit
from labeling.teacher import (
    CHARACTERS_PER_TOKEN,
    REFUSED,
    NotAnswered,
    Question,
    QuestionRefused,
    Reply,
    TeacherClient,
)

T = TypeVar("T")

BEAT_SECONDS = 1.0
GATHER_SECONDS = 0.05  # how long replies gather before they are written together
AT_RISK = 6  # times the requests in flight: those, and the replies that are not written yet
RATE_WINDOW_SECONDS = 10.0
CUT_OFF = {"length": "the answer was cut off at the token limit", REFUSED: "the teacher refused"}
LOST = "lost"  # the reason of a reply that may be billed and never came


@dataclass(frozen=True)
class Plan:
    """All that a job asks by; `cost` gives the price in USD of (prompt, completion) tokens."""

    base_url: str
    model: str
    params: Json
    schema: Json | None
    guideline: str
    in_flight: int
    cost: Callable[[int, int], Decimal]
    rationale: bool = False

    def question(self, messages: list[Json], shots: Iterable[Shot] = ()) -> Question:
        """Return what the teacher is asked about production's messages."""
        return self.ask(
            teacher_messages(
                messages,
                schema=self.schema,
                guideline=self.guideline,
                shots=tuple(shots),
                rationale=self.rationale,
            )
        )

    def ask(self, messages: list[Json]) -> Question:
        """Return a question of exactly these messages."""
        asked = response_format(self.schema, rationale=self.rationale)
        return Question(self.model, messages, self.params, asked)

    def read(self, raw: str) -> str:
        """Return the output that a reply's text holds; `BrokenAnswer` where it holds none."""
        return read_reply(raw, self.schema, rationale=self.rationale)

    def reply_row(
        self, reply: Reply, key: str, bounds: tuple[int, int], job: LabelJob
    ) -> TeacherReply:
        """Return an answer as it is kept.

        What an endpoint does not count, or counts higher than is possible, is charged at its bound.
        """
        prompt = min(bounds[0], reply.prompt_tokens or bounds[0])
        completion = min(bounds[1], reply.completion_tokens or bounds[1])
        return TeacherReply(
            project_id=job.workload.project_id,
            cache_key=key,
            job_id=job.pk,
            raw=reply.text,
            finish_reason=reply.finish_reason,
            answered_by=reply.model,
            probability=self._probability(reply),
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost_usd=self.cost(prompt, completion),
            latency_ms=reply.latency_ms,
        )

    def _probability(self, reply: Reply) -> float | None:
        try:
            return probability_of(self.read(reply.text), reply.tokens) if reply.tokens else None
        except BrokenAnswer:
            return None


@dataclass(frozen=True)
class Vote:
    """One vote: its output, or None and what is wrong; and the replies that it took."""

    output: str | None
    problem: str
    replies: list[TeacherReply] = field(default_factory=list)


class Asker:
    """One attempt of a job; the database is used by `sync_to_async` methods only."""

    def __init__(self, job: LabelJob, plan: Plan, client: TeacherClient) -> None:
        self.job = job
        self.plan = plan
        self.client = client
        spent = job.replies.aggregate(spent=Sum("cost_usd"))["spent"] or ZERO
        self.budget = Budget(job.budget_usd, spent)
        self.pace = Pace(plan.in_flight)
        self.limit = SharedLimit(job.teacher)
        # Why no further question is asked; the ones in flight are still paid for, so still saved.
        self.stop: UnderstudyError | None = None
        self.stopped = asyncio.Event()
        self.last_failure: UnderstudyError | None = None
        self.failures_in_a_row = 0
        self.unsaved = asyncio.Semaphore(AT_RISK * plan.in_flight)
        self.new_replies: list[TeacherReply] = []
        self.has_news = asyncio.Event()
        self.is_over = False
        self.phase = ""
        self.rest_to_tell = 0.0
        self.retries = job.progress.get("retries", 0)
        self.overcounted = job.progress.get("overcounted", 0)
        self.pace.busy = job.progress.get("busy", 0)
        self.beat_seconds = min(BEAT_SECONDS, settings.JOB_LEASE_SECONDS / 4)
        self.next_beat = self.flushed_at = 0.0
        self.seen: deque[tuple[float, int]] = deque()

    async def work(self, crew: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Run a crew beside the writer; what was paid for is saved before anything is raised."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                await asyncio.wait([group.create_task(member) for member in crew])
                self.is_over = True
                self.has_news.set()
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from group_error
        if self.stop is not None:
            raise self.stop

    # --- one question -----------------------------------------------------------------------------
    async def ask(
        self, question: Question, key: str, known: dict[str, TeacherReply]
    ) -> TeacherReply:
        """Return the kept answer of that name, or buy it."""
        if key in known:
            return known[key]
        bounds = question.token_bounds()
        # A reply may cost a place until it is safe: a kill loses no more than there are places.
        await self.unsaved.acquire()
        try:
            saved = await self._buy(question, key, bounds)
        except BaseException:
            self.unsaved.release()
            raise
        self.new_replies.append(saved)
        self.has_news.set()
        return saved

    async def vote(
        self, question: Question, key: str, number: int, known: dict[str, TeacherReply]
    ) -> Vote:
        """Return what the `number`-th answer says; one that breaks the format is asked for anew."""
        reply = await self.ask(question, key, known)
        output, problem = self._read(reply)
        if output is not None or reply.finish_reason in CUT_OFF:
            return Vote(output, problem, [reply])
        again = self.plan.ask(repair_messages(question.messages, reply.raw, problem))
        key = again.cache_key(self.plan.base_url, number)
        repaired = await self.ask(again, key, await sync_to_async(self.known)([key]))
        return Vote(*self._read(repaired), [reply, repaired])

    def _read(self, reply: TeacherReply) -> tuple[str | None, str]:
        if reply.finish_reason in CUT_OFF:
            return None, CUT_OFF[reply.finish_reason]
        try:
            return self.plan.read(reply.raw), ""
        except BrokenAnswer as broken:
            return None, str(broken)

    async def _buy(self, question: Question, key: str, bounds: tuple[int, int]) -> TeacherReply:
        kept: list[TeacherReply] = []

        async def attempt() -> Reply:
            reply, saved = await self._attempt(question, key, bounds)
            kept.append(saved)
            return reply

        try:
            await self.client.persist(attempt, self._sleep)
        except UnderstudyError as error:
            self._note_failure(error)
            raise
        self.failures_in_a_row = 0
        return kept[0]

    async def _attempt(
        self, question: Question, key: str, bounds: tuple[int, int]
    ) -> tuple[Reply, TeacherReply]:
        tokens = bounds[0] // CHARACTERS_PER_TOKEN + bounds[1]
        async with self.pace.slot():
            await self.limit.admit(tokens)
            if self.stop is not None:
                raise self.stop
            async with self.budget.reserve(self.plan.cost(*bounds)) as charge:
                try:
                    reply = await self.client.attempt(question, idempotency_key=key)
                except NotAnswered as missed:
                    self._note_miss(missed)
                    if missed.may_be_billed:
                        charge(self._lost(bounds))
                    raise
                saved = self.plan.reply_row(reply, key, bounds, self.job)
                charge(saved.cost_usd)
        used = saved.prompt_tokens + saved.completion_tokens
        self.limit.settle(tokens, used)
        self.overcounted += (reply.prompt_tokens or 0) + (reply.completion_tokens or 0) > used
        self.pace.answered()
        if reply.rest_seconds:
            self._rest(reply.rest_seconds)
        return reply, saved

    def _note_miss(self, missed: NotAnswered) -> None:
        self.retries += 1
        if missed.is_busy:
            self.pace.refused(missed.wait_seconds)
            self._rest(missed.wait_seconds or 0.0)

    def _rest(self, seconds: float) -> None:
        """Send nothing for so long, nor any other worker."""
        if self.stop is None:
            self.pace.close_for(seconds)
        self.rest_to_tell = max(self.rest_to_tell, seconds)

    def _lost(self, bounds: tuple[int, int]) -> Decimal:
        """Keep a row for an attempt that may be billed though its answer never came."""
        reply = Reply("", LOST, *bounds, latency_ms=0)
        row = self.plan.reply_row(reply, f"{LOST} {uuid.uuid4().hex}", bounds, self.job)
        self.new_replies.append(row)
        self.has_news.set()
        return row.cost_usd

    def _note_failure(self, error: UnderstudyError) -> None:
        self.last_failure = error
        self.failures_in_a_row += 1
        # So many in a row are no bad luck: the endpoint is away, or refuses whatever it is asked.
        is_away = self.failures_in_a_row >= 2 * self.plan.in_flight
        if is_away or not is_of_the_row(error):
            self.halt(error)

    def halt(self, reason: UnderstudyError) -> None:
        """Ask no further question; whoever waits for a place or a time hears of it at once."""
        self.stop = self.stop or reason
        self.stopped.set()
        self.pace.open()

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopped.wait()

    # --- the writer -------------------------------------------------------------------------------
    async def _write(self) -> None:
        while not self.is_over:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.beat_seconds):
                    await self.has_news.wait()
            await self._gather()
            self.has_news.clear()
            self.flushed_at = monotonic()
            await self._flush()
        await self._flush(last=True)

    async def _gather(self) -> None:
        # Where all places are taken by what waits to be written, there is nothing to wait for.
        if not self.is_over and not self.unsaved.locked():
            await asyncio.sleep(max(0.0, self.flushed_at + GATHER_SECONDS - monotonic()))

    async def _flush(self, *, last: bool = False) -> None:
        replies, self.new_replies = self.new_replies, []
        write = self.take_news(replies)
        is_due = last or monotonic() >= self.next_beat
        if write is not None:
            await sync_to_async(write)()
        for reply in replies:
            if reply.finish_reason != LOST:
                self.unsaved.release()
        if is_due:
            self.next_beat = monotonic() + self.beat_seconds
            await self._beat()

    async def _beat(self) -> None:
        rest, self.rest_to_tell = self.rest_to_tell, 0.0
        try:
            self.pace.close_for(await sync_to_async(self._heartbeat)(self.progress(), rest))
        except (JobCancelled, JobPaused) as asked:
            self.halt(asked)

    def _heartbeat(self, progress: Json, rest: float) -> float:
        if rest:
            self.limit.close(rest)
        jobs.heartbeat(self.job, progress)
        if LabelJob.objects.filter(pk=self.job.pk, pause_requested=True).exists():
            raise JobPaused("Paused.")
        return self.limit.closed_for()

    def take_news(self, replies: list[TeacherReply]) -> Callable[[], None] | None:
        """Take what has come since the last time; return what writes it, None where it is nothing.

        Called in the event loop; what it returns is called where the database may be used.
        """
        return (lambda: self.save(replies)) if replies else None

    def save(self, replies: list[TeacherReply]) -> None:
        """Write replies and what they cost."""
        with jobs.fenced(self.job):
            self.save_replies(replies)

    def save_replies(self, replies: list[TeacherReply]) -> None:
        """Write replies and what they cost, inside a fence."""
        TeacherReply.objects.bulk_create(replies, ignore_conflicts=True)
        LabelJob.objects.filter(pk=self.job.pk).update(spent_usd=self.budget.spent)

    def known(self, keys: list[str]) -> dict[str, TeacherReply]:
        """Return the answers that were paid for before, by name."""
        project = self.job.workload.project_id
        replies = TeacherReply.objects.filter(project=project, cache_key__in=keys)
        return {reply.cache_key: reply for reply in replies}

    # --- what the page shows ----------------------------------------------------------------------
    def progress(self) -> Json:
        """Return the figures of this moment."""
        return {
            **self.job.progress,
            "phase": self.phase,
            "spent_usd": float(self.budget.spent),
            "in_flight": self.pace.in_flight,
            "room": int(self.pace.room),
            "busy": self.pace.busy,
            "retries": self.retries,
            "overcounted": self.overcounted,
        }

    def rate(self, done: int) -> float:
        """Return how many rows a second were done lately."""
        self.seen.append((monotonic(), done))
        while len(self.seen) > 2 and self.seen[0][0] < monotonic() - RATE_WINDOW_SECONDS:
            self.seen.popleft()
        (since, before), (now, _) = self.seen[0], self.seen[-1]
        return (done - before) / (now - since) if now > since else 0.0


def is_of_the_row(error: BaseException) -> bool:
    """Tell whether other rows may fare better."""
    return isinstance(error, UpstreamFailed | QuestionRefused)


async def gathered(
    parts: list[Coroutine[Any, Any, T]],
) -> tuple[list[T], list[UnderstudyError]]:
    """Wait for all parts, whatever becomes of some; return results and errors of ours."""
    if len(parts) == 1:  # the usual case needs no task
        try:
            return [await parts[0]], []
        except UnderstudyError as error:
            return [], [error]
    results = await asyncio.gather(*parts, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, UnderstudyError):
            raise result
    errors = [result for result in results if isinstance(result, UnderstudyError)]
    return [result for result in results if not isinstance(result, BaseException)], errors
