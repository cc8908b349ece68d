"""The engine of a label job: one event loop, many requests in flight, every reply saved at once.

Three kinds of task share it: one feeds examples in by key pages, a crew labels one example each
and takes the next without waiting for the others, and one writes what has arrived: all of it in
one transaction, and meanwhile the next lot gathers.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from time import monotonic
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db.models import Count, Sum

from factory.errors import JobCancelled, UnderstudyError, UpstreamFailed
from factory.messages import Json
from factory.models import Example
from factory.models.example import Provenance, Split
from factory.services import jobs
from labeling.answers import BrokenAnswer, read_reply
from labeling.budget import ZERO, Budget
from labeling.models import Label, LabelJob, ReviewItem, TeacherReply
from labeling.prompts import repair_messages, response_format, teacher_messages
from labeling.selectors.label import HUMAN, unlabeled_examples
from labeling.teacher import REFUSED, Question, QuestionRefused, Reply, TeacherClient
from labeling.voting import tally

PAGE = 200
BEAT_SECONDS = 1.0
CUT_OFF = {"length": "the answer was cut off at the token limit", REFUSED: "the teacher refused"}


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

    def question(self, messages: list[Json]) -> Question:
        """Return what the teacher is asked about production's messages."""
        return self.ask(teacher_messages(messages, schema=self.schema, guideline=self.guideline))

    def ask(self, messages: list[Json]) -> Question:
        """Return a question of exactly these messages."""
        return Question(self.model, messages, self.params, response_format(self.schema))


@dataclass(frozen=True)
class Row:
    """An example to label, with the answers that were paid for before."""

    example_id: int
    split: str
    question: Question
    known: dict[str, TeacherReply]


@dataclass(frozen=True)
class Vote:
    """One vote: its output, or None and what is wrong; and what this job paid for it."""

    output: str | None
    problem: str
    cost: Decimal


