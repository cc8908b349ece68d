"""Teachers, guidelines, and the jobs in which a teacher labels a workload's examples."""

from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import transaction
from django.db.models import Max

from factory import prices
from factory.digest import canonical_json
from factory.errors import Conflict, InvalidInput
from factory.messages import Json
from factory.models import Job, Project, Upstream, Workload
from factory.services import jobs
from factory.services.projects import upstream_key
from labeling.answers import check_schema, labels_of
from labeling.models import Guideline, LabelJob, Teacher
from labeling.prompts import response_format, teacher_messages
from labeling.selectors.label import latest_guideline, unlabeled_examples
from labeling.services.engine import Engine, Plan
from labeling.teacher import TeacherClient

IN_FLIGHT = 32  # requests that wait on the teacher at the same time
MAX_VOTES = 25
MAX_TOKENS = 1024  # tokens, where neither the teacher nor a label set bounds it
SAMPLE = 200  # examples that an estimate looks at
CHARACTERS_PER_TOKEN = 4  # of English text, for estimates; the budget counts bytes instead
OURS = {"model", "messages", "stream", "n", "response_format"}  # what we set in every request


def create_teacher(
    project: Project,
    *,
    name: str,
    upstream: Upstream,
    model: str,
    params: dict[str, Any] | None = None,
    may_train_on_outputs: bool = True,
) -> Teacher:
    """Name a model of an upstream as a teacher.

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
    )
    teacher.full_clean()
    teacher.save(force_insert=True)
    return teacher


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


def estimate_label_job(workload: Workload, *, teacher: Teacher, votes: int) -> LabelEstimate:
    """Estimate a label job from a sample of its examples, at four characters a token."""
    rows = unlabeled_examples(workload)
    count = rows.count()
    sample = list(rows.order_by("digest").values_list("messages", "target")[:SAMPLE])
    guideline = latest_guideline(workload)
    fixed = len(canonical_json(response_format(workload.output_schema)))
    usd = Decimal(0)
    for messages, target in sample:
        asked = teacher_messages(
            messages, schema=workload.output_schema, guideline=guideline.text if guideline else ""
        )
        prompt = (len(canonical_json(asked)) + fixed) // CHARACTERS_PER_TOKEN
        answer = len(target or "") // CHARACTERS_PER_TOKEN + 8
        usd += cost_of(teacher, prompt, answer)
    calls = count * votes
    return LabelEstimate(rows=count, calls=calls, usd=usd * calls / max(1, len(sample)))


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


@transaction.atomic
def start_label_job(
    workload: Workload,
    *,
    teacher: Teacher,
    votes: int = 3,
    budget_usd: Decimal,
    guideline: Guideline | None = None,
    accept_confidence: float = 1.0,
    user: Any = None,
) -> LabelJob:
    """Enqueue a teacher's pass over all examples without a person's target.

    Without a guideline given, the workload's latest one is used. One pass at a time: two at once
    would pay for the same answers.
    """
    Workload.objects.select_for_update().get(pk=workload.pk)
    if teacher.project_id != workload.project_id:
        raise InvalidInput("the teacher belongs to another project", param="teacher")
    if not teacher.may_train_on_outputs:
        raise InvalidInput(
            f"{teacher}'s terms do not allow training on its outputs", param="teacher"
        )
    if guideline is not None and guideline.workload_id != workload.pk:
        raise InvalidInput("the guideline belongs to another workload", param="guideline")
    if not 1 <= votes <= MAX_VOTES:
        raise InvalidInput(f"votes is a whole number from 1 to {MAX_VOTES}", param="votes")
    if not 0.0 < accept_confidence <= 1.0:
        raise InvalidInput("accept_confidence is above 0, and at most 1", param="accept_confidence")
    if budget_usd < 0:
        raise InvalidInput("budget_usd cannot be negative", param="budget_usd")
    check_schema(workload.output_schema)
    cost_of(teacher, 0, 0)
    alive = workload.label_jobs.filter(status__in=[Job.Status.QUEUED, Job.Status.RUNNING])
    if alive.exists():
        raise Conflict("a label job of this workload is still at work")
    return jobs.enqueue(
        LabelJob(
            workload=workload,
            teacher=teacher,
            guideline=guideline or latest_guideline(workload),
            votes=votes,
            accept_confidence=accept_confidence,
            budget_usd=budget_usd,
            created_by=user,
        )
    )


def label_work(job: LabelJob) -> None:
    """Label what the job has not labelled yet; called again after a crash, it goes on from there.

    What "never paid twice" means: an answer that was saved is never asked for again, by this job
    or any other. A request that was in flight when the worker was killed is sent again, with the
    same `Idempotency-Key`, and counted once; an endpoint that ignores the key may charge for both,
    so a kill can cost at most the requests in flight, of which there are `IN_FLIGHT`.
    """
    plan = plan_for(job.teacher, job.workload, job.guideline)
    client = client_for(job.teacher)
    # The event loop gets a thread of its own; the database is used from this one alone.
    async_to_sync(_run)(Engine(job, plan, client), client)
    with jobs.fenced(job):
        jobs.succeed(job)


async def _run(engine: Engine, client: TeacherClient) -> None:
    async with client:
        await engine.run()


def plan_for(teacher: Teacher, workload: Workload, guideline: Guideline | None) -> Plan:
    """Return all that the teacher is asked by for a workload, whoever asks."""
    return Plan(
        base_url=teacher.upstream.base_url,
        model=teacher.model,
        params=with_limit(teacher.params, workload.output_schema),
        schema=workload.output_schema,
        guideline=guideline.text if guideline else "",
        in_flight=IN_FLIGHT,
        cost=partial(cost_of, teacher),
    )


def client_for(teacher: Teacher) -> TeacherClient:
    """Return a closed line to the teacher's endpoint."""
    return TeacherClient(
        base_url=teacher.upstream.base_url,
        key=upstream_key(teacher.upstream),
        private_hosts=settings.PRIVATE_UPSTREAM_HOSTS,
        timeout_seconds=settings.UPSTREAM_TIMEOUT_SECONDS,
        in_flight=IN_FLIGHT,
    )


def with_limit(params: dict[str, Any], schema: Json | None) -> dict[str, Any]:
    """Return the parameters with a bound on the answer's length: unbounded, a call has no price."""
    if {"max_tokens", "max_completion_tokens"} & set(params):
        return params
    longest = max((len(label.encode()) for label in labels_of(schema)), default=None)
    return {**params, "max_tokens": MAX_TOKENS if longest is None else longest + 32}
