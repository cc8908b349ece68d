"""Words that could rot: settings, commands and links that the README names are the real ones."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "factory" / "settings.py").read_text(encoding="utf-8")


def test_every_setting_is_in_the_readme() -> None:
    read = set(re.findall(r'(?:env_\w+|kept_secret|environ\.get)\(\s*"([A-Z_]+)"', SETTINGS))
    assert len(read) > 10
    assert sorted(name for name in read if f"`{name}`" not in README) == []


def test_the_readme_names_no_setting_that_is_not_read() -> None:
    table = README.split("| setting |")[1].split("\n\n")[0]
    named = set(re.findall(r"`([A-Z][A-Z_]+)`", table)) - {"NAME_FILE"}
    assert sorted(name for name in named if f'"{name}"' not in SETTINGS) == []


def test_every_command_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"manage\.py ([a-z_]+)", README))
    commands = subprocess.run(
        [sys.executable, "manage.py", "help", "--commands"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(named) > 4
    assert named <= set(commands)


def test_every_target_that_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    words = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|^)make ([a-z]+)", words, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_relative_links_lead_somewhere() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
