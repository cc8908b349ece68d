"""The teacher's own exam: it answers held-out rows once each, as it would label them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections

from factory.messages import Json
from factory.models import Workload
from factory.prices import cost_usd
from factory.services.projects import upstream_key
from labeling.answers import BrokenAnswer, read_reply
from labeling.models import Teacher, TeacherReply
from labeling.prompts import response_format, teacher_messages
from labeling.services.label import MAX_TOKENS
from labeling.teacher import Question, QuestionRefused, TeacherClient

IN_FLIGHT = 16
VOTE = 0  # the first vote of a label job asks the same question: its answer is not paid again


@dataclass(frozen=True)
class TeacherAnswer:
    """A row's answer as an app would see it; broken or refused answers are kept as they came."""

    id: str
    output: str
    latency_ms: int
    prompt_tokens: int
    completion_tokens: int


def teacher_answers(
    teacher: Teacher,
    workload: Workload,
    rows: Sequence[tuple[str, list[Json]]],
    on_progress: Callable[[int], None],
) -> list[TeacherAnswer]:
    """Return the teacher's answer to each row (id, messages), in the rows' order.

    `on_progress` is called with the number of answered rows; what it raises ends the exam.
    """
    return asyncio.run(_exam(teacher, workload, rows, on_progress))


async def _exam(
    teacher: Teacher,
    workload: Workload,
    rows: Sequence[tuple[str, list[Json]]],
    on_progress: Callable[[int], None],
) -> list[TeacherAnswer]:
    client = TeacherClient(
        base_url=teacher.upstream.base_url,
        key=upstream_key(teacher.upstream),
        private_hosts=settings.PRIVATE_UPSTREAM_HOSTS,
        timeout_seconds=settings.UPSTREAM_TIMEOUT_SECONDS,
        in_flight=IN_FLIGHT,
    )
    places = asyncio.Semaphore(IN_FLIGHT)
    done = 0

    async def answer(row: tuple[str, list[Json]]) -> TeacherAnswer:
        nonlocal done
        async with places:
            given = await _answer(client, teacher, workload, *row)
        done += 1
        if done % IN_FLIGHT == 0:
            await sync_to_async(on_progress)(done)
        return given

    async with client:
        return list(await asyncio.gather(*map(answer, rows)))


async def _answer(
    client: TeacherClient, teacher: Teacher, workload: Workload, key: str, messages: list[Json]
) -> TeacherAnswer:
    schema = workload.output_schema
    question = Question(
        model=teacher.model,
        messages=teacher_messages(messages, schema=schema, guideline=""),
        params={"max_tokens": MAX_TOKENS, **teacher.params},
        response_format=response_format(schema),
    )
    cache_key = question.cache_key(client.base_url, VOTE)
    reply = await sync_to_async(_known)(teacher, cache_key)
    if reply is None:
        try:
            asked = await client.ask(question, idempotency_key=cache_key)
        except QuestionRefused:
            return TeacherAnswer(key, "", 0, 0, 0)
        reply = TeacherReply(
            project=teacher.project,
            cache_key=cache_key,
            raw=asked.text,
            finish_reason=asked.finish_reason,
            prompt_tokens=asked.prompt_tokens or 0,
            completion_tokens=asked.completion_tokens or 0,
            latency_ms=asked.latency_ms,
        )
        await sync_to_async(_keep)(teacher, reply)
    try:
        output = read_reply(reply.raw, schema)
    except BrokenAnswer:
        output = reply.raw
    return TeacherAnswer(
        key, output, reply.latency_ms, reply.prompt_tokens, reply.completion_tokens
    )


def _known(teacher: Teacher, cache_key: str) -> TeacherReply | None:
    return TeacherReply.objects.filter(project=teacher.project, cache_key=cache_key).first()


def _keep(teacher: Teacher, reply: TeacherReply) -> None:
    prices = teacher.upstream.prices
    cost = cost_usd(prices, teacher.model, reply.prompt_tokens, reply.completion_tokens)
    reply.cost_usd = cost or 0
    TeacherReply.objects.bulk_create([reply], ignore_conflicts=True)
    close_old_connections()
