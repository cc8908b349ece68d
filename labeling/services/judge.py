"""Judges: a model that checks answers it did not give, and is itself held against people."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, QuerySet

from factory.errors import BudgetExceeded, Conflict, InvalidInput, JobPaused
from factory.messages import Json
from factory.models import Job, Workload
from factory.services import jobs
from labeling.judge import INCONCLUSIVE, PAIRWISE, Case, Ruling, questions, ruling
from labeling.models import Judging, LabelJob, Teacher, TeacherReply, Verdict
from labeling.selectors.judge import models_behind
from labeling.selectors.label import HUMAN, latest_guideline
from labeling.selectors.label_sets import answers_of, both_answered, set_of, usable
from labeling.services.asking import Asker, Plan, gathered
from labeling.services.label import client_for, cost_of, plan_for, with_limit
from labeling.teacher import Question, TeacherClient

MOST_ROWS = 10_000
ROWS = 200  # unless asked otherwise
FROM_PEOPLE = 0.5  # of the rows, where people answered so many: the judge is measured on them


# --- starting -------------------------------------------------------------------------------------
@transaction.atomic
def start_judging(
    workload: Workload,
    *,
    teacher: Teacher,
    first: str,
    second: str = "",
    most: int = ROWS,
    budget_usd: Decimal,
    force: bool = False,
    user: User | None = None,
) -> LabelJob:
    """Enqueue a judge over one set (pass or fail) or over two, where they differ (pairwise).

    `Conflict` where the judge is a model behind one of the sets: models favour their own answers.
    With `force` it is done nevertheless, and said so beside the figures.
    """
    if teacher.project_id != workload.project_id:
        raise InvalidInput("the teacher belongs to another project", param="teacher")
    if first == second:
        raise InvalidInput("two different sets are compared", param="second")
    if not 1 <= most <= MOST_ROWS:
        raise InvalidInput(f"rows is a whole number from 1 to {MOST_ROWS}", param="most")
    if budget_usd < 0:
        raise InvalidInput("budget_usd cannot be negative", param="budget_usd")
    sets = [set_of(workload, key) for key in (first, second) if key]
    own = [one.name for one in sets if teacher.model in models_behind(workload, one.key)]
    if own and not force:
        raise Conflict(
            f"{teacher.model} would judge its own answers in {' and '.join(own)}: take another "
            "model, or force it"
        )
    cost_of(teacher, 0, 0)
    Workload.objects.select_for_update(no_key=True).get(pk=workload.pk)
    alive = workload.label_jobs.filter(status__in=[Job.Status.QUEUED, Job.Status.RUNNING])
    if alive.filter(kind=LabelJob.Kind.JUDGE).exists():
        raise Conflict("a judge of this workload is still at work")
    job = jobs.enqueue(
        LabelJob(
            workload=workload,
            teacher=teacher,
            guideline=latest_guideline(workload),
            kind=LabelJob.Kind.JUDGE,
            budget_usd=budget_usd,
            applies=False,
            created_by=user,
        )
    )
    Judging.objects.create(
        job=job,
        mode=Judging.Mode.PAIRWISE if second else Judging.Mode.PASS_FAIL,
        first=first,
        first_name=sets[0].name,
        second=second,
        second_name=sets[-1].name if second else "",
        most=most,
        forced=bool(own),
    )
    return job


# --- the work -------------------------------------------------------------------------------------
def judge_work(job: LabelJob) -> None:
    """Judge the rows that have no verdict yet; begun again after a crash, it goes on from there."""
    if job.pause_requested:
        raise JobPaused("Paused.")
    guideline = job.guideline.text if job.guideline else ""
    plan = plan_for(job.teacher, job.workload, job.guideline)
    plan = replace(plan, schema=None, params=with_limit(job.teacher.params, None))
    client = client_for(job.teacher)
    try:
        async_to_sync(_run)(JudgeRun(job, plan, client, guideline), client)
    except BudgetExceeded as exceeded:
        raise JobPaused(f"{exceeded.message} A higher budget lets it go on.") from exceeded
    with jobs.fenced(job):
        jobs.succeed(job)


async def _run(run: "JudgeRun", client: TeacherClient) -> None:
    async with client:
        await run.run()


def cases_of(judging: Judging) -> list[tuple[int, Case]]:
    """Return the rows to judge, those that people answered first, each part in the digests' order.

    A pair that agrees needs no judge. The same rows come again while the sets are the same.
    """
    workload = judging.job.workload
    if judging.mode == PAIRWISE:
        rows = both_answered(workload, judging.first, judging.second).exclude(first=F("second"))
    else:
        rows = usable(workload).annotate(first=answers_of(judging.first)).exclude(first=None)
    theirs = rows.filter(provenance__in=HUMAN)
    chosen = _some(judging, theirs, round(judging.most * FROM_PEOPLE))
    return chosen + _some(judging, rows.exclude(provenance__in=HUMAN), judging.most - len(chosen))


def _some(judging: Judging, rows: QuerySet[Any], count: int) -> list[tuple[int, Case]]:
    is_pair = judging.mode == PAIRWISE
    columns = ["pk", "messages", "first", *(["second"] if is_pair else [])]
    found = rows.order_by("digest").values_list(*columns)[:count]
    return [(pk, Case(messages, *answers)) for pk, messages, *answers in found]


@dataclass(frozen=True)
class Waiting:
    """A row before the judge: its two questions by name, and the replies that were paid for."""

    example_id: int
    case: Case
    asked: list[tuple[str, Question]]


class JudgeRun(Asker):
    """One attempt of a judge."""

    def __init__(self, job: LabelJob, plan: Plan, client: TeacherClient, guideline: str) -> None:
        super().__init__(job, plan, client)
        self.guideline = guideline
        self.phase = "judging"
        self.counts: Counter[str] = Counter()
        self.total = 0
        self.rows: asyncio.Queue[Waiting] = asyncio.Queue()
        self.replies: dict[str, TeacherReply] = {}
        self.new_verdicts: list[Verdict] = []

    async def run(self) -> None:
        """Judge all that waits, or raise why not; what was paid for is saved first."""
        await sync_to_async(self._prepare)()
        await self.work([self._judge_rows() for _ in range(self.plan.in_flight)])
        if self.last_failure is not None and self.counts.total() == self.counts[INCONCLUSIVE]:
            raise self.last_failure

    def _prepare(self) -> None:
        done = dict(self.job.verdicts.values_list("example_id", "outcome"))
        self.counts.update(done.values())
        waiting = [(pk, case) for pk, case in cases_of(self.job.judging) if pk not in done]
        self.total = len(done) + len(waiting)
        names: list[str] = []
        for pk, case in waiting:
            asked = [self._named(*one) for one in questions(case, self.guideline)]
            names += [name for name, _ in asked]
            self.rows.put_nowait(Waiting(pk, case, asked))
        self.replies = self.known(names)

    def _named(self, messages: list[Json], response_format: Json) -> tuple[str, Question]:
        question = Question(self.plan.model, messages, self.plan.params, response_format)
        return question.cache_key(self.plan.base_url, 0), question

    async def _judge_rows(self) -> None:
        while self.stop is None and not self.rows.empty():
            row = self.rows.get_nowait()
            asked = [self.ask(question, name, self.replies) for name, question in row.asked]
            replies, errors = await gathered(list(asked))
            if self.stop is not None and errors:
                return  # not answered for a reason that is none of the row's
            found = (
                Ruling(INCONCLUSIVE, f"the judge did not answer: {errors[0].message}")
                if errors
                else ruling(row.case, [reply.raw for reply in replies])
            )
            self.new_verdicts.append(
                Verdict(
                    job=self.job,
                    example_id=row.example_id,
                    first=row.case.first,
                    second=row.case.second or "",
                    outcome=found.verdict,
                    why=found.why.replace("\0", "\ufffd"),
                )
            )
            self.has_news.set()

    # --- the writer -------------------------------------------------------------------------------
    def take_news(self, replies: list[TeacherReply]) -> Callable[[], None] | None:
        """Take the new verdicts too."""
        verdicts, self.new_verdicts = self.new_verdicts, []
        self.counts.update(verdict.outcome for verdict in verdicts)
        return (lambda: self._write_all(replies, verdicts)) if replies or verdicts else None

    def _write_all(self, replies: list[TeacherReply], verdicts: list[Verdict]) -> None:
        with jobs.fenced(self.job):
            self.save_replies(replies)
            Verdict.objects.bulk_create(verdicts, ignore_conflicts=True)

    def progress(self) -> Json:
        """Return the figures of this moment, with those of the verdicts."""
        done = self.counts.total()
        return {
            **super().progress(),
            "done": done,
            "total": self.total,
            "unit": "rows",
            **self.counts,
            "rate": round(self.rate(done), 2),
        }
