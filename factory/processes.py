"""The command line of every process, the same for `up`, `run` and the containers."""

import sys
from pathlib import Path

from factory.supervise import Process

ROOT = Path(__file__).resolve().parent.parent
QUEUES = {"default": 2, "teacher": 2, "gpu": 1}  # with the tasks a worker runs side by side
NAMES = ("web", "shipper", *QUEUES, "beat")

WEB_GRACE_SECONDS = 5  # for answers under way when it is asked to end
# SIGTERM ends a worker's tasks after the soft shutdown's grace instead of waiting for hours; the
# queue hands them to the next worker.
CELERY_ENV = {"REMAP_SIGTERM": "SIGQUIT"}
AS_ROOT = "ignore:You're running the worker with superuser"  # our messages hold JSON, no pickles


def process(name: str, *, var_dir: Path, host: str = "127.0.0.1", port: int = 8000) -> Process:
    """Return one of NAMES; what it keeps on disk is under `var_dir`."""
    if name == "web":
        return Process(name, _web(host, port), cwd=ROOT)
    if name == "shipper":
        return Process(name, [sys.executable, str(ROOT / "manage.py"), "ship_calls"], cwd=ROOT)
    if name == "beat":
        options = ["--schedule", str(var_dir / "beat-schedule")]
    else:
        options = ["--queues", name, "--hostname", f"{name}@%h"]
        options += ["--concurrency", str(QUEUES[name]), "--prefetch-multiplier", "1"]
        options += ["--without-gossip", "--without-mingle"]
    kind = "beat" if name == "beat" else "worker"
    celery = [sys.executable, "-W", AS_ROOT, "-m", "celery", "--app", "factory"]
    celery += ["--quiet", "--skip-checks"]  # `up` and `run` have checked
    return Process(name, [*celery, kind, "--loglevel", "INFO", *options], CELERY_ENV, ROOT)


def _web(host: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "uvicorn", "factory.asgi:application"]
    command += ["--host", host, "--port", str(port), "--lifespan", "on", "--ws", "none"]
    # Apps keep connections open between calls; a load balancer's idle time is often 60 s.
    command += ["--timeout-keep-alive", "75", "--timeout-graceful-shutdown", str(WEB_GRACE_SECONDS)]
    return [*command, "--no-server-header", "--no-access-log"]
