"""OTLP/HTTP 1.x of traces: the bytes of a request → spans, and what is answered.

Source of the rules: OpenTelemetry Protocol Specification, "OTLP/HTTP" (encodings, statuses, partial
success) and "JSON Protobuf Encoding" (ids are hex, unknown fields are ignored)."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from meltemi.traces.spans import Kind, Source, Span

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
MAX_BYTES: Final = 4 << 20
"""Of one request, after it is unpacked. SDKs send 512 spans at once, some 500 KB."""
MAX_SPANS: Final = 20_000
"""Of one request: what is over it is rejected, and said."""
MAX_TEXT: Final = 256
"""Characters that are kept of a name or an attribute."""
MAX_MESSAGE: Final = 1000
"""Bytes of the reason of a refusal."""
ATTRIBUTES: Final = frozenset(
    {
        "error.type",
        "http.request.method",
        "http.response.status_code",
        "http.status_code",
        "http.target",
        "http.url",
        "meltemi.attempts",
        "meltemi.cluster",
        "meltemi.lane",
        "meltemi.mark",
        "meltemi.peer.app",
        "meltemi.peer.version",
        "meltemi.peer.workload",
        "network.protocol.name",
        "peer.service",
        "rpc.method",
        "rpc.service",
        "rpc.system",
        "rpc.system.name",
        "server.address",
        "url.full",
        "url.path",
    }
)
"""What `hops` reads; the rest of a span is not kept."""
URLS: Final = frozenset({"http.target", "http.url", "url.full"})
"""Kept without the query, which may hold what is nobody's business."""

INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 3, 8, 12  # of google.rpc.Code


class Refused(Exception):
    """A request that is answered with an error: HTTP `status`, `code` of google.rpc.Code."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class Export:
    """What one request held. `rejected` counts spans that are not taken; `problem` says why."""

    spans: tuple[Span, ...]
    rejected: int = 0
    problem: str = ""


def encoding(content_type: str) -> str:
    """The media type of a request, which is that of its answer. Raises Refused."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in (PROTOBUF, JSON):
        raise Refused(
            415, INVALID_ARGUMENT, f"content-type {media_type!r} is not {PROTOBUF} or {JSON}"
        )
    return media_type


def decode(media_type: str, content_encoding: str, body: bytes) -> Export:
    """The spans of a request's body. Raises Refused."""
    data = _unpacked(content_encoding.strip().lower(), body)
    request = _from_json(data) if media_type == JSON else _from_protobuf(data)
    spans: list[Span] = []
    invalid = over = 0
    for source, found in _each(request):
        if len(spans) == MAX_SPANS:
            over += 1
        elif (span := _span(source, found)) is None:
            invalid += 1
        else:
            spans.append(span)
    problems = []
    if invalid:
        problems.append(f"{invalid} without a trace id of 16 bytes and a span id of 8")
    if over:
        problems.append(f"{over} over {MAX_SPANS} in one request")
    return Export(tuple(spans), invalid + over, "; ".join(problems))


def response(media_type: str, rejected: int, problem: str) -> bytes:
    """The answer to a request that was read: full success, or partial with its reason."""
    answer = ExportTraceServiceResponse()
    if rejected or problem:
        answer.partial_success.rejected_spans = rejected
        answer.partial_success.error_message = problem
    return _written(media_type, answer)


def refusal(media_type: str, refused: Refused) -> bytes:
    """The answer's body to a request that was refused: a google.rpc.Status. No package that is
    needed has that message, so it is written by hand: 1 is `code`, 2 is `message`."""
    if media_type == JSON:
        return json.dumps({"code": refused.code, "message": refused.message}).encode()
    message = refused.message.encode()[:MAX_MESSAGE]
    length = bytes((len(message) & 0x7F | 0x80, len(message) >> 7))
    return bytes((0x08, refused.code, 0x12)) + length + message


def _written(media_type: str, message: Message) -> bytes:
    if media_type == JSON:
        return json_format.MessageToJson(message, indent=None).encode()
    return message.SerializeToString()


def _unpacked(content_encoding: str, body: bytes) -> bytes:
    if content_encoding in ("", "identity"):
        data = body
    elif content_encoding == "gzip":
        data = _gunzipped(body)
    else:
        message = f"content-encoding {content_encoding!r} is neither gzip nor identity"
        raise Refused(415, INVALID_ARGUMENT, message)
    if len(data) > MAX_BYTES:
        limit = f"more than {MAX_BYTES >> 20} MiB in one request: send fewer spans at once"
        raise Refused(413, RESOURCE_EXHAUSTED, limit)
    return data


