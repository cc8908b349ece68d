"""Teachers, guidelines, and the jobs in which a teacher labels a workload's examples."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Any

from asgiref.sync import async_to_sync
from celery import current_app
from django.conf import settings
from django.db import transaction
from django.db.models import Max
from kombu.exceptions import OperationalError as BrokerAway

from factory import prices
from factory.digest import canonical_json
from factory.errors import BudgetExceeded, Conflict, InvalidInput, JobPaused
from factory.messages import Json
from factory.models import Job, Project, Upstream, Workload
from factory.services import jobs
from factory.services.projects import upstream_key
from labeling import smoke
from labeling.answers import check_schema, labels_of
from labeling.batching import BatchClient
from labeling.models import (
    Guideline,
    Label,
    LabelJob,
    PanelRow,
    ReviewItem,
    Teacher,
    TeacherBatch,
)
from labeling.prompts import Chooser, response_format, teacher_messages
from labeling.selectors.label import labelable_examples, latest_guideline
from labeling.services.asking import Plan
from labeling.services.batch import BatchRun
from labeling.services.engine import Engine
from labeling.services.panel import (
    PanelRun,
    freeze_panel,
    judged,
    keep_report,
    panel_of,
    panel_size,
)
from labeling.services.shots import chooser_for
from labeling.teacher import CHARACTERS_PER_TOKEN, TeacherClient

logger = logging.getLogger(__name__)

MAX_VOTES = 25
OURS = {"model", "messages", "stream", "n", "response_format"}  # what we set in every request
MAX_SHOTS = 16
MAX_TOKENS = 1024  # tokens, where neither the teacher nor a label set bounds it
RATIONALE_TOKENS = 256
SAMPLE = 200  # examples that an estimate looks at
CHANGEABLE = {
    "may_train_on_outputs", "licence", "terms", "in_flight", "requests_per_minute",
    "tokens_per_minute", "batch_price_share",
}  # fmt: skip


def create_teacher(
    project: Project,
    *,
    name: str,
    upstream: Upstream,
    model: str,
    params: dict[str, Any] | None = None,
    may_train_on_outputs: bool = True,
    **more: Any,
) -> Teacher:
    """Name a model of an upstream as a teacher; `more` are the model's other fields.

    `params` go into each request as they are: temperature, `max_tokens` (newer OpenAI models want
    `max_completion_tokens`), `seed`, ... Votes only differ where the temperature is above 0.
    """
    params = params or {}
    if upstream.project_id != project.pk:
        raise InvalidInput("the upstream belongs to another project", param="upstream")
    if clash := OURS & set(params):
        raise InvalidInput(f"params may not set {', '.join(sorted(clash))}", param="params")
    for limit in {"max_tokens", "max_completion_tokens"} & set(params):
        if not isinstance(params[limit], int) or params[limit] < 1:
            raise InvalidInput(f"{limit} must be a whole number from 1", param="params")
    teacher = Teacher(
        project=project,
        name=name,
        upstream=upstream,
        model=model,
        params=params,
        may_train_on_outputs=may_train_on_outputs,
        **more,
    )
    teacher.full_clean()
    teacher.save(force_insert=True)
    return teacher


@transaction.atomic
def create_priced_teacher(
    project: Project,
    *,
    upstream: Upstream,
    model: str,
    input_usd: float | None = None,
    output_usd: float | None = None,
    **fields: Any,
) -> Teacher:
    """Name a teacher, and set its model's price per million tokens where one is given."""
    teacher = create_teacher(project, upstream=upstream, model=model, **fields)
    if input_usd is not None and output_usd is not None:
        set_price(upstream, model, input_usd=input_usd, output_usd=output_usd)
        upstream.refresh_from_db(fields=["prices"])
    return teacher


