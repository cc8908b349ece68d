"""A peer labels the benchmark's rows: run by `label.py`, in the peer's own environment.

python label_peers.py distilabel|curator|bare BASE_URL ROWS IN_FLIGHT

Prints one JSON line: rows answered, the seconds from the start of its own run to the end (imports
not counted), and its memory. `bare` is a loop of asyncio and aiohttp that does nothing but ask.
"""

import asyncio
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

INSTRUCTION = "Route the ticket. Answer with one of: billing, delivery, login."
MODEL = "teacher-xl"
LABELS = ["billing", "delivery", "login"]
Measured = tuple[int, float]  # rows answered, seconds without the imports


def text_of(at: int) -> str:
    """Return the text of a row; no two are alike."""
    return (
        f"Ticket {at}: I bought a lamp from your shop last week, order {at * 7919}, and it came "
        "with a crack in the glass shade. I wrote to you twice since and nobody answered. I would "
        "like either a new shade or my money back."
    )


def peak_memory_mb() -> float:
    """Return the most memory this process ever had; unlike rusage, without its parent's."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("utf-8"))
    return int(found[1]) / 1024 if found else 0.0


def bare(base_url: str, rows: int, in_flight: int) -> Measured:
    """Ask by a crew of coroutines, and read the answers as JSON."""
    import aiohttp  # noqa: PLC0415 - each peer's environment has its own

    async def run() -> int:
        left = iter(range(rows))
        connector = aiohttp.TCPConnector(limit=in_flight)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def crew() -> int:
                answered = 0
                for at in left:
                    body = {
                        "model": MODEL,
                        "max_tokens": 40,
                        "messages": [
                            {"role": "system", "content": INSTRUCTION},
                            {"role": "user", "content": text_of(at)},
                        ],
                    }
                    headers = {"Authorization": "Bearer sk-loopback"}
                    url = f"{base_url}/chat/completions"
                    async with session.post(url, json=body, headers=headers) as response:
                        completion = await response.json()
                    answered += bool(completion["choices"][0]["message"]["content"])
                return answered

            return sum(await asyncio.gather(*(crew() for _ in range(in_flight))))

    started = time.perf_counter()
    return asyncio.run(run()), time.perf_counter() - started


def distilabel(base_url: str, rows: int, in_flight: int) -> Measured:
    """Run a pipeline of one step; its batch is its concurrency."""
    from distilabel.models import OpenAILLM  # type: ignore[import-not-found]  # noqa: PLC0415
    from distilabel.pipeline import Pipeline  # type: ignore[import-not-found]  # noqa: PLC0415
    from distilabel.steps import (  # type: ignore[import-not-found]  # noqa: PLC0415
        LoadDataFromDicts,
    )
    from distilabel.steps.tasks import (  # type: ignore[import-not-found]  # noqa: PLC0415
        TextGeneration,
    )

    started = time.perf_counter()
    with Pipeline(name="label") as pipeline:
        data = [{"instruction": text_of(at)} for at in range(rows)]
        load = LoadDataFromDicts(data=data, batch_size=in_flight)
        llm = OpenAILLM(
            model=MODEL,
            base_url=base_url,
            api_key="sk-loopback",
            generation_kwargs={"max_new_tokens": 40},
        )
        ask = TextGeneration(llm=llm, system_prompt=INSTRUCTION, input_batch_size=in_flight)
        load >> ask
    found: Any = pipeline.run(use_cache=False)
    answered = sum(bool(row["generation"]) for row in found["default"]["train"])
    return answered, time.perf_counter() - started


def curator(base_url: str, rows: int, in_flight: int) -> Measured:
    """Run one block with its cache off; rate limits far above what it reaches.

    Its tokenizer's file would be downloaded at the first use, so it counts bytes instead.
    """
    import tiktoken  # type: ignore[import-not-found]  # noqa: PLC0415

    ranks = {bytes([byte]): byte for byte in range(256)}
    of_bytes = tiktoken.Encoding("b", pat_str=".+", mergeable_ranks=ranks, special_tokens={})
    tiktoken.get_encoding = lambda _name: of_bytes
    from bespokelabs import curator as library  # type: ignore[import-not-found]  # noqa: PLC0415

    class Labeler(library.LLM):  # type: ignore[misc]  # its types are not here
        def prompt(self, row: dict[str, Any]) -> list[dict[str, str]]:
            return [
                {"role": "system", "content": INSTRUCTION},
                {"role": "user", "content": row["text"]},
            ]

        def parse(self, row: dict[str, Any], response: str) -> dict[str, Any]:
            return {"text": row["text"], "label": response}

    started = time.perf_counter()
    model = Labeler(
        model_name=MODEL,
        backend="openai",
        generation_params={"max_tokens": 40},
        backend_params={
            "base_url": base_url,
            "api_key": "sk-loopback",
            "max_concurrent_requests": in_flight,
            "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": 10_000_000_000,
        },
    )
    found: Any = model([{"text": text_of(at)} for at in range(rows)])
    answered = sum(bool(row["label"]) for row in getattr(found, "dataset", found))
    return answered, time.perf_counter() - started


def main() -> None:
    """Run the named peer and print what it came to."""
    name, base_url, rows, in_flight = sys.argv[1:5]
    os.environ |= {"TELEMETRY_ENABLED": "0", "HF_HUB_OFFLINE": "1", "CURATOR_DISABLE_CACHE": "1"}
    run = {"bare": bare, "distilabel": distilabel, "curator": curator}[name]
    answered, seconds = run(base_url, int(rows), int(in_flight))
    memory = peak_memory_mb()
    print("\n" + json.dumps({"rows": answered, "seconds": seconds, "memory_mb": memory}))


if __name__ == "__main__":
    main()
