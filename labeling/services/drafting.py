"""The engine of an augmentation: a crew that takes a seed each, from the question to the rows."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from asgiref.sync import sync_to_async

from factory.curation.near_duplicates import Grams
from factory.curation.recipe import Recipe
from factory.dedupe import input_digest, name_of
from factory.messages import Json
from factory.models import Example
from factory.models.example import Provenance, Split
from factory.services import jobs
from factory.services.curate import curation_of, index_children, templates_of
from factory.services.near import Met, met_by
from labeling import augment
from labeling.answers import BrokenAnswer
from labeling.augment import Order
from labeling.models import Draft, Label, LabelJob, Seed, TeacherReply
from labeling.selectors.augment import parents_of
from labeling.services.asking import CUT_OFF, Asker, Plan, Vote, gathered
from labeling.teacher import Question, TeacherClient
from labeling.voting import tally

DRAFT_TOKENS = (256, 4096)  # what a reply with drafts may be long, by the parents' lengths
Status = Draft.Status


@dataclass
class Waiting:
    """A seed before the teacher: its parent, what varies in it, and what is asked."""

    seed: Seed
    part: str
    parent: Grams
    question: Question
    key: str
    known: dict[str, TeacherReply]


@dataclass
class Made:
    """A draft on its way: its whole input, what it met in the index, and how it was read."""

    text: str
    messages: list[Json]
    status: str = ""
    why: str = ""
    output: str = ""
    votes: list[Vote] = field(default_factory=list)


class AugmentRun(Asker):
    """One attempt of an augmentation, or of its first `most` seeds."""

    def __init__(
        self, job: LabelJob, plan: Plan, client: TeacherClient, most: int | None = None
    ) -> None:
        super().__init__(job, plan, client)
        self.most = most
        self.phase = "drafting" if most is None else "smoke run"
        self.augmentation = job.augmentation
        self.guideline = job.guideline.text if job.guideline else ""
        curation = curation_of(job.workload)
        self.recipe = Recipe.from_json(curation.recipe)
        self.templates = templates_of(curation)
        self.counts: Counter[str] = Counter()
        self.total = self.done = 0
        self.said = augment.Said()
        self.waiting: list[Seed] = []
        self.new: list[tuple[Seed, list[Made]]] = []

    async def run(self) -> None:
        """Ask all seeds that wait, or raise why not; what was paid for is saved first."""
        await sync_to_async(self._prepare)()
        await self.work([self._ask_seeds() for _ in range(self.plan.in_flight)])
        if self.last_failure is not None and not self.counts:
            raise self.last_failure

    # --- the crew ---------------------------------------------------------------------------------
    async def _ask_seeds(self) -> None:
        while self.stop is None and self.waiting and not self.is_full:
            seed = self.waiting.pop()
            if (row := await sync_to_async(self._open)(seed)) is not None:
                await self._grow(row)

    @property
    def is_full(self) -> bool:
        """Whether as much is kept as synthetic rows may be."""
        return self.counts[Status.KEPT] >= self.augmentation.most_kept

    async def _grow(self, row: Waiting) -> None:
        replies, errors = await gathered([self.ask(row.question, row.key, row.known)])
        if errors:
            return None if self.stop else self._close(row.seed, [], errors[0].message)
        [reply] = replies
        if reply.finish_reason in CUT_OFF:
            return self._close(row.seed, [], CUT_OFF[reply.finish_reason])
        try:
            texts = augment.read_drafts(reply.raw, self.augmentation.per_seed)
        except BrokenAnswer as broken:
            return self._close(row.seed, [], str(broken))
        drafts = [self._sifted(row, text) for text in texts]
        fresh = [draft for draft in drafts if not draft.status]
        await sync_to_async(self._meet)(row, fresh)
        asked = [draft for draft in fresh if not draft.status]
        await asyncio.gather(*(self._read_blind(row.seed, draft) for draft in asked))
        if all(draft.status for draft in drafts):
            self._close(row.seed, drafts, "")
        return None

    def _sifted(self, row: Waiting, text: str) -> Made:
        parent: Example = row.seed.parent
        draft = Made(text, augment.with_text(parent.messages, row.part, text))
        if augment.is_misshapen(text, row.part):
            draft.status = Status.MISSHAPEN
        elif augment.is_copy(augment.grams(text), row.parent, row.seed.method):
            draft.status, draft.why = Status.COPY, "of its parent"
        elif not self.said.takes(text):
            draft.status, draft.why = Status.COPY, "of another draft"
        return draft

    async def _read_blind(self, seed: Seed, draft: Made) -> None:
        """Let the teacher answer a draft that it does not know the purpose of."""
        question = self.plan.question(draft.messages)
        names = [question.cache_key(self.plan.base_url, n) for n in range(self.job.votes)]
        known = await sync_to_async(self.known)(names)
        votes, errors = await gathered(
            [self.vote(question, name, n, known) for n, name in enumerate(names)]
        )
        if errors:
            if self.stop is None:
                draft.status, draft.why = Status.UNSURE, errors[0].message
            return
        draft.votes = votes
        result = tally([vote.output for vote in votes], self.plan.schema)
        draft.output = result.output
        if not result.votes:
            draft.status, draft.why = Status.UNSURE, votes[0].problem
        elif not result.is_accepted(1.0):
            draft.status = Status.UNSURE
        else:
            self._judge(seed, draft)

    def _judge(self, seed: Seed, draft: Made) -> None:
        draft.why = augment.off_label(
            draft.output,
            expected=seed.expected,
            parent_answer=seed.parent.target or "",
            is_open=seed.is_open,
            schema=self.plan.schema,
        )
        if draft.why:
            draft.status = Status.OFF_LABEL
        elif self.is_full:
            draft.status = Status.SURPLUS
        else:
            draft.status = Status.KEPT
            self.counts[Status.KEPT] += 1  # at once: what is on its way sees that it is full

    def _close(self, seed: Seed, drafts: list[Made], problem: str) -> None:
        seed.is_done, seed.problem = True, problem.replace("\0", "\ufffd")
        self.counts.update(draft.status for draft in drafts if draft.status != Status.KEPT)
        self.done += 1
        self.new.append((seed, drafts))
        self.has_news.set()

    # --- the database, called in the job's own thread ---------------------------------------------
    def _prepare(self) -> None:
        drafts = self.job.drafts.order_by()
        self.counts.update(drafts.values_list("status", flat=True))
        for text in drafts.exclude(status=Status.COPY).values_list("text", flat=True):
            self.said.takes(text)
        seeds = self.job.seeds.order_by("-number")
        self.total = seeds.count()
        waiting = list(seeds.filter(is_done=False))
        self.done = self.total - len(waiting)
        self.waiting = waiting if self.most is None else waiting[-self.most :]
        self.rate(self.done)

    def _open(self, seed: Seed) -> Waiting | None:
        """Return what a seed asks; None where its parent is no row to start from any more."""
        parent = parents_of(self.job.workload).filter(pk=seed.parent_id).first()
        if parent is None:
            self._close(seed, [], "the row that it started from is gone")
            return None
        seed.parent = parent
        part = augment.varied_part(parent.messages, self.templates.slots(parent.messages))
        order = Order(
            method=seed.method,
            text=part,
            answer=parent.target or "",
            expected=seed.expected,
            against=seed.against,
            count=self.augmentation.per_seed,
            manner=seed.number,
        )
        asked = augment.draft_messages(order, parent.messages, self.plan.schema, self.guideline)
        question = Question(self.plan.model, asked, self._params(part), augment.draft_format())
        key = question.cache_key(self.plan.base_url, f"augmentation {self.job.pk} {seed.number}")
        grams = augment.grams(part)
        return Waiting(seed, part, grams, question, key, self.known([key]))

    def _params(self, part: str) -> Json:
        given: Json = self.job.teacher.params
        if {"max_tokens", "max_completion_tokens"} & set(given):
            return given
        length = self.augmentation.per_seed * (len(part) // 2 + 100)
        least, most = DRAFT_TOKENS
        return {**given, "max_tokens": max(least, min(most, length))}

    def _meet(self, row: Waiting, drafts: list[Made]) -> None:
        """Reject drafts that say what the workload has already, or what it holds out."""
        inputs = [draft.messages for draft in drafts]
        found = met_by(self.job.workload, inputs, self.recipe, self.templates) if inputs else []
        for draft, met in zip(drafts, found, strict=True):
            draft.status, draft.why = status_of(row.seed, met)

    def take_news(self, replies: list[TeacherReply]) -> Callable[[], None] | None:
        """Take the new drafts too."""
        new, self.new = self.new, []
        return (lambda: self._save_all(replies, new)) if replies or new else None

    def _save_all(self, replies: list[TeacherReply], new: list[tuple[Seed, list[Made]]]) -> None:
        with jobs.fenced(self.job):
            self.save_replies(replies)
            Seed.objects.bulk_update([seed for seed, _ in new], ["is_done", "problem"])
            made = [(seed, draft) for seed, drafts in new for draft in drafts]
            children = self._save_children([one for one in made if one[1].status == Status.KEPT])
            Draft.objects.bulk_create(
                Draft(
                    job=self.job,
                    seed=seed,
                    text=draft.text,
                    answered=draft.output,
                    status=draft.status,
                    why=draft.why,
                    example=children.get(id(draft)),
                )
                for seed, draft in made
            )

    def _save_children(self, kept: list[tuple[Seed, Made]]) -> dict[int, Example]:
        """Write kept drafts as examples with their labels; return them by the draft's identity."""
        children = {id(draft): self._child(seed, draft) for seed, draft in kept}
        digests = [child.digest for child in children.values()]
        taken = set(
            self.job.workload.examples.filter(digest__in=digests).values_list("digest", flat=True)
        )
        for _, draft in kept:  # said by production, or by another draft, since it was looked up
            digest = children[id(draft)].digest
            if digest in taken:
                draft.status, draft.why = Status.COPY, "of a row that came meanwhile"
                self.counts.update({Status.KEPT: -1, Status.COPY: 1})
                del children[id(draft)]
            taken.add(digest)
        saved = list(children.values())
        if saved:
            Example.objects.bulk_create(saved)
            index_children(self.job.workload, saved)
            Label.objects.bulk_create(
                self._label(children[id(draft)], draft)
                for _, draft in kept
                if id(draft) in children
            )
        return children

    def _child(self, seed: Seed, draft: Made) -> Example:
        parent: Example = seed.parent
        return Example(
            workload_id=self.job.workload_id,
            parent=parent,
            origin=Example.Origin.SYNTHETIC,
            messages=draft.messages,
            target=draft.output,
            provenance=Provenance.RELABELED_BY_MODEL,
            digest=input_digest(draft.messages),
            group=parent.group,
            # A cluster of its own: a counterfactual beside its parent is no label noise.
            cluster=name_of(self.templates.words(draft.messages)),
            split=parent.split,
            status=Example.Status.LABELED,
            may_train=self.job.teacher.may_train_on_outputs and parent.may_train,
        )

    def _label(self, child: Example, draft: Made) -> Label:
        replies = [reply for vote in draft.votes for reply in vote.replies]
        return Label(
            job_id=self.job.pk,
            example=child,
            output=draft.output,
            votes={draft.output: len(draft.votes)},
            confidence=1.0,
            status=Label.Status.ACCEPTED,
            cost_usd=sum((reply.cost_usd for reply in replies), Decimal(0)),
            answered_by=replies[-1].answered_by,
            may_train=child.may_train,
        )

    def progress(self) -> Json:
        """Return the figures of this moment, with those of the drafts."""
        rate = self.rate(self.done)
        left = self.total - self.done
        return {
            **super().progress(),
            "done": self.done,
            "total": self.total,
            "unit": "questions",
            **self.counts,
            "rate": round(rate, 2),
            "seconds_left": round(left / rate) if rate and not self.is_full else None,
        }


def status_of(seed: Seed, met: Mapping[int, Met]) -> tuple[str, str]:
    """Return the status of a draft that is near to known rows, and why; empty where it may stay."""
    for one in met.values():
        if one.split != Split.TRAIN:
            return Status.LEAK, f"of the {one.split} split"
    least = 1.0 if seed.method == augment.COUNTERFACTUAL else augment.COPY
    if any(one.similarity >= least for one in met.values()):
        return Status.COPY, "of a row of the workload"
    return "", ""