def _gunzipped(body: bytes) -> bytes:
    """At most one byte more than may be there: a small body must not fill the memory."""
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        data = unpacking.decompress(body, MAX_BYTES + 1)
    except zlib.error as error:
        raise Refused(400, INVALID_ARGUMENT, f"the body is not gzip: {error}") from None
    if len(data) <= MAX_BYTES and (not unpacking.eof or unpacking.unused_data):
        raise Refused(400, INVALID_ARGUMENT, "the body is not one whole gzip stream")
    return data


def _from_protobuf(data: bytes) -> ExportTraceServiceRequest:
    try:
        return ExportTraceServiceRequest.FromString(data)
    except DecodeError as error:
        message = f"the body is no ExportTraceServiceRequest: {error}"
        raise Refused(400, INVALID_ARGUMENT, message) from None


def _from_json(data: bytes) -> ExportTraceServiceRequest:
    try:
        document = json.loads(data)
        if not isinstance(document, dict):
            raise ValueError("it is no object")
        for scope in _scopes(document):
            for span in _objects(scope, "spans"):
                _ids_of_protobuf_json(span)
                for link in _objects(span, "links"):
                    _ids_of_protobuf_json(link)
        return json_format.ParseDict(
            document, ExportTraceServiceRequest(), ignore_unknown_fields=True
        )
    except (ValueError, RecursionError, json_format.ParseError) as error:
        message = f"the body is no ExportTraceServiceRequest in JSON: {error}"
        raise Refused(400, INVALID_ARGUMENT, message) from None


def _scopes(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in _objects(document, "resourceSpans"):
        yield from _objects(resource, "scopeSpans")


def _objects(of: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = of.get(name) or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"{name} is no list of objects")
    return found


def _ids_of_protobuf_json(span: dict[str, Any]) -> None:
    """Ids are hex in OTLP, where JSON of protobuf has base64."""
    for name in ("traceId", "spanId", "parentSpanId"):
        text = span.get(name)
        if text is None:
            continue
        if not isinstance(text, str):
            raise ValueError(f"{name} is no text")
        try:
            span[name] = base64.b64encode(binascii.unhexlify(text)).decode()
        except binascii.Error:
            raise ValueError(f"{name} {text[:40]!r} is not hex") from None


def _each(request: ExportTraceServiceRequest) -> Iterator[tuple[Source, trace_pb2.Span]]:
    for resource in request.resource_spans:
        source = _source(resource.resource)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield source, span


def _source(resource: Resource) -> Source:
    said = {pair.key: _text(pair.value) for pair in resource.attributes}
    return Source(
        said.get("service.name") or "unknown_service",
        said.get("service.version", ""),
        said.get("service.instance.id", ""),
        said.get("service.namespace", ""),
    )


def _span(source: Source, found: trace_pb2.Span) -> Span | None:
    """None where its ids are none: such a span belongs to no trace."""
    if len(found.trace_id) != 16 or len(found.span_id) != 8:
        return None
    if not any(found.trace_id) or not any(found.span_id):
        return None
    parent = found.parent_span_id
    return Span(
        trace=found.trace_id.hex(),
        id=found.span_id.hex(),
        parent=parent.hex() if len(parent) == 8 and any(parent) else "",
        name=found.name[:MAX_TEXT],
        kind=Kind(found.kind) if 0 <= found.kind <= max(Kind) else Kind.UNSPECIFIED,
        start=found.start_time_unix_nano,
        end=max(found.end_time_unix_nano, found.start_time_unix_nano),
        source=source,
        error=_error(found),
        attributes=_attributes(found.attributes),
    )


def _error(span: trace_pb2.Span) -> str | None:
    if span.status.code != trace_pb2.Status.STATUS_CODE_ERROR:
        return None
    return span.status.message[:MAX_TEXT] or "error"


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, str]:
    kept = {pair.key: _text(pair.value) for pair in pairs if pair.key in ATTRIBUTES}
    for name in URLS & kept.keys():
        kept[name] = kept[name].partition("?")[0]
    return kept


def _text(value: AnyValue) -> str:
    """A plain value as text; "" for lists and maps, which nothing here reads."""
    which = value.WhichOneof("value")
    if which == "bool_value":
        return "true" if value.bool_value else "false"
    if which in ("string_value", "int_value", "double_value"):
        return str(getattr(value, which))[:MAX_TEXT]
    return ""
