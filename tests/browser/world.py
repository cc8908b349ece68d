"""A workload that has been all the way round, so that every page has something to show."""

import json
import tempfile
from dataclasses import asdict, dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from distill.models import Artifact, DistillationRun, Evaluation, ModelVersion, TrainingPoint
from distill.scoring import Prediction, summarize
from distill.services.evaluate import decide as decide_gate
from distill.services.publish import move_alias, publish
from distill.spec import BaseProfile, recommended, spec_digest, train_spec
from factory.models import CapturedCall, DatasetVersion, Example, ImportJob, Job, Workload
from factory.models.example import Split
from factory.services import jobs
from factory.services.capture import record_calls
from factory.services.curate import add_examples, curate
from factory.services.discover import attach_group, group_calls
from factory.services.freeze import freeze
from factory.services.keys import create_key
from factory.services.projects import save_upstream
from factory.storage import open_store
from labeling.models import (
    Application,
    Augmentation,
    BulkAccept,
    BulkRow,
    Draft,
    InsightRun,
    Judging,
    Label,
    LabelJob,
    Seed,
    Teacher,
    TeacherReply,
    Verdict,
)
from labeling.selectors.label import labelable_examples
from labeling.services.insight import insight_work, start_insight
from labeling.services.label import create_teacher, save_guideline
from labeling.services.label_sets import application_work, start_application
from labeling.services.review import decide, next_item, queue_review
from tests.conftest import LABELS, call_record, ticket_messages

HOSTILE = "<img src=x onerror=\"alert('pwned')\"> <script>alert(1)</script>"
TICKETS = [
    ("I was charged twice for the {thing} to {place}, please refund one of them", "billing"),
    ("Where is my {thing}? The tracking has not moved since it left {place}", "delivery"),
    ("The reset link for my {thing} account says that it has expired in {place}", "login"),
    ("The invoice for the {thing} shows the VAT number of {place}", "billing"),
    ("The courier left the {thing} with a neighbour in {place} I do not know", "delivery"),
]
THINGS = ["lamp", "kettle", "desk", "bicycle", "radio", "carpet", "mirror", "piano", "tent", "oven"]
PLACES = ["Oslo", "Lyon", "Porto", "Ghent", "Turin", "Graz", "Bern", "Riga", "Split", "Cork"]
RIGHT = {"teacher": 0.95, "base": 0.31, "adapter": 0.95, "Q8_0": 0.95, "Q4_K_M": 0.95}


@dataclass(frozen=True)
class World:
    """The newest of each kind of thing."""

    workload: Workload
    call: CapturedCall
    import_job: ImportJob
    label_job: LabelJob
    dataset: DatasetVersion
    run: DistillationRun
    evaluation: Evaluation
    version: ModelVersion
    live_run: DistillationRun
    judge: LabelJob
    act: Application
    augmentation: LabelJob
    accept: BulkAccept


