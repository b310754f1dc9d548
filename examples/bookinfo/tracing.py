"""OpenTelemetry's SDK, where somebody takes spans: the usual variables (`OTEL_…`) say who and as
whom. Calls have spans of Meltemi's own; those of what a process serves are made here."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SOON_MS = 200.0
"""How long a span waits for others before it is sent; the page shows a request's way at once."""


def install() -> None:
    """Spans are sent from now on, the last of them when the process ends."""
    if not any(map(os.environ.get, ENDPOINTS)):
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    delay_ms = float(os.environ.get("OTEL_BSP_SCHEDULE_DELAY", SOON_MS))
    provider = TracerProvider()  # whose resource is what the environment says
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=delay_ms)
    )
    trace.set_tracer_provider(provider)


@contextmanager
def serving(name: str, **attributes: str) -> Iterator[Span]:
    """The span of a request that is served; names of attributes have `__` for a dot."""
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    tracer = trace.get_tracer("bookinfo")
    with tracer.start_as_current_span(name, kind=SpanKind.SERVER, attributes=named) as span:
        yield span


def trace_id(span: Span) -> str | None:
    """What the span's trace is asked for by, if it is sent."""
    context = span.get_span_context()
    return f"{context.trace_id:032x}" if context.trace_flags.sampled else None
