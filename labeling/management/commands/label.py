"""`manage.py label`: a teacher labels a workload's examples, or an estimate of what that costs."""

from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from factory.management.arguments import add_workload, errors_told, workload_named
from factory.models import Workload
from factory.services import jobs
from labeling.models import LabelJob, Teacher
from labeling.selectors.label import label_job_of, label_job_summary, teacher_in_project
from labeling.services.label import (
    estimate_label_job,
    label_work,
    resume_label_job,
    start_label_job,
)


class Command(BaseCommand):
    help = "Label a workload's examples by a teacher, here or by a worker."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_workload(parser)
        parser.add_argument("--teacher", metavar="NAME")
        parser.add_argument("--votes", type=int, default=3)
        parser.add_argument("--budget", type=Decimal, metavar="USD", help="never passed")
        parser.add_argument("--mode", choices=LabelJob.Mode.values, default=LabelJob.Mode.LIVE)
        parser.add_argument("--rationale", action="store_true", help="ask for reasons first")
        parser.add_argument("--few-shot", type=int, default=0, metavar="N")
        parser.add_argument("--beside", action="store_true", help="leave the targets as they are")
        parser.add_argument("--estimate", action="store_true", help="only say what it would cost")
        parser.add_argument("--enqueue", action="store_true", help="leave it to a worker")
        parser.add_argument("--resume", type=int, metavar="JOB", help="let a paused job go on")
        parser.add_argument("--nevertheless", action="store_true", help="though its start failed")

    def handle(self, *_args: Any, project: str, workload: str, **options: Any) -> None:
        found = workload_named(project, workload)
        with errors_told():
            if options["resume"]:
                job = self.resumed(found, options)
            else:
                teacher = teacher_in_project(found.project, options["teacher"] or "")
                asked = {name: options[name] for name in ("votes", "mode", "rationale", "few_shot")}
                asked |= {"teacher": teacher, "applies": not options["beside"]}
                estimate = self.estimated(found, asked)
                if options["estimate"]:
                    return
                budget = options["budget"] or estimate * 2
                job = start_label_job(found, budget_usd=budget, **asked)
            if options["enqueue"]:
                self.stdout.write(f"label job {job.pk} waits for a worker")
                return
            self.run(job)

    def estimated(self, workload: Workload, asked: dict[str, Any]) -> Decimal:
        """Say what a job would take."""
        found = estimate_label_job(workload, **asked)
        teacher: Teacher = asked["teacher"]
        self.stdout.write(f"{found.rows:,} rows, {found.calls:,} calls of {teacher.model}")
        self.stdout.write(f"about ${found.usd:.4f}")
        return found.usd

    def resumed(self, workload: Workload, options: dict[str, Any]) -> LabelJob:
        """Let a paused job go on."""
        job = label_job_of(workload, options["resume"])
        resume_label_job(job, budget_usd=options["budget"], nevertheless=options["nevertheless"])
        return job

    def run(self, job: LabelJob) -> None:
        """Do the job here, unless a worker took it first, and say what came of it."""
        jobs.run(LabelJob, job.pk, label_work)
        job.refresh_from_db()
        self.stdout.write(f"label job {job.pk}: {job.status} {job.error}".rstrip())
        for status, number in label_job_summary(job).statuses.items():
            self.stdout.write(f"{number:>9,}  {status}")
        self.stdout.write(f"${job.spent_usd:.6f} of ${job.budget_usd:.4f} spent")
