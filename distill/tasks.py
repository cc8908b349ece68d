"""Doorbells of the students' stages."""

from celery import shared_task

from distill.models import DistillationRun
from distill.services import erase, evaluate, train
from factory.models import Erasure
from factory.services import jobs


@shared_task(name="distill.run_distillation")
def run_distillation(run_id: int) -> None:
    """Run one distillation."""
    jobs.run(DistillationRun, run_id, train.run_work)


@shared_task(name="distill.run_evaluation")
def run_evaluation(evaluation_id: int) -> None:
    """Run one evaluation."""
    evaluate.run_evaluation(evaluation_id)


@shared_task(name=Erasure.task_name)
def run_erasure(job_id: int) -> None:
    """Run one erasure, or its rehearsal."""
    jobs.run(Erasure, job_id, erase.erasure_work)