class Engine:
    """Runs one attempt of a label job; the database is used by `sync_to_async` methods only."""

    def __init__(self, job: LabelJob, plan: Plan, client: TeacherClient) -> None:
        self.job = job
        self.plan = plan
        self.client = client
        spent = job.replies.aggregate(spent=Sum("cost_usd"))["spent"] or ZERO
        self.budget = Budget(job.budget_usd, spent)
        self.counts: Counter[str] = Counter()
        self.total = 0
        # Why no further question is asked; the ones in flight are still paid for, so still saved.
        self.stop: UnderstudyError | None = None
        self.last_failure: UnderstudyError | None = None
        self.failures_in_a_row = 0
        self.slots = asyncio.Semaphore(plan.in_flight)
        self.rows: asyncio.Queue[Row | None] = asyncio.Queue(plan.in_flight)
        self.new_replies: list[TeacherReply] = []
        self.new_labels: list[Label] = []
        self.has_news = asyncio.Event()
        self.news_saved = asyncio.Event()
        self.crew_is_done = False
        self.beat_seconds = min(BEAT_SECONDS, settings.JOB_LEASE_SECONDS / 4)
        self.next_beat = 0.0

    async def run(self) -> None:
        """Label every example that waits, or raise why not; what was paid for is saved first."""
        await sync_to_async(self._prepare)()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                crew = [group.create_task(self._feed())]
                crew += [group.create_task(self._work()) for _ in range(self.plan.in_flight)]
                await asyncio.wait(crew)
                self.crew_is_done = True
                self.has_news.set()
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from group_error
        if self.stop is not None:
            raise self.stop
        if self.last_failure is not None and self.counts.total() == self.counts["failed"]:
            raise self.last_failure

    # --- the crew ---------------------------------------------------------------------------------
    async def _feed(self) -> None:
        after = 0
        while self.stop is None and (page := await sync_to_async(self._page)(after)):
            for row in page:
                await self.rows.put(row)
            after = page[-1].example_id
        for _ in range(self.plan.in_flight):
            await self.rows.put(None)

    async def _work(self) -> None:
        while (row := await self.rows.get()) is not None:
            if self.stop is None:
                await self._label(row)

    async def _label(self, row: Row) -> None:
        asked = (self._vote(row, number) for number in range(self.job.votes))
        # All votes are waited for: an answer on its way is paid for.
        results = await asyncio.gather(*asked, return_exceptions=True)
        votes = [result for result in results if isinstance(result, Vote)]
        errors = [result for result in results if isinstance(result, BaseException)]
        for error in errors:
            if not isinstance(error, UnderstudyError):
                raise error
        if not errors:
            self.new_labels.append(self._result(row, votes))
        elif self.stop is None and all(map(_is_of_the_row, errors)):
            self.new_labels.append(self._failed(row, errors[0]))
        self.has_news.set()

    async def _vote(self, row: Row, number: int) -> Vote:
        reply = await self._ask(row.question, number, row.known)
        output, problem = self._read(reply)
        if output is not None or reply.finish_reason in CUT_OFF:
            return Vote(output, problem, self._paid(reply))
        again = self.plan.ask(repair_messages(row.question.messages, reply.raw, problem))
        known = await sync_to_async(self._known)([again.cache_key(self.plan.base_url, number)])
        repaired = await self._ask(again, number, known)
        output, problem = self._read(repaired)
        return Vote(output, problem, self._paid(reply) + self._paid(repaired))

    def _read(self, reply: TeacherReply) -> tuple[str | None, str]:
        if reply.finish_reason in CUT_OFF:
            return None, CUT_OFF[reply.finish_reason]
        try:
            return read_reply(reply.raw, self.plan.schema), ""
        except BrokenAnswer as broken:
            return None, str(broken)

    def _paid(self, reply: TeacherReply) -> Decimal:
        return reply.cost_usd if reply.job_id == self.job.pk else ZERO

    async def _ask(
        self, question: Question, number: int, known: dict[str, TeacherReply]
    ) -> TeacherReply:
        key = question.cache_key(self.plan.base_url, number)
        if key in known:
            return known[key]
        bounds = question.token_bounds()
        async with self.slots:
            if self.stop is not None:
                raise self.stop
            try:
                async with self.budget.reserve(self.plan.cost(*bounds)) as charge:
                    reply = await self.client.ask(question, idempotency_key=key)
                    saved = self._as_row(reply, key, bounds)
                    charge(saved.cost_usd)
            except UnderstudyError as error:
                self._note_failure(error)
                raise
            self.failures_in_a_row = 0
            self.new_replies.append(saved)
            # The slot is held until the reply is safe: no more than all slots are ever at risk.
            is_saved = self.news_saved
            self.has_news.set()
            await is_saved.wait()
            return saved

    def _note_failure(self, error: UnderstudyError) -> None:
        self.last_failure = error
        self.failures_in_a_row += 1
        # So many in a row are no bad luck: the endpoint is away, or refuses whatever it is asked.
        is_away = self.failures_in_a_row >= 2 * self.plan.in_flight
        if is_away or not _is_of_the_row(error):
            self.stop = self.stop or error

    def _as_row(self, reply: Reply, key: str, bounds: tuple[int, int]) -> TeacherReply:
        # What an endpoint does not count is charged at its bound.
        prompt = bounds[0] if reply.prompt_tokens is None else reply.prompt_tokens
        completion = bounds[1] if reply.completion_tokens is None else reply.completion_tokens
        return TeacherReply(
            project_id=self.job.workload.project_id,
            cache_key=key,
            job_id=self.job.pk,
            raw=reply.text,
            finish_reason=reply.finish_reason,
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost_usd=self.plan.cost(prompt, completion),
            latency_ms=reply.latency_ms,
        )

    def _result(self, row: Row, votes: list[Vote]) -> Label:
        result = tally([vote.output for vote in votes], self.plan.schema)
        if not result.votes:
            status = Label.Status.INVALID
        elif result.is_accepted(self.job.accept_confidence):
            status = Label.Status.ACCEPTED
        else:
            status = Label.Status.UNSURE
        return Label(
            job_id=self.job.pk,
            example=Example(pk=row.example_id, split=row.split),
            output=result.output,
            votes=result.votes,
            confidence=result.confidence,
            status=status,
            error=next((vote.problem for vote in votes if vote.problem), ""),
            cost_usd=sum((vote.cost for vote in votes), ZERO),
        )

    def _failed(self, row: Row, error: BaseException) -> Label:
        return Label(
            job_id=self.job.pk,
            example=Example(pk=row.example_id, split=row.split),
            confidence=0.0,
            status=Label.Status.FAILED,
            error=str(error),
        )

    # --- the writer -------------------------------------------------------------------------------
    async def _write(self) -> None:
        while not self.crew_is_done:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.beat_seconds):
                    await self.has_news.wait()
            self.has_news.clear()
            await self._flush()
        await self._flush(last=True)

    async def _flush(self, *, last: bool = False) -> None:
        replies, self.new_replies = self.new_replies, []
        labels, self.new_labels = self.new_labels, []
        is_saved, self.news_saved = self.news_saved, asyncio.Event()
        self.counts.update(label.status for label in labels)
        is_due = last or monotonic() >= self.next_beat
        if replies or labels:
            await sync_to_async(self._save)(replies, labels)
        is_saved.set()
        if is_due:
            self.next_beat = monotonic() + self.beat_seconds
            try:
                await sync_to_async(jobs.heartbeat)(self.job, self._progress())
            except JobCancelled as cancelled:
                self.stop = self.stop or cancelled

    def _progress(self) -> dict[str, Any]:
        figures = {status: self.counts[status] for status in Label.Status.values}
        return {
            "done": self.counts.total(),
            "total": self.total,
            "unit": "rows",
            **figures,
            "spent_usd": float(self.budget.spent),
        }

    # --- the database, called in the job's own thread ---------------------------------------------
    def _prepare(self) -> None:
        with jobs.fenced(self.job):
            # What failed in an earlier attempt is tried again in this one.
            self.job.labels.filter(status=Label.Status.FAILED).delete()
        done = self.job.labels.order_by().values_list("status").annotate(n=Count("id"))
        self.counts.update(dict(done))
        self.total = self.counts.total() + unlabeled_examples(self.job.workload, self.job).count()

    def _page(self, after: int) -> list[Row]:
        waiting = unlabeled_examples(self.job.workload, self.job).filter(id__gt=after)
        found = [
            (example, self.plan.question(example.messages))
            for example in waiting.order_by("id").only("id", "split", "messages")[:PAGE]
        ]
        keys = [
            question.cache_key(self.plan.base_url, number)
            for _, question in found
            for number in range(self.job.votes)
        ]
        known = self._known(keys)
        return [Row(example.pk, example.split, question, known) for example, question in found]

    def _known(self, keys: list[str]) -> dict[str, TeacherReply]:
        project = self.job.workload.project_id
        replies = TeacherReply.objects.filter(project=project, cache_key__in=keys)
        return {reply.cache_key: reply for reply in replies}

    def _save(self, replies: list[TeacherReply], labels: list[Label]) -> None:
        with jobs.fenced(self.job):
            TeacherReply.objects.bulk_create(replies, ignore_conflicts=True)
            Label.objects.bulk_create(labels, ignore_conflicts=True)
            LabelJob.objects.filter(pk=self.job.pk).update(spent_usd=self.budget.spent)
            _accept([label for label in labels if label.status == Label.Status.ACCEPTED])
            _ask_people(self.job, labels)


