"""`manage.py demo`: the whole line on generated traffic, from calls to a downloaded GGUF."""

import asyncio
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from huggingface_hub import hf_hub_download

from distill.management.console import (
    bar,
    child,
    console,
    everything,
    manage,
    report,
    say,
    title,
    until,
    watch_job,
)
from distill.models import Evaluation
from distill.services.evaluate import best_evaluation
from distill.services.publish import move_alias, publish
from distill.services.train import start_run
from factory.demo.replay import replay
from factory.demo.sample import SampleCall, generate
from factory.models import CapturedCall, Membership, Project, Workload
from factory.services.curate import curate, set_split_shares
from factory.services.discover import accept_all, group_calls
from factory.services.keys import create_key
from factory.services.projects import (
    add_member,
    create_project,
    create_user,
    save_upstream,
    set_password,
)
from factory.storage import file_sha256
from labeling.models import Review
from labeling.services.label import create_teacher, start_label_job
from labeling.services.release import release
from labeling.services.review import decide, next_item, queue_review

PRODUCTION, TEACHER = "frontier-large", "teacher-xl"
ERROR_RATES = {PRODUCTION: 0.12, TEACHER: 0.08}
PRICES = {PRODUCTION: {"input": 2.5, "output": 10.0}, TEACHER: {"input": 5.0, "output": 20.0}}
SUSPICIOUS_SHARE = 0.1  # of the training rows go to the reviewer, beside the audited test rows
QUESTIONS = 3


class Command(BaseCommand):
    help = "Run the whole line on generated support-desk traffic and keep serving the pages."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--calls", type=int, default=3000)
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--exit", action="store_true", help="stop everything when done")

    def handle(self, *_args: Any, calls: int, port: int, seed: int, **options: Any) -> None:
        if "127.0.0.1" not in settings.PRIVATE_UPSTREAM_HOSTS:
            # The demo's model server is on this machine: the guard refuses it unless it is named.
            environment = {**os.environ, "PRIVATE_UPSTREAM_HOSTS": "127.0.0.1"}
            os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606 - itself
        started = time.monotonic()
        with ExitStack() as held:
            upstream = held.enter_context(demo_upstream())
            held.enter_context(everything(port))
            line = Line(f"http://127.0.0.1:{port}", upstream)
            line.run(list(generate(calls, seed)), seed)
            console.print(f"\nThe whole line took {time.monotonic() - started:.0f} s.")
            if options["exit"]:
                return
            console.print("Serving until Ctrl-C.")
            with ExitStack() as waiting:
                waiting.callback(console.print, "Stopping.")
                signal.sigwait({signal.SIGINT, signal.SIGTERM})