def build(workload: Workload, owner: User, *, tickets: int = 120) -> World:
    """Fill a project, through the services wherever no model or paid API has to answer."""
    project = workload.project
    create_key(project, name="web app", scopes=["capture"])
    prices = {"gpt-4o": {"input": 2.5, "output": 10}}
    upstream = save_upstream(
        project, name="openai", base_url="http://127.0.0.1:9999/v1", key="sk-x", is_default=True,
        prices=prices,
    )  # fmt: skip
    call = capture(workload, tickets)
    curate(project, accept_new=True)
    trusted = [
        (ticket_messages(f"{thing}, {place}: help with {label}"), label)
        for (thing, place), label in zip(
            product([*THINGS, "sofa"], PLACES), cycle(LABELS), strict=False
        )
    ]
    add_examples(workload, trusted, split=Split.TEST)
    save_guideline(workload, text="billing: money.\ndelivery: parcels.\nlogin: accounts.")
    teacher = create_teacher(project, name="oracle", upstream=upstream, model="gpt-4o")
    label_job = label(workload, teacher, owner)
    queue_review(workload, suspicious=12)
    review_all_but(workload, owner, left=8)
    dataset = freeze(workload, user=owner)
    run = finished_run(workload, dataset, teacher, owner)
    version = publish(run, user=owner)
    move_alias(workload, name="production", to=version, expected=None, user=owner)
    import_job = ImportJob.objects.create(
        project=project, filename="calls.jsonl", file_sha256="a" * 64, file_bytes=90_000,
        status=Job.Status.RUNNING, progress={"done": 30_000, "total": 90_000, "unit": "bytes"},
        counts={"read": 40, "new": 39, "known": 0, "refused": 1,
                "problems": [{"line": 7, "message": HOSTILE}]},
    )  # fmt: skip
    return World(
        workload=workload,
        call=call,
        import_job=import_job,
        label_job=label_job,
        dataset=dataset,
        run=run,
        evaluation=run.evaluations.get(artifact__quantization="Q4_K_M"),
        version=version,
        live_run=running_run(workload, dataset),
        judge=judge(workload, teacher, owner),
        act=looked_into(workload, label_job, owner),
        augmentation=augmentation(workload, teacher, owner),
        accept=accepted(workload, owner),
    )


