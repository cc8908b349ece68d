"""Thirty reviewers at one queue over HTTP: is every item decided exactly as often as is wanted?

python benchmarks/reviewers.py [--items 5000] [--reviewers 30] [--overlap 2] [--lease 30]

The site runs as it does for a user (`manage.py up`, embedded PostgreSQL, one web process). Each
reviewer is a thread that takes a card, accepts it and takes the next, with no pause in between;
three of them vanish with a card in their hands, which others must get once its lease is over, and
not before. The times are of a machine on which server, database and reviewers share the cores.
"""

import argparse
import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from statistics import quantiles

from gateway import free_port, goal, pid_of, process, until_open
from machine import machine

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
VAR = ROOT / "var" / "benchmark" / "reviewers"
DESERTERS = 3
SLACK_SECONDS = 5.0  # between the end of a lease and the next request that finds it


def main() -> None:
    """Measure and print; exit 0 when it could be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--reviewers", type=int, default=30)
    parser.add_argument("--overlap", type=int, default=2)
    parser.add_argument("--lease", type=int, default=30, help="seconds")
    asked = parser.parse_args()
    shutil.rmtree(VAR, ignore_errors=True)
    os.environ |= {
        "UNDERSTUDY_VAR": str(VAR),
        "DJANGO_SETTINGS_MODULE": "factory.settings",
        "LOG_LEVEL": "WARNING",
    }
    import django  # noqa: PLC0415 - after the settings' environment

    django.setup()
    port = free_port()
    up = [sys.executable, str(ROOT / "manage.py"), "up", "--port", str(port), "--only", "web"]
    print(machine())
    with process(up, "reviewers"):
        until_open(port)
        measure(asked, port)


def measure(asked: argparse.Namespace, port: int) -> None:
    """Fill a queue, let the crowd at it, and count what came of it."""
    from django.contrib.auth.models import User  # noqa: PLC0415

    from factory.dedupe import group_key, input_digest  # noqa: PLC0415
    from factory.models import Example, Membership  # noqa: PLC0415
    from factory.services.keys import create_key  # noqa: PLC0415
    from factory.services.projects import (  # noqa: PLC0415
        add_member,
        create_project,
        create_workload,
    )
    from labeling.selectors.review import standing_reviews  # noqa: PLC0415
    from labeling.services.queue import set_policy  # noqa: PLC0415
    from labeling.services.review import queue_review  # noqa: PLC0415
    from tests.crowd import Crowd  # noqa: PLC0415

    project = create_project(slug="crowd", name="Crowd")
    schema = {"type": "string", "enum": ["billing", "delivery"]}
    workload = create_workload(project, slug="tickets", kind="classification", output_schema=schema)
    texts = [[{"role": "user", "content": f"ticket {n}"}] for n in range(asked.items)]
    Example.objects.bulk_create(
        Example(
            workload=workload, origin="upload", messages=messages, target="billing",
            provenance="teacher", digest=input_digest(messages), group=group_key(messages),
            split="test",
        )
        for messages in texts
    )  # fmt: skip
    set_policy(workload, wanted=asked.overlap, lease_seconds=asked.lease)
    queue_review(workload, suspicious=0)
    names = [f"reviewer{n}" for n in range(asked.reviewers)]
    for name in names:
        add_member(project, User.objects.create_user(name), Membership.Role.REVIEWER)
    _, key = create_key(project, name="k", scopes=["api"])
    web = pid_of("factory.asgi:application", str(port))

    crowd = Crowd(f"http://127.0.0.1:{port}", key, workload.slug)
    before = cpu_seconds(web)
    seconds = crowd.review(names, deserters=set(names[:DESERTERS]))
    used = cpu_seconds(web) - before

    said = Counter(standing_reviews(workload).values_list("item", flat=True))
    pairs = set(standing_reviews(workload).values_list("item", "reviewer"))
    over = sum(n > asked.overlap for n in said.values())
    under = asked.items - sum(n >= asked.overlap for n in said.values())
    delays = crowd.delays(asked.lease)
    cuts = quantiles(crowd.latencies, n=20)
    decisions = len(crowd.latencies)
    print(f"{asked.items:,} items, {asked.overlap} wanted of each, {asked.reviewers} reviewers")
    print(f"{decisions:,} decisions in {seconds:,.1f} s: {decisions / seconds:.1f} a second")
    print(f"a decision takes {cuts[9] * 1000:.0f} ms (median), {cuts[18] * 1000:.0f} ms (p95)")
    print(f"{used * 1000 / decisions:.1f} ms of the web process's CPU for each card and decision")
    print(f"{decisions - len(pairs)} decided twice by one person, {len(crowd.refused)} refused")
    for reason, count in Counter(crowd.refused).most_common(3):
        print(f"  {count} x {reason}")
    goal("reviewers-over-reviewed", over, 0, is_met=over == 0)
    goal("reviewers-under-reviewed", under, 0, is_met=under == 0)
    goal("reviewers-dead-lease-s", max(delays), SLACK_SECONDS, is_met=max(delays) <= SLACK_SECONDS)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
