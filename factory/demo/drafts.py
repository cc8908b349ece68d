"""How the demo's fake teacher makes up tickets when it is asked to write new inputs.

The tickets come from the sample's own writer, so they look like the rest. One in eight belongs into
another queue than was asked for: whoever asks should notice.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from itertools import islice
from random import Random
from typing import Any

from factory.demo.sample import QUEUES, generate

FORMAT = "drafts"  # the name of the response format that asks for new inputs
_COUNT = re.compile(r"\nWrite (\d+) different ones")
_WANTED = re.compile(r"right answer (?:is|becomes) (\w+)")
_ANSWER = re.compile(r"Its right answer:\n(\w+)")
_MISTAKEN = 1 / 8
_TRIES = 200


def asks_for_drafts(asked: Mapping[str, Any]) -> bool:
    """Tell a request for new inputs by its response format."""
    response_format = asked.get("response_format") or {}
    return (response_format.get("json_schema") or {}).get("name") == FORMAT


def drafts(prompt: str) -> str:
    """Return the reply to a request for new inputs; the same prompt gets the same ones."""
    seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:6])
    random = Random(seed)  # noqa: S311 - must repeat, guards nothing
    found = _WANTED.findall(prompt) or _ANSWER.findall(prompt)
    wanted = found[-1] if found and found[-1] in QUEUES else random.choice(QUEUES)
    count = _COUNT.search(prompt)
    texts: list[str] = []
    tickets = generate(_TRIES, seed)
    for _ in range(int(count[1]) if count else 1):
        errs = random.random() < _MISTAKEN
        fitting = (t.text for t in tickets if errs or t.gold == wanted)
        texts += islice(fitting, 1)
    return json.dumps({"inputs": texts})
