"""The supervisor, run as the process it is: real children, real signals."""

import os
import signal
import sys

from tests.factory.running import Running, ends

CHILD = "import os, signal; print('pid', os.getpid()); print('second line'); signal.pause()"
STUBBORN = (
    "import os, signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('pid', os.getpid(), subprocess.Popen(['sleep', '600']).pid); signal.pause()"
)


def supervisor(*children: str, grace_seconds: float = 20) -> Running:
    """Start a supervisor of Python children called one, two, ..."""
    processes = [
        f"Process({name!r}, [sys.executable, '-c', {code!r}])"
        for name, code in zip(("one", "two"), children, strict=False)
    ]
    script = (
        "import sys\n"
        "from factory.supervise import Process, Supervisor\n"
        f"Supervisor([{', '.join(processes)}], grace_seconds={grace_seconds}).run()\n"
    )
    return Running([sys.executable, "-c", script])


def pids_in(line: str) -> list[int]:
    return [int(word) for word in line.split() if word.isdigit()]


def test_each_line_carries_the_name_of_its_process() -> None:
    with supervisor(CHILD) as up:
        assert up.wait_for("pid").startswith("one | pid ")
        assert up.wait_for("second") == "one | second line\n"


def test_a_killed_process_is_started_again_and_said_so() -> None:
    with supervisor(CHILD) as up:
        (first,) = pids_in(up.wait_for("pid"))
        os.kill(first, signal.SIGKILL)
        assert up.wait_for("up ") == "up  | one was ended by SIGKILL; starting it again in 1 s\n"
        (second,) = pids_in(up.wait_for("pid"))
        assert second != first


def test_a_process_that_fails_at_once_is_started_ever_later() -> None:
    with supervisor("raise SystemExit(3)") as up:
        up.wait_for("one ended with status 3; starting it again in 1 s")
        up.wait_for("one ended with status 3; starting it again in 2 s")


def test_ctrl_c_stops_everything_with_status_0() -> None:
    with supervisor(CHILD, CHILD) as up:
        pids = pids_in(up.wait_for("pid")) + pids_in(up.wait_for("pid"))
        assert up.end(signal.SIGINT) == 0
        assert all(ends(pid, 0) for pid in pids)


def test_a_process_that_will_not_end_is_killed_with_its_children() -> None:
    with supervisor(STUBBORN, grace_seconds=0.5) as up:
        pids = pids_in(up.wait_for("pid"))
        assert up.end(signal.SIGTERM) == 0
        assert up.lines[-1] == "up  | one did not end in time: killing it\n"
        assert all(ends(pid) for pid in pids)


def test_the_children_of_a_killed_process_do_not_outlive_it() -> None:
    with supervisor(STUBBORN) as up:
        leader, grandchild = pids_in(up.wait_for("pid"))
        os.kill(leader, signal.SIGKILL)
        assert ends(grandchild)


def test_the_children_of_a_killed_supervisor_end() -> None:
    with supervisor(CHILD) as up:
        (pid,) = pids_in(up.wait_for("pid"))
        up.process.kill()
        assert ends(pid)
