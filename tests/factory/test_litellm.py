"""The real LiteLLM package, its `generic_api` callback pointed at us: its calls come in."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from factory.models import CapturedCall, Project
from factory.services.keys import create_key

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

RIVALS = settings.BASE_DIR / "benchmarks" / "rivals.py"
APP = Path(__file__).with_name("litellm_app.py")
CALLS = 4
PATIENCE_SECONDS = 90


@pytest.fixture(scope="module")
def python() -> str:
    """Return a Python that has the package; it is installed the first time."""
    make = [sys.executable, str(RIVALS)]
    made = subprocess.run(make, stdout=subprocess.PIPE, text=True, check=False)
    if made.returncode:
        pytest.skip("LiteLLM cannot be installed here: is there no package index?")
    return made.stdout.strip()


def test_its_callback_brings_every_call_in(
    project: Project, live_server: Any, python: str, tmp_path: Path
) -> None:
    key = create_key(project, name="litellm", scopes=["capture"])[1]
    environment = {
        **os.environ,
        "GENERIC_LOGGER_ENDPOINT": f"{live_server.url}/api/v1/integrations/litellm",
        "GENERIC_LOGGER_HEADERS": f"Authorization=Bearer {key}",
        "DEFAULT_FLUSH_INTERVAL_SECONDS": str(PATIENCE_SECONDS),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # asks nobody for prices
    }
    app = subprocess.Popen(
        [python, str(APP)], env=environment, cwd=tmp_path, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + PATIENCE_SECONDS
    while project.calls.count() < CALLS and app.poll() is None and time.monotonic() < end:
        time.sleep(0.1)  # the callback posts in its own time
    said, _ = app.communicate("")
    assert (app.returncode, said) == (0, "refused, as asked\n")

    calls = {call.output: call for call in project.calls.select_related("payload")}
    assert set(calls) == {"delivery", "in a stream", "", "ok"}
    plain, streamed, failed, legacy = (calls[k] for k in ("delivery", "in a stream", "", "ok"))
    assert plain.question == "Where is my parcel? [EMAIL_1]"
    assert (plain.request_model, plain.provider, plain.status_code) == ("gpt-4o", "openai", 200)
    assert (plain.request_params, plain.metadata) == ({"temperature": 0}, {"tags": "desk"})
    assert plain.latency_ms is not None
    assert streamed.ttft_ms is not None
    assert (failed.status_code, legacy.endpoint) == (429, "completions")
    assert legacy.question == "say"
    assert not CapturedCall.objects.exclude(source="import").exists()
