"""The house rules: three sentences of the README, held by a walk over every source file."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("factory", "labeling", "distill")  # in the order of the data

DJANGO_NAMES = {
    "models", "services", "selectors", "tasks", "views", "api", "urls", "forms", "admin", "apps",
    "decorators", "settings", "celery", "asgi", "gateway", "registry",
    "migrations", "management", "templatetags",
}  # fmt: skip
DJANGO = {"django", "celery", "kombu", "ninja", "csp", "django_htmx", "django_stubs_ext"}
TORCH = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "llama_cpp", "gguf"}
MOUNTS_BY_STRING = {"factory/settings.py", "factory/urls.py"}
DOORS = {"views", "api", "tasks", "gateway", "registry", "commands"}
WRITES = {"save", "create"}
VAGUE_NAMES = {"utils", "helpers", "common", "core", "functions", "manager"}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_TASK_LINES = 600, 80, 8


def words_of(path: str) -> set[str]:
    """Return the folders and the name of a file, which say what it may do."""
    return set(PurePosixPath(path).with_suffix("").parts)


def is_plain(path: str) -> bool:
    return path.startswith(PACKAGES) and not words_of(path) & DJANGO_NAMES


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions_of(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def order_problems(path: str, tree: ast.Module) -> Iterator[str]:
    package = path.partition("/")[0]
    later = PACKAGES[PACKAGES.index(package) + 1 :] if package in PACKAGES else ()
    for name in imported(tree):
        if name.partition(".")[0] in later:
            yield f"imports {name}, a later package"
    if path in MOUNTS_BY_STRING or not later:
        return
    dotted = re.compile(rf"'({'|'.join(later)})(\.\w+)+'")
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and dotted.fullmatch(repr(node.value)):
            yield f"names {node.value!r}, of a later package"


def plain_problems(path: str, tree: ast.Module) -> Iterator[str]:
    if not is_plain(path):
        return
    for name in imported(tree):
        first, *rest = name.split(".")
        if first in DJANGO or (first in PACKAGES and set(rest) & DJANGO_NAMES):
            yield f"is plain and imports {name}"


def torch_problems(path: str, tree: ast.Module) -> Iterator[str]:
    if not path.startswith(PACKAGES) or path.startswith("distill/gpu/"):
        return
    for name in imported(tree):
        if name.partition(".")[0] in TORCH or f"{name}.".startswith("distill.gpu."):
            yield f"imports {name}, which only a GPU process does"


def door_problems(path: str, tree: ast.Module) -> Iterator[str]:
    if not path.startswith(PACKAGES) or not words_of(path) & DOORS:
        return
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in WRITES:
            yield f"line {called.lineno} writes by .{called.attr}(); that is a service's"
    if PurePosixPath(path).stem == "tasks":
        for name, lines in functions_of(tree):
            if lines > MAX_TASK_LINES:
                yield f"{name} has {lines} lines; a task is a doorbell"


def init_problems(path: str, tree: ast.Module) -> Iterator[str]:
    if PurePosixPath(path).name != "__init__.py":
        return
    allowed = ast.ImportFrom if path.endswith("/models/__init__.py") else ()
    for node in tree.body:
        names_all = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        if not isinstance(node, allowed) and not (allowed and names_all):
            yield f"line {node.lineno}: an __init__ is empty"


def size_problems(path: str, tree: ast.Module) -> Iterator[str]:
    if PurePosixPath(path).stem in VAGUE_NAMES:
        yield "is named after nothing"
    last = max((node.end_lineno or 0 for node in tree.body), default=0)
    if last > MAX_FILE_LINES:
        yield f"has {last} lines"
    for name, lines in functions_of(tree):
        if lines > MAX_FUNCTION_LINES:
            yield f"{name} has {lines} lines"


RULES = (
    order_problems,
    plain_problems,
    torch_problems,
    door_problems,
    init_problems,
    size_problems,
)


def problems(path: str, source: str) -> list[str]:
    tree = ast.parse(source)
    return [f"{path}: {problem}" for rule in RULES for problem in rule(path, tree)]


def sources() -> list[str]:
    """Return every source file that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [path for path in listed.stdout.splitlines() if (ROOT / path).exists()]


