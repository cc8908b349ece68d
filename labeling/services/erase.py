"""Erasure of what the teacher and people said about examples."""

from collections import Counter
from collections.abc import Collection
from typing import Any

from django.db.models import CharField, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat
from more_itertools import chunked

from factory.erasure import Sought
from factory.models import Example, Project, Workload
from factory.services.erase import held_by_hand
from labeling.answers import BrokenAnswer, read_reply
from labeling.models import (
    AppliedChange,
    BulkRow,
    Draft,
    Guideline,
    Label,
    PanelRow,
    Review,
    ReviewItem,
    Seed,
    SetAnswer,
    Suspicion,
    TeacherReply,
    Verdict,
)
from labeling.prompts import repair_messages
from labeling.services.asking import Plan
from labeling.services.label import MAX_VOTES, plan_for
from labeling.teacher import Question

BATCH = 100


def said_of(examples: Collection[int]) -> dict[str, QuerySet[Any]]:
    """Return the rows about examples, in the order in which they can be deleted."""
    reviews = Review.objects.filter(item__example__in=examples)
    return {
        "undone reviews": reviews.exclude(undoes=None),
        "reviews": reviews.filter(undoes=None),
        "review items": ReviewItem.objects.filter(example__in=examples),
        "labels": Label.objects.filter(example__in=examples),
        "set answers": SetAnswer.objects.filter(example__in=examples),
        "applied changes": AppliedChange.objects.filter(example__in=examples),
        "bulk rows": BulkRow.objects.filter(example__in=examples),
        "verdicts": Verdict.objects.filter(example__in=examples),
        "suspicions": Suspicion.objects.filter(example__in=examples),
        "panel rows": PanelRow.objects.filter(example__in=examples),
        "drafts": Draft.objects.filter(Q(example__in=examples) | Q(seed__parent__in=examples)),
        "seeds": Seed.objects.filter(parent__in=examples),
    }


def count_said(examples: Collection[int]) -> Counter[str]:
    """Count what `erase_said` would delete."""
    return Counter({name: rows.count() for name, rows in said_of(examples).items()})


def erase_said(workload: Workload, examples: Collection[int]) -> Counter[str]:
    """Delete the labels, reviews and review items of examples, and empty the teacher's replies.

    An emptied reply keeps its cost: what was paid was paid.
    """
    counts = Counter({"teacher replies": empty(replies_about(workload, examples))})
    for name, rows in said_of(examples).items():
        counts[name] += rows.delete()[0]
    return counts


def empty(replies: QuerySet[TeacherReply]) -> int:
    """Take the text out of replies, and the name that they would be found by again."""
    nobodys = Concat(Value("erased "), Cast("pk", CharField()))
    return replies.exclude(raw="").update(raw="", cache_key=nobodys)


def replies_about(workload: Workload, examples: Collection[int]) -> QuerySet[TeacherReply]:
    """Return the teacher's replies to questions about examples.

    A reply is kept under the digest of its question, so the questions are asked again on paper.
    Where a label's replies are under no such name, as the workload was described otherwise then,
    all replies of the label's job are returned: they are only a cache.
    """
    found: set[int] = set()
    doubtful: set[int] = set()
    rows = Example.objects.filter(pk__in=examples).only("messages").order_by("pk")
    for batch in chunked(rows, BATCH):
        for example, replies in _replies(workload, batch).items():
            found |= replies
            if not replies:
                labels = Label.objects.filter(example=example)
                doubtful |= set(labels.values_list("job", flat=True))
    # What is made of a row may say what it says, in whatever draft of the same job.
    doubtful |= set(Seed.objects.filter(parent__in=examples).values_list("job", flat=True))
    # A judge's questions hold answers besides: all its replies go with a row that it looked at.
    doubtful |= set(Verdict.objects.filter(example__in=examples).values_list("job", flat=True))
    lost = TeacherReply.objects.filter(job__in=doubtful).values_list("pk", flat=True)
    return TeacherReply.objects.filter(pk__in=found | set(lost))