def change_teacher(teacher: Teacher, **fields: Any) -> None:
    """Change a teacher's limits, terms or batch price; what it is asked by stays as it is."""
    for name in CHANGEABLE & set(fields):
        setattr(teacher, name, fields[name])
    teacher.full_clean()
    teacher.save(update_fields=sorted(CHANGEABLE & set(fields)))


@transaction.atomic
def set_price(upstream: Upstream, model: str, *, input_usd: float, output_usd: float) -> None:
    """Set what a model of an upstream costs, in USD per million tokens."""
    upstream = Upstream.objects.select_for_update().get(pk=upstream.pk)
    price = {"input": input_usd, "output": output_usd}
    upstream.prices = prices.checked_prices({**upstream.prices, model: price})
    upstream.save(update_fields=["prices"])


@transaction.atomic
def save_guideline(workload: Workload, *, text: str) -> Guideline:
    """Number a new guideline; the same text as the latest one is that one."""
    Workload.objects.select_for_update().get(pk=workload.pk)
    latest = latest_guideline(workload)
    if latest is not None and latest.text == text:
        return latest
    top = workload.guidelines.aggregate(top=Max("number"))["top"] or 0
    return Guideline.objects.create(workload=workload, number=top + 1, text=text)


@dataclass(frozen=True)
class LabelEstimate:
    """What a label job is likely to take, were no answer known yet."""

    rows: int
    calls: int
    usd: Decimal


def estimate_label_job(
    workload: Workload,
    *,
    teacher: Teacher,
    votes: int,
    mode: str = LabelJob.Mode.LIVE,
    rationale: bool = False,
    few_shot: int = 0,
    applies: bool = True,
) -> LabelEstimate:
    """Estimate a label job from a sample of its examples, at four characters a token.

    Shots are taken to be as long as the examples are.
    """
    rows = labelable_examples(workload, applies=applies)
    count = rows.count()
    sample = list(rows.order_by("digest").values_list("messages", "target")[:SAMPLE])
    guideline = latest_guideline(workload)
    fixed = len(canonical_json(response_format(workload.output_schema, rationale=rationale)))
    usd = Decimal(0)
    for messages, target in sample:
        asked = teacher_messages(
            messages,
            schema=workload.output_schema,
            guideline=guideline.text if guideline else "",
            rationale=rationale,
        )
        shots = few_shot * len(canonical_json(messages))
        prompt = (len(canonical_json(asked)) + fixed + shots) // CHARACTERS_PER_TOKEN
        answer = len(target or "") // CHARACTERS_PER_TOKEN + 8 + (60 if rationale else 0)
        usd += cost_of(teacher, prompt, answer)
    calls = count * votes
    share = Decimal(str(price_share(teacher, mode)))
    return LabelEstimate(rows=count, calls=calls, usd=usd * share * calls / max(1, len(sample)))


def cost_of(teacher: Teacher, prompt_tokens: int, completion_tokens: int) -> Decimal:
    """Return what a call costs; `InvalidInput` where the model has no price to keep a budget by."""
    cost = prices.cost_usd(teacher.upstream.prices, teacher.model, prompt_tokens, completion_tokens)
    if cost is None:
        raise InvalidInput(
            f"{teacher.model} has no price on the upstream {teacher.upstream.name}, and a budget "
            "needs one: give it there, 0 for a model of your own",
            param="teacher",
        )
    return cost


def price_of(teacher: Teacher) -> dict[str, Any] | None:
    """Return what a teacher costs per million tokens, None where its upstream has no price."""
    return prices.price_of(teacher.upstream.prices, teacher.model)


def pricing_of(teacher: Teacher) -> Callable[[int, int], Decimal]:
    """Return `cost_of` for one teacher, which looks its price up once."""

    @cache
    def rates() -> tuple[Decimal, Decimal]:
        return cost_of(teacher, 1, 0), cost_of(teacher, 0, 1)

    def cost(prompt_tokens: int, completion_tokens: int) -> Decimal:
        of_prompt, of_answer = rates()
        return prompt_tokens * of_prompt + completion_tokens * of_answer

    return cost


