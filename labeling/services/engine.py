"""The engine of a label job: a crew that labels one example each, and never waits for a batch.

One task feeds examples in by key pages, each of the crew takes the next without waiting for the
others, and what comes of it is written beside the replies.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean

from asgiref.sync import sync_to_async
from django.db import connection
from django.db.models import Count

from factory.errors import UnderstudyError
from factory.messages import Json
from factory.models import Example
from factory.models.example import Provenance, Split
from factory.services import jobs
from labeling.answers import comparable, rationale_of
from labeling.budget import ZERO
from labeling.models import Label, LabelJob, ReviewItem, TeacherReply
from labeling.prompts import Chooser
from labeling.selectors.label import HUMAN, unlabeled_examples
from labeling.selectors.queue import policy_of
from labeling.services.asking import Asker, Plan, Vote, gathered, is_of_the_row
from labeling.teacher import Question, TeacherClient
from labeling.voting import tally

PAGE = 200


@dataclass(frozen=True)
class Row:
    """An example to label, its votes' names, and the answers that were paid for before."""

    example_id: int
    split: str
    question: Question
    keys: list[str]
    known: dict[str, TeacherReply]


class Engine(Asker):
    """Labels all rows of a job that wait, or the first `most` of them, in one attempt."""

    def __init__(
        self,
        job: LabelJob,
        plan: Plan,
        client: TeacherClient,
        chooser: Chooser | None = None,
        *,
        most: int | None = None,
    ) -> None:
        super().__init__(job, plan, client)
        self.chooser = chooser
        self.most = most
        self.phase = "labelling" if most is None else "smoke run"
        self.counts: Counter[str] = Counter()
        self.total = 0
        self.prices: list[Decimal] = []  # of the rows labelled, whoever paid
        self.rows: asyncio.Queue[Row | None] = asyncio.Queue(PAGE)
        self.new_labels: list[tuple[Label, str]] = []  # each with its example's split

    async def run(self) -> None:
        """Label every example that waits, or raise why not; what was paid for is saved first."""
        await sync_to_async(self.prepare)()
        await self.work([self._feed(), *(self._label_rows() for _ in range(self.plan.in_flight))])
        if self.last_failure is not None and self.counts.total() == self.counts["failed"]:
            raise self.last_failure

    # --- the crew ---------------------------------------------------------------------------------
    async def _feed(self) -> None:
        after, left = 0, self.most
        while self.stop is None and left != 0 and (page := await self._next_page(after, left)):
            for row in page:
                await self.rows.put(row)
            after = page[-1].example_id
            left = None if left is None else 0
        for _ in range(self.plan.in_flight):
            await self.rows.put(None)

    async def _next_page(self, after: int, left: int | None) -> list[Row]:
        return await sync_to_async(self.page)(after, left)

    async def _label_rows(self) -> None:
        while (row := await self.rows.get()) is not None:
            if self.stop is None:
                await self._label(row)

    async def _label(self, row: Row) -> None:
        # All votes are waited for: an answer on its way is paid for.
        votes, errors = await gathered(
            [self.vote(row.question, row.keys[at], at, row.known) for at in range(self.job.votes)]
        )
        if not errors:
            self.new_labels.append((self._result(row, votes), row.split))
        elif self.stop is None and all(map(is_of_the_row, errors)):
            self.new_labels.append((self._failed(row, errors[0]), row.split))
        self.has_news.set()

    def _result(self, row: Row, votes: list[Vote]) -> Label:
        result = tally([vote.output for vote in votes], self.plan.schema)
        if not result.votes:
            status = Label.Status.INVALID
        elif result.is_accepted(self.job.accept_confidence):
            status = Label.Status.ACCEPTED
        else:
            status = Label.Status.UNSURE
        replies = [reply for vote in votes for reply in vote.replies]
        self.prices.append(sum((reply.cost_usd for reply in replies), ZERO))
        return Label(
            job_id=self.job.pk,
            example_id=row.example_id,
            output=result.output,
            votes=result.votes,
            confidence=result.confidence,
            status=status,
            error=next((vote.problem for vote in votes if vote.problem), ""),
            cost_usd=sum((r.cost_usd for r in replies if r.job_id == self.job.pk), ZERO),
            may_train=self.job.teacher.may_train_on_outputs,
            **self._of_the_winners(result.output, votes),
        )

    def _of_the_winners(self, output: str, votes: list[Vote]) -> Json:
        """Return what the votes for the label carry: who answered, how sure, and why."""
        wanted = comparable(output, self.plan.schema)
        winners = [
            vote.replies[-1]
            for vote in votes
            if vote.output is not None and comparable(vote.output, self.plan.schema) == wanted
        ]
        sure = [reply.probability for reply in winners if reply.probability is not None]
        return {
            "answered_by": winners[0].answered_by if winners else votes[0].replies[-1].answered_by,
            "probability": fmean(sure) if sure else None,
            "rationale": rationale_of(winners[0].raw) if winners and self.plan.rationale else "",
        }

    def _failed(self, row: Row, error: UnderstudyError) -> Label:
        return Label(
            job_id=self.job.pk,
            example_id=row.example_id,
            confidence=0.0,
            status=Label.Status.FAILED,
            error=str(error),
            may_train=self.job.teacher.may_train_on_outputs,
        )

    # --- the database, called in the job's own thread ---------------------------------------------
    def prepare(self) -> None:
        """Count what is done and what waits."""
        done = self.job.labels.order_by().values_list("status").annotate(n=Count("id"))
        self.counts.update(dict(done))
        self.total = self.counts.total() + unlabeled_examples(self.job).count()
        self.rate(self.counts.total())

    def page(self, after: int, left: int | None) -> list[Row]:
        """Return the next rows that wait: by key after one, or the first `left` by digest."""
        waiting = unlabeled_examples(self.job).values_list("pk", "split", "messages")
        if left is None:
            page = waiting.filter(id__gt=after).order_by("id")[:PAGE]
        else:  # the first rows in time are often alike; those by digest are as good as drawn
            page = waiting.order_by("digest")[:left]
        found = [(pk, split, self._question(pk, messages)) for pk, split, messages in page]
        votes = range(self.job.votes)
        keys = [[asked.cache_key(self.plan.base_url, n) for n in votes] for *_, asked in found]
        known = self.known([key for row in keys for key in row])
        return [Row(*row, names, known) for row, names in zip(found, keys, strict=True)]

    def _question(self, example_id: int, messages: list[Json]) -> Question:
        shots = self.chooser.shots(example_id, messages) if self.chooser is not None else ()
        return self.plan.question(messages, shots)

    def take_news(self, replies: list[TeacherReply]) -> Callable[[], None] | None:
        """Take the new labels too."""
        labels, self.new_labels = self.new_labels, []
        self.counts.update(label.status for label, _ in labels)
        return (lambda: self.save_all(replies, labels)) if replies or labels else None

    def save_all(self, replies: list[TeacherReply], labels: list[tuple[Label, str]]) -> None:
        """Write replies, labels, and what these change, all or nothing."""
        with jobs.fenced(self.job):
            self.save_replies(replies)
            Label.objects.bulk_create([label for label, _ in labels], ignore_conflicts=True)
            if self.job.applies:
                accept([label for label, _ in labels if label.status == Label.Status.ACCEPTED])
                _ask_people(self.job, labels)

    def progress(self) -> Json:
        """Return the figures of this moment, with those of the rows."""
        done = self.counts.total()
        rate = self.rate(done)
        return {
            **super().progress(),
            "done": done,
            "total": self.total,
            "unit": "rows",
            **{status: self.counts[status] for status in Label.Status.values},
            "rate": round(rate, 2),
            "seconds_left": round((self.total - done) / rate) if rate else None,
        }


