"""Spans as an SDK would send them, and the traces of Bookinfo that they make."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

TRACE = "0af7651916cd43dd8448eb211c80319c"
MILLISECOND = 1_000_000
BEGAN = 1_700_000_000_000 * MILLISECOND
SERVER, CLIENT, INTERNAL = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_INTERNAL


def pairs(values: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items()]


def _value(value: Any) -> AnyValue:
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(string_value=value)


def span(
    span_id: int,
    parent: int = 0,
    kind: Any = SERVER,
    start_ms: float = 0,
    duration_ms: float = 10,
    trace: str = TRACE,
    name: str = "call",
    error: str | None = None,
    **attributes: Any,
) -> Span:
    """Names of attributes have `__` for a dot."""
    start = BEGAN + int(start_ms * MILLISECOND)
    status = Status(code=Status.STATUS_CODE_ERROR, message=error) if error is not None else None
    return Span(
        trace_id=bytes.fromhex(trace),
        span_id=span_id.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name,
        kind=kind,
        start_time_unix_nano=start,
        end_time_unix_nano=start + int(duration_ms * MILLISECOND),
        attributes=pairs({key.replace("__", "."): value for key, value in attributes.items()}),
        status=status,
    )


def of(service: str, version: str, *spans: Span) -> ResourceSpans:
    """What one process exports."""
    resource = {
        "service.name": service,
        "service.version": version,
        "service.instance.id": f"{service}-{version}-0",
        "service.namespace": "default",
    }
    return ResourceSpans(
        resource=Resource(attributes=pairs(resource)), scope_spans=[ScopeSpans(spans=spans)]
    )


def export(*resources: ResourceSpans) -> bytes:
    return ExportTraceServiceRequest(resource_spans=resources).SerializeToString()


def bookinfo(
    trace: str = TRACE,
    reviews: str = "v2",
    ratings: str | None = "v2",
    lane: str = "dev",
    gateway: bool = False,
) -> list[ResourceSpans]:
    """What the processes export of one request for a book; `ratings` None: reviews asks nobody."""
    thrift = {"trace": trace, "rpc__system": "thrift"}
    there = {"meltemi__lane": lane, **({"meltemi__mark": lane} if lane != "baseline" else {})}
    of_reviews = [span(5, 3, start_ms=3, duration_ms=22, name="ReviewProduct", **thrift)]
    exports = [
        of(
            "productpage",
            "v1",
            span(2, 1 if gateway else 0, start_ms=1, duration_ms=30, trace=trace, name="GET",
                 http__request__method="GET", url__path="/api/v1/products/1"),
            span(3, 2, CLIENT, 2, 24, name="ReviewProduct", **thrift, **there),
            span(4, 2, CLIENT, 2, 8, name="GetProduct", **thrift, meltemi__lane="baseline"),
        ),
        of("details", "v1", span(6, 4, start_ms=3, duration_ms=5, name="GetProduct", **thrift)),
    ]  # fmt: skip
    if gateway:
        exports.append(of("gateway", "", span(1, duration_ms=32, trace=trace, name="ingress")))
    if ratings is not None:
        call = span(7, 5, CLIENT, 6, 12, name="ratings", **thrift, **there)
        of_reviews.append(call)
        served = span(8, 7, start_ms=7, duration_ms=9, name="ratings", **thrift)
        exports.append(of("ratings", ratings, served))
    exports.append(of("reviews", reviews, *of_reviews))
    return exports
