"""An app that calls models through LiteLLM, run by a Python that has the package and not us.

The model is LiteLLM's own mock; the callback is the package's `generic_api`, unmodified.
"""

import asyncio
import sys

import litellm  # type: ignore[import-not-found]  # it has an environment of its own
from litellm.integrations.generic_api.generic_api_callback import (  # type: ignore[import-not-found]
    GenericAPILogger,
)

MESSAGES = [
    {"role": "system", "content": "Route the ticket."},
    {"role": "user", "content": "Where is my parcel? joe@example.com"},
]


async def main() -> None:
    """Make a call of each kind."""
    # The proxy calls it "generic_api"; by that name it needs a package that only the proxy brings.
    # It posts when so many calls wait (what comes while it posts, it forgets).
    litellm.callbacks = [GenericAPILogger(batch_size=4)]
    asked = {"model": "gpt-4o", "messages": MESSAGES}
    await litellm.acompletion(
        **asked, mock_response="delivery", temperature=0, metadata={"tags": ["desk"]}
    )
    stream = await litellm.acompletion(**asked, mock_response="in a stream", stream=True)
    async for _ in stream:
        pass
    try:
        await litellm.acompletion(**asked, mock_response="litellm.RateLimitError")
    except litellm.RateLimitError:
        print("refused, as asked")
    await litellm.atext_completion(model="gpt-3.5-turbo-instruct", prompt="say", mock_response="ok")
    await asyncio.to_thread(sys.stdin.read)  # the callback posts on its own until we are told


asyncio.run(main())