def price_share(teacher: Teacher, mode: str) -> float:
    """Return what a call costs in a mode, as a share of its price."""
    return teacher.batch_price_share if mode == LabelJob.Mode.BATCH else 1.0


@transaction.atomic
def start_label_job(
    workload: Workload,
    *,
    teacher: Teacher,
    votes: int = 3,
    budget_usd: Decimal,
    guideline: Guideline | None = None,
    accept_confidence: float = 1.0,
    mode: str = LabelJob.Mode.LIVE,
    rationale: bool = False,
    few_shot: int = 0,
    applies: bool = True,
    panel_rows: int | None = None,
    user: Any = None,
) -> LabelJob:
    """Enqueue a teacher's pass over all examples without a person's target.

    Without a guideline given, the workload's latest one is used. One pass at a time: two at once
    would pay for the same answers. A job that does not apply labels every example, a person's too,
    and changes none: its labels are there to be compared.
    """
    Workload.objects.select_for_update().get(pk=workload.pk)
    if teacher.project_id != workload.project_id:
        raise InvalidInput("the teacher belongs to another project", param="teacher")
    if applies and not teacher.may_train_on_outputs:
        raise InvalidInput(
            f"{teacher}'s terms do not allow training on its outputs: it can only label beside "
            "the targets, to be compared",
            param="teacher",
        )
    if guideline is not None and guideline.workload_id != workload.pk:
        raise InvalidInput("the guideline belongs to another workload", param="guideline")
    if not 1 <= votes <= MAX_VOTES:
        raise InvalidInput(f"votes is a whole number from 1 to {MAX_VOTES}", param="votes")
    if not 0 <= few_shot <= MAX_SHOTS:
        raise InvalidInput(f"few_shot is a whole number from 0 to {MAX_SHOTS}", param="few_shot")
    if not 0.0 < accept_confidence <= 1.0:
        raise InvalidInput("accept_confidence is above 0, and at most 1", param="accept_confidence")
    if budget_usd < 0:
        raise InvalidInput("budget_usd cannot be negative", param="budget_usd")
    check_schema(workload.output_schema)
    cost_of(teacher, 0, 0)
    _check_alone(workload)
    return jobs.enqueue(
        LabelJob(
            workload=workload,
            teacher=teacher,
            guideline=guideline or latest_guideline(workload),
            votes=votes,
            accept_confidence=accept_confidence,
            mode=mode,
            rationale=rationale,
            few_shot=few_shot,
            applies=applies,
            panel_rows=panel_rows,
            budget_usd=budget_usd,
            created_by=user,
        )
    )


def _check_alone(workload: Workload) -> None:
    alive = workload.label_jobs.filter(status__in=[Job.Status.QUEUED, Job.Status.RUNNING])
    if alive.filter(kind=LabelJob.Kind.LABEL).exists():
        raise Conflict("a label job of this workload is still at work")


@transaction.atomic
def pause_label_job(job: LabelJob) -> None:
    """Stop a job until it is resumed; what is on its way is waited for and kept."""
    mine = LabelJob.objects.select_for_update().filter(pk=job.pk)
    waiting = mine.filter(status=Job.Status.QUEUED)
    if waiting.update(status=Job.Status.PAUSED, error="Paused."):
        return
    if not mine.filter(status=Job.Status.RUNNING).update(pause_requested=True):
        raise Conflict(f"{job} is not at work")