def capture(workload: Workload, tickets: int) -> CapturedCall:
    """Record tickets, one of them hostile, and make the workload the one that they belong to."""
    kinds = cycle(product(PLACES, TICKETS))
    records = [
        call_record(text.format(thing=THINGS[n // 50 % 10], place=place), answer, minutes=n)
        for n, (place, (text, answer)) in enumerate(islice(kinds, tickets))
    ]
    hostile = call_record(HOSTILE, "login", request_id="hostile", minutes=tickets)
    record_calls(workload.project, [*records, hostile], CapturedCall.Source.GATEWAY)
    call = CapturedCall.objects.get(project=workload.project, request_id="hostile")
    group_calls(workload.project)
    for group in workload.project.call_groups.all():
        attach_group(group, workload)
    workload.validation_share = workload.test_share = 0.2
    workload.save()
    return call


def label(workload: Workload, teacher: Teacher, owner: User) -> LabelJob:
    """Write what a finished label job leaves."""
    job = LabelJob.objects.create(
        workload=workload, teacher=teacher, guideline=workload.guidelines.first(), votes=3,
        budget_usd=Decimal("1.00"), spent_usd=Decimal("0.4132"), created_by=owner,
        status=Job.Status.SUCCEEDED, finished_at=timezone.now(),
    )  # fmt: skip
    examples = labelable_examples(workload).order_by("id")
    Label.objects.bulk_create(vote(job, example, n) for n, example in enumerate(examples))
    TeacherReply.objects.bulk_create(
        TeacherReply(
            project=workload.project, job=job, cache_key=f"{n:064x}", raw="billing",
            prompt_tokens=60, completion_tokens=4, cost_usd=Decimal("0.0011"),
        )
        for n in range(375)
    )  # fmt: skip
    sure = workload.examples.filter(labels__status=Label.Status.ACCEPTED)
    sure.update(status=Example.Status.LABELED, provenance="relabeled_by_model")
    return job


def judge(workload: Workload, teacher: Teacher, owner: User) -> LabelJob:
    """Write what a finished judge leaves."""
    job = LabelJob.objects.create(
        workload=workload, teacher=teacher, kind=LabelJob.Kind.JUDGE, budget_usd=Decimal(1),
        created_by=owner, status=Job.Status.SUCCEEDED, finished_at=timezone.now(),
    )  # fmt: skip
    Judging.objects.create(
        job=job, mode=Judging.Mode.PASS_FAIL, first="production", first_name="production", most=40
    )
    outcomes = cycle(["pass", "pass", "pass", "fail", "inconclusive"])
    Verdict.objects.bulk_create(
        Verdict(job=job, example=example, first=example.target or "", outcome=outcome, why=HOSTILE)
        for example, outcome in zip(workload.examples.order_by("id")[:40], outcomes, strict=False)
    )
    return job


def augmentation(workload: Workload, teacher: Teacher, owner: User) -> LabelJob:
    """Write what a paused augmentation leaves: drafts of every fate, none of them kept yet."""
    job = LabelJob.objects.create(
        workload=workload, teacher=teacher, kind=LabelJob.Kind.AUGMENT, budget_usd=Decimal(1),
        created_by=owner, status=Job.Status.PAUSED, error="Budget reached.",
        smoke={"rows": 8, "failed": 8, "passed": False, "reasons": []},
    )  # fmt: skip
    Augmentation.objects.create(
        job=job, wanted={"paraphrase": 20, "hard_negative": 4}, per_seed=4, most_kept=9
    )
    parents = workload.examples.filter(split=Split.TRAIN).order_by("id")[:6]
    methods = cycle([Seed.Method.PARAPHRASE, Seed.Method.HARD])
    seeds = Seed.objects.bulk_create(
        Seed(
            job=job, number=n, method=method, parent=parent, expected=parent.target or "",
            against="login", is_done=n < 4, problem="the answer was cut off" if n == 3 else "",
        )
        for n, (parent, method) in enumerate(zip(parents, methods, strict=False))
    )  # fmt: skip
    fates = [status for status in Draft.Status if status != Draft.Status.KEPT]
    Draft.objects.bulk_create(
        Draft(
            job=job, seed=seeds[n % 3], text=HOSTILE, answered="login", status=status,
            why="of the test split" if status == Draft.Status.LEAK else "",
        )
        for n, status in enumerate(fates)
    )  # fmt: skip
    return job


def looked_into(workload: Workload, label_job: LabelJob, owner: User) -> Application:
    """Judge the labels, and make the label job's answers targets where production agrees."""
    run = start_insight(workload, user=owner)
    jobs.run(InsightRun, run.pk, insight_work)
    act = start_application(
        workload, source=f"job-{label_job.pk}", scope="agreed", other="production", user=owner
    )
    jobs.run(Application, act.pk, application_work)
    return act


def accepted(workload: Workload, owner: User) -> BulkAccept:
    """Write what a finished bulk accept leaves whose sample people have decided in part."""
    act = BulkAccept.objects.create(
        workload=workload, score="votes", at_least=0.9, rows=10, created_by=owner,
        status=Job.Status.SUCCEEDED, finished_at=timezone.now(),
    )  # fmt: skip
    settled = workload.examples.filter(review_item__status="done").order_by("id")[:20]
    others = workload.examples.filter(review_item=None, split=Split.TRAIN).order_by("id")[:10]
    BulkRow.objects.bulk_create(
        BulkRow(
            act=act, example=row, is_audit=n < 20, sure=1.0, answer=row.target or "",
            target=row.target, provenance=row.provenance, status=row.status,
        )
        for n, row in enumerate([*settled, *others])
    )  # fmt: skip
    return act


def vote(job: LabelJob, example: Example, n: int) -> Label:
    """Return a label; every sixth has one vote against it."""
    is_sure, other = n % 6 != 0, next(name for name in LABELS if name != example.target)
    return Label(
        job=job, example=example, output=example.target or "", confidence=1 if is_sure else 2 / 3,
        votes={example.target: 3} if is_sure else {example.target: 2, other: 1},
        status=Label.Status.ACCEPTED if is_sure else Label.Status.UNSURE,
    )  # fmt: skip


def review_all_but(workload: Workload, owner: User, *, left: int) -> None:
    """Decide the queue up to its last items, every seventh by an edit."""
    waiting = workload.review_items.filter(status="open").count()
    for n in range(waiting - left):
        item = next_item(workload, owner)
        assert item is not None
        other = next(name for name in LABELS if name != item.example.target)
        change: dict[str, Any] = {"decision": "edit", "output": other}
        choice = change if n % 7 == 3 else {"decision": "accept"}
        decide(item, owner, review_id=uuid4(), seconds=2.5, **choice)


def finished_run(
    workload: Workload, dataset: DatasetVersion, teacher: Teacher, owner: User
) -> DistillationRun:
    """Write what a finished and measured run leaves; its scores are computed from its answers."""
    run = make_run(workload, dataset, teacher=teacher, created_by=owner, status="succeeded")
    run.finished_at = timezone.now() - timedelta(minutes=3)
    run.metrics = {
        "train": {"eval_loss": 0.2131, "steps": 120, "seconds": 94.2, "device": "cpu",
                  "trainable_parameters": 294_912}
    }  # fmt: skip
    run.save()
    add_points(run, 120)
    files = {kind: artifact(run, kind) for kind in ("Q8_0", "Q4_K_M")}
    for name, share in RIGHT.items():
        subject = "gguf" if name in files else name
        measure(run, subject, share, files.get(name))
    decide_gate(run)
    return run


def running_run(workload: Workload, dataset: DatasetVersion) -> DistillationRun:
    """Write what a run in the middle of training shows."""
    progress = {"phase": "train", "done": 48, "total": 120, "unit": "steps"}
    run = make_run(workload, dataset, status="running", progress=progress)
    add_points(run, 48)
    return run


def make_run(workload: Workload, dataset: DatasetVersion, **fields: Any) -> DistillationRun:
    rows = int(dataset.counts["train"])
    spec = train_spec("Qwen/Qwen2.5-0.5B", BaseProfile(), rows)
    reasons = {name: advice.reason for name, advice in recommended(BaseProfile(), rows).items()}
    return DistillationRun.objects.create(
        workload=workload, dataset_version=dataset, base_model=spec.base_model, seed=spec.seed,
        spec={"train": asdict(spec), "quantizations": ["Q8_0", "Q4_K_M"], "reasons": reasons},
        spec_digest=spec_digest(spec), **fields,
    )  # fmt: skip


def add_points(run: DistillationRun, steps: int) -> None:
    points = []
    for step in range(2, steps + 1, 2):
        values = {"loss": 0.18 + 2.4 / (1 + step / 9) + 0.03 * (step % 5)}
        if step % 24 == 0:
            values["eval_loss"] = 0.21 + 2.2 / (1 + step / 8)
        points.append(TrainingPoint(run=run, step=step, values=values))
    TrainingPoint.objects.bulk_create(points)


def artifact(run: DistillationRun, quantization: str) -> Artifact:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        path.write_bytes(b"GGUF" + quantization.encode() * 20_000)
        blob = open_store(settings.STORAGE_URL).put(path)
    return Artifact.objects.create(
        run=run, kind="gguf", quantization=quantization, sha256=blob.sha256, size=blob.size,
        filename=f"{run.workload.slug}-{quantization}.gguf",
    )  # fmt: skip


def measure(run: DistillationRun, subject: str, share: float, file: Artifact | None) -> None:
    """Answer the test split, `share` of it rightly; the last wrong answer is a hostile text."""
    entries = list(run.dataset_version.entries.filter(split=Split.TEST).order_by("position"))
    right = round(share * len(entries))
    answers = [
        Prediction(
            id=str(entry.example_id),
            expected=entry.target,
            output=entry.target if n < right else wrong_answer(n, len(entries), entry.target),
            latency_ms=20.0 + n if subject != "teacher" else 400.0 + 3 * n,
        )
        for n, entry in enumerate(entries)
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as lines:
        lines.writelines(prediction_line(answer) for answer in answers)
        lines.flush()
        blob = open_store(settings.STORAGE_URL).put(Path(lines.name))
    Evaluation.objects.create(
        run=run, subject=subject, artifact=file, status=Job.Status.SUCCEEDED,
        metrics=asdict(summarize(answers, "exact_match", LABELS)), predictions_sha256=blob.sha256,
    )  # fmt: skip


def prediction_line(answer: Prediction) -> str:
    return json.dumps({**asdict(answer), "prompt_digest": "0" * 64}) + "\n"


def wrong_answer(n: int, of: int, target: str) -> str:
    return HOSTILE if n == of - 1 else next(name for name in LABELS if name != target)
