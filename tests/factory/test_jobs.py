"""The lease: one worker at a time, whatever dies, pauses or comes twice."""

import pytest
from django.db.models.functions import Now

from factory.errors import Conflict, InvalidInput, JobCancelled, LeaseLost, UpstreamFailed
from factory.models import ImportJob, Job, Project
from factory.services import jobs

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(project: Project) -> ImportJob:
    return jobs.enqueue(
        ImportJob(project=project, filename="log.jsonl", file_sha256="0" * 64, file_bytes=1)
    )


def expire(job: ImportJob) -> None:
    ImportJob.objects.filter(pk=job.pk).update(lease_until=jobs.in_future(-1))


def test_a_job_is_claimed_once_however_often_the_bell_rings(job: ImportJob) -> None:
    first, second = jobs.claim(ImportJob, job.pk), jobs.claim(ImportJob, job.pk)
    assert first is not None
    assert second is None
    assert (first.attempt, first.epoch, first.status) == (1, 1, Job.Status.RUNNING)


def test_a_paused_worker_cannot_write_after_its_job_went_on(job: ImportJob) -> None:
    paused = jobs.claim(ImportJob, job.pk)
    assert paused is not None
    expire(job)
    jobs.sweep()
    other = jobs.claim(ImportJob, job.pk)
    assert other is not None
    assert other.epoch == 2
    with pytest.raises(LeaseLost):
        jobs.heartbeat(paused)
    with pytest.raises(LeaseLost), jobs.fenced(paused):
        jobs.succeed(paused, counts={"read": 1})
    with jobs.fenced(other):
        jobs.succeed(other, counts={"read": 2})
    job.refresh_from_db()
    assert (job.status, job.counts) == (Job.Status.SUCCEEDED, {"read": 2})


def test_a_live_lease_is_left_alone_by_the_sweep(job: ImportJob) -> None:
    running = jobs.claim(ImportJob, job.pk)
    assert running is not None
    jobs.sweep()
    jobs.heartbeat(running, {"done": 1, "total": 2})
    job.refresh_from_db()
    assert (job.status, job.progress) == (Job.Status.RUNNING, {"done": 1, "total": 2})


def test_a_job_that_kills_each_worker_fails_after_the_last_attempt(
    job: ImportJob, settings: object
) -> None:
    settings.JOB_MAX_ATTEMPTS = 2  # type: ignore[attr-defined]
    for _ in range(2):
        assert jobs.claim(ImportJob, job.pk) is not None
        expire(job)
        jobs.sweep()
    job.refresh_from_db()
    assert (job.status, job.blame) == (Job.Status.FAILED, Job.Blame.SYSTEM)
    assert job.finished_at is not None


def test_cancelling_a_waiting_job_ends_it_and_a_running_one_stops_at_its_heartbeat(
    job: ImportJob,
) -> None:
    running = jobs.claim(ImportJob, job.pk)
    assert running is not None
    jobs.cancel(job)
    with pytest.raises(JobCancelled):
        jobs.heartbeat(running)
    waiting = jobs.enqueue(
        ImportJob(project=job.project, filename="b", file_sha256="1" * 64, file_bytes=1)
    )
    jobs.cancel(waiting)
    waiting.refresh_from_db()
    assert waiting.status == Job.Status.CANCELLED
    with pytest.raises(Conflict):
        jobs.cancel(waiting)


def test_an_error_of_the_users_ends_the_job_and_one_of_ours_is_tried_again(
    project: Project, settings: object
) -> None:
    settings.JOB_MAX_ATTEMPTS = 2  # type: ignore[attr-defined]

    def outcome(error: Exception, runs: int) -> ImportJob:
        job = jobs.enqueue(
            ImportJob(project=project, filename="a", file_sha256="2" * 64, file_bytes=1)
        )

        def work(_: ImportJob) -> None:
            raise error

        for _ in range(runs):
            jobs.run(ImportJob, job.pk, work)
        job.refresh_from_db()
        return job

    user = outcome(InvalidInput("line 3 is not JSON"), runs=1)
    assert (user.status, user.blame, user.error) == ("failed", "user", "line 3 is not JSON")
    once = outcome(UpstreamFailed("the teacher is away"), runs=1)
    assert (once.status, once.attempt) == ("queued", 1)
    twice = outcome(RuntimeError("secret text"), runs=2)
    assert (twice.status, twice.blame, twice.attempt) == ("failed", "system", 2)
    assert "secret text" not in twice.error


def test_leases_use_the_databases_clock(job: ImportJob) -> None:
    assert jobs.claim(ImportJob, job.pk) is not None
    assert ImportJob.objects.filter(pk=job.pk, lease_until__gt=Now()).exists()