@transaction.atomic
def resume_label_job(
    job: LabelJob, *, budget_usd: Decimal | None = None, nevertheless: bool = False
) -> None:
    """Let a paused job go on, with another budget where one is given.

    `nevertheless` lets it go on though its smoke run failed; without it, the first rows that failed
    are asked again.
    """
    Workload.objects.select_for_update().get(pk=job.workload_id)
    if job.kind == LabelJob.Kind.LABEL:
        _check_alone(job.workload)
    changes: dict[str, Any] = {"pause_requested": False}
    if budget_usd is not None:
        if budget_usd < job.spent_usd:
            raise InvalidInput("the budget is less than what is spent", param="budget_usd")
        changes["budget_usd"] = budget_usd
    if nevertheless:
        changes["smoke_waived"] = True
    LabelJob.objects.filter(pk=job.pk).update(**changes)
    jobs.resume(job)


def cancel_label_job(job: LabelJob) -> None:
    """Stop a job for good; what it labelled stays, and batches on their way are called off."""
    jobs.cancel(job)
    if job.batches.filter(collected_at=None).exists():
        transaction.on_commit(lambda: _call_off(job))


def _call_off(job: LabelJob) -> None:
    try:
        current_app.send_task("labeling.end_batches", args=[job.pk], queue=job.queue)
    except BrokerAway:
        logger.warning("broker away, the batches of job=%s run to their end", job.pk)


# --- the work -------------------------------------------------------------------------------------
def label_work(job: LabelJob) -> None:
    """Label what the job has not labelled yet; called again after a crash, it goes on from there.

    What "never paid twice" means: an answer that was saved is never asked for again, by this job
    or any other. A request that was in flight when the worker was killed is sent again, with the
    same `Idempotency-Key`, and counted once; an endpoint that ignores the key may charge for both,
    so a kill can cost at most the answers that were not saved yet, those on their way included:
    `AT_RISK` times the requests that the teacher takes in flight.
    """
    if job.pause_requested:
        raise JobPaused("Paused.")
    plan = plan_of(job)
    with jobs.fenced(job):
        # What failed in an earlier attempt is tried again in this one.
        job.labels.filter(status=Label.Status.FAILED).delete()
    try:
        if not job.smoke.get("passed") and not job.smoke_waived:
            _smoke(job, plan)
        if not job.panel and (rows := panel_of(job)):
            keep_report(job, judged(job, _ask_panel(job, plan, rows)))
        if job.mode == LabelJob.Mode.BATCH:
            _batches(job, plan)
        _label(job, plan)
        if not job.panel and (size := panel_size(job, job.labels.count())):
            rows = freeze_panel(job, plan, size)
            keep_report(job, judged(job, _ask_panel(job, plan, rows)))
    except BudgetExceeded as exceeded:
        raise JobPaused(f"{exceeded.message} A higher budget lets it go on.") from exceeded
    with jobs.fenced(job):
        jobs.succeed(job)


def _smoke(job: LabelJob, plan: Plan) -> None:
    """Label the first rows; `JobPaused` where too many of them fail to buy the rest unseen."""
    engine = _label(job, plan, most=smoke.ROWS)
    problems = job.labels.exclude(error="").values_list("error", flat=True)[: smoke.ROWS]
    report = smoke.smoke_report(engine.counts, list(problems), engine.prices, engine.total)
    has_more = engine.total > engine.counts.total()
    with jobs.fenced(job):
        LabelJob.objects.filter(pk=job.pk).update(smoke=report)
        if has_more and not report["passed"]:
            # Without a usable answer they are no labels yet: they are asked again, if it goes on.
            ReviewItem.objects.filter(
                example__labels__in=job.labels.filter(status=Label.Status.INVALID),
                reason=ReviewItem.Reason.INVALID,
                status=ReviewItem.Status.OPEN,
                created_at__gte=job.started_at,
            ).delete()
            job.labels.filter(status__in=[Label.Status.INVALID, Label.Status.FAILED]).delete()
    job.smoke = report
    if has_more and not report["passed"]:
        raise JobPaused(smoke.problem_of(report))


def _label(job: LabelJob, plan: Plan, most: int | None = None) -> Engine:
    client = client_for(job.teacher)
    engine = Engine(job, plan, client, chooser_of(job), most=most)
    # The event loop gets a thread of its own; the database is used from this one alone.
    async_to_sync(_run)(engine, client)
    return engine


