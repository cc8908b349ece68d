"""The container files, checked without a Docker engine: linters, schema, and our own names."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from factory.processes import NAMES, QUEUES

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
TOOLS = Path(sys.executable).parent
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
COMPOSE_TEXT = (DOCKER / "compose.yml").read_text(encoding="utf-8")
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)["services"]
OURS = {
    name: spec for name, spec in SERVICES.items() if spec.get("image", "").startswith("understudy")
}
READ_BY_BOTO3 = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", re.MULTILINE)


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(TOOLS / tool), *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    return {canonical(name): version for name, version in PINNED.findall(text)}


def declared_pins(*extras: str) -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return pins("\n".join(lines))


def stages() -> dict[str, list[str]]:
    """The Dockerfile's lines by stage, comments left out."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in DOCKERFILE.splitlines():
        if start := re.match(r"FROM \S+ AS (\S+)", line):
            name = start[1]
            found[name] = [line]
        elif name and not line.startswith("#"):
            found[name].append(line)
    return found


def test_hadolint_has_nothing_to_say_about_the_dockerfile() -> None:
    result = run("hadolint", "--no-color", str(DOCKER / "Dockerfile"))
    assert result.stdout + result.stderr == ""
    assert result.returncode == 0


@pytest.mark.parametrize("script", sorted(DOCKER.glob("*.sh")), ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say_about_the_scripts(script: Path) -> None:
    result = run("shellcheck", "--norc", str(script))
    assert result.stdout + result.stderr == ""
    assert result.returncode == 0
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize("name", ["compose.yml", "compose.nvidia.yml"])
def test_compose_files_obey_the_compose_specification(name: str) -> None:
    result = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(DOCKER / name))
    assert result.returncode == 0, result.stdout


def test_every_process_of_the_installation_is_a_service_and_nothing_else_is() -> None:
    commands = {name: spec["command"] for name, spec in OURS.items()}
    assert commands.pop("migrate")[:2] == ["manage", "migrate"]
    assert {command[0] for command in commands.values()} == set(NAMES)
    assert all(name == command[0] for name, command in commands.items())


def test_only_the_gpu_worker_uses_the_image_with_torch() -> None:
    assert {name: spec["build"]["target"] for name, spec in OURS.items()} == {
        name: "gpu" if name == "gpu" else "web" for name in (*NAMES, "migrate")
    }
    by_stage = stages()
    assert "--from=web-packages" in "\n".join(by_stage["web"])
    assert "torch" in "\n".join(by_stage["gpu-packages"])
    assert not any("torch" in line or "gpu" in line for line in by_stage["web-packages"])


@pytest.mark.parametrize("target", ["web", "gpu"])
def test_an_image_runs_as_nobody_special_and_can_be_asked_for_its_health(target: str) -> None:
    lines = stages()[target]
    assert "USER 10001:10001" in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)


def test_what_the_images_copy_is_there() -> None:
    for line in DOCKERFILE.splitlines():
        if line.startswith("COPY") and "--from" not in line:
            *sources, _ = [word for word in line.split()[1:] if not word.startswith("--")]
            assert all((ROOT / source).exists() for source in sources), line


def test_every_setting_that_compose_gives_is_one_that_is_read() -> None:
    source = (ROOT / "factory" / "settings.py").read_text(encoding="utf-8")
    for service in OURS.values():
        given = set(service["environment"]) - READ_BY_BOTO3
        assert {"DATABASE_URL", "BROKER_URL", "STORAGE_URL", "SECRET_KEY"} <= given
        unknown = {name for name in given if f'"{name}"' not in source}
        assert not unknown


def test_no_secret_has_a_default_and_each_is_in_the_example() -> None:
    used = re.findall(r"\$\{(\w+)(:[?-])?", COMPOSE_TEXT)
    example = (DOCKER / "env.example").read_text(encoding="utf-8")
    required = {name for name, operator in used if operator == ":?"}
    assert required == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    secret = {name for name, _ in used if re.search(r"PASSWORD|KEY|USER", name)}
    assert secret <= required
    assert all(operator for _, operator in used)


def test_services_wait_until_what_they_need_is_healthy() -> None:
    for name in set(OURS) - {"migrate"}:
        needs = SERVICES[name]["depends_on"]
        assert needs["migrate"]["condition"] == "service_completed_successfully"
    for name in ("postgres", "redis", "minio"):
        assert SERVICES[name]["healthcheck"]["test"]


def test_each_worker_is_asked_for_by_the_name_it_runs_under() -> None:
    for queue in QUEUES:
        test = SERVICES[queue]["healthcheck"]["test"]
        assert test[-1].endswith(f"--destination {queue}@$$(hostname)")


def test_the_entrypoint_says_what_is_missing(tmp_path: Path) -> None:
    script = str(DOCKER / "entrypoint.sh")
    result = subprocess.run(
        ["sh", script, "web"], env={"PATH": "/bin"}, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "DATABASE_URL: must name a PostgreSQL server" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["web", "--host", "0.0.0.0"], "manage.py run web --host 0.0.0.0"),
        (["gpu"], "manage.py run gpu"),
        (["manage", "migrate", "--noinput"], "manage.py migrate --noinput"),
    ],
)
def test_the_entrypoint_becomes_the_asked_process(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    urls = dict.fromkeys(("DATABASE_URL", "BROKER_URL", "STORAGE_URL"), "x")
    result = subprocess.run(
        ["sh", str(DOCKER / "entrypoint.sh"), *arguments],
        env={"PATH": f"{tmp_path}:/bin:/usr/bin", **urls},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == expected


@pytest.mark.parametrize(("lock", "extras"), [("web.lock", ["s3"]), ("gpu.lock", ["s3", "gpu"])])
def test_the_locks_hold_the_pins_of_the_project_each_with_a_hash(
    lock: str, extras: list[str]
) -> None:
    text = (DOCKER / lock).read_text(encoding="utf-8")
    locked = pins(text)
    wanted = declared_pins(*extras)
    wanted.pop("torch", None)  # installed by itself: its CUDA packages differ by platform
    assert {name: locked.get(name) for name in wanted} == wanted
    blocks = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert all("--hash=sha256:" in block for block in blocks)
    if lock == "web.lock":
        assert not {"torch", "transformers", "llama-cpp-python"} & locked.keys()


def test_the_torch_of_the_image_is_the_pinned_one() -> None:
    assert f"torch=={declared_pins('gpu')['torch']}" in DOCKERFILE
