"""The teacher's own exam: it answers held-out rows once each, as it would label them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from asgiref.sync import async_to_sync, sync_to_async

from factory.messages import Json
from factory.models import Workload
from labeling.answers import BrokenAnswer, read_reply
from labeling.models import Teacher, TeacherReply
from labeling.selectors.label import latest_guideline
from labeling.services.asking import Plan
from labeling.services.label import client_for, plan_for
from labeling.teacher import QuestionRefused, TeacherClient

VOTE = 0  # a label job's first vote asks the same question: its answer is not paid for again
Row = tuple[str, list[Json]]  # an id and the messages to answer


@dataclass(frozen=True)
class TeacherAnswer:
    """A row's answer as an app would see it; broken or refused answers are kept as they came."""

    id: str
    output: str
    latency_ms: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def teacher_answers(
    teacher: Teacher, workload: Workload, rows: Sequence[Row], on_progress: Callable[[int], None]
) -> list[TeacherAnswer]:
    """Return the teacher's answer to each row, in the rows' order.

    `on_progress` is called with the number of answered rows; what it raises ends the exam.
    """
    exam = Exam(teacher, plan_for(teacher, workload, latest_guideline(workload)))
    return async_to_sync(exam.take)(client_for(teacher), rows, on_progress)


class Exam:
    """One sitting; the database is used by `sync_to_async` methods only."""

    def __init__(self, teacher: Teacher, plan: Plan) -> None:
        self.teacher = teacher
        self.plan = plan
        self.places = asyncio.Semaphore(plan.in_flight)
        self.answered = 0

    async def take(
        self, client: TeacherClient, rows: Sequence[Row], on_progress: Callable[[int], None]
    ) -> list[TeacherAnswer]:
        """Answer every row."""

        async def answer(row: Row) -> TeacherAnswer:
            async with self.places:
                given = await self._answer(client, row)
            self.answered += 1
            if self.answered % self.plan.in_flight == 0:
                await sync_to_async(on_progress)(self.answered)
            return given

        async with client:
            return list(await asyncio.gather(*map(answer, rows)))

    async def _answer(self, client: TeacherClient, row: Row) -> TeacherAnswer:
        key, messages = row
        question = self.plan.question(messages)
        name = question.cache_key(self.plan.base_url, VOTE)
        reply = await sync_to_async(self._known)(name)
        if reply is None:
            try:
                asked = await client.ask(question, idempotency_key=name)
            except QuestionRefused:
                return TeacherAnswer(key, output="")
            tokens = asked.prompt_tokens or 0, asked.completion_tokens or 0
            reply = TeacherReply(
                project_id=self.teacher.project_id,
                cache_key=name,
                raw=asked.text,
                finish_reason=asked.finish_reason,
                prompt_tokens=tokens[0],
                completion_tokens=tokens[1],
                cost_usd=self.plan.cost(*tokens),
                latency_ms=asked.latency_ms,
            )
            await sync_to_async(self._keep)(reply)
        return self._as_answer(key, reply)

    def _as_answer(self, key: str, reply: TeacherReply) -> TeacherAnswer:
        try:
            output = read_reply(reply.raw, self.plan.schema)
        except BrokenAnswer:
            output = reply.raw
        return TeacherAnswer(
            key, output, reply.latency_ms, reply.prompt_tokens, reply.completion_tokens
        )

    def _known(self, name: str) -> TeacherReply | None:
        known = TeacherReply.objects.filter(project_id=self.teacher.project_id, cache_key=name)
        return known.first()

    def _keep(self, reply: TeacherReply) -> None:
        TeacherReply.objects.bulk_create([reply], ignore_conflicts=True)
