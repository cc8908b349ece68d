"""A frozen panel of rows, asked again by each job: has the teacher changed behind its name?

The first job of a teacher that is large enough freezes some of its questions with their answers,
and asks them once more: that is how far the teacher agrees with itself. Each later job asks the
same questions, word for word, and is held against that.
"""

from asgiref.sync import sync_to_async
from django.db import transaction

from factory.errors import UnderstudyError
from factory.intervals import Share, wilson
from factory.messages import Json
from factory.services import jobs
from labeling.answers import BrokenAnswer, comparable, read_reply
from labeling.models import Label, LabelJob, PanelRow, TeacherReply
from labeling.services.asking import Asker, Plan
from labeling.teacher import TeacherClient, question_of

MOST_ROWS, FEWEST_ROWS = 50, 20  # fewer would show no change short of a collapse
ROWS_PER_PANEL_ROW = 20  # a panel costs no more than a twentieth of its job


def panel_size(job: LabelJob, rows: int) -> int:
    """Return how many rows a job's panel has: as asked for, else by the number of its rows."""
    if job.panel_rows is not None:
        return job.panel_rows
    fitting = min(MOST_ROWS, rows // ROWS_PER_PANEL_ROW)
    return fitting if fitting >= FEWEST_ROWS else 0


def panel_of(job: LabelJob) -> list[PanelRow]:
    """Return the teacher's frozen rows of a job's workload."""
    found = PanelRow.objects.filter(teacher=job.teacher, example__workload=job.workload)
    return list(found.order_by("pk"))


@transaction.atomic
def freeze_panel(job: LabelJob, plan: Plan, size: int) -> list[PanelRow]:
    """Freeze rows that a job has just labelled, drawn by their digests."""
    labels = Label.objects.filter(job=job, status=Label.Status.ACCEPTED).order_by("example__digest")
    rows = [
        PanelRow(
            teacher=job.teacher,
            example=label.example,
            question=plan.question(label.example.messages).body(),
            schema=plan.schema,
            rationale=plan.rationale,
            output=label.output,
            answered_by=label.answered_by,
        )
        for label in labels.select_related("example")[:size]
    ]
    # Without shots: what a panel row is shown must not change with what people review.
    PanelRow.objects.bulk_create(rows, ignore_conflicts=True)
    return panel_of(job)


class PanelRun(Asker):
    """Asks a panel once for one job."""

    def __init__(
        self, job: LabelJob, plan: Plan, client: TeacherClient, rows: list[PanelRow]
    ) -> None:
        super().__init__(job, plan, client)
        self.phase = "panel"
        self.panel = rows
        self.left = list(rows)
        self.replies: dict[int, TeacherReply] = {}

    async def run(self) -> None:
        """Ask all rows, those that were asked before a crash from the cache."""
        asked = {row.pk: question_of(row.question) for row in self.panel}
        nonce = f"panel of job {self.job.pk}"
        self.questions = {
            pk: (question, question.cache_key(self.plan.base_url, nonce))
            for pk, question in asked.items()
        }
        self.bought = await sync_to_async(self.known)([key for _, key in self.questions.values()])
        await self.work(self._member() for _ in range(self.plan.in_flight))

    async def _member(self) -> None:
        while self.left and self.stop is None:
            row = self.left.pop()
            try:
                self.replies[row.pk] = await self.ask(*self.questions[row.pk], self.bought)
            except UnderstudyError:
                continue  # noted by `ask`; a panel row without an answer is not counted

    def report(self) -> Json:
        """Return how far the answers agree with the frozen ones."""
        answered = [row for row in self.panel if row.pk in self.replies]
        agreed = sum(self._agrees(row) for row in answered)
        share = wilson(agreed, len(answered))
        before = sorted({row.answered_by for row in answered if row.answered_by})
        now = sorted({reply.answered_by for reply in self.replies.values() if reply.answered_by})
        figures = {"rows": share.n, "agreed": share.count, "low": share.low, "high": share.high}
        return {**figures, "models": now, "models_before": before}

    def _agrees(self, row: PanelRow) -> bool:
        raw = self.replies[row.pk].raw
        try:
            output = read_reply(raw, row.schema, rationale=row.rationale)
        except BrokenAnswer:
            return False
        return comparable(output, row.schema) == comparable(row.output, row.schema)


def judged(job: LabelJob, report: Json) -> Json:
    """Return a panel's report with what it is held against, and whether the teacher changed.

    It did where its agreement lies below that of the job that froze the panel by more than both
    intervals allow, or where another model says that it answered.
    """
    first = _first_job(job)
    if first is None:
        return {**report, "is_first": True, "changed": False}
    self_agreement = Share(
        first.panel["agreed"], first.panel["rows"], first.panel["low"], first.panel["high"]
    )
    fell = report["high"] < self_agreement.low
    renamed = bool(report["models_before"]) and not set(report["models"]) <= set(
        report["models_before"]
    )
    held_against = {"job": first.pk, "value": self_agreement.value}
    return {
        **report,
        "is_first": False,
        "baseline": held_against,
        "fell": fell,
        "renamed": renamed,
        "changed": fell or renamed,
    }


def _first_job(job: LabelJob) -> LabelJob | None:
    jobs_before = LabelJob.objects.filter(teacher=job.teacher, workload=job.workload)
    return jobs_before.exclude(pk=job.pk).filter(panel__is_first=True).order_by("pk").first()


def keep_report(job: LabelJob, report: Json) -> None:
    """Put a panel's report on its job."""
    with jobs.fenced(job):
        LabelJob.objects.filter(pk=job.pk).update(panel=report)
    job.panel = report
