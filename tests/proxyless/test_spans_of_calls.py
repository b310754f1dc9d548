"""Spans of calls, through the application's own SDK; and nothing without one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from meltemi.proxyless import tracing
from meltemi.proxyless.context import incoming
from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

SAMPLED = "00-11111111111111111111111111111111-2222222222222222-01"


@dataclass
class Call:
    route: str = "by-lane"
    cluster: str = "outbound|9080|v2|reviews.default.svc.cluster.local"
    address: str = "127.3.0.4:9090"
    attempt: int = 1
    peer: dict[str, str] | None = None
    mark: str | None = None
    lane: str | None = None


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def test_there_is_no_span_without_an_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracing.call_span("thrift", "reviews.Reviews", "Get", "reviews", 9080) is None
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", trace.NoOpTracerProvider())
    assert tracing.call_span("thrift", "reviews.Reviews", "Get", "reviews", 9080) is None


def test_an_sdk_is_found_by_what_the_api_promises_too(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = trace.get_tracer_provider()
    monkeypatch.delattr(trace, "_TRACER_PROVIDER")
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    span = tracing.call_span("thrift", "reviews.Reviews", "Get", "reviews", 9080)
    assert span is not None
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    assert tracing.call_span("thrift", "reviews.Reviews", "Get", "reviews", 9080) is None


def test_a_span_says_what_was_called_and_what_was_chosen(spans: InMemorySpanExporter) -> None:
    span = tracing.call_span("thrift", "reviews.Reviews", "Get", "reviews", 9080)
    assert span is not None
    span.end(Call(peer={"workload": "reviews-v2", "app": ""}))
    (done,) = spans.get_finished_spans()
    assert (done.name, done.kind) == ("reviews.Reviews/Get", SpanKind.CLIENT)
    assert dict(done.attributes or {}) == {
        "rpc.system": "thrift",
        "rpc.service": "reviews.Reviews",
        "rpc.method": "Get",
        "server.address": "reviews",
        "server.port": 9080,
        "network.peer.address": "127.3.0.4",
        "network.peer.port": 9090,
        "meltemi.route": "by-lane",
        "meltemi.cluster": "outbound|9080|v2|reviews.default.svc.cluster.local",
        "meltemi.attempts": 2,
        "meltemi.peer.workload": "reviews-v2",
    }
    assert done.status.status_code is StatusCode.UNSET


def test_a_span_says_which_lane_was_asked_for_and_which_answered(
    spans: InMemorySpanExporter,
) -> None:
    for call in (Call(mark="dev", lane="baseline"), Call(lane="baseline"), Call()):
        span = tracing.call_span("thrift", "reviews.Reviews", "Get", "reviews", 9080)
        assert span is not None
        span.end(call)
    names = ("meltemi.mark", "meltemi.lane")
    found = [dict(each.attributes or {}) for each in spans.get_finished_spans()]
    assert [[each.get(name) for name in names] for each in found] == [
        ["dev", "baseline"],
        [None, "baseline"],
        [None, None],
    ]


def test_a_call_that_found_no_route_has_a_span_too(spans: InMemorySpanExporter) -> None:
    span = tracing.http_span("GET", "http://reviews:9080/a", "reviews", 9080)
    assert span is not None
    span.end(error=LookupError("no route for GET /a"))
    (done,) = spans.get_finished_spans()
    assert done.status.status_code is StatusCode.ERROR
    assert done.status.description == "no route for GET /a"
    assert (done.attributes or {})["error.type"] == "LookupError"


def test_a_status_is_an_attribute(spans: InMemorySpanExporter) -> None:
    span = tracing.http_span("GET", "http://reviews:9080/a", "reviews", 9080)
    assert span is not None
    span.end(Call(), error="503", http__response__status_code=503)
    (done,) = spans.get_finished_spans()
    attributes = dict(done.attributes or {})
    assert (attributes["http.response.status_code"], attributes["error.type"]) == (503, "503")


def test_the_callee_sees_the_calls_span_for_parent(spans: InMemorySpanExporter) -> None:
    token = attach(incoming({"traceparent": SAMPLED, "baggage": "env=dev;ttl=3"}))
    try:
        span = tracing.call_span("thrift", "reviews.Reviews", "Get", "reviews", 9080)
        assert span is not None
        headers = dict(span.outgoing.headers)
        span.end()
    finally:
        detach(token)
    (done,) = spans.get_finished_spans()
    assert done.context is not None
    assert done.parent is not None
    assert trace.format_span_id(done.parent.span_id) == "2" * 16
    assert headers == {
        "traceparent": f"00-{'1' * 32}-{trace.format_span_id(done.context.span_id)}-01",
        "baggage": "env=dev;ttl=3",
    }


def test_an_unsampled_call_carries_its_baggage(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    token = attach(incoming({"baggage": "env=dev"}))
    try:
        span = tracing.call_span("thrift", "reviews.Reviews", "Get", "reviews", 9080)
        assert span is not None
        headers = dict(span.outgoing.headers)
        span.end(Call())
    finally:
        detach(token)
    assert headers["baggage"] == "env=dev"
    assert not int(headers["traceparent"][-2:], 16) & trace.TraceFlags.SAMPLED