class Line:
    """One walk through the line; each stage is a method, in order."""

    def __init__(self, address: str, upstream: str) -> None:
        self.address = address
        self.upstream = upstream

    def run(self, sample: list[SampleCall], seed: int) -> None:
        """Walk the line, telling what happens."""
        self.gold = {call.id: call.gold for call in sample}
        self.set_up()
        self.capture(sample)
        self.curate()
        self.label()
        self.review()
        self.train()
        self.publish()
        self.download()
        self.ask(list(generate(QUESTIONS, seed + 1)))
        self.report()

    def set_up(self) -> None:
        """Make a project, its people, its key and its upstream."""
        taken = set(Project.objects.values_list("slug", flat=True))
        slug = next(s for n in itertools.count(1) if (s := f"demo-{n}") not in taken)
        self.password = secrets.token_urlsafe(12)
        self.lead, self.reviewer = (self._person(name) for name in ("demo-lead", "demo-reviewer"))
        self.project = create_project(slug=slug, name="Demo support desk", owner=self.lead)
        add_member(self.project, self.reviewer, Membership.Role.REVIEWER)
        _, self.key = create_key(self.project, name="demo app", scopes=["capture", "api"])
        _, self.download_key = create_key(self.project, name="demo client", scopes=["download"])
        upstream = save_upstream(
            self.project,
            name="demo-upstream",
            base_url=self.upstream,
            key="demo",
            is_default=True,
            prices=PRICES,
        )
        self.teacher = create_teacher(
            self.project, name=TEACHER, upstream=upstream, model=TEACHER, params={"temperature": 1}
        )
        say("Project", f"{self.project.slug}, with a lead, a reviewer and two API keys")
        say("", "The production model and the teacher are a FAKE on this machine: rules that err")
        rates = " and ".join(f"{rate:.0%} ({model})" for model, rate in ERROR_RATES.items())
        say("", f"at stated rates, {rates}. Everything else is real.")

    def _person(self, name: str) -> User:
        known = User.objects.filter(username=name).first()
        if known is None:
            return create_user(username=name, password=self.password)
        set_password(known, password=self.password)
        return known

    def capture(self, sample: list[SampleCall]) -> None:
        """Replay production traffic through the gateway and wait until it is in the database."""
        with bar("Capture", len(sample)) as advance:
            asyncio.run(replay(f"{self.address}/v1", self.key, sample, advance))
        calls = CapturedCall.objects.filter(project=self.project)
        until(lambda: calls.count() >= len(sample), seconds=60, what="the shipper")
        redacted = calls.exclude(redactions={}).count()
        say("", f"{calls.count()} calls captured, personal data taken out of {redacted}")

    def curate(self) -> None:
        """Find the workload, drop duplicates, split by group."""
        self.workload = self._discovered()
        counts = curate(self.project)
        say(
            "Curate",
            f"workload {self.workload.slug}: {self.workload.kind}, "
            f"{len(self.workload.labels)} labels; {counts['example']} distinct examples, "
            f"{counts['duplicate']} duplicates",
        )

    def _discovered(self) -> Workload:
        group_calls(self.project)
        (workload,) = accept_all(self.project)
        return set_split_shares(workload, validation=0.05, test=0.15)

    def label(self) -> None:
        """Have the teacher vote three times on each example."""
        job = start_label_job(
            self.workload, teacher=self.teacher, votes=3, budget_usd=Decimal(20), user=self.lead
        )
        watch_job("Label", job)
        labels = job.labels.all()
        say(
            "",
            f"{labels.filter(status='accepted').count()} accepted, "
            f"{labels.exclude(status='accepted').count()} to review, ${job.spent_usd:.2f} spent",
        )

    def review(self) -> None:
        """Play the reviewer: every test row, and the most suspicious of the others."""
        rows = self.workload.examples.filter(split="train").count()
        queued = queue_review(self.workload, suspicious=round(rows * SUSPICIOUS_SHARE))
        total = self.workload.review_items.filter(status="open").count()
        with bar("Review", total) as advance:
            while (item := next_item(self.workload, self.reviewer)) is not None:
                example = item.example
                call = CapturedCall.objects.get(examples=example)
                gold = self.gold[call.metadata["ticket_id"]]
                decide(
                    item,
                    self.reviewer,
                    review_id=uuid.uuid4(),
                    decision=Review.Decision.ACCEPT
                    if example.target == gold
                    else Review.Decision.EDIT,
                    output=gold,
                )
                advance()
        edited = Review.objects.filter(item__workload=self.workload, decision="edit").count()
        say(
            "",
            f"a scripted reviewer, who knows the right answers, decided {total} "
            f"({queued}) and corrected {edited}",
        )

    def train(self) -> None:
        """Freeze, train, export, evaluate."""
        version = release(self.workload, user=self.lead)
        counts = version.counts
        say(
            "Freeze",
            f"dataset v{version.number}: {counts['train']} train, "
            f"{counts['validation']} validation, {counts['test']} test, {version.digest[:12]}",
        )
        self._base()
        self.run_row = start_run(self.workload, version, teacher=self.teacher, user=self.lead)
        watch_job("Train", self.run_row)
        evaluations = Evaluation.objects.filter(run=self.run_row).order_by("id")
        for evaluation in evaluations.select_related("artifact"):
            watch_job(f"Evaluate {title(evaluation)}", evaluation)

    def _base(self) -> None:
        if not (Path(settings.STUDENT_BASE) / "config.json").is_file():
            say("Base", "building the embedded base model, once")
            manage("make_tiny_base", "--output", settings.STUDENT_BASE)

    def publish(self) -> None:
        """Let the gate speak, publish, move the alias."""
        verdict = until(self._verdict, seconds=30, what="the gate")
        for check in verdict["checks"]:
            say("Gate", f"{'pass' if check['passed'] else 'FAIL'}  {check['reason']}")
        if best_evaluation(self.run_row) is None:
            raise CommandError("The gate refused every file of this run: nothing is published.")
        self.version = publish(self.run_row, user=self.lead)
        move_alias(self.workload, name="production", to=self.version, expected=None, user=self.lead)
        say("Publish", f"v{self.version.number}, commit {self.version.commit[:12]}, is production")

    def _verdict(self) -> dict[str, Any] | None:
        files = self.run_row.evaluations.filter(subject="gguf").exclude(verdict=None)
        best = best_evaluation(self.run_row) or files.first()
        return best.verdict if best else None

    def download(self) -> None:
        """Pull the published file as any client would."""
        self.folder = Path(tempfile.mkdtemp(prefix="understudy-demo-"))
        evaluation = self.version.evaluation
        if evaluation.artifact is None:
            raise CommandError("the published evaluation names no file")
        wanted = evaluation.artifact.sha256
        published = self.version.files.get(sha256=wanted)
        repository = f"{self.project.slug}/{self.workload.slug}"
        self.file = Path(
            hf_hub_download(
                repository,
                published.path,
                endpoint=self.address,
                token=self.download_key,
                cache_dir=self.folder,
            )
        )
        if file_sha256(self.file).sha256 != wanted:
            raise CommandError("the downloaded file is not the published one")
        say(
            "Download",
            f"{published.path}, {published.size / 1e6:.1f} MB, by huggingface_hub; "
            "sha256 as published",
        )

    def ask(self, questions: list[SampleCall]) -> None:
        """Load the downloaded file with llama-cpp-python and ask it."""
        lines = "".join(json.dumps(call.request["messages"]) + "\n" for call in questions)
        asked = subprocess.run(
            [sys.executable, "-m", "distill.gpu.ask", str(self.file)],
            input=lines, capture_output=True, text=True, check=True, cwd=settings.BASE_DIR,
        )  # fmt: skip
        for call, answer in zip(questions, asked.stdout.splitlines(), strict=True):
            say("Ask", f"{call.text[:70]!r} → [bold]{json.loads(answer)}[/] (right: {call.gold})")
        shutil.rmtree(self.folder)

    def report(self) -> None:
        """Print what was measured, and where to look."""
        report(self.run_row)
        path = f"{self.address}/{self.project.slug}/{self.workload.slug}/"
        console.print(f"Pages   {path}\nSign in demo-lead / {self.password} (or demo-reviewer)")


@contextmanager
def demo_upstream() -> Iterator[str]:
    """Start the fake model server on a free port; give its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "factory.demo.upstream", "--port", str(port)]
    command += ["--error-rate", str(ERROR_RATES[PRODUCTION])]
    command += ["--teacher-error-rate", str(ERROR_RATES[TEACHER])]
    with child(command, "upstream.log"):
        yield f"http://127.0.0.1:{port}/v1"