def _ask_panel(job: LabelJob, plan: Plan, rows: list[PanelRow]) -> Json:
    client = client_for(job.teacher)
    run = PanelRun(job, plan, client, rows)
    async_to_sync(_run)(run, client)
    return run.report()


async def _run(work: Engine | PanelRun, client: TeacherClient) -> None:
    async with client:
        await work.run()


def _batches(job: LabelJob, plan: Plan) -> None:
    engine = Engine(job, plan, client_for(job.teacher), chooser_of(job))
    engine.prepare()
    share = Decimal(str(price_share(job.teacher, job.mode)))
    cheap = replace(plan, cost=lambda prompt, answer: plan.cost(prompt, answer) * share)
    client = batch_client_for(job.teacher)
    async_to_sync(_advance)(BatchRun(engine, cheap, client), client)


async def _advance(run: BatchRun, client: BatchClient) -> None:
    async with client:
        await run.advance()


def end_batches(job: LabelJob) -> None:
    """Call off the batches of a cancelled job; what they answered until then is still paid."""
    batches = list(job.batches.filter(collected_at=None))
    async_to_sync(_end)(batch_client_for(job.teacher), batches)


async def _end(client: BatchClient, batches: list[TeacherBatch]) -> None:
    async with client:
        for batch in batches:
            if batch.batch_id:
                await client.cancel(batch.batch_id)


def chooser_of(job: LabelJob) -> Chooser | None:
    """Return what finds the shots of a job's rows, None where it shows none."""
    return chooser_for(job) if job.few_shot else None


def plan_of(job: LabelJob) -> Plan:
    """Return all that a job asks by."""
    return plan_for(job.teacher, job.workload, job.guideline, rationale=job.rationale)


def plan_for(
    teacher: Teacher, workload: Workload, guideline: Guideline | None, *, rationale: bool = False
) -> Plan:
    """Return all that the teacher is asked by for a workload, whoever asks."""
    params = with_limit(teacher.params, workload.output_schema, rationale=rationale)
    return Plan(
        base_url=teacher.upstream.base_url,
        model=teacher.model,
        params={**params, "logprobs": True} if teacher.asks_logprobs else params,
        schema=workload.output_schema,
        guideline=guideline.text if guideline else "",
        in_flight=teacher.in_flight,
        cost=pricing_of(teacher),
        rationale=rationale,
    )


def client_for(teacher: Teacher) -> TeacherClient:
    """Return a closed line to the teacher's endpoint."""
    return TeacherClient(
        base_url=teacher.upstream.base_url,
        key=upstream_key(teacher.upstream),
        private_hosts=settings.PRIVATE_UPSTREAM_HOSTS,
        timeout_seconds=settings.UPSTREAM_TIMEOUT_SECONDS,
        in_flight=teacher.in_flight,
    )


def batch_client_for(teacher: Teacher) -> BatchClient:
    """Return a closed line to the teacher's Batch API."""
    return BatchClient(
        base_url=teacher.upstream.base_url,
        key=upstream_key(teacher.upstream),
        private_hosts=settings.PRIVATE_UPSTREAM_HOSTS,
        timeout_seconds=settings.UPSTREAM_TIMEOUT_SECONDS,
    )


def with_limit(
    params: dict[str, Any], schema: Json | None, *, rationale: bool = False
) -> dict[str, Any]:
    """Return the parameters with a bound on the answer's length: unbounded, a call has no price."""
    if {"max_tokens", "max_completion_tokens"} & set(params):
        return params
    longest = max((len(label.encode()) for label in labels_of(schema)), default=None)
    most = MAX_TOKENS if longest is None else longest + 32
    return {**params, "max_tokens": most + (RATIONALE_TOKENS if rationale else 0)}
