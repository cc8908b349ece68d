"""The whole line on a real log: 4,000 banking tickets that a production model routed 87.6 % right.

python benchmarks/ticket_routing.py [--data FOLDER] [--review 0.25]

A reviewer, played by corrections.jsonl, corrects the least certain quarter; the rest is trained on
as production answered it. The student is measured on test.jsonl, which shares no row with the log.
Everything runs as it does for a user (`manage.py up`) in a state folder of its own, made anew.
"""

import argparse
import json
import os
import shutil
import sys
import time
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PRODUCTION_ACCURACY = 0.876  # of the log's answers, measured on all 4,000 below
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Run the line and print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data/ticket_routing")
    parser.add_argument("--review", type=float, default=0.25, help="share a person looks at")
    parser.add_argument("--port", type=int, default=8011)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--var", type=Path, default=ROOT / "var" / "benchmark" / "tickets")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        sys.exit(f"skipped: {arguments.data} is not there")
    shutil.rmtree(arguments.var, ignore_errors=True)
    os.environ["UNDERSTUDY_VAR"] = str(arguments.var)
    os.environ["DJANGO_SETTINGS_MODULE"] = "factory.settings"
    import django  # noqa: PLC0415 - after the settings' environment

    django.setup()
    from distill.management.console import everything  # noqa: PLC0415

    with everything(arguments.port):
        run_line(arguments)


def run_line(arguments: argparse.Namespace) -> None:
    """Import, curate, review, freeze, train, evaluate; print each stage and the figures."""
    from django.conf import settings  # noqa: PLC0415
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    from distill.management.console import manage, report, say, title, watch_job  # noqa: PLC0415
    from distill.models import Evaluation  # noqa: PLC0415
    from distill.services.evaluate import decide  # noqa: PLC0415
    from distill.services.train import start_run  # noqa: PLC0415
    from factory.models import Project  # noqa: PLC0415
    from factory.services.curate import curate, set_split_shares  # noqa: PLC0415
    from factory.services.discover import accept_all, group_calls  # noqa: PLC0415
    from factory.services.freeze import freeze  # noqa: PLC0415
    from labeling.services.review import queue_review  # noqa: PLC0415

    data: Path = arguments.data
    started = time.monotonic()
    reviewer = User.objects.create_user("reviewer")
    call_command("import_calls", str(data / "calls.jsonl"), project="bank", create=True)
    project = Project.objects.get(slug="bank")
    group_calls(project)
    (workload,) = accept_all(project)
    set_split_shares(workload, validation=0.1, test=0.0)  # test.jsonl is the held-out set
    say("Curate", f"{dict(curate(project))}, labels {workload.labels}")
    gold = {row["id"]: row["gold"] for row in read(data / "corrections.jsonl")}
    production = [(c.request_id, c.output) for c in project.calls.select_related("payload")]
    right = sum(answer == gold[key] for key, answer in production)
    say("Captured", f"production's answers are {right / len(production):.4f} right")
    budget = round(arguments.review * workload.examples.count())
    say("Queue", str(queue_review(workload, suspicious=budget, audit_share=0.0)))
    corrected, looked_at = play_reviewer(workload, reviewer, gold)
    say("Review", f"{looked_at} looked at, {corrected} corrected")
    held_out = {"project": "bank", "workload": workload.slug, "split": "test"}
    call_command("import_examples", str(data / "test.jsonl"), **held_out)
    version = freeze(workload)
    say("Freeze", str({k: version.counts[k] for k in ("train", "validation", "test")}))
    if not (Path(settings.STUDENT_BASE) / "config.json").is_file():
        manage("make_tiny_base")
    run = start_run(workload, version, overrides={"seed": arguments.seed})
    watch_job("Train", run)
    for evaluation in Evaluation.objects.filter(run=run).select_related("artifact").order_by("id"):
        if evaluation.subject == "teacher":
            continue  # production never saw these rows: there is nothing recorded to compare with
        watch_job(f"Evaluate {title(evaluation)}", evaluation)
    report(run)
    for verdict in decide(run):
        for check in verdict["checks"]:
            say("Gate", f"{'pass' if check['passed'] else 'FAIL'}  {check['reason']}")
    print_goals(run, time.monotonic() - started)


def play_reviewer(workload: Any, reviewer: Any, gold: dict[str, str]) -> tuple[int, int]:
    """Decide every queued item with the right answer; return how many were wrong, and how many."""
    from labeling.services.review import decide, next_item  # noqa: PLC0415

    corrected = looked_at = 0
    while (item := next_item(workload, reviewer)) is not None:
        example = item.example
        assert example.call is not None
        answer = gold[example.call.request_id]
        is_right = example.target == answer
        decide(
            item,
            reviewer,
            review_id=uuid.uuid4(),
            decision="accept" if is_right else "edit",
            output=answer,
        )
        looked_at, corrected = looked_at + 1, corrected + (not is_right)
    return corrected, looked_at


def print_goals(run: Any, seconds: float) -> None:
    """Print each figure as `NAME VALUE goal GOAL met|short`."""
    from distill.management.console import title  # noqa: PLC0415

    for evaluation in run.evaluations.filter(status="succeeded").select_related("artifact"):
        if evaluation.subject not in {"adapter", "gguf"}:
            continue
        accuracy = evaluation.metrics["accuracy"]["value"]
        name = title(evaluation).replace(" ", "_")
        verdict = "met" if accuracy >= PRODUCTION_ACCURACY else "short"
        print(f"accuracy:{name} {accuracy:.4f} goal {PRODUCTION_ACCURACY} {verdict}")
        distance = accuracy - PRODUCTION_ACCURACY
        print(f"distance_to_production:{name} {distance:+.4f} goal 0 {verdict}")
    print(f"minutes {seconds / 60:.1f} goal 30 {'met' if seconds < 1800 else 'short'}")


def read(path: Path) -> list[dict[str, Any]]:
    """Read a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


if __name__ == "__main__":
    main()
