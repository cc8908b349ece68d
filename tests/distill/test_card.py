"""The model card, read as hubs read it: front matter as YAML, the rest as markdown."""

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from distill.card import Card, Score, card_text
from distill.gate import Check, Verdict
from distill.manifest import large_entry
from factory.markdown import escaped

CARD = Card(
    repository="acme/tickets",
    number=3,
    kind="classification",
    metric="exact_match",
    instruction="Route the ticket.\nAnswer with one label.",
    labels=["billing", "login"],
    base_model="Qwen/Qwen2.5-0.5B",
    base_revision="abc123",
    licence="apache-2.0",
    dataset="main v2",
    dataset_digest="cd" * 32,
    dataset_counts={"train": 8000, "validation": 100, "test": 200},
    scores=[
        Score("the teacher", 200, 0.9, 0.851, 0.934, 420.0, 900.0, 1.25),
        Score("tickets-Q4_K_M.gguf", 200, 0.95, 0.91, 0.973, 12.0, 31.4),
    ],
    verdict=Verdict(
        passed=True, checks=(Check("enough_rows", True, "200 rows, 100 demanded", {}),)
    ),
    override_reason="",
    files=[large_entry("tickets-Q4_K_M.gguf", "ab" * 32, 1_234_567)],
)


def front_matter(card: Card) -> dict[str, Any]:
    _, block, _ = card_text(card).split("---\n", 2)
    read = yaml.safe_load(block)
    assert isinstance(read, dict)
    return read


def test_the_front_matter_is_yaml_that_hubs_understand() -> None:
    assert front_matter(CARD) == {
        "license": "apache-2.0",
        "base_model": "Qwen/Qwen2.5-0.5B",
        "library_name": "gguf",
        "pipeline_tag": "text-generation",
        "tags": ["gguf", "distillation", "understudy", "classification"],
    }


def test_a_local_base_is_named_in_the_text_but_not_claimed_to_be_on_a_hub() -> None:
    card = replace(CARD, base_model="tiny", licence="")
    assert "base_model" not in front_matter(card)
    assert front_matter(card)["license"] == "other"
    assert "merged into `tiny`" in card_text(card)


def test_the_table_shows_the_given_figures_and_a_dash_for_the_others() -> None:
    text = card_text(CARD)
    assert "| the teacher | 200 | 90.0% | 85.1% to 93.4% | 420 ms | 900 ms | 1.2500 |" in text
    assert r"| tickets-Q4\_K\_M.gguf | 200 | 95.0% | 91.0% to 97.3% | 12 ms | 31 ms | - |" in text
    assert f"`{'cd' * 32}`: 8,000 train, 100 validation, 200 test" in text
    assert f"| `tickets-Q4_K_M.gguf` | 1,234,567 | `{'ab' * 32}` |" in text


def test_the_verdict_is_told_with_every_reason_and_with_the_override() -> None:
    failed = Check("enough_rows", False, "20 rows, 100 demanded", {})
    card = replace(CARD, verdict=Verdict(False, (failed,)), override_reason="a pilot, agreed")
    text = card_text(card)
    assert "The gate **refused** this version" in text
    assert "- **not met**: 20 rows, 100 demanded" in text
    assert "published by a person's decision: a pilot, agreed" in text
    assert "The gate **passed** this version" in card_text(CARD)
    assert "- met: 200 rows, 100 demanded" in card_text(CARD)
    assert "**not decided**" in card_text(replace(CARD, verdict=None))


def test_the_commands_name_the_version_and_no_host() -> None:
    text = card_text(CARD)
    assert "hf download acme/tickets tickets-Q4_K_M.gguf --revision v3" in text
    assert "$UNDERSTUDY_URL/artifacts/acme/tickets/v3/tickets-Q4_K_M.gguf" in text
    assert "llama-server -hf acme/tickets:Q4_K_M" in text
    assert "ollama create tickets -f Modelfile" in text
    assert "://" not in text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("<script>alert(1)</script>", r"\<script\>alert(1)\</script\>"),
        ("[a](http://x) | b", r"\[a\](http://x) \| b"),
        ("# big\n\n* list", r"\# big  \* list"),
        ("`a` **b** _c_ ~d~", r"\`a\` \*\*b\*\* \_c\_ \~d\~"),
        ("=====", r"\====="),
        ("&amp; $x$ \\", r"\&amp; \$x\$ \\"),
        ("a\u2028b\x00c\x1b", "a b c"),
    ],
)
def test_text_that_people_wrote_cannot_become_markup(given: str, shown: str) -> None:
    assert escaped(given) == shown


def test_hostile_text_stays_inside_its_place() -> None:
    hostile = "---\nlicense: mit\n```\n<img src=x>\n| a |\n`x`"
    card = replace(
        CARD, instruction=hostile, labels=["a`b|c\nd"], licence=hostile, override_reason=hostile
    )
    assert front_matter(card)["license"] == " ".join(hostile.split("\n"))
    body = card_text(card).split("---\n", 2)[2]
    assert body.count("```") == 2  # the usage block's own
    assert "`a'b¦c d`" in body
    before, _, after = body.split("```")
    unescaped = re.sub(r"\\.", "", before + after)
    text = re.sub(r"`[^`]*`", "", unescaped)
    assert "`" not in text
    assert "<" not in text
    assert not re.search(r"^\s*(---|===)", text, re.MULTILINE)
