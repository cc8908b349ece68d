"""The life of a job: the only functions that change a job's lease, status and progress.

The database row is the truth. Celery's message is a bell: a message lost is rung again by the
sweep, a message delivered twice starts the job once.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from celery import current_app
from django.apps import apps
from django.conf import settings
from django.db import OperationalError, connection, models, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Q
from django.db.models.expressions import Combinable
from django.db.models.functions import Now
from kombu.exceptions import OperationalError as BrokerAway

from factory.errors import (
    Conflict,
    JobCancelled,
    JobPaused,
    JobWaits,
    LeaseLost,
    UnderstudyError,
)
from factory.models import Job

logger = logging.getLogger(__name__)

J = TypeVar("J", bound=Job)

RING_AGAIN_AFTER = timedelta(seconds=60)  # a queued job whose bell may have been lost


def in_future(seconds: float) -> Combinable:
    """Return a time by the database's clock: the workers' clocks may disagree."""
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=DateTimeField())


def enqueue(job: J) -> J:
    """Save a new job and ring the bell once its row is committed."""
    job.full_clean(exclude=["created_by"])
    job.save(force_insert=True)
    transaction.on_commit(lambda: ring(job))
    return job


def ring(job: Job) -> None:
    """Tell a worker that a job waits; a broker that is away only delays it until the next sweep."""
    try:
        current_app.send_task(job.task_name, args=[job.pk], queue=job.queue)
    except BrokerAway:
        logger.warning("broker away, job=%s id=%s waits for the sweep", job.task_name, job.pk)


def claim(model: type[J], job_id: int) -> J | None:
    """Take a queued job by one UPDATE; None where somebody else was first or it is over."""
    taken = model._default_manager.filter(pk=job_id, status=Job.Status.QUEUED).update(
        status=Job.Status.RUNNING,
        attempt=F("attempt") + 1,
        epoch=F("epoch") + 1,
        lease_until=in_future(settings.JOB_LEASE_SECONDS),
        started_at=Now(),
    )
    return model._default_manager.get(pk=job_id) if taken else None


def _mine(job: Job) -> models.QuerySet[Job]:
    return type(job)._default_manager.filter(pk=job.pk, epoch=job.epoch, status=Job.Status.RUNNING)


def heartbeat(job: Job, progress: dict[str, Any] | None = None) -> None:
    """Extend the lease and publish progress.

    `LeaseLost` where the job went to another worker, `JobCancelled` where it was asked to stop.
    """
    changes: dict[str, Any] = {"lease_until": in_future(settings.JOB_LEASE_SECONDS)}
    if progress is not None:
        changes["progress"] = job.progress = progress
    if not _mine(job).update(**changes):
        raise LeaseLost(f"{job} belongs to another worker now")
    if _mine(job).filter(cancel_requested=True).exists():
        raise JobCancelled(f"{job} was cancelled")


@contextmanager
def kept(job: Job) -> Iterator[None]:
    """Hold the lease through work that has no moment of its own for a heartbeat.

    Raises at the end what a heartbeat met: `LeaseLost` or `JobCancelled`.
    """
    over = threading.Event()
    met: list[UnderstudyError] = []

    def beat() -> None:
        while not over.wait(settings.JOB_LEASE_SECONDS / 4) and not met:
            try:
                heartbeat(job)
            except (LeaseLost, JobCancelled) as error:
                met.append(error)
            except OperationalError as error:  # the database may be back at the next beat
                logger.warning("job=%s id=%s: no heartbeat: %s", job.task_name, job.pk, error)
            finally:
                connection.close()

    beater = threading.Thread(target=beat, daemon=True)
    beater.start()
    try:
        yield
    finally:
        over.set()
        beater.join()
    if met:
        raise met[0]


@contextmanager
def fenced(job: Job) -> Iterator[None]:
    """Open a transaction that only the lease's holder can commit; `LeaseLost` for anyone else."""
    with transaction.atomic():
        if _mine(job).select_for_update().values_list("pk", flat=True).first() is None:
            raise LeaseLost(f"{job} belongs to another worker now")
        yield


def succeed(job: Job, **fields: Any) -> None:
    """Finish a job; call it inside `fenced`, with the effects it finishes."""
    for name, value in fields.items():
        setattr(job, name, value)
    job.status, job.error = Job.Status.SUCCEEDED, ""
    done = {"status": job.status, "error": "", "finished_at": Now(), "lease_until": None}
    if not _mine(job).update(**done, **fields):
        raise LeaseLost(f"{job} belongs to another worker now")


def fail(job: Job, message: str, blame: str) -> None:
    """End a job with the reason and who must act."""
    _mine(job).update(
        status=Job.Status.FAILED, error=message, blame=blame, finished_at=Now(), lease_until=None
    )