_ACCEPT = """
    UPDATE factory_example AS example
    SET target = label.output, provenance = %s, status = %s, may_train = label.may_train
    FROM unnest(%s::bigint[], %s::text[], %s::boolean[]) AS label (id, output, may_train)
    WHERE example.id = label.id AND example.provenance <> ALL(%s) AND example.status <> %s
"""


def accept(labels: list[Label]) -> None:
    """Make labels their examples' targets, where no person has said anything in the meantime."""
    if not labels:
        return
    columns = zip(*((one.example_id, one.output, one.may_train) for one in labels), strict=True)
    with connection.cursor() as cursor:
        cursor.execute(
            _ACCEPT,
            [
                Provenance.RELABELED_BY_MODEL.value,
                Example.Status.LABELED.value,
                *(list(column) for column in columns),
                [provenance.value for provenance in HUMAN],
                Example.Status.DISCARDED.value,
            ],
        )


def _ask_people(job: LabelJob, labels: list[tuple[Label, str]]) -> None:
    """Queue what the votes leave open, but for test rows: these a person sees all of, unsorted."""
    reasons = {
        Label.Status.UNSURE: ReviewItem.Reason.UNSURE,
        Label.Status.INVALID: ReviewItem.Reason.INVALID,
    }
    wanted = policy_of(job.workload).wanted if labels else 1
    items = [
        ReviewItem(
            example_id=label.example_id,
            workload_id=job.workload_id,
            wanted=wanted,
            reason=reasons[Label.Status(label.status)],
            priority=1.0 - label.confidence,
        )
        for label, split in labels
        if label.status in reasons and split != Split.TEST
    ]
    ReviewItem.objects.bulk_create(items, ignore_conflicts=True)
