"""Other people's packages, each in an environment of its own that is made once.

python benchmarks/rivals.py [requirement ...]    prints the environment's Python; LiteLLM's if none

None is a dependency of ours: what they pin must not decide what we run with.
"""

import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ENVIRONMENTS = Path(__file__).resolve().parent.parent / "var" / "benchmark" / "rivals"
LITELLM = "litellm[proxy]==1.106.2"


def environment(*requirements: str) -> Path:
    """Return the Python of an environment with these packages, installed the first time (minutes).

    `subprocess.CalledProcessError` where they cannot be installed, as without a package index.
    """
    home = ENVIRONMENTS / "+".join(re.sub(r"[^\w.=-]", "-", name) for name in sorted(requirements))
    python, complete = home / "bin" / "python", home / "complete"
    if not complete.exists():
        print(f"installing {', '.join(requirements)} (minutes) ...", file=sys.stderr, flush=True)
        shutil.rmtree(home, ignore_errors=True)  # one that was cut off
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        complete.touch()
    return python


if __name__ == "__main__":
    print(environment(*(sys.argv[1:] or [LITELLM])))
