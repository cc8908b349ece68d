"""Plays a production app: sends sample calls as it would, by the `openai` client."""

import asyncio
from collections.abc import Callable

from openai import AsyncOpenAI

from factory.demo.sample import SampleCall

IN_FLIGHT = 16
STREAMED = 10  # each tenth call is streamed


async def replay(
    base_url: str, key: str, sample: list[SampleCall], advance: Callable[[], None]
) -> None:
    """Send every call of the sample; `advance` is called after each."""
    client = AsyncOpenAI(base_url=base_url, api_key=key, max_retries=2)
    waiting = iter(enumerate(sample))

    async def app() -> None:
        for position, call in waiting:
            request = {**call.request, "metadata": {**call.metadata, "ticket_id": call.id}}
            if position % STREAMED:
                await client.chat.completions.create(**request)
            else:
                async for _ in await client.chat.completions.create(**request, stream=True):
                    pass
            advance()

    async with client:
        await asyncio.gather(*(app() for _ in range(IN_FLIGHT)))
