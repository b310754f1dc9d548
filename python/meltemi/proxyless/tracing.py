"""Spans of calls, through the OpenTelemetry SDK that the application installed; none without one.

A span says what was called, in OpenTelemetry's semantic conventions, and what became of it here:
the route, the cluster, the endpoint with its workload, and how many attempts it took. It begins
before the call is routed, so that a call without a route has one too. An integration asks
`call_span` or `http_span` once a call, sends what the span says it carries, and ends it.
"""

from __future__ import annotations

import os
from typing import Protocol

from opentelemetry import trace
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.trace import (
    NoOpTracerProvider,
    ProxyTracerProvider,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
)

from meltemi.proxyless.context import Outgoing, outgoing

Attribute = str | int


class Chosen(Protocol):
    """What a span reads of a call: `meltemi.engine.Call` has it."""

    @property
    def route(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def mark(self) -> str | None: ...
    @property
    def lane(self) -> str | None: ...
    @property
    def address(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def peer(self) -> dict[str, str] | None: ...


class CallSpan:
    """The span of one call. `outgoing` is what the call carries: the span for parent."""

    __slots__ = ("_span", "outgoing")

    def __init__(self, span: Span) -> None:
        self._span = span
        self.outgoing: Outgoing = outgoing(span=span)

    def end(
        self,
        call: Chosen | None = None,
        error: BaseException | str | None = None,
        **attributes: Attribute,
    ) -> None:
        """Ends the span; `error` is what the call failed by, a word or an exception.

        `call` is None for what could not be routed. Names of `attributes` have `__` for a dot.
        """
        span = self._span
        if span.is_recording():
            if call is not None:
                span.set_attributes(_of_call(call))
            for name, value in attributes.items():
                span.set_attribute(name.replace("__", "."), value)
            if isinstance(error, str):
                span.set_attribute("error.type", error)
                span.set_status(Status(StatusCode.ERROR))
            elif error is not None:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(Status(StatusCode.ERROR, str(error)))
        span.end()


def call_span(system: str, service: str, method: str, host: str, port: int) -> CallSpan | None:
    """Starts the span of an RPC; None where no SDK is installed (0.2 µs).

    `system` is "grpc" or "thrift"; `service` the full name of the service; `host`, `port` the
    target as the application wrote it.
    """
    tracer = _tracer()
    if tracer is None:
        return None
    attributes: dict[str, Attribute] = {
        "rpc.system": system,
        "rpc.service": service,
        "rpc.method": method,
        "server.address": host,
        "server.port": port,
    }
    name = f"{service}/{method}"
    return CallSpan(tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes))


def http_span(method: str, url: str, host: str, port: int) -> CallSpan | None:
    """Starts the span of an HTTP request; None where no SDK is installed."""
    tracer = _tracer()
    if tracer is None:
        return None
    attributes: dict[str, Attribute] = {
        "http.request.method": method,
        "url.full": url,
        "server.address": host,
        "server.port": port,
    }
    return CallSpan(tracer.start_span(method, kind=SpanKind.CLIENT, attributes=attributes))


def _of_call(call: Chosen) -> dict[str, Attribute]:
    address, _, port = call.address.rpartition(":")
    attributes: dict[str, Attribute] = {
        "network.peer.address": address.strip("[]"),
        "meltemi.route": call.route,
        "meltemi.cluster": call.cluster,
        "meltemi.attempts": call.attempt + 1,
    }
    if port.isdecimal():
        attributes["network.peer.port"] = int(port)
    if call.lane is not None:
        attributes["meltemi.lane"] = call.lane
    if call.mark is not None:
        attributes["meltemi.mark"] = call.mark
    for name, value in (call.peer or {}).items():
        if value:
            attributes[f"meltemi.peer.{name}"] = value
    return attributes


class _Installed:
    """The tracer of the provider that was seen last: asking the API for one takes 2 µs."""

    provider: object = None
    tracer: Tracer | None = None


_NAMED = OTEL_PYTHON_TRACER_PROVIDER in os.environ


def _tracer() -> Tracer | None:
    """The application's tracer; None while its OpenTelemetry has no SDK."""
    provider = getattr(trace, "_TRACER_PROVIDER", _Installed)
    if provider is None and not _NAMED:
        return None
    if provider is None or provider is _Installed:  # one that the environment names is made here
        provider = trace.get_tracer_provider()
    if provider is not _Installed.provider:
        none = isinstance(provider, (NoOpTracerProvider, ProxyTracerProvider))
        _Installed.tracer = None if none else trace.get_tracer("meltemi.proxyless")
        _Installed.provider = provider
    return _Installed.tracer
