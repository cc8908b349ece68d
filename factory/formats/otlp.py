"""OTLP over HTTP: what exporters send, protobuf or JSON, packed or not, and what they are answered.

The answers follow OTLP 1.x: a partial success says how many items were refused and why, an error
is a `google.rpc.Status`. The same form goes back that came.
"""

import base64
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from google.protobuf.json_format import MessageToJson, ParseDict, ParseError
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status as WireStatus

from factory.errors import InvalidInput, TooLarge
from factory.formats.genai import Event, Span
from factory.messages import Json, clean

PROTOBUF, JSON = "application/x-protobuf", "application/json"
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
NANOSECONDS = 1_000_000_000
MAX_SECONDS = 4_102_444_800  # the year 2100
MAX_REASON = 500  # characters of a partial success; an exporter logs it whole
IDS = {"traceId", "spanId", "parentSpanId"}  # hex in OTLP's JSON, base64 in protobuf's


@dataclass
class Batch:
    """What a request held that can be read; `rejected` counts the rest, `reasons` says why."""

    spans: list[Span] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    rejected: int = 0
    reasons: set[str] = field(default_factory=set)

    def reject(self, reason: str) -> None:
        """Count one that cannot be read."""
        self.rejected += 1
        self.reasons.add(reason)


def form_of(content_type: str) -> str:
    """Return which of the two forms a request is in; `InvalidInput` where it is neither."""
    form = content_type.partition(";")[0].strip().lower()
    if form not in {PROTOBUF, JSON}:
        raise InvalidInput(f"Send {PROTOBUF} or {JSON}.", param="content-type")
    return form


def unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """Return a body without its content encoding; `TooLarge` past `limit` bytes, never beyond."""
    if encoding in {"", "identity"}:
        return body
    if encoding not in WINDOW_BITS:
        raise InvalidInput("Send gzip, deflate or no encoding.", param="content-encoding")
    unpacker = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        raw = unpacker.decompress(body, limit)
    except zlib.error as error:
        raise InvalidInput(f"The body is not {encoding}: {error}") from error
    if unpacker.unconsumed_tail:
        raise TooLarge(f"The body is larger than {limit} bytes when unpacked.")
    if not unpacker.eof:
        raise InvalidInput(f"The body is cut off: it is not all of a {encoding} stream.")
    return raw


def read_traces(raw: bytes, form: str) -> Batch:
    """Return the spans of an ExportTraceServiceRequest; `InvalidInput` where it is none."""
    batch = Batch()
    request = _parsed(ExportTraceServiceRequest(), raw, form)
    for resource in request.resource_spans:
        service = str(_attributes(resource.resource.attributes).get("service.name", ""))
        for scope in resource.scope_spans:
            for wire in scope.spans:
                try:
                    batch.spans.append(_span(wire, service))
                except InvalidInput as error:
                    batch.reject(error.message)
    return batch


def read_logs(raw: bytes, form: str) -> Batch:
    """Return the named events of an ExportLogsServiceRequest that belong to a span."""
    batch = Batch()
    request = _parsed(ExportLogsServiceRequest(), raw, form)
    records = (r for res in request.resource_logs for s in res.scope_logs for r in s.log_records)
    for wire in records:
        if not any(wire.trace_id) or not any(wire.span_id):
            continue
        try:
            attributes, body = clean([_attributes(wire.attributes), _value(wire.body)])
            name = wire.event_name or str(attributes.get("event.name", ""))
            at = _seconds(wire.time_unix_nano or wire.observed_time_unix_nano)
        except InvalidInput as error:
            batch.reject(error.message)
            continue
        held = {**attributes, **(body if isinstance(body, dict) else {})}
        batch.events.append(Event(_ids(wire.trace_id, wire.span_id), name, held, at))
    return batch


def traces_answer(batch: Batch, form: str) -> bytes:
    """Return the ExportTraceServiceResponse: empty where all is well."""
    answer = ExportTraceServiceResponse()
    if batch.rejected:
        answer.partial_success.rejected_spans = batch.rejected
        answer.partial_success.error_message = _said(batch)
    return _written(answer, form)


def logs_answer(batch: Batch, form: str) -> bytes:
    """Return the ExportLogsServiceResponse: empty where all is well."""
    answer = ExportLogsServiceResponse()
    if batch.rejected:
        answer.partial_success.rejected_log_records = batch.rejected
        answer.partial_success.error_message = _said(batch)
    return _written(answer, form)


def error_answer(message: str, form: str) -> bytes:
    """Return the google.rpc.Status of a request that failed as a whole."""
    return _written(Status(message=message), form)


def _said(batch: Batch) -> str:
    return " ".join(sorted(batch.reasons))[:MAX_REASON]


def _written(message: Message, form: str) -> bytes:
    if form == JSON:
        return MessageToJson(message, indent=None).encode()
    return message.SerializeToString()


def _parsed(request: Any, raw: bytes, form: str) -> Any:
    """Fill a request of the one or the other kind: generated classes share no typed interface."""
    try:
        if form == JSON:
            return ParseDict(
                _with_base64_ids(orjson.loads(raw)), request, ignore_unknown_fields=True
            )
        request.ParseFromString(raw)
    except (orjson.JSONDecodeError, ParseError, DecodeError, RecursionError) as error:
        raise InvalidInput(f"The body is not OTLP: {error}") from error
    return request


def _with_base64_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_base64_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {k: _base64_id(v) if k in IDS else _with_base64_ids(v) for k, v in value.items()}


def _base64_id(text: object) -> str:
    try:
        return base64.b64encode(bytes.fromhex(str(text))).decode()
    except ValueError:
        return ""  # refused where it is read, with its span


def _span(wire: WireSpan, service: str) -> Span:
    attributes = _attributes(wire.attributes)
    ids = _ids(wire.trace_id, wire.span_id)
    started_at, ended_at = _seconds(wire.start_time_unix_nano), _seconds(wire.end_time_unix_nano)
    events = [
        Event(ids, event.name, _attributes(event.attributes), _seconds(event.time_unix_nano))
        for event in wire.events
    ]
    is_error = wire.status.code == WireStatus.STATUS_CODE_ERROR or "error.type" in attributes
    return Span(
        ids=ids,
        started_at=started_at,
        ended_at=max(started_at, ended_at),
        attributes=clean(attributes),
        events=[Event(ids, event.name, clean(event.body), event.at) for event in events],
        error=clean(wire.status.message) if is_error else None,
        service=clean(service),
    )


def _ids(trace_id: bytes, span_id: bytes) -> str:
    if len(trace_id) != 16 or len(span_id) != 8 or not any(trace_id) or not any(span_id):
        raise InvalidInput("A trace id has 16 bytes and a span id 8, not all zero.")
    return f"{trace_id.hex()}:{span_id.hex()}"


def _seconds(nanoseconds: int) -> float:
    seconds = nanoseconds / NANOSECONDS
    if not 0 < seconds < MAX_SECONDS:
        raise InvalidInput("A time is missing or after the year 2100.")
    return seconds


def _attributes(pairs: Any) -> Json:
    return dict(_pairs(pairs))


def _pairs(pairs: "Iterator[KeyValue]") -> Iterator[tuple[str, Any]]:
    for pair in pairs:
        yield pair.key, _value(pair.value)


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "double_value":
            return value.double_value if math.isfinite(value.double_value) else None
        case "string_value" | "bool_value" | "int_value" as name:
            return getattr(value, name)
        case _:
            return None
