"""An app whose calls to a model are traced, as its owner would do it: unmodified packages, set up
by the environment. Run as a process, for instrumentation is for a whole process:

    python -m tests.factory.traced_app opentelemetry.instrumentation.openai_v2 http://.../v1
"""  # fmt: skip

import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import openai
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

MODEL = "frontier-large"
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "find_order",
            "description": "Find an order.",
            "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}},
        },
    }
]
ASKED_TOOL = {
    "id": "call_0",
    "type": "function",
    "function": {"name": "find_order", "arguments": '{"number": 7}'},
}


def main(instrumentation: str, base_url: str) -> None:
    """Ask plainly, with tools, in vain, and for a stream."""
    spans, logs = TracerProvider(), LoggerProvider()
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    instrumentor = import_module(instrumentation).OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=spans, logger_provider=logs)
    with spans.get_tracer("app").start_as_current_span("handle_request"):
        ask(openai.OpenAI(base_url=base_url, api_key="upstream-key", max_retries=0))
    spans.shutdown()
    logs.shutdown()


def ask(client: openai.OpenAI) -> None:
    """Make the calls that the test expects, in its order."""
    chat: Any = client.chat.completions
    chat.create(
        model=MODEL,
        temperature=0.25,
        max_tokens=9,
        messages=[
            {"role": "system", "content": "Route the ticket."},
            {"role": "user", "content": "Charged twice, write to ann@example.org"},
        ],
    )
    chat.create(
        model=MODEL,
        tools=TOOLS,
        messages=[
            {"role": "user", "content": "Where is order 7?"},
            {"role": "assistant", "content": None, "tool_calls": [ASKED_TOOL]},
            {"role": "tool", "tool_call_id": "call_0", "content": "not found"},
        ],
    )
    with suppress(openai.RateLimitError):
        chat.create(model=MODEL, messages=[{"role": "user", "content": "Refuse me"}])
    asked = [{"role": "user", "content": "My parcel did not come"}]
    with chat.create(
        model=MODEL, messages=asked, stream=True, stream_options={"include_usage": True}
    ) as stream:
        for _ in stream:
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