def test_every_file_keeps_the_house_rules() -> None:
    found = sources()
    assert {"factory/settings.py", "distill/gpu/train.py", "tests/conftest.py"} <= set(found)
    assert [p for path in found for p in problems(path, (ROOT / path).read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("path", "source", "problem"),
    [
        ("factory/views.py", "from labeling.models import Label", "a later package"),
        ("labeling/services/label.py", "import distill.spec", "a later package"),
        ("factory/services/jobs.py", "x = 'distill.tasks.run'", "of a later package"),
        ("factory/redaction/redact.py", "from django.conf import settings", "is plain"),
        ("factory/capture/spool.py", "def f():\n    import celery", "is plain"),
        ("distill/gate.py", "from factory.models import Workload", "is plain"),
        ("labeling/voting.py", "from factory import settings", "is plain"),
        ("distill/gate.py", "from distill.services.train import start_run", "is plain"),
        ("distill/gpu/train.py", "from distill.models import Adapter", "is plain"),
        ("distill/services/train.py", "from torch import nn", "only a GPU process"),
        ("distill/gate.py", "import llama_cpp", "only a GPU process"),
        ("distill/services/train.py", "from distill.gpu.train import main", "only a GPU process"),
        ("distill/child.py", "from distill import gpu", "only a GPU process"),
        ("factory/views.py", "def f(p):\n    p.save()", "writes by .save()"),
        ("distill/registry/hub.py", "Alias.objects.create(name='x')", "writes by .create()"),
        ("factory/tasks.py", "def f():\n" + "    g()\n" * 8, "a doorbell"),
        ("distill/__init__.py", "from distill.spec import Spec", "an __init__ is empty"),
        ("factory/models/__init__.py", "def f(): ...", "an __init__ is empty"),
        ("factory/utils.py", "", "named after nothing"),
        ("tests/helpers.py", "", "named after nothing"),
        ("factory/long.py", "x = 1\n" * 601, "has 601 lines"),
        ("tests/test_long.py", "def f():\n" + "    g()\n" * 80, "f has 81 lines"),
    ],
)
def test_a_broken_rule_is_caught(path: str, source: str, problem: str) -> None:
    assert [found for found in problems(path, source) if problem in found]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("factory/settings.py", "INSTALLED_APPS = ['distill.apps.DistillConfig']"),
        ("factory/urls.py", "path('', include('labeling.urls'))"),
        ("distill/services/train.py", "from labeling.models import Teacher"),
        ("distill/gateway.py", "from django.conf import settings"),
        ("distill/registry/hub.py", "from distill.models import Alias"),
        ("distill/gpu/train.py", "import torch\nfrom distill.gpu.rows import rows"),
        ("factory/models/__init__.py", "from factory.models.job import Job\n__all__ = ['Job']"),
        ("factory/services/keys.py", "ApiKey.objects.create(name='x')"),
        ("tests/gpu/test_train.py", "import torch"),
    ],
)
def test_what_the_rules_allow_passes(path: str, source: str) -> None:
    assert problems(path, source) == []


def without_django(imports: str) -> "subprocess.CompletedProcess[bytes]":
    code = f"import sys\nsys.modules['django'] = sys.modules['celery'] = None\nimport {imports}"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True)


def test_the_gpu_side_starts_where_django_and_celery_are_not_installed() -> None:
    gpu = without_django("distill.gpu.train, distill.gpu.export, distill.gpu.evaluate")
    assert gpu.returncode == 0, gpu.stderr.decode()
    assert b"ModuleNotFoundError" in without_django("factory.services.jobs").stderr