def _is_of_the_row(error: BaseException) -> bool:
    """Tell whether other rows may fare better."""
    return isinstance(error, UpstreamFailed | QuestionRefused)


def _accept(labels: list[Label]) -> None:
    examples_of: dict[str, list[int]] = {}
    for label in labels:
        examples_of.setdefault(label.output, []).append(label.example_id)
    for output, ids in examples_of.items():
        # What a person said in the meantime stands.
        open_to_us = Example.objects.filter(pk__in=ids).exclude(provenance__in=HUMAN)
        open_to_us.exclude(status=Example.Status.DISCARDED).update(
            target=output,
            provenance=Provenance.RELABELED_BY_MODEL,
            status=Example.Status.LABELED,
        )


def _ask_people(job: LabelJob, labels: list[Label]) -> None:
    """Queue what the votes leave open, but for test rows: these a person sees all of, unsorted."""
    reasons = {
        Label.Status.UNSURE: ReviewItem.Reason.UNSURE,
        Label.Status.INVALID: ReviewItem.Reason.INVALID,
    }
    items = [
        ReviewItem(
            example_id=label.example_id,
            workload_id=job.workload_id,
            reason=reasons[Label.Status(label.status)],
            priority=1.0 - label.confidence,
        )
        for label in labels
        if label.status in reasons and label.example.split != Split.TEST
    ]
    ReviewItem.objects.bulk_create(items, ignore_conflicts=True)