def retry(job: Job, message: str) -> None:
    """Give a job back to the queue after an error of ours, or end it after the last attempt.

    Nobody rings: the next sweep does, and what was away gets that long to come back.
    """
    if job.attempt >= settings.JOB_MAX_ATTEMPTS:
        fail(job, f"{message} (after {job.attempt} attempts)", Job.Blame.SYSTEM)
    else:
        _mine(job).update(status=Job.Status.QUEUED, lease_until=None, error=message)


def pause(job: Job, reason: str) -> None:
    """Stop a running job until somebody resumes it."""
    paused = {"status": Job.Status.PAUSED, "error": reason, "blame": "", "lease_until": None}
    _mine(job).update(**paused)


def wait(job: Job) -> None:
    """Give a job back to the queue for the next sweep to ring; looking did not use an attempt up.

    It keeps one attempt, so that the sweep knows it from a job whose bell has just been rung.
    """
    _mine(job).update(status=Job.Status.QUEUED, lease_until=None, error="", attempt=1)


def resume(job: Job) -> None:
    """Let a paused job go on, with all its attempts; `Conflict` where it is not paused."""
    resumed = (
        type(job)
        ._default_manager.filter(pk=job.pk, status=Job.Status.PAUSED)
        .update(status=Job.Status.QUEUED, error="", attempt=0)
    )
    if not resumed:
        raise Conflict(f"{job} is not paused")
    transaction.on_commit(lambda: ring(job))


def cancel(job: Job) -> None:
    """Stop a job: at once where it waits, at its next heartbeat where it runs."""
    stopped = (
        type(job)
        ._default_manager.filter(pk=job.pk, status__in=[Job.Status.QUEUED, Job.Status.PAUSED])
        .update(status=Job.Status.CANCELLED, finished_at=Now())
    )
    asked = (
        type(job)
        ._default_manager.filter(pk=job.pk, status=Job.Status.RUNNING)
        .update(cancel_requested=True)
    )
    if not stopped and not asked:
        raise Conflict(f"{job} is over already")


def run(model: type[J], job_id: int, work: Callable[[J], None]) -> None:
    """Claim a job, do its work, and record how it ended. This is the worker's process edge."""
    job = claim(model, job_id)
    if job is None:
        logger.info("job=%s id=%s is not waiting", model.task_name, job_id)
        return
    logger.info("job=%s id=%s attempt=%s starts", model.task_name, job_id, job.attempt)
    try:
        work(job)
    except LeaseLost as lost:
        logger.warning("job=%s id=%s: %s", model.task_name, job_id, lost)
    except JobCancelled:
        _mine(job).update(status=Job.Status.CANCELLED, finished_at=Now(), lease_until=None)
    except JobPaused as paused:
        pause(job, paused.message)
    except JobWaits:
        wait(job)
    except UnderstudyError as error:
        if error.retryable or error.http_status >= 500:
            retry(job, error.message)
        else:
            fail(job, error.message, Job.Blame.USER)
    except Exception as error:
        logger.exception("job=%s id=%s broke", model.task_name, job_id)
        retry(job, f"{type(error).__name__} in the worker; its log has the details")


def sweep() -> None:
    """Requeue jobs whose worker died, and ring again for those that may wait unheard."""
    for model in apps.get_models():
        if issubclass(model, Job):
            _sweep(model)


def _sweep(model: type[Job]) -> None:
    expired = model._default_manager.filter(status=Job.Status.RUNNING, lease_until__lt=Now())
    ended = list(
        expired.filter(Q(cancel_requested=True) | Q(attempt__gte=settings.JOB_MAX_ATTEMPTS))
    )
    expired.filter(cancel_requested=True).update(
        status=Job.Status.CANCELLED, finished_at=Now(), lease_until=None
    )
    expired.filter(attempt__gte=settings.JOB_MAX_ATTEMPTS).update(
        status=Job.Status.FAILED,
        error="The worker died on each attempt; its log has the details",
        blame=Job.Blame.SYSTEM,
        finished_at=Now(),
        lease_until=None,
    )
    for job in ended:  # whoever waits for its end hears of it: a claim finds nothing to do
        ring(job)
    # The epoch moves with the next claim, so a worker that was only paused can no longer write.
    requeued = expired.update(status=Job.Status.QUEUED, lease_until=None)
    if requeued:
        logger.warning("job=%s: %s requeued after their worker died", model.task_name, requeued)
    unheard = Q(created_at__lt=in_future(-RING_AGAIN_AFTER.total_seconds())) | Q(attempt__gt=0)
    for job in model._default_manager.filter(unheard, status=Job.Status.QUEUED):
        ring(job)