def _replies(workload: Workload, examples: list[Example]) -> dict[int, set[int]]:
    asked = {
        question.cache_key(plan.base_url, vote): (example.pk, plan, question, vote)
        for plan in _plans(workload)
        for example in examples
        for question in [plan.question(example.messages)]
        for vote in range(MAX_VOTES)
    }
    found: dict[int, set[int]] = {example.pk: set() for example in examples}
    repairs: dict[str, int] = {}
    for reply in _kept(workload, asked):
        example, plan, question, vote = asked[reply.cache_key]
        found[example].add(reply.pk)
        if (repair := _repair(plan, question, reply)) is not None:
            repairs[repair.cache_key(plan.base_url, vote)] = example
    for reply in _kept(workload, repairs):
        found[repairs[reply.cache_key]].add(reply.pk)
    return found


def _plans(workload: Workload) -> list[Plan]:
    teachers = workload.project.teachers.select_related("upstream")
    guidelines = [None, *workload.guidelines.all()]
    return [plan_for(teacher, workload, text) for teacher in teachers for text in guidelines]


def _kept(workload: Workload, names: Collection[str]) -> QuerySet[TeacherReply]:
    return TeacherReply.objects.filter(project=workload.project_id, cache_key__in=names)


def _repair(plan: Plan, question: Question, reply: TeacherReply) -> Question | None:
    try:
        read_reply(reply.raw, plan.schema)
    except BrokenAnswer as broken:
        return plan.ask(repair_messages(question.messages, reply.raw, str(broken)))
    return None


# --- a value in the texts -------------------------------------------------------------------------
def examples_about(project: Project, sought: Sought) -> set[int]:
    """Return the examples that somebody said the value about, though they do not hold it."""
    if sought.kind != "value":
        return set()
    labels = Label.objects.filter(example__workload__project=project)
    reviews = Review.objects.filter(item__workload__project=project)
    of_project = {"example__workload__project": project}
    said: list[tuple[Any, ...]] = [
        *labels.values_list("example", "output", "votes", "error", "rationale"),
        *reviews.values_list("item__example", "output", "note", "before"),
        *SetAnswer.objects.filter(**of_project).values_list("example", "output"),
        *AppliedChange.objects.filter(**of_project).values_list("example", "target", "after"),
        *Verdict.objects.filter(**of_project).values_list("example", "first", "second", "why"),
        *PanelRow.objects.filter(**of_project).values_list("example", "question", "output"),
    ]
    return {example for example, *texts in said if sought.is_in(texts)}


def replies_with(project: Project, sought: Sought) -> QuerySet[TeacherReply]:
    """Return the replies whose text holds the value."""
    rows = project.teacher_replies.exclude(raw="").only("raw").iterator(BATCH)
    found = [reply.pk for reply in rows if sought.kind == "value" and sought.is_in(reply.raw)]
    return TeacherReply.objects.filter(pk__in=found)


def drafts_with(project: Project, sought: Sought) -> QuerySet[Draft]:
    """Return the drafts that hold the value and became no example: those that did go with it."""
    rows = Draft.objects.filter(job__workload__project=project, example=None)
    texts = rows.values_list("pk", "text", "answered").iterator(BATCH)
    found = [pk for pk, *said in texts if sought.kind == "value" and sought.is_in(said)]
    return Draft.objects.filter(pk__in=found)


def guidelines_with(project: Project, sought: Sought) -> list[str]:
    """Name the guidelines that hold the value: people wrote them, and people change them."""
    guidelines = Guideline.objects.filter(workload__project=project).select_related("workload")
    return [
        held_by_hand(f"Guideline {g.number} of {g.workload.slug}")
        for g in guidelines
        if sought.kind == "value" and sought.is_in(g.text)
    ]
