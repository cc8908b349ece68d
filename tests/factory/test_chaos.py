"""A small edition of the benchmark: processes die at random, and no answered call goes missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

GOALS = {
    "chaos-lost", "chaos-duplicated", "chaos-never-sent", "chaos-damaged", "chaos-miscounted",
    "outage-failed-calls", "outage-missing",
}  # fmt: skip


@pytest.mark.slow
def test_no_answered_call_is_lost_or_doubled_by_kill_9_or_an_outage(tmp_path: Path) -> None:
    script = settings.BASE_DIR / "benchmarks" / "chaos_capture.py"
    size = ["--calls", "1500", "--kills", "6", "--postgres-kills", "1", "--outage", "9"]
    done = subprocess.run(
        [sys.executable, str(script), *size, "--folder", str(tmp_path / "chaos")],
        env={**os.environ, "LOG_LEVEL": "WARNING"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    goals = {
        line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if " goal " in line
    }
    assert goals == dict.fromkeys(GOALS, "0"), done.stdout
